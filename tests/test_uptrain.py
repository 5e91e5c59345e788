"""A run that starts from another, and one that learns from another."""

import dataclasses
import functools
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small import batch, model, parameters, sentences
from test_config import CONFIGS, get
from test_run import corpus, one_device, run, tiny, whole, words  # noqa: F401  the fixtures
from test_sharding import train_config
from test_training import softmax_operands

from mqa_jax import config, sharding, workdir
from mqa_jax.errors import InputError
from mqa_jax.experiment import DataConfig, Experiment, MeshConfig
from mqa_jax.kernels import platforms
from mqa_jax.report import run as page
from mqa_jax.train import checkpoint, log, source, teacher, trained
from mqa_jax.train.checkpoint import Checkpoints
from mqa_jax.train.loss import Lesson, loss_sums
from mqa_jax.train.optimizer import optimizer
from mqa_jax.train.step import init_state, make_train_step, state_shardings


def uptrain(folder, **train):
    scope = {}
    exec((CONFIGS / "uptrain.py").read_text(), scope)
    base = scope["get_config"]()
    base.train.update(steps=4, log_every=1, evaluate_every=1, checkpoint_every=2, warmup=1, cooldown=1, keep=5)
    base.train.update(train)
    base.decode.update(batch=16)
    return config.read(base, str(folder), source.of(folder))


def slow_divergence(taught, logits, target, temperature):
    """One token at a time in float64."""
    total = 0.0
    for b, i in zip(*np.nonzero(np.asarray(target.segments_BL)), strict=True):
        p, q = (np.exp(np.asarray(each[b, i], np.float64) / temperature) for each in (taught, logits))
        p, q = p / p.sum(), q / q.sum()
        total += temperature**2 * (p * np.log(p / q)).sum()
    return total


@pytest.mark.parametrize("at_once", [10**6, 2 * 3])
def test_the_divergence_and_its_mixture_match_the_slow_twin(at_once, monkeypatch):
    """A teacher of another width; smoothing and z-loss beside it; padding counts nothing. Values and gradients."""
    monkeypatch.setattr(platforms, "CPU", dataclasses.replace(platforms.CPU, loss_tokens=at_once))
    x, table, target = softmax_operands()
    x_BLE, table_VE = jax.random.normal(jax.random.key(2), (3, 9, 8)), jax.random.normal(jax.random.key(3), (24, 8))
    lesson, loss = Lesson(x_BLE, table_VE, 0.3, 2.0), loss_sums(x, table, target, 0.1, 1e-2)

    def plain(x, table):
        log_p, log_q = (jax.nn.log_softmax(each / 2) for each in (x_BLE @ table_VE.T, x @ table.T))
        divergence = 4 * (jnp.exp(log_p) * (log_p - log_q)).sum(-1) * (target.segments_BL > 0)
        return 0.7 * loss_sums(x, table, target, 0.1, 1e-2).objective + 0.3 * divergence.sum()

    sums = loss_sums(x, table, target, 0.1, 1e-2, lesson=lesson)
    wanted = slow_divergence(x_BLE @ table_VE.T, x @ table.T, target, 2.0)
    np.testing.assert_allclose(sums.divergence, wanted, rtol=1e-5)
    np.testing.assert_allclose(sums.objective, 0.7 * loss.objective + 0.3 * wanted, rtol=1e-5)
    np.testing.assert_allclose((sums.loss, sums.nll, sums.tokens), (loss.loss, loss.nll, loss.tokens), rtol=1e-6)
    ours = jax.grad(lambda *of: loss_sums(*of, target, 0.1, 1e-2, lesson=lesson).objective, argnums=(0, 1))(x, table)
    for a, b in zip(ours, jax.grad(plain, argnums=(0, 1))(x, table), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_of_itself_a_model_learns_nothing():
    x, table, target = softmax_operands("bfloat16")
    itself = Lesson(x, table, 1.0, 1.0)
    sums, gradients = jax.value_and_grad(
        lambda x, table: loss_sums(x, table, target, lesson=itself).objective, argnums=(0, 1)
    )(x, table)
    assert sums == 0 and not any(each.any() for each in gradients)
    other = Lesson(-x, table, 1.0, 1.0)
    assert loss_sums(x, table, target, lesson=other).divergence > 1


def test_a_teacher_gets_no_gradient():
    x, table, target = softmax_operands()
    taught = jax.grad(lambda says: loss_sums(x, table, target, lesson=Lesson(*says, 0.5, 1.0)).objective)
    assert not any(each.any() for each in taught((-x, table)))


@functools.cache
def distilled(shape):
    """A step of a grouped student that learns from a multi-head teacher, on a mesh."""
    student, other = model("language", 1), model("language", 4)
    mesh = sharding.make_mesh(MeshConfig(*shape), jax.devices()[: int(np.prod(shape))])
    settings = train_config(optimizer="adafactor", weight_decay=0.0, teacher_weight=0.5)
    tx = optimizer(settings, student.axes())
    state = jax.jit(functools.partial(init_state, student, tx, 0), out_shardings=state_shardings(student, tx, mesh))()
    where = sharding.parameter_shardings(other.axes(), other.shapes(), mesh)
    knowledge = jax.device_put(parameters(other, 1), where)
    texts = jax.device_put(batch(sentences(0, [2, 12, 3, 12, 2, 7, 12, 4]), 12), sharding.batch_sharding(mesh))
    return make_train_step(student, tx, settings, mesh, other)(state, texts, knowledge)


def test_a_mesh_gives_the_single_devices_distilled_update():
    (alone, sums_alone), (spread, sums_spread) = distilled((1, 1, 1)), distilled((2, 2, 2))
    assert sums_alone.divergence > 1
    np.testing.assert_allclose(sums_alone, sums_spread, rtol=1e-5)
    for a, b in zip(jax.tree.leaves(alone.parameters), jax.tree.leaves(spread.parameters), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


@pytest.mark.parametrize("name", ["adamw", "adafactor"])
def test_a_kept_optimizer_state_goes_on_as_the_run_would(name, tmp_path):
    """Two steps, then a third: of the run itself, and of one that starts from its checkpoint. The schedule's count
    alone starts anew."""
    of, mesh = model("language", 1), sharding.make_mesh(MeshConfig(1, 1, 1), jax.devices()[:1])
    experiment = Experiment(model=of.config, train=train_config(optimizer=name, optimizer_state="keep"))
    tx = optimizer(experiment.train, of.axes())
    state = fresh = jax.jit(functools.partial(init_state, of, tx, 0))()
    fresh = jax.tree.map(jnp.copy, state)
    step = make_train_step(of, tx, experiment.train, mesh)
    one, two, three = (batch(sentences(seed, [7, 12, 3, 9]), 12) for seed in range(3))
    for texts in (one, two):
        state, _ = step(state, texts)
    run_of = {"vocabulary": "v"}
    Checkpoints(tmp_path, 1, {}, run_of).save(2, state, {}, 0.0)
    workdir.claim(tmp_path, experiment, run_of)
    new = dataclasses.replace(experiment, start=str(tmp_path))
    source.check(new)
    begun = source.begin(new, fresh, "v")
    counts = [
        int(each.count)
        for each in jax.tree.leaves(begun.optimizer, is_leaf=lambda each: isinstance(each, optax.ScaleByScheduleState))
        if isinstance(each, optax.ScaleByScheduleState)
    ]
    assert counts == [0] and int(begun.step) == 0
    reset = source.begin(dataclasses.replace(new, train=train_config(optimizer=name)), fresh, "v")
    other = "adafactor" if name == "adamw" else "adamw"
    with pytest.raises(InputError, match=r"optimizer_state=keep: the optimiser's state in .*/2 is not this run's \("):
        source.check(dataclasses.replace(new, train=train_config(optimizer=other, optimizer_state="keep")))
    with pytest.raises(InputError, match=r"the vocabulary has the fingerprint v there, w here"):
        source.begin(new, fresh, "w")
    ends = [step(jax.tree.map(jnp.copy, each), three)[0].parameters for each in (state, begun, reset)]
    for a, b in zip(*map(jax.tree.leaves, ends[:2]), strict=True):
        np.testing.assert_array_equal(a, b)
    assert any((a != b).any() for a, b in zip(jax.tree.leaves(ends[0]), jax.tree.leaves(ends[2]), strict=True))


@pytest.fixture(scope="module")
def taught(corpus, words, whole, tmp_path_factory):  # noqa: F811
    """Learns from the run that it started from."""
    folder = tmp_path_factory.mktemp("taught")
    teacher_of = tmp_path_factory.mktemp("teacher") / "run"
    shutil.copytree(whole[0], teacher_of)
    experiment = uptrain(whole[0], teacher=str(teacher_of), teacher_weight=0.9, learning_rate=1e-2)
    source.check(experiment)
    teacher.check(experiment)
    return folder, run(experiment, corpus, words, folder), experiment


def test_a_run_starts_with_the_others_parameters(whole, taught, tmp_path):  # noqa: F811
    """The first step's rate is 0, so after it the loss is still the other's."""
    folder, record = whole
    up, started, experiment = taught
    first = started["curve"][0]
    assert first["step"] == 1 and first["dev_nll_per_token"] == record["curve"][-1]["dev_nll_per_token"]
    assert started["curve"][-1]["dev_nll_per_token"] != first["dev_nll_per_token"]
    assert experiment.variant == "multi_query" and experiment.data.sentences == 200
    assert experiment.data.vocabulary_file == str(folder / "vocabulary.model")
    assert (started["config"]["start"], started["config"]["name"]) == (folder.name, "uptrain")
    assert workdir.owner(up) == experiment, "it goes on without --from"
    shutil.copytree(folder, tmp_path / "other")
    with pytest.raises(InputError, match=r"config.start is '.*' there, '.*/other' here"):
        workdir.check(up, uptrain(tmp_path / "other"))


def test_a_distilled_run_resumes_to_the_bit_and_says_how_far_it_is(corpus, words, taught, tmp_path):  # noqa: F811
    folder, record, experiment = taught
    cut = tmp_path / "cut"
    shutil.copytree(folder, cut)
    shutil.rmtree(cut / "checkpoints" / "4")
    resumed = run(workdir.owner(cut), corpus, words, cut)
    assert [point["divergence_per_token"] for point in record["curve"]] == [
        point["divergence_per_token"] for point in resumed["curve"]
    ]
    for a, b in zip(*(jax.tree.leaves(trained.load(each).parameters) for each in (folder, cut)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert 0 < record["curve"][0]["divergence_per_token"] < 0.1 < record["curve"][0]["loss"]
    assert record["final_divergence"] == record["curve"][-1]["divergence_per_token"] > 0
    entries = log.entries(folder)
    assert entries[0]["loss"] == pytest.approx(entries[0]["nll_per_token"])
    assert record["config"]["train"]["teacher"] == "run"
    names = checkpoint.stored_tree(folder / "checkpoints" / "4").keys()
    assert names == {"step", "parameters", "optimizer", "guard", "interval", "key"}, "and no teacher"
    written = page.write(cut, [record], []).read_text()
    assert "| teacher | run |" in written and f"| parameters from | {experiment.start.split('/')[-1]} |" in written
    assert "| final divergence from the teacher" in written
    (cut / "checkpoints" / "4").rename(cut / "away")
    another = tmp_path / "another"
    shutil.copytree(experiment.train.teacher, another)
    shutil.rmtree(another / "checkpoints" / "6")
    shutil.rmtree(experiment.train.teacher)
    with pytest.raises(InputError, match=r"config.train.teacher=.*/run holds no run"):
        run(workdir.owner(cut), corpus, words, cut)
    another.rename(experiment.train.teacher)
    with pytest.raises(InputError, match=r"the checkpoint of config.train.teacher has the fingerprint .* there"):
        run(workdir.owner(cut), corpus, words, cut)


def test_a_teacher_that_cannot_teach_is_refused(whole, words, tmp_path):  # noqa: F811
    folder, _ = whole
    learner, mesh = uptrain(folder, teacher=str(folder)), sharding.make_mesh(MeshConfig(1, 1, 1), jax.devices()[:1])
    for changes, why in (
        ({"encoder": None}, "task is translation there, language here"),
        ({"vocabulary": 600}, "config.model.vocabulary is 512 there, 600 here"),
    ):
        of = dataclasses.replace(learner.model, **changes)
        with pytest.raises(InputError, match=f"config.train.teacher=.* cannot teach this run: {why}"):
            teacher.check(dataclasses.replace(learner, model=of))
    longer = dataclasses.replace(learner.data, target_length=65)
    with pytest.raises(InputError, match=r"positions is 64 there, 65 here"):
        teacher.check(dataclasses.replace(learner, data=longer))
    taught_by = teacher.load(learner, words.fingerprint, mesh)
    assert {leaf.dtype for leaf in jax.tree.leaves(taught_by.parameters)} == {jnp.dtype("bfloat16")}
    assert taught_by.model.config.dtype == "bfloat16"
    with pytest.raises(InputError, match=r"its vocabulary has the fingerprint .*, this run's another"):
        teacher.load(learner, "another", mesh)


REFUSED = {
    "a model of its own": (lambda: config.read(get("toy"), "x", tiny()), "the model is that of --from=x"),
    "nothing to start from": (
        lambda: config.read(config.continuation()),
        r"the config has no model; name the run to start from: scripts/train.py --from=RUN",
    ),
    "a share of nothing": (lambda: tiny(share=0.1), "config.train.share=0.1 is of another run; name it"),
    "a state of nothing": (lambda: tiny(optimizer_state="keep"), "config.train.optimizer_state=keep is of another run"),
    "two lengths": (lambda: tiny(share=0.1, tokens=1e6), r"config.train.tokens=1000000.0 and share=0.1 both make"),
    "more than all": (lambda: tiny(teacher_weight=1.5), "config.train.teacher_weight=1.5 must be a number from 0 to 1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused(name):
    made, words = REFUSED[name]  # noqa: F811
    with pytest.raises(InputError, match=words):
        made()


def test_the_steps_are_given_as_such_as_tokens_or_as_a_share():
    """Of a run of 6 steps on rows of 8 x 64; its text stays unless another is named, and its tokens in any case."""
    other = dataclasses.replace(tiny(), train=dataclasses.replace(tiny().train, steps=60))
    base = config.continuation()

    def read(**blocks):
        for name, changes in blocks.items():
            base[name].update(changes)
        return config.read(base, "runs/x", other)

    assert read(train={"share": 0.05}).train.steps == 3
    assert read(train={"share": 0.0, "tokens": 5000.0}).train.steps == 10
    assert read(data={"rows": 4}).train.steps == 20
    same = read(data={"rows": 8})
    assert same.data == dataclasses.replace(other.data, rows=8) and same.start.endswith("/runs/x")
    assert other.data.rows != DataConfig.rows == read(data={"rows": DataConfig.rows}).data.rows, (
        "given, though a default"
    )
    new = read(data={"train": ("a.en", "a.de"), "rows": 8, "target_length": 32, "source_length": 32}).data
    assert (new.kind, new.sentences, new.pieces, new.normalization) == ("text", 0, 512, other.data.normalization)
    with pytest.raises(InputError, match=r"config.data.vocabulary_file=v: the vocabulary is that of --from=runs/x"):
        read(data={"vocabulary_file": "v"})
    foreign = dataclasses.replace(other, data=dataclasses.replace(other.data, kind="text"))
    base.data.vocabulary_file = ""
    base.train.update(share=0.5, tokens=0.0)
    with pytest.raises(InputError, match=r"config.train.share=0.5: the run to start from was not trained here"):
        config.read(base, "runs/x", foreign)


def test_a_run_without_a_checkpoint_gives_no_start(whole, tmp_path):  # noqa: F811
    shutil.copy(whole[0] / "experiment.json", tmp_path)
    with pytest.raises(InputError, match=r"no checkpoint in .*/checkpoints; train first"):
        source.check(uptrain(tmp_path))
    with pytest.raises(InputError, match=r"--from=.*/gone holds no run"):
        source.check(dataclasses.replace(uptrain(whole[0]), start=str(tmp_path / "gone")))
