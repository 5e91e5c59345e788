"""Text files: a line is what ends in a newline, and nothing else."""

import gzip

import pytest

from mqa_jax.data.text import check_output, read_lines, write_lines
from mqa_jax.errors import InputError

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
    write_lines("-", ODD)
    assert capfdbinary.readouterr().out == (tmp_path / "out").read_bytes()


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


@pytest.mark.parametrize("write", [lambda path: write_lines(path, ODD), check_output])
def test_what_cannot_be_written_is_named(tmp_path, write):
    with pytest.raises(InputError, match=r"cannot write .*out: No such file"):
        write(str(tmp_path / "missing" / "out"))


def test_a_check_leaves_what_is_there(tmp_path):
    write_lines(tmp_path / "out", ODD)
    check_output(tmp_path / "out")
    assert read_lines(tmp_path / "out") == ODD
