"""Writes a run's model as a Hugging Face folder, which transformers, vLLM, llama.cpp and CTranslate2 take.

    python scripts/export_model.py --workdir=runs/llama --to=llama-mq

The model must be of Llama's blocks (configs/lm_llama.py, or an imported one). Its windows and biases decide whether it
is a Llama, a Mistral or a Qwen2 there. With latent attention it is a DeepSeek-V2.
"""

import pathlib

from absl import flags

from mqa_jax import command, progress, records
from mqa_jax.attention.latent import Latent
from mqa_jax.errors import InputError
from mqa_jax.interop import deepseek, folder, hugging_face, llama
from mqa_jax.train import trained

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the trained run.", required=True)
TO = flags.DEFINE_string("to", None, "Folder to write.", required=True)
AVERAGE = flags.DEFINE_integer("average", 1, "Takes the mean of the last so many checkpoints.", lower_bound=1)
DTYPE = flags.DEFINE_enum(
    "dtype", None, ["bfloat16", "float16", "float32"], "What tensors are stored in. Default: as they came, or float32."
)


def main() -> None:
    source, to = pathlib.Path(WORKDIR.value), pathlib.Path(TO.value)
    folder.check("--to", to)
    run = trained.load(source, AVERAGE.value)
    if run.vocabulary.path.suffix == ".model" and run.experiment.data.normalization != "identity":
        raise InputError(
            "the vocabulary normalises text as nothing outside does; train with --config.data.normalization=identity"
        )
    latent = type(run.model.config.decoder.attentions[0]) is Latent
    config = (deepseek if latent else llama).outside(run.model.config)
    known = records.read_run(source)
    dtype = DTYPE.value or next((each["stored_in"] for each in known if each["kind"] == "import"), "float32")
    if latent:
        tensors = deepseek.written(run.model.config, run.parameters, dtype)
    else:
        tensors = llama.written(run.parameters, llama.tensors(run.model.config), dtype)
    with folder.replacing(to) as part:
        hugging_face.write(part, config, tensors, dtype)
        hugging_face.write_vocabulary(part, run.vocabulary)
        hugging_face.write_card(part, f"{run.experiment.name} {run.experiment.variant}", known)
    progress.say(f"{to}: {config['architectures'][0]} in {dtype}")
    command.show(str(to), [], None)
