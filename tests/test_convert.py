"""A run whose heads are converted is a run: the command, its calibration text, and what it refuses."""

import json

import forks
import jax
import numpy as np
import pytest
from test_run import tiny

from mqa_jax import workdir
from mqa_jax.data import sources, vocabulary
from mqa_jax.data.corpus import Split
from mqa_jax.evaluate import quality
from mqa_jax.interop import calibration, folder
from mqa_jax.model.build import build
from mqa_jax.train import trained


@pytest.fixture(scope="module")
def trained_run(tmp_path_factory):
    """The folder of a run, with parameters of its start, and calibration text."""
    base, experiment = tmp_path_factory.mktemp("heads"), tiny("multi_head")
    corpus = sources.load(experiment.data, "translation")
    words = vocabulary.obtain(experiment.data, corpus, base / "vocabulary.model")
    parameters = build(experiment.model).init(jax.random.key(0))
    record = {"kind": "convert"}
    folder.write(base / "source", experiment, parameters, words, corpus.digests, record)
    dev = corpus.splits["dev"]
    (base / "dev.en").write_text("\n".join(dev.source) + "\n")
    (base / "dev.de").write_text("\n".join(dev.target) + "\n")
    return base, corpus


def test_a_converted_run_is_a_run(trained_run):
    base, corpus = trained_run
    given = [f"--workdir={base}/source", f"--to={base}/new", "--write_heads=2", "--sites=decoder,cross"]
    result = forks.run("scripts/convert_heads.py", *given, "--json=-")
    assert result.returncode == 0, result.stderr
    record = json.loads(result.stdout)
    assert not record["equal_parameters"] and record["parameters"] < record["parameters_before"]
    assert record["variant"] == "multi_head_mean_2_decoder_cross"
    new = trained.load(base / "new")
    assert [
        each.write_heads for each in (*new.experiment.model.decoder.attention, *new.experiment.model.encoder.attention)
    ] == [2, 4]
    assert new.experiment.model.decoder.feed_forward == workdir.owner(base / "source").model.decoder.feed_forward
    assert quality.perplexity_of(new, corpus.splits["dev"], "dev")["tokens"] > 0
    again = forks.run("scripts/convert_heads.py", *given)
    assert again.returncode == 2 and "is there already" in again.stderr


def test_calibration_takes_the_first_lines_with_so_many_tokens(trained_run):
    base, corpus = trained_run
    source, dev = trained.load(base / "source"), corpus.splits["dev"]
    short = Split(*([line[:30] for line in side] for side in dev.sides.values()))
    batch = calibration.batch(short, source.vocabulary, source.experiment.data, 50)
    lengths = [len(ids) + 1 for ids in source.vocabulary.encode_all(short.target)]  # with their ends
    segments_BL = np.asarray(batch.target.segments_BL)
    packed = [int((row == each).sum()) for row in segments_BL for each in range(1, row.max() + 1)]
    assert sorted(packed) == sorted(lengths[: len(packed)])
    assert sum(lengths[: len(packed) - 1]) < 50 <= sum(lengths[: len(packed)])
    assert segments_BL.any(axis=1).all(), "no row is empty"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--write_heads=1", "--pool=activations"], "needs --text=FILE"),
        (["--write_heads=3"], "--write_heads=3 does not divide the 4 write heads"),
        (["--write_heads=1", "--kv_rank=4"], "give one of --write_heads=N and --kv_rank=N"),
        (["--write_heads=1", "--text=a,b"], "--text is not used by --pool=mean"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(trained_run, given, words):
    base, _ = trained_run
    result = forks.run("scripts/convert_heads.py", f"--workdir={base}/source", f"--to={base}/bad", *given)
    assert result.returncode == 2 and words in result.stderr and result.stderr.count("\n") == 1
    assert not [path for path in base.iterdir() if path.name.startswith("bad")]


def test_a_write_that_fails_leaves_nothing(trained_run, tmp_path):
    base, _ = trained_run
    source = trained.load(base / "source")
    with pytest.raises(TypeError):
        folder.write(
            tmp_path / "to",
            source.experiment,
            source.parameters,
            source.vocabulary,
            {},
            {"kind": "convert", "bad": object()},
        )
    assert not list(tmp_path.iterdir())
