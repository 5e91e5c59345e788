"""Run folders that are made of something else: of a model outside, or of another run with fewer heads."""

import dataclasses
import json
import pathlib
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from mqa_jax import progress, records, sharding, workdir
from mqa_jax.data import text
from mqa_jax.data import vocabulary as vocabularies
from mqa_jax.errors import InputError
from mqa_jax.experiment import DataConfig, Experiment, MeshConfig
from mqa_jax.interop import calibration, convert, folder, llama, outside
from mqa_jax.interop.gguf_file import File
from mqa_jax.interop.hugging_face import Folder
from mqa_jax.interop.targets import Target
from mqa_jax.model.build import build, count
from mqa_jax.train import trained

LENGTH = 512  # of the rows that an imported model's text is scored in


def imported(path: pathlib.Path, to: pathlib.Path, bos: int | None = None) -> dict[str, Any]:
    """Makes the run `to` of a Hugging Face folder or a GGUF file: the `import` record.

    Args:
      bos: id of the token that begins a text, in place of the model's own.
    Raises:
      InputError: there is no such model, or one that is not supported; nothing is written then.
    """
    if not path.exists():
        raise InputError(f"--from={path} is not there; name a folder with config.json and safetensors, or a .gguf file")
    files = Folder(path) if path.is_dir() else File(path)
    model = build(llama.model_config(files.config, str(path)))
    outside.check(files, model, str(path))
    suffix, content = files.vocabulary()
    if bos is not None:
        content = _begun_with(bos, suffix, content)
    with tempfile.TemporaryDirectory() as scratch:
        held = pathlib.Path(scratch) / f"vocabulary{suffix}"
        held.write_bytes(content)
        vocabulary = vocabularies.read(held)
        if vocabulary.bos >= vocabulary.size:
            raise InputError(
                f"{path}: token {vocabulary.bos} is to begin texts and is not one of {vocabulary.size}; give --bos=ID"
            )
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
    return record


def _begun_with(bos: int, suffix: str, content: bytes) -> bytes:
    """The content of a vocabulary's file with another token that begins a text."""
    if suffix != ".json":
        raise InputError(f"--bos={bos}: a SentencePiece model names its own; leave --bos out")
    return json.dumps(json.loads(content) | {"bos": bos}, ensure_ascii=False).encode()


def converted(
    source: pathlib.Path,
    to: pathlib.Path,
    target: Target,
    name: str,
    sites: Sequence[str] = (),
    layers: Sequence[int] = (),
    lines: Sequence[str] = (),
    tokens: int = 4096,
    seed: int = 0,
) -> dict[str, Any]:
    """Makes the run `to` of another with some of its attentions converted: the `convert` record.

    Args:
      name: of the target, for the variant's.
      sites, layers: see `convert.converted`.
      lines: files of calibration text: one, or a translation's source and target; none for no calibration.
      tokens: how many of its tokens are taken.
      seed: of what is drawn anew.
    Raises:
      InputError: there is no such run, or it cannot be converted so; nothing is written then.
    """
    start, experiment = time.perf_counter(), workdir.owner(source)
    model_config = convert.converted(experiment.model, target, sites, layers)
    split = text.read_split(lines, experiment.task, "--text") if lines else None
    run = trained.load(source, dtype="float32")
    batch = calibration.batch(split, run.vocabulary, experiment.data, tokens) if split else None
    _, parameters = convert.convert(run.model, run.parameters, target, sites, layers, batch, seed)
    figures = {
        "from": source.name,
        "checkpoints": list(run.steps),
        "pool": name,
        "changes": convert.changes(experiment.model, model_config),
        "sites": list(sites),
        "layers": list(layers),
        "calibration": [pathlib.Path(path).name for path in lines],
        "calibration_tokens": int((batch.target.segments_BL > 0).sum()) if batch else 0,
        "parameters": count(parameters),
        "parameters_before": count(run.parameters),
        "equal_parameters": False,  # the feed-forward layers were not widened
        "seconds": time.perf_counter() - start,
    }
    variant = "_".join([experiment.variant, name, *sites, *map(str, layers)])
    made = dataclasses.replace(experiment, variant=variant, model=model_config)
    record = records.make("convert", made, figures)
    folder.write(to, made, parameters, run.vocabulary, workdir.fingerprint(source), record)
    return record
