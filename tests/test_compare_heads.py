"""One command from a model outside to the page that says what fewer heads lose and gain."""

import dataclasses
import shutil

import forks
import pytest
from outside import PLAIN, model_config, written

from mqa_jax import records, workdir

NAMES = "original", "activations_1", "latent_4", "activations_1_taught", "latent_4_taught"


def start(folder, *more):
    lines = f"{folder}/lines"
    texts = [f"--text={lines}", *(f"--config.data.{split}={lines}.{split}" for split in ("train", "dev", "test"))]
    small = ["--config.data.target_length=16", "--config.data.rows=8", "--config.data.streams=1", "--contexts=8"]
    small += ["--config.train.steps=4", "--config.train.warmup=1", "--config.train.cooldown=1"]
    small += ["--config.train.learning_rate=0.01", "--config.decode.batch=8", "--config.data.drop_overlap=False"]
    small += ["--config.timing.batch=1", "--config.timing.target_length=2", "--config.timing.repeats=1"]
    given = ["--config=uptrain", f"--from={folder}/model", f"--workdir={folder}/heads", *texts, *small, *more]
    return forks.run("scripts/compare_heads.py", *given)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("compare_heads")
    config = model_config(dataclasses.replace(PLAIN, write_heads=4), tied=False)
    written(place / "model", dataclasses.replace(config, decoder=dataclasses.replace(config.decoder, layers=1)))
    for number, suffix in enumerate(("", ".train", ".dev", ".test")):
        text = "".join(f"the cat {'abcdefghij'[n % 10]} {'klmnopq'[number + n % 3]}\n" for n in range(20))
        (place / f"lines{suffix}").write_text(text)
    return place


def test_a_model_is_converted_trained_on_scored_timed_and_reported(folder):
    more = "--pool=activations", "--kv_rank=4", "--taught"
    result = start(folder, *more)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip().endswith("heads.html")
    found = records.read(folder / "heads")
    losses = {(each["variant"], each["split"]): each["nll_per_token"] for each in found if each["kind"] == "perplexity"}
    assert {name for name, split in losses if split == "before"} == set(NAMES)
    assert all(losses[name, "dev"] < losses[name, "before"] for name in NAMES), "all were trained on, the original too"
    assert losses["original", "before"] != losses["activations_1", "before"]
    cached = {each["variant"]: each["cache_bytes_per_token"] for each in found if each["kind"] == "timing"}
    assert cached["original"] == 4 * cached["activations_1"]
    page = (folder / "heads" / "heads.md").read_text()
    assert all(f"{losses[name, 'before']:.3f}" in page for name in NAMES) and "heads.svg" in page
    assert losses["activations_1", "before"] == losses["activations_1_taught", "before"]
    assert losses["activations_1", "dev"] != losses["activations_1_taught", "dev"]
    teachers = {name: workdir.owner(folder / "heads" / f"{name}-s0").train.teacher for name in NAMES}
    original = str(folder / "heads" / "sources" / "original")
    assert teachers == {name: original if name.endswith("taught") else "" for name in NAMES}
    for name in NAMES[1:]:
        before, after = (losses[name, split] - losses["original", split] for split in ("before", "dev"))
        row = next(line for line in page.splitlines() if line.startswith(f"| {name} "))
        assert all(f" {figure} " in row for figure in (f"{before:.3f}", f"{after:.3f}", f"{1 - after / before:.0%}")), (
            row
        )
    alone = folder / "records_alone"
    for path in (folder / "heads").rglob("records/*.json"):
        (alone / path.relative_to(folder / "heads")).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, alone / path.relative_to(folder / "heads"))
    made = forks.run("scripts/report.py", f"--workdir={alone}", f"--variants={','.join(NAMES)}")
    assert made.returncode == 0 and (alone / "heads.md").read_text() == page, made.stderr
    assert (alone / "heads_curves.svg").exists()
    before = {path: path.stat().st_mtime_ns for path in (folder / "heads").rglob("records/*.json")}
    again = start(folder, *more)
    assert again.returncode == 0 and before == {path: path.stat().st_mtime_ns for path in before}, "goes on"


def test_what_cannot_be_compared_is_one_line(folder):
    for more, words in (
        (["--pool=median"], "--pool=median is unknown"),
        (["--rotary_size=8", "--pool=mean"], "--rotary_size is of a latent; give --kv_rank"),
        (["--sites=decoder+cross", "--pool=mean", f"--workdir={folder}/bad"], "the model has no cross"),
        (["--write_heads=3", "--pool=mean", f"--workdir={folder}/bad"], "--write_heads=3 does not divide the 4"),
    ):
        result = start(folder, *more)
        assert result.returncode == 2 and words in result.stderr.splitlines()[-1], result.stderr
