"""Files that are there whole or not at all."""

import pathlib

import pytest

from mqa_jax import files


def test_a_write_makes_the_folder_and_takes_the_place_of_what_was_there(tmp_path):
    path = files.write(tmp_path / "new" / "a.json", "one")
    assert files.write(path, b"two") == path
    assert path.read_bytes() == b"two" and list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    path = files.write(tmp_path / "a.json", "one")

    def full(self, data):
        with self.open("wb") as file:
            file.write(data[:1])
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(pathlib.Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        files.write(path, "two")
    assert path.read_text() == "one" and list(tmp_path.iterdir()) == [path]
