"""Training runs: resume to the bit, guards of the folder, averaging, the log."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from small import batch, model, sentences
from test_config import get

from mqa_jax import config, records, sharding, workdir
from mqa_jax.data import sources, vocabulary
from mqa_jax.errors import InputError
from mqa_jax.evaluate import quality
from mqa_jax.model.build import count
from mqa_jax.report import selection
from mqa_jax.train import log, loop, trained
from mqa_jax.train.loss import Sums
from mqa_jax.train.optimizer import optimizer
from mqa_jax.train.step import extended, init_state


def tiny(variant="multi_query", name="toy", **train):
    base = config.select_variant(get(name), variant)
    base.model.update(decoder_layers=1, width=32, feed_forward=64, vocabulary=512, positions=64, dtype="float32")
    if name == "toy":
        base.model.encoder_layers = 1
        base.data.update(sentences=200)
    base.baseline.update(heads=4, key_size=8, value_size=8)
    base.data.update(source_length=64, target_length=64, rows=8)
    base.train.update(steps=6, log_every=2, evaluate_every=6, checkpoint_every=3, warmup=2, learning_rate=1e-2, keep=5)
    base.train.update(train)
    base.decode.update(batch=16)
    return config.read(base)


@pytest.fixture(scope="module", autouse=True)
def one_device():
    """A program for one device compiles faster; test_sharding and test_processes train on several. Runs of equal
    settings share their step; test_survival has processes that compile it anew."""
    make, made = loop.make_train_step, {}

    def make_once(model, optimizer, config, mesh, teacher):
        key = model, config, mesh, teacher
        if key not in made:
            made[key] = make(model, optimizer, config, mesh, teacher)
        return made[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharding, "training_devices", lambda local=False: jax.devices()[:1])
        patch.setattr(loop, "make_train_step", make_once)
        yield


@pytest.fixture(scope="module")
def corpus():
    return sources.load(tiny().data, "translation")


@pytest.fixture(scope="module")
def words(corpus, tmp_path_factory):
    return vocabulary.obtain(tiny().data, corpus, tmp_path_factory.mktemp("v") / "vocabulary.model")


def run(experiment, corpus, words, folder, *sinks):
    folder.mkdir(exist_ok=True)
    shutil.copyfile(words.path, folder / "vocabulary.model")
    return loop.train(experiment, corpus, words, folder, sinks=sinks)


@pytest.fixture(scope="module")
def whole(corpus, words, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, run(tiny(), corpus, words, folder)


def test_a_resumed_run_is_the_same_run_to_the_bit(corpus, words, whole, tmp_path):
    """Dropout, data order and optimiser included: the run is cut at step 3 and goes on from its checkpoint."""
    folder, record = whole
    shutil.copytree(folder, tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "checkpoints" / "6")
    resumed = run(tiny(), corpus, words, tmp_path / "cut")
    one, two = trained.load(folder), trained.load(tmp_path / "cut")
    for a, b in zip(jax.tree.leaves(one.parameters), jax.tree.leaves(two.parameters), strict=True):
        np.testing.assert_array_equal(a, b)
    assert [point["loss"] for point in record["curve"]][-1] == resumed["curve"][-1]["loss"]
    assert [point["step"] for point in resumed["curve"]] == [2, 4, 6]


def test_a_finished_run_is_not_trained_again(corpus, words, whole, capsys, tmp_path):
    folder, record = whole
    shutil.copytree(folder, tmp_path / "again")
    again = run(tiny(), corpus, words, tmp_path / "again")
    assert "going on from step 6" in capsys.readouterr().err
    assert again["curve"] == record["curve"]


def test_the_record_and_the_files(whole):
    folder, record = whole
    assert record == json.loads((folder / "records" / "train.json").read_text())
    assert record["parameters"] == count(trained.load(folder).model.shapes())
    assert record["steps"] == 6 and record["tokens_per_s"] > 0 and "generated" in record["corpus"]
    assert [point["step"] for point in record["curve"]] == [2, 4, 6]
    assert "dev_nll_per_token" in record["curve"][-1] and record["curve"][-1]["loss"] < record["curve"][0]["loss"]
    assert [line["step"] for line in log.entries(folder)] == [2, 4, 6]
    assert list((folder / "tensorboard").glob("events*"))
    assert set(record["versions"]) >= {"python", "jax", "flax"} and record["device"].endswith("(cpu)")


def test_a_folder_of_another_run_is_refused_with_the_difference(corpus, words, whole):
    folder, _ = whole
    with pytest.raises(InputError, match=r"config.train.learning_rate is 0.01 there, 0.02 here"):
        run(tiny(learning_rate=0.02), corpus, words, folder)
    with pytest.raises(InputError, match="holds another run"):
        run(tiny("multi_head"), corpus, words, folder)
    free = dataclasses.replace(tiny().train, log_every=1, keep=9, steps=7, skips=3)
    workdir.refuse_another(folder, dataclasses.replace(tiny(), train=free))


def test_less_steps_than_were_made_are_refused_and_nothing_says_otherwise(corpus, words, whole):
    folder, _ = whole
    there = {path: path.read_bytes() for path in folder.rglob("*.json")}
    with pytest.raises(InputError, match=r"is at step 6 already, beyond config.train.steps=5; set that to 6 or more"):
        run(tiny(steps=5), corpus, words, folder)
    assert {path: path.read_bytes() for path in folder.rglob("*.json")} == there


@pytest.mark.parametrize("name", ["train", "dev", "test"])
def test_a_text_that_changed_is_refused(corpus, words, whole, name):
    """As many lines, all as long: nothing else would show."""
    split = corpus.splits[name]
    changed = dataclasses.replace(split, target=(split.target[0][::-1], *split.target[1:]))
    other = dataclasses.replace(corpus, splits={**corpus.splits, name: changed})
    with pytest.raises(InputError, match=rf"something else \(the text of config.data.{name} has the fingerprint"):
        run(tiny(), other, words, whole[0])
    if name != "train":
        for score in (quality.perplexity_of, lambda *of: quality.translation_quality(*of, 1)):
            with pytest.raises(InputError, match=f"the text of config.data.{name} has the fingerprint"):
                score(trained.load(whole[0]), changed, name)


def test_a_vocabulary_that_was_exchanged_is_refused(corpus, words, whole, tmp_path):
    """It has as many pieces and would be taken for the run's."""
    shutil.copytree(whole[0], tmp_path / "run")
    lines = [line[::-1] for line in corpus.splits["train"].target]
    other = vocabulary.train(lines, words.size, tmp_path / "other.model")
    with pytest.raises(InputError, match=r"something else \(the vocabulary has the fingerprint"):
        run(tiny(), corpus, other, tmp_path / "run")
    with pytest.raises(InputError, match=r"something else \(the vocabulary has the fingerprint"):
        trained.load(tmp_path / "run")


def test_a_checkpoint_of_another_architecture_is_named(whole, tmp_path):
    folder, _ = whole
    shutil.copytree(folder, tmp_path / "other")
    text = (tmp_path / "other" / "experiment.json").read_text().replace('"width": 32', '"width": 48')
    (tmp_path / "other" / "experiment.json").write_text(text)
    with pytest.raises(
        InputError, match=r"is of another architecture: .* is \(.*\) there and \(.*\) here; use the config"
    ):
        trained.load(tmp_path / "other")


def test_the_last_checkpoints_are_averaged(whole):
    folder, _ = whole  # checkpoints at steps 3 and 6
    plain, one, both = trained.load(folder), trained.load(folder, 1), trained.load(folder, 2)
    assert plain.steps == one.steps == (6,) and both.steps == (3, 6)
    first = trained.parameters(folder / "checkpoints" / "3", plain.model.shapes())
    leaves = (jax.tree.leaves(tree) for tree in (first, plain.parameters, one.parameters, both.parameters))
    for three, six, again, mean in zip(*leaves, strict=True):
        np.testing.assert_array_equal(six, again)
        np.testing.assert_allclose(mean, (np.asarray(three, np.float64) + six) / 2, rtol=1e-6, atol=1e-8)
        assert not np.array_equal(three, six)
    with pytest.raises(InputError, match=r"--average=3 needs as many checkpoints, and .* has 2"):
        trained.load(folder, 3)


def test_an_averaged_evaluation_has_records_of_its_own(whole, tmp_path):
    shutil.copytree(whole[0], tmp_path / "run")
    split = sources.Split(("a dog", "the cat sleeps"), ("ein Hund", "die Katze schläft"))
    for average in (1, 2):
        run = trained.load(tmp_path / "run", average)
        quality.perplexity_of(run, split, "mine")
        quality.translation_quality(run, split, "mine", 1)
    found = records.read(tmp_path)
    steps = {path.stem: json.loads(path.read_text()).get("checkpoints") for path in tmp_path.rglob("records/*.json")}
    assert steps["perplexity-mine"] == steps["quality-mine-beam1"] == [6]
    assert steps["perplexity-mine-average2"] == steps["quality-mine-average2-beam1"] == [3, 6]
    assert (tmp_path / "run" / "hypotheses" / "mine-average2-beam1.txt").read_text().count("\n") == 2
    (compared,) = selection.Selection(found).of("quality", "multi_query")
    output = (tmp_path / "run" / "hypotheses" / "mine-beam1.txt").read_text().splitlines()
    sides = zip((1, 2), split.source, split.target, output, strict=True)
    assert compared["examples"] == [
        dict(zip(("line", "source", "reference", "output"), of, strict=True)) for of in sides
    ]
    assert compared["checkpoints"] == [6], "a report compares the newest checkpoints alone"


def test_devices_that_share_the_model_evaluate_as_one_does(whole, tmp_path):
    shutil.copytree(whole[0], tmp_path / "run")
    split = sources.Split(("a dog", "the cat sleeps"), ("ein Hund", "die Katze schläft"))
    found = []
    for tensor in (1, 2):
        run = trained.load(tmp_path / "run", tensor=tensor)
        query = run.parameters["decoder"]["blocks"][0]["attention"]["inputs"]["wq_DHK"]
        assert query.addressable_shards[0].data.size * tensor == query.size
        scores = quality.perplexity_of(run, split, "mine")
        found.append((scores, quality.translation_quality(run, split, "mine", 2)))
    (alone, texts), (shared, shared_texts) = found
    assert shared["nll_per_token"] == pytest.approx(alone["nll_per_token"], rel=1e-6)
    assert [each["output"] for each in shared_texts["examples"]] == [each["output"] for each in texts["examples"]]
    assert shared["device"].startswith("8 virtual devices") and shared_texts["device"].startswith("2 virtual devices")
    assert "virtual" not in texts["device"] and shared_texts["config"]["mesh"]["tensor"] == 2


def test_a_perplexity_says_what_was_cut_from_its_targets(whole, tmp_path):
    shutil.copytree(whole[0], tmp_path / "run")
    run = trained.load(tmp_path / "run")
    length = run.experiment.data.target_length
    record = quality.perplexity_of(run, sources.Split(("a dog", "a cat"), ("ein Hund", "Hund " * 2 * length)), "long")
    assert record["pairs_cut"] == 1 and record["tokens_cut"] > length and record["perplexity_per_word"] is None
    assert record["nll_per_token"] > 0 and record["tokens"] > length


def test_a_perplexity_in_int8_is_that_of_decoding_and_says_what_it_lost(whole, tmp_path):
    shutil.copytree(whole[0], tmp_path / "run")
    split = sources.Split(("a dog", "the cat sleeps"), ("ein Hund", "die Katze schläft"))
    plain, rounded = (
        quality.perplexity_of(trained.load(tmp_path / "run", dtype=dtype, cache_dtype=dtype), split, "mine")
        for dtype in (None, "int8")
    )
    lost = rounded["nll_per_token"] - plain["nll_per_token"]
    assert rounded["nll_lost_per_token"] == pytest.approx(lost, abs=1e-6) and 1e-5 < abs(lost) < 0.1
    assert "nll_lost_per_token" not in plain and rounded["tokens"] == plain["tokens"]


def test_the_dev_loss_is_the_perplexity_records_and_weighs_tokens_not_batches(whole, tmp_path):
    """A batch of long lines and one of a single short line: the mean of the two means is something else."""
    shutil.copytree(whole[0], tmp_path / "run")
    run = trained.load(tmp_path / "run")
    rows = run.experiment.decode.batch
    long, short = ("the dog sees the cat",) * rows, ("zzz",)
    split = sources.Split((*long, *short), (*long, *short))
    of = lambda *lines: quality.perplexity_of(run, sources.Split(lines, lines), "mine")  # noqa: E731
    wanted, means = of(*long, *short), [of(*long)["nll_per_token"], of(*short)["nll_per_token"]]
    corpus, mesh = sources.Corpus("", {"dev": split}), sharding.make_mesh(run.experiment.mesh)
    loss = loop.dev_loss(run.experiment, run.model, mesh, corpus, run.vocabulary, run.parameters)
    assert loss == pytest.approx(wanted["nll_per_token"], rel=1e-5)
    assert abs(loss - np.mean(means)) > 0.1
    train = dataclasses.replace(run.experiment.train, dev_lines=rows)
    brief = dataclasses.replace(run.experiment, train=train)
    loss = loop.dev_loss(brief, run.model, mesh, corpus, run.vocabulary, run.parameters)
    assert loss == pytest.approx(means[0], rel=1e-5), "of the first lines alone, where the config asks for that"


def test_a_log_entry_tells_the_objective_from_the_likelihood():
    """Two steps of 10 and 2 tokens, and one whose loss is no number: its tokens are trained on, but not in the mean."""
    state = jax.jit(lambda: init_state(model("translation"), optimizer(tiny().train, {}), 0))()
    texts, interval = batch(sentences(0, [3]), 5, sentences(1, [5])), state.interval
    for objective, nll, divergence, tokens in ((30, 20, 5, 10), (9, 8, 1, 2), (np.nan, np.nan, 1, 4)):
        sums = objective, objective, nll, divergence, tokens
        interval = extended(interval, Sums(*map(np.float32, sums)), texts)
    assert int(interval.steps) == 3
    rate = log.Rate(flops_per_source_token=2.0, flops_per_target_token=3.0, peak_flops_per_s=100.0)
    entry = log.values(state._replace(interval=interval), 0.5, rate)
    assert "divergence_per_token" not in entry
    assert log.values(state._replace(interval=interval), 0.5, rate, taught=True)["divergence_per_token"] == 0.5
    assert (entry["loss"], entry["nll_per_token"]) == pytest.approx((39 / 12, 28 / 12))
    assert (entry["tokens"], entry["tokens_per_s"]) == (16 + 3 * 5, 62)
    assert entry["mfu"] == pytest.approx((2 * 15 + 3 * 16) / 0.5 / 100)
    found = log.figures([{"step": 3, **entry}] * 2)
    assert (found["tokens_per_s"], found["target_tokens_per_s"]) == (62, 32)
    before = {key: value for key, value in entry.items() if key != "target_tokens"}
    assert log.figures([{"step": 2, **before}, {"step": 3, **entry}])["target_tokens_per_s"] is None


def test_folders_without_a_run_are_named(tmp_path, whole):
    with pytest.raises(InputError, match="holds no run"):
        trained.load(tmp_path)
    folder, _ = whole
    shutil.copy(folder / "experiment.json", tmp_path)
    with pytest.raises(InputError, match=r"vocabulary\.model is missing"):
        trained.load(tmp_path)
    shutil.copy(folder / "vocabulary.model", tmp_path)
    with pytest.raises(InputError, match="no checkpoint in"):
        trained.load(tmp_path)
    (tmp_path / "experiment.json").write_text("{}")
    with pytest.raises(InputError, match="is damaged"):
        trained.load(tmp_path)


def test_records_of_a_run_are_not_those_of_runs_below_it_and_damage_is_named(whole, tmp_path):
    shutil.copytree(whole[0] / "records", tmp_path / "records")
    shutil.copytree(whole[0] / "records", tmp_path / "other" / "records")
    assert len(records.read(tmp_path)) == 2 * len(records.read_run(tmp_path)) > 0
    (tmp_path / "other" / "records" / "train.json").write_text('{"kind": "train"')
    with pytest.raises(InputError, match=r"other/records/train\.json is not a record"):
        records.read(tmp_path)


def test_a_language_model_trains_on_the_same_loop(tmp_path):
    experiment = tiny(name="text_lm", steps=3, evaluate_every=1)  # more often than it is logged otherwise
    corpus = sources.load(experiment.data, "language")
    few = dataclasses.replace(corpus, splits={name: type(s)((), s.target[:40]) for name, s in corpus.splits.items()})
    words = vocabulary.obtain(experiment.data, few, tmp_path / "vocabulary.model")
    record = loop.train(experiment, few, words, tmp_path)
    assert record["task"] == "language" and [point["step"] for point in record["curve"]] == [1, 2, 3]
    assert all(point["dev_nll_per_token"] > 0 for point in record["curve"])


def test_an_entry_cut_short_by_a_crash_is_dropped(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    assert log.entries(tmp_path) == [{"step": 1, "loss": 2.0}]


def test_a_translation_with_a_line_separator_in_it_is_one_line(tmp_path):
    translations = [{"source": "one\u2028two\x85three", "reference": "eins", "output": "ein\u2029s"}]
    for step in (1, 2):  # what goes on from step 1 keeps its translations
        files = log.Log(tmp_path, step - 1)
        files.write(step, {"loss": 1.0}, translations)
        files.close()
    assert [each["translations"] for each in log.translations(tmp_path)] == [translations, translations]
