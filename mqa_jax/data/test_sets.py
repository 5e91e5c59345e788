"""The test sets that papers report, through sacreBLEU, which downloads them or finds them where they were put."""

import contextlib
import io
import pathlib
from collections.abc import Sequence

import sacrebleu.dataset
import sacrebleu.utils

from mqa_jax.data.corpus import Split
from mqa_jax.data.text import read_lines, read_split
from mqa_jax.errors import InputError

LINES = {"wmt13": 3000, "wmt14": 2737, "wmt14/full": 3003}
PAIR = "en-de"


def load(name: str, files: Sequence[str | pathlib.Path] = (), asked_by: str = "--test_set") -> tuple[Split, str]:
    """An English-German test set and where it is from: sacreBLEU's, or a source and a reference file that are given.

    Args:
      asked_by: what the user named it with.
    Raises:
      InputError: an unknown set, one that cannot be downloaded, or files of another length.
    """
    asked = f"{asked_by}={name}"
    known = [key for key, each in sacrebleu.dataset.DATASETS.items() if PAIR in each.langpairs]
    if name not in known:
        choices = ", ".join(sorted(known))
        raise InputError(f"{asked} is unknown to sacreBLEU for {PAIR}; choose from: {choices}")
    if files:
        split, origin = read_split(files, "translation", asked), f"files {', '.join(map(str, files))}"
    else:
        split, origin = _fetched(name, asked), f"sacreBLEU {sacrebleu.__version__} data set {name} {PAIR}"
    if len(split) != LINES.get(name, len(split)):
        raise InputError(f"{asked} has {LINES[name]} lines, not {len(split)} as {origin}; check them")
    return split, origin


def _fetched(name: str, asked: str) -> Split:
    data_set = sacrebleu.dataset.DATASETS[name]
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            source, reference = data_set.get_source_file(PAIR), data_set.get_reference_files(PAIR)[0]
        return Split(read_lines(source), read_lines(reference))
    except (OSError, SystemExit) as error:  # sacreBLEU exits where a checksum is wrong
        url, raw = data_set.data[0], pathlib.Path(sacrebleu.utils.SACREBLEU_DIR) / name / "raw"
        place = raw / f"{name.replace('/', '_')}.{url.rpartition('/')[2]}"
        reason = str(error) if isinstance(error, OSError) else "wrong checksum"
        if place.exists() and sacrebleu.utils.get_md5sum(place) != data_set.md5[0]:
            place.unlink()  # else sacreBLEU would use it the next time
        raise InputError(
            f"{asked} cannot be had ({reason}); put {url} at {place} and unpack it there, or score its files with "
            "evaluate.py --source and --reference"
        ) from error
