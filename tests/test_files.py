"""Files that are there whole or not at all."""

import pathlib

import pytest

from mqa_jax import files
from mqa_jax.errors import InputError


def test_a_write_makes_the_folder_and_takes_the_place_of_what_was_there(tmp_path):
    path = files.write(tmp_path / "new" / "a.json", "one")
    assert files.write(path, b"two") == path
    assert path.read_bytes() == b"two" and list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    path = files.write(tmp_path / "a.json", "one")

    def full(self, data):
        with self.open("wb") as file:
            file.write(data[:1])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left") as error:
        files.write(path, "two")
    assert error.value.filename == str(path) and error.value.errno == 28
    assert path.read_text() == "one" and list(tmp_path.iterdir()) == [path]


def test_a_folder_is_checked_and_left_as_it_was(tmp_path):
    files.check_folder("--workdir", tmp_path / "a" / "b")
    files.check_folder("--workdir", tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    for place in ("file", "file/below"):
        with pytest.raises(InputError, match=f"--workdir=.*{place} cannot be used: Not a directory; name a folder"):
            files.check_folder("--workdir", tmp_path / place)
    with pytest.raises(InputError, match="--data_dir=/proc/a/b cannot be used: No such file"):
        files.check_folder("--data_dir", "/proc/a/b")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
