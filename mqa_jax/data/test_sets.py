"""The test sets that papers report, through sacreBLEU, which downloads them or finds them where they were put."""

import contextlib
import io
import pathlib
from collections.abc import Sequence

import sacrebleu.dataset
import sacrebleu.utils

from mqa_jax.data.parallel import read_split
from mqa_jax.data.split import Split
from mqa_jax.data.text import read_lines
from mqa_jax.errors import InputError

LINES = {"wmt13": 3000, "wmt14": 2737, "wmt14/full": 3003}  # English-German


def load(name: str, pair: str = "en-de", files: Sequence[str | pathlib.Path] = ()) -> tuple[Split, str]:
    """A test set and where it is from: sacreBLEU's data set, or a source and a reference file that are given.

    Raises:
      InputError: an unknown set, one that cannot be downloaded, or files of another length.
    """
    if name not in sacrebleu.dataset.DATASETS or pair not in sacrebleu.dataset.DATASETS[name].langpairs:
        known = ", ".join(sorted(key for key, each in sacrebleu.dataset.DATASETS.items() if pair in each.langpairs))
        raise InputError(f"--test_set={name} is unknown to sacreBLEU for {pair}; choose from: {known}")
    if files:
        split, origin = read_split(files, "translation", f"--test_set={name}"), f"files {', '.join(map(str, files))}"
    else:
        split = _sacrebleu(name, pair)
        origin = f"sacreBLEU {sacrebleu.__version__} data set {name} {pair}"
    if pair == "en-de" and len(split) != LINES.get(name, len(split)):
        raise InputError(f"--test_set={name} has {LINES[name]} lines, not {len(split)} as {origin}; check them")
    return split, origin


def _sacrebleu(name: str, pair: str) -> Split:
    data_set, told = sacrebleu.dataset.DATASETS[name], io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            source, reference = data_set.get_source_file(pair), data_set.get_reference_files(pair)[0]
        return Split(read_lines(source), read_lines(reference))
    except (OSError, SystemExit) as error:  # sacreBLEU exits where a checksum is wrong
        url, raw = data_set.data[0], pathlib.Path(sacrebleu.utils.SACREBLEU_DIR) / name / "raw"
        place = raw / f"{name.replace('/', '_')}.{url.rpartition('/')[2]}"
        reason = str(error) if isinstance(error, OSError) else "wrong checksum"
        if place.exists() and sacrebleu.utils.get_md5sum(place) != data_set.md5[0]:
            place.unlink()  # sacreBLEU would take it for whole the next time
        raise InputError(
            f"--test_set={name} cannot be had ({reason}); put {url} at {place} and unpack it there, or give its files "
            "with --source and --reference"
        ) from error
