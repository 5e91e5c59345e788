"""Text files: a line is what ends in a newline, and nothing else."""

import gzip
import pathlib
import resource
import signal

import pytest

from mqa_jax.data.text import read_lines, write_lines, writer
from mqa_jax.errors import DiskFull, InputError

ODD = [
    "plain",
    "no\u00a0break",
    "line\u2028separator",
    "next\u0085line",
    "tab\there",
    "",
    "vertical\x0btab",
    "Größe \r x",
    " blanks \t ",
]


def test_lines_are_split_on_newlines_only(tmp_path):
    (tmp_path / "a").write_bytes("\n".join(ODD).encode() + b"\n")
    (tmp_path / "b").write_bytes("\r\n".join(ODD).encode())
    (tmp_path / "c.gz").write_bytes(gzip.compress("\n".join(ODD).encode()))
    (tmp_path / "d").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(ODD).encode())
    for name in ("a", "b", "c.gz", "d"):
        assert read_lines(tmp_path / name) == ODD


def test_only_the_newline_at_the_end_of_the_file_makes_no_line(tmp_path):
    for content, lines in ((b"", []), (b"\n", [""]), (b"a", ["a"]), (b"a\n\n", ["a", ""])):
        (tmp_path / "file").write_bytes(content)
        assert read_lines(tmp_path / "file") == lines


def test_lines_survive_writing(tmp_path, capfdbinary):
    write_lines(str(tmp_path / "out"), ODD)
    assert read_lines(tmp_path / "out") == ODD
    with writer("-") as write:
        for line in ODD:
            write(line)
            assert capfdbinary.readouterr().out == f"{line}\n".encode(), "at once"


def test_a_newline_in_an_output_does_not_shift_the_lines_after_it(tmp_path):
    write_lines(str(tmp_path / "out"), ["one\ntwo", "three"])
    assert read_lines(tmp_path / "out") == ["one two", "three"]


UNREADABLE = {
    "latin.txt": (b"fine\nfin\xe9 too\n", r"latin.txt, line 2, byte 4: not UTF-8"),
    "plain.gz": (b"not compressed", r"cannot read .*plain.gz: Not a gzipped file"),
    "cut.gz": (gzip.compress(b"a line\n" * 100)[:-9], r"cannot read .*cut.gz: Compressed file ended"),
    "broken.gz": (gzip.compress(b"a line\n")[:10] + b"\xff" * 20, r"cannot read .*broken.gz: Error -3"),
    "missing.txt": (None, r"cannot read .*missing.txt: No such file"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_named_in_one_line(tmp_path, name):
    content, words = UNREADABLE[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words) as error:
        read_lines(tmp_path / name)
    assert "\n" not in str(error.value)


def test_a_file_is_there_when_all_is_written(tmp_path):
    out, part = tmp_path / "out", tmp_path / "out.part"
    out.write_text("old")
    (tmp_path / "link").symlink_to(out)
    with writer(str(tmp_path / "link")) as write:
        for count, line in enumerate(ODD, 1):
            write(line)
            assert read_lines(part) == ODD[:count] and out.read_text() == "old"
    assert read_lines(out) == ODD and (tmp_path / "link").is_symlink() and not part.exists()


@pytest.mark.parametrize(("lines", "kept"), [(["one", "two"], "one\ntwo\n"), ([], None)])
def test_what_was_written_before_an_error_is_kept(tmp_path, capsys, lines, kept):
    out, part = tmp_path / "out", tmp_path / "out.part"
    out.write_text("old")
    with pytest.raises(KeyboardInterrupt), writer(out) as write:
        for line in lines:
            write(line)
        raise KeyboardInterrupt
    assert out.read_text() == "old" and (part.read_text() if part.exists() else None) == kept
    assert capsys.readouterr().err == (f"the first 2 lines are in {part}\n" if kept else "")


def test_a_disk_that_fills_up_keeps_whole_lines(tmp_path):
    """A limit on the size of files, which the system enforces as it does a full disk: it takes a part of a line."""
    out = tmp_path / "out"
    before, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(DiskFull, match="out: File too large; the first 2 lines are"), writer(out) as write:
            for line in ("one", "two", "three"):
                write(line)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert [path.name for path in tmp_path.iterdir()] == ["out.part"]
    assert (tmp_path / "out.part").read_text() == "one\ntwo\n"


def test_what_cannot_be_written_is_named_before_the_work():
    with pytest.raises(InputError, match=r"cannot write .*out: No such file"), writer("missing/out"):
        raise AssertionError("not even begun")
    with pytest.raises(DiskFull, match=r"/dev/full: No space left on device$"), writer("/dev/full") as write:
        write("a line")
    with writer("/dev/null") as write:
        write("a line")
    assert pathlib.Path("/dev/null").is_char_device(), "it was written to, not replaced"
