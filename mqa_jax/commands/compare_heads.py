"""Asks of a model what it would lose and gain with fewer key/value heads: converts, trains on, scores, times, reports.

    python scripts/compare_heads.py --config=configs/uptrain.py --from=SmolLM2-135M-Instruct.Q4_1.gguf \
        --write_heads=1 --pool=mean,activations --text=news.txt --config.data.train=news.txt \
        --config.data.dev=dev.txt --config.data.test=test.txt --config.train.tokens=2e5 --workdir=runs/smol-heads

--from is a run's folder, a Hugging Face folder or a GGUF file. --kv_rank adds conversions to latents, --taught trains
each conversion once more with the original as its teacher. The original is trained on with the same tokens, for a fair
comparison. Given again, the command goes on where it was.
"""

import pathlib

from absl import flags

from mqa_jax import command, config
from mqa_jax.compare_heads import compare_heads
from mqa_jax.errors import InputError
from mqa_jax.interop import heads, targets
from mqa_jax.kernels import host
from mqa_jax.train import source

CONFIG = command.config_flag()
FROM = flags.DEFINE_string(
    "from", None, "The model: a run's folder, a Hugging Face folder, a .gguf file.", required=True
)
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the comparison.", required=True)
WRITE_HEADS = flags.DEFINE_list("write_heads", ["1"], "Numbers of key/value heads to try.")
POOL = flags.DEFINE_list("pool", ["mean", "activations"], "How write heads are made of several.")
KV_RANK = flags.DEFINE_list("kv_rank", [], "Sizes of latents (MLA) to try.")
ROTARY_SIZE = flags.DEFINE_integer("rotary_size", 0, "Of the latents' rotary key, if positions are rotary.", 0)
SITES = flags.DEFINE_list("sites", ["all"], "Where: all, or encoder, decoder, cross, or some of these joined by +.")
TEXT = flags.DEFINE_list("text", None, "Calibration lines: a file, or a translation's source,target.")
CONTEXTS = flags.DEFINE_list("contexts", ["512", "2048", "8192"], "Tokens in the cache, of which decoding is timed.")
TAUGHT = flags.DEFINE_bool(
    "taught", False, "Trains each conversion once more, learning the original's distributions too."
)


def main() -> None:
    host.keep_freed_memory()
    command.check_folder(WORKDIR)
    for pool in command.names(POOL):
        if pool not in heads.POOLS:
            raise InputError(f"--pool={pool} is unknown; choose from: {', '.join(heads.POOLS)}")
    if "activations" in POOL.value and not TEXT.value:
        raise InputError("--pool=activations needs --text=FILE, lines for calibration (or SOURCE,TARGET)")
    if not KV_RANK.value:
        command.refuse_given([ROTARY_SIZE], "is of a latent; give --kv_rank, or leave it out")
    wanted: dict[str, targets.Target] = {
        f"{pool}_{count}": targets.Pooled(count, pool) for count in command.integers(WRITE_HEADS) for pool in POOL.value
    }
    wanted |= {f"latent_{rank}": targets.Factored(rank, ROTARY_SIZE.value) for rank in command.integers(KV_RANK)}
    conversions = {
        f"{name}_{sites.replace('+', '_')}".removesuffix("_all"): (target, () if sites == "all" else sites.split("+"))
        for name, target in wanted.items()
        for sites in command.names(SITES)
    }
    contexts = command.integers(CONTEXTS)
    text, folder = command.names(TEXT), pathlib.Path(WORKDIR.value)
    training = lambda run: config.read(CONFIG.value, str(run), source.of(run))  # noqa: E731
    page = compare_heads(pathlib.Path(FROM.value), training, conversions, text, contexts, TAUGHT.value, folder)
    command.show(str(page), [], None)
