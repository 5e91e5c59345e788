"""A run folder that was made and not trained: it is evaluated, decoded with and trained on from like any other."""

import contextlib
import pathlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

from mqa_jax import files, records, workdir
from mqa_jax.data.vocabulary import Vocabulary
from mqa_jax.errors import InputError
from mqa_jax.experiment import Experiment
from mqa_jax.model.build import Parameters
from mqa_jax.train.checkpoint import Checkpoints
from mqa_jax.workdir import Fingerprint


def check(flag: str, folder: pathlib.Path) -> None:
    """Says no before long work: raises InputError if the folder is there already or cannot be made."""
    if folder.exists():
        raise InputError(f"{flag}={folder} is there already; name a new folder, or delete it")
    files.check_folder(flag, folder)


def write(
    folder: pathlib.Path,
    experiment: Experiment,
    parameters: Parameters,
    vocabulary: Vocabulary,
    digests: Fingerprint,
    record: Mapping[str, Any],
) -> None:
    """Writes the folder of a run, whole or not at all.

    Args:
      digests: of the texts that its figures are compared on.
      record: how it was made.
    """
    with replacing(folder) as part:
        made_of = workdir.fingerprint_of(part, experiment, digests, vocabulary.fingerprint)
        shutil.copyfile(vocabulary.path, part / f"vocabulary{vocabulary.path.suffix}")
        with contextlib.closing(Checkpoints(part, 1, {}, made_of)) as checkpoints:
            checkpoints.save(0, {"parameters": parameters}, {}, 0.0)
        records.write(part / "records", record)
        workdir.claim(part, experiment, made_of)


@contextlib.contextmanager
def replacing(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder under another name beside `folder`, which becomes that at the end; after an error it is gone."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = pathlib.Path(tempfile.mkdtemp(dir=folder.parent, prefix=f"{folder.name}.", suffix=".part"))
    try:
        with workdir.full_disk_in_one_line(part):
            yield part
        part.chmod(0o755)  # mkdtemp's is for its owner alone
        part.rename(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
