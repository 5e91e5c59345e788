"""Makes a run with fewer key/value heads, or with latents (MLA), of a trained one with grouped attention.

    python scripts/convert_heads.py --workdir=runs/mh --write_heads=1 --pool=mean --to=runs/mean
    python scripts/convert_heads.py --workdir=runs/mh --write_heads=2 --pool=activations --text=a.en,a.de --to=runs/two
    python scripts/convert_heads.py --workdir=runs/mh --kv_rank=128 --rotary_size=16 --text=a.en,a.de --to=runs/mla

The feed-forward layers stay as they are, so budgets differ from an equal comparison's. docs/conversion.md says what
each pool does. The new folder has parameters and no optimiser state.
"""

import pathlib

from absl import flags

from mqa_jax import command
from mqa_jax.errors import InputError
from mqa_jax.interop import folder, heads, runs, targets

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the trained run.", required=True)
TO = flags.DEFINE_string("to", None, "Folder of the new run.", required=True)
WRITE_HEADS = flags.DEFINE_integer("write_heads", None, "Key/value heads that an attention is to have.", lower_bound=1)
POOL = flags.DEFINE_enum("pool", "mean", [*heads.POOLS, targets.RANDOM], "How write heads are made of several.")
KV_RANK = flags.DEFINE_integer("kv_rank", None, "Size of the latent, in place of --write_heads.", lower_bound=1)
ROTARY_SIZE = flags.DEFINE_integer("rotary_size", 0, "Of the latent's rotary key, if positions are rotary.", 0)
SITES = flags.DEFINE_list("sites", None, "Among encoder, decoder, cross. Default: all.")
LAYERS = flags.DEFINE_list("layers", None, "Numbers of layers, from 0. Default: all.")
TEXT = flags.DEFINE_list("text", None, "Calibration lines: a file, or a translation's source,target.")
TOKENS = flags.DEFINE_integer("tokens", 4096, "Calibration tokens, from the start of --text.", lower_bound=1)
SEED = flags.DEFINE_integer("seed", 0, "Of --pool=random.", lower_bound=0)
JSON = command.json_flag()


def main() -> None:
    sites, layers = command.names(SITES), command.integers(LAYERS, least=0)
    source, to = pathlib.Path(WORKDIR.value), pathlib.Path(TO.value)
    folder.check("--to", to)
    target, name = chosen()
    check_flags(target)
    lines = command.names(TEXT)
    record = runs.converted(source, to, target, name, sites, layers, lines, TOKENS.value, SEED.value)
    words = [*record["changes"], f"{record['parameters']:,} parameters in {to}"]
    command.show("\n".join(words), [record], JSON.value)


def chosen() -> tuple[targets.Target, str]:
    """What attentions are to become, and its name."""
    write_heads, rank = WRITE_HEADS.value, KV_RANK.value
    if write_heads and not rank:
        return targets.Pooled(write_heads, POOL.value), f"{POOL.value}_{write_heads}"
    if rank and not write_heads:
        return targets.Factored(rank, ROTARY_SIZE.value), f"latent_{rank}"
    raise InputError("give one of --write_heads=N and --kv_rank=N")


def check_flags(target: targets.Target) -> None:
    if WRITE_HEADS.value:
        command.refuse_given([ROTARY_SIZE], "is of a latent; give --kv_rank, or leave it out")
        if POOL.value == "activations" and not TEXT.value:
            raise InputError("--pool=activations needs --text=FILE, lines for calibration (or SOURCE,TARGET)")
        if not target.takes_text:
            command.refuse_given([TEXT, TOKENS], f"is not used by --pool={POOL.value}; leave it out")
    else:
        command.refuse_given([POOL, SEED], "is for write heads; a latent has none, leave it out")
