"""Makes a run of a model from outside: a Hugging Face folder, or a GGUF file, of Llama's blocks.

    python scripts/import_model.py --from=Llama-3.2-1B --workdir=runs/llama
    python scripts/import_model.py --from=SmolLM2-135M-Instruct.Q4_1.gguf --workdir=runs/smol
    python scripts/evaluate.py --workdir=runs/smol --reference=news.txt

Llama, Mistral, Qwen2 and SmolLM are of this kind. The folder is a run like any other: it is evaluated, decoded with,
timed, planned, converted (scripts/convert_heads.py) and trained on from. docs/conversion.md has a walk through it.
"""

import pathlib
import tempfile

from absl import flags

from mqa_jax import command, progress, records, sharding
from mqa_jax.data import vocabulary as vocabularies
from mqa_jax.errors import InputError
from mqa_jax.experiment import DataConfig, Experiment, MeshConfig
from mqa_jax.interop import folder, llama, outside
from mqa_jax.interop.gguf_file import File
from mqa_jax.interop.hugging_face import Folder
from mqa_jax.model.build import build, count

FROM = flags.DEFINE_string("from", None, "Folder with config.json and safetensors, or a .gguf file.", required=True)
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the new run.", required=True)
JSON = command.json_flag()

LENGTH = 512  # of the rows that text is scored in


def main() -> None:
    path, to = pathlib.Path(FROM.value), pathlib.Path(WORKDIR.value)
    if not path.exists():
        raise InputError(f"--from={path} is not there; name a folder with config.json and safetensors, or a .gguf file")
    folder.check("--workdir", to)
    files = Folder(path) if path.is_dir() else File(path)
    model = build(llama.model_config(files.config, str(path)))
    outside.check(files, model, str(path))
    suffix, content = files.vocabulary()
    with tempfile.TemporaryDirectory() as scratch:
        held = pathlib.Path(scratch) / f"vocabulary{suffix}"
        held.write_bytes(content)
        vocabulary = vocabularies.read(held)
        if vocabulary.size > model.config.vocabulary:
            raise InputError(
                f"{path} has a tokenizer of {vocabulary.size} tokens and an embedding of {model.config.vocabulary}; "
                "they are not of one model"
            )
        length = min(model.config.positions, LENGTH)
        data = DataConfig(
            normalization="identity", pieces=vocabulary.size, source_length=length, target_length=length, streams=8
        )
        experiment = Experiment(name=path.stem, variant="imported", model=model.config, data=data)
        mesh = sharding.make_mesh(MeshConfig(data=1, fsdp=-1))
        shapes = model.shapes()
        progress.say(f"reading {count(shapes):,} parameters from {path}")
        parameters = outside.parameters(files, model, sharding.parameter_shardings(model.axes(), shapes, mesh))
        figures = {
            "from": path.name,
            "stored_in": files.dtype,
            "parameters": count(shapes),
            "vocabulary": vocabulary.size,
        }
        record = records.make("import", experiment, figures)
        folder.write(to, experiment, parameters, vocabulary, {}, record)
    words = f"{model.config.decoder.layers} layers of {model.config.decoder.attention[0].describe()}"
    command.show(f"{path.name}: {words}; {count(shapes):,} parameters in {to}", [record], JSON.value)
