"""The paper's test sets through sacreBLEU's own code, from archives put by hand or from files."""

import hashlib
import io
import tarfile

import pytest
import sacrebleu.dataset

from mqa_jax.data import test_sets
from mqa_jax.errors import InputError


def archive(count):
    """As statmt.org's test-filtered.tgz."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for side, language in (("src", "en"), ("ref", "de")):
            body = "".join(f'<seg id="{i}">{language}  line\u00a0{i} </seg>\n' for i in range(count))
            text = f'<srcset setid="newstest2014" srclang="any">\n<doc docid="a">\n{body}</doc>\n</srcset>\n'.encode()
            member = tarfile.TarInfo(f"test/newstest2014-deen-{side}.{language}.sgm")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text))
    return packed.getvalue()


@pytest.fixture
def wmt14(tmp_path, monkeypatch):
    """sacreBLEU's data set in a folder of its own, its archive to be fetched from a file."""
    data_set = sacrebleu.dataset.DATASETS["wmt14"]
    monkeypatch.setattr("sacrebleu.utils.SACREBLEU_DIR", str(tmp_path))
    monkeypatch.setattr(data_set, "_outdir", str(tmp_path / "wmt14"))
    monkeypatch.setattr(data_set, "_rawdir", str(tmp_path / "wmt14" / "raw"))
    monkeypatch.setattr(data_set, "data", [(tmp_path / "host" / "test-filtered.tgz").as_uri()])
    (tmp_path / "host").mkdir()

    def serve(count, registered=True):
        packed = archive(count)
        (tmp_path / "host" / "test-filtered.tgz").write_bytes(packed)
        if registered:
            monkeypatch.setattr(data_set, "md5", [hashlib.md5(packed).hexdigest()])

    return serve


UNPACKED = pytest.mark.filterwarnings("ignore:Python 3.14 will:DeprecationWarning")  # sacreBLEU's, while it unpacks


@UNPACKED
def test_a_set_is_fetched_and_read_by_sacrebleu(wmt14):
    wmt14(2737)
    split, origin = test_sets.load("wmt14")
    assert len(split) == 2737 and split.pairs()[5] == ("en line 5", "de line 5")
    assert origin == f"sacreBLEU {sacrebleu.__version__} data set wmt14 en-de"


def test_files_of_ones_own_are_counted_and_named(tmp_path):
    for language in ("en", "de"):
        (tmp_path / language).write_text("x\u2028y\n" * 3003)
    files = [tmp_path / "en", tmp_path / "de"]
    split, origin = test_sets.load("wmt14/full", files=files)
    assert len(split) == 3003 and origin == f"files {files[0]}, {files[1]}"
    with pytest.raises(InputError, match=r"--test_set=wmt14 has 2737 lines, not 3003 as files .*; check them"):
        test_sets.load("wmt14", files=files)


@UNPACKED
def test_what_cannot_be_had_says_what_to_put_where(wmt14, tmp_path):
    with pytest.raises(
        InputError, match=r"config\.x=wmt99 is unknown to sacreBLEU for en-de; choose from: .*wmt14/full"
    ):
        test_sets.load("wmt99", asked_by="config.x")
    with pytest.raises(InputError) as error:
        test_sets.load("wmt14")
    place = tmp_path / "wmt14" / "raw" / "wmt14.test-filtered.tgz"
    assert "No such file" in str(error.value) and f"test-filtered.tgz at {place} and unpack it" in str(error.value)
    wmt14(2737, registered=False)
    with pytest.raises(InputError, match=r"--test_set=wmt14 cannot be had \(wrong checksum\)"):
        test_sets.load("wmt14")
    wmt14(2737)
    assert len(test_sets.load("wmt14")[0]) == 2737, "what was wrong is not in the way of what is right"
