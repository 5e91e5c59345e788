"""Makes a run of a model from outside: a Hugging Face folder, or a GGUF file, of Llama's blocks.

    python scripts/import_model.py --from=Llama-3.2-1B --workdir=runs/llama
    python scripts/import_model.py --from=SmolLM2-135M-Instruct.Q4_1.gguf --workdir=runs/smol
    python scripts/evaluate.py --workdir=runs/smol --reference=news.txt

Llama, Mistral, Qwen2 and SmolLM are of this kind. The folder is a run like any other: it is evaluated, decoded with,
timed, planned, converted (scripts/convert_heads.py) and trained on from. docs/conversion.md has a walk through it.
"""

import pathlib

from absl import flags

from mqa_jax import command
from mqa_jax.experiment import model_of
from mqa_jax.interop import folder, runs

FROM = flags.DEFINE_string("from", None, "Folder with config.json and safetensors, or a .gguf file.", required=True)
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the new run.", required=True)
BOS = flags.DEFINE_integer("bos", None, "Id of the token that begins a text. Default: the model's own.", 0)
JSON = command.json_flag()


def main() -> None:
    to = pathlib.Path(WORKDIR.value)
    folder.check("--workdir", to)
    record = runs.imported(pathlib.Path(FROM.value), to, BOS.value)
    decoder = model_of(record).decoder
    words = f"{record['from']}: {decoder.layers} layers of {decoder.attention[0].describe()}"
    command.show(f"{words}; {record['parameters']:,} parameters in {to}", [record], JSON.value)
