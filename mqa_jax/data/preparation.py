"""From what a config names to a prepared folder: fetched, filtered, the vocabulary trained, encoded."""

import hashlib
import json
import pathlib
from typing import Any

from mqa_jax import progress
from mqa_jax.data import encoding, prepared, sources, tfds, vocabulary
from mqa_jax.experiment import DataConfig


def prepare(data: DataConfig, task: str) -> dict[str, Any]:
    """Makes config.data.folder/prepared, or checks the one that is there; its manifest.

    Each stage is whole or not there: TFDS's data, the vocabulary, the ids. A later run goes on behind the last.

    Raises:
      InputError: the data cannot be had, are bad, or a file of an earlier preparation is damaged.
    """
    place = sources.prepared_folder(data)
    if data.kind == "tfds":
        tfds.prepare(data, progress.say)
    manifest = prepared.read_manifest(place)
    if manifest and not sources.difference(data, task, manifest):
        prepared.verify(place, manifest)
        progress.say(f"{place} is there, its checksums are right")
        return manifest
    corpus = sources.load_text(data, task)
    progress.say(corpus.description)
    asked = sources.asked(data, task)
    name = hashlib.sha256(json.dumps([asked, data.vocabulary_file]).encode()).hexdigest()[:12]
    model = pathlib.Path(data.folder) / f"prepared.vocabulary-{name}.model"
    what = {"description": corpus.description, "asked": asked, "sources": sources.files(data)}
    manifest = encoding.write(place, corpus.splits, vocabulary.obtain(data, corpus, model), what)
    model.unlink()
    return manifest
