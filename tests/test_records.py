"""Records: whole on the disk, of the experiment that they say, and without the places of a machine."""

import dataclasses
import json

import pytest
from test_config import get

from mqa_jax import config, records, workdir
from mqa_jax.errors import InputError


def placed(folder, **changes):
    base = get("text_translation")
    base.data.update(folder=str(folder), vocabulary_file=f"{folder}/words.model", unk=f"{folder}/words.txt")
    base.data.update(changes)
    return config.read(base)


def test_a_record_names_the_data_not_their_place_and_stays_that_of_data_that_were_moved(tmp_path):
    here = placed(tmp_path / "here" / "multi30k")
    path = records.write(tmp_path / "records", records.make("train", here, {"steps": 3}))
    text = path.read_text()
    assert str(tmp_path) not in text and [each.name for each in path.parent.iterdir()] == ["train.json"]
    data = json.loads(text)["config"]["data"]
    assert (data["folder"], data["vocabulary_file"], data["unk"]) == ("multi30k", "words.model", "words.txt")

    def is_there(experiment, *parts):
        return records.is_there(tmp_path / "records", "train", experiment, parts)

    moved = placed(tmp_path / "there")
    assert is_there(here, "data", "train") and is_there(moved, "data", "train") and is_there(moved, "train")
    assert not is_there(placed(tmp_path / "there", rows=16), "data") and is_there(placed(tmp_path, rows=16), "train")


def test_a_run_goes_on_where_its_data_were_moved_to_and_remembers_their_place(tmp_path):
    workdir.claim(tmp_path / "run", placed(tmp_path / "here"), {})
    workdir.refuse_another(tmp_path / "run", placed(tmp_path / "there"))
    workdir.claim(tmp_path / "run", placed(tmp_path / "there"), {})
    assert workdir.owner(tmp_path / "run").data.folder == str(tmp_path / "there")
    other = dataclasses.replace(placed(tmp_path / "there"), seed=1)
    with pytest.raises(InputError, match=r"config.seed is 0 there, 1 here"):
        workdir.refuse_another(tmp_path / "run", other)
