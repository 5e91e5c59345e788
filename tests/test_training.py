"""Loss, optimisers, schedules and the step."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from small import batch, model, sentences
from test_config import get
from test_sharding import train_config

from mqa_jax import config as configs
from mqa_jax import sharding
from mqa_jax.experiment import DropoutConfig, MeshConfig
from mqa_jax.kernels import platforms
from mqa_jax.model import build as build_module
from mqa_jax.model.build import build
from mqa_jax.train.loss import loss_sums
from mqa_jax.train.optimizer import optimizer, schedule
from mqa_jax.train.step import accumulated, init_state, make_train_step, score


def slow_sums(logits, target, smoothing, z_loss):
    """One token at a time in float64, against the smoothed distribution written out."""
    logits = np.asarray(logits, np.float64)
    V = logits.shape[-1]
    objective = nll = tokens = 0.0
    for b, i in zip(*np.nonzero(np.asarray(target.segments_BL)), strict=True):
        log_z = np.log(np.exp(logits[b, i]).sum())
        log_p = logits[b, i] - log_z
        wanted = np.full(V, smoothing / V)
        wanted[target.tokens_BL[b, i]] += 1 - smoothing
        objective += -(wanted * log_p).sum() + z_loss * log_z**2
        nll -= log_p[target.tokens_BL[b, i]]
        tokens += 1
    return objective, nll, tokens


def softmax_operands(dtype="float32"):
    x = jax.random.normal(jax.random.key(0), (3, 9, 16)).astype(dtype)
    table = jax.random.normal(jax.random.key(1), (24, 16))
    return x, table, batch(sentences(0, [5, 9, 1]), 9).target


@pytest.mark.parametrize("at_once", [10**6, 2 * 3])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("z_loss", [0.0, 1e-2])
def test_loss_sums_match_the_slow_twin(smoothing, z_loss, at_once, monkeypatch):
    """At once, and in parts of two positions, of which the last is half empty."""
    monkeypatch.setattr(platforms, "CPU", dataclasses.replace(platforms.CPU, loss_tokens=at_once))
    x, table, target = softmax_operands()
    slow = slow_sums(x @ table.T, target, smoothing, z_loss)
    of = lambda sums: (sums.objective, sums.nll, sums.tokens)  # noqa: E731
    np.testing.assert_allclose(of(loss_sums(x, table, target, smoothing, z_loss)), slow, rtol=1e-5)
    (_, sums), _ = jax.value_and_grad(
        lambda x: (lambda sums: (sums.objective, sums))(loss_sums(x, table, target, smoothing, z_loss)), has_aux=True
    )(x)
    np.testing.assert_allclose(of(sums), slow, rtol=1e-5)
    assert (sums.loss, sums.divergence) == (sums.objective, 0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("at_once", [10**6, 2 * 3])
def test_gradients_of_the_loss_match_those_of_its_plain_form(at_once, dtype, monkeypatch):
    monkeypatch.setattr(platforms, "CPU", dataclasses.replace(platforms.CPU, loss_tokens=at_once))
    x, table, target = softmax_operands(dtype)

    def plain(x, table):
        log_p = jax.nn.log_softmax(logits := x @ table.T)
        wanted = 0.9 * jax.nn.one_hot(target.tokens_BL, 24) + 0.1 / 24
        objective = -(wanted * log_p).sum(-1) + 1e-2 * jax.nn.logsumexp(logits, axis=-1) ** 2
        return 2 * (objective * (target.segments_BL > 0)).sum()

    ours = jax.grad(lambda *a: 2 * loss_sums(*a, target, 0.1, 1e-2).objective, argnums=(0, 1))(x, table)
    theirs = jax.grad(plain, argnums=(0, 1))(x.astype("float32"), table.astype(dtype).astype("float32"))
    assert (ours[0].dtype, ours[1].dtype) == (x.dtype, jnp.float32)
    tolerance = {"atol": 1e-5, "rtol": 1e-5} if dtype == "float32" else {"atol": 0.05, "rtol": 0.02}
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(np.asarray(a, np.float32), b, **tolerance)


def test_memory_of_the_loss_does_not_grow_with_tokens_times_vocabulary(monkeypatch):
    monkeypatch.setattr(platforms, "CPU", dataclasses.replace(platforms.CPU, loss_tokens=4))
    V, D = 4096, 8

    def temporary(length):
        rows = batch(sentences(0, [length]), length).target
        gradient = jax.jit(jax.grad(lambda x, table: loss_sums(x, table, rows).objective, argnums=(0, 1)))
        shapes = jax.ShapeDtypeStruct((1, length, D), "float32"), jax.ShapeDtypeStruct((V, D), "float32")
        return gradient.lower(*shapes).compile().memory_analysis().temp_size_in_bytes

    assert temporary(512) - temporary(64) < 448 * V * 4 / 10


def test_padding_has_no_gradient():
    target = batch(sentences(0, [3]), 6).target
    table = jax.random.normal(jax.random.key(1), (24, 8))
    gradient = jax.grad(lambda x: loss_sums(x, table, target, 0.1, 1e-2).objective)(jnp.ones((1, 6, 8)))
    assert jnp.abs(gradient[0, :3]).min() > 0 and not gradient[0, 3:].any()


def test_accumulated_and_rematerialised_steps_equal_the_plain_one():
    """Parts of unequal numbers of tokens, weighted by tokens; to rounding."""
    texts = batch(sentences(0, [7, 12, 3, 9]), 12, sentences(1, [5, 9, 12, 2]))
    of, mesh = model("translation", 1), sharding.make_mesh(MeshConfig(1, 1, 1), jax.devices()[:1])
    results = []
    for changes in ({}, {"accumulate": 2}, {"rematerialise": True}):
        config = train_config(optimizer="adafactor", learning_rate=0.1, **changes)
        tx = optimizer(config, of.axes())
        state = jax.jit(functools.partial(init_state, of, tx, 0))()
        results.append(make_train_step(of, tx, config, mesh)(state, texts))
    (plain, sums), *others = results
    for state, other in others:
        np.testing.assert_allclose(other, sums, rtol=1e-5)
        for a, b in zip(jax.tree.leaves(state.parameters), jax.tree.leaves(plain.parameters), strict=True):
            np.testing.assert_allclose(a, b, atol=2e-5)


def test_rematerialisation_keeps_less():
    def kept(rematerialise):
        config = train_config(rematerialise=rematerialise)
        of = model("language", 1, positions=256)
        tx = optimizer(config, of.axes())
        step = make_train_step(of, tx, config, sharding.make_mesh(MeshConfig(1, 1, 1), jax.devices()[:1]))
        state = jax.eval_shape(functools.partial(init_state, of, tx, 0))
        texts = batch(sentences(0, [256] * 8), 256)
        return step.lower(state, texts).compile().memory_analysis().temp_size_in_bytes

    assert kept(True) < 0.8 * kept(False)


@pytest.mark.parametrize(("clip_norm", "left"), [(0.5, 0.5), (5.0, 5.0), (50.0, 10.0), (0.0, 10.0)])
def test_clipping_bounds_the_global_norm(clip_norm, left):
    """Adam's first update has one size whatever the gradient's scale, so its first moments are looked at."""
    gradients = {"a": jnp.full((4,), 3.0), "b": jnp.full((4, 4), -2.0)}
    tx = optimizer(train_config(clip_norm=clip_norm), {})
    parameters = jax.tree.map(jnp.ones_like, gradients)
    _, state = tx.update(gradients, tx.init(parameters), parameters)
    moments = optax.tree.get(state, "mu")
    for name, gradient in gradients.items():
        np.testing.assert_allclose(moments[name], 0.1 * gradient * left / 10, rtol=1e-5)


def adamw_by_hand(gradients, p, config):
    m = v = 0.0
    for t, g in enumerate(gradients, 1):
        m, v = 0.9 * m + 0.1 * g, 0.98 * v + 0.02 * g**2
        direction = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.98**t)) + 1e-9)
        update = -float(schedule(config)(t - 1)) * (direction + config.weight_decay * p)
        p = p + update
        yield update


def adafactor_by_hand(gradients, p, config):
    """A matrix's second moments are the product of its rows' and columns' means."""
    rms, v = lambda x: np.sqrt(np.mean(x**2)), 0.0
    for t, g in enumerate(gradients, 1):
        v = t**-0.8 * g**2 + (1 - t**-0.8) * v
        factored = v if g.ndim == 1 else v.mean(0, keepdims=True) * v.mean(1, keepdims=True) / v.mean()
        direction = g / np.sqrt(factored)
        update = -float(schedule(config)(t - 1)) * rms(p) * direction / max(1, rms(direction))
        p = p + update
        yield update


BY_HAND = {"adamw": ("warmup_rsqrt", 0.1, adamw_by_hand), "adafactor": ("paper", 0.0, adafactor_by_hand)}


@pytest.mark.parametrize("name", BY_HAND)
def test_updates_are_those_worked_out_by_hand(name):
    """A gradient, one a hundred times as large and one as small as the first, at a rate that changes."""
    schedule_name, weight_decay, by_hand = BY_HAND[name]
    config = train_config(optimizer=name, schedule=schedule_name, weight_decay=weight_decay, warmup=2)
    random, tx = np.random.default_rng(0), optimizer(config, {})
    for shape in ((5,), (128, 130)):
        p = random.normal(size=shape)
        gradients = [random.normal(size=shape) * scale for scale in (1e-8, 1e-6, 1e-8)]
        parameters, state = jnp.asarray(p, "float32"), None
        for gradient, wanted in zip(gradients, by_hand(gradients, p, config), strict=True):
            state = tx.init(parameters) if state is None else state
            updates, state = tx.update(jnp.asarray(gradient, "float32"), state, parameters)
            np.testing.assert_allclose(updates, wanted, rtol=1e-4, atol=1e-7)
            parameters = optax.apply_updates(parameters, updates)


def test_weights_decay_by_the_rate_without_a_gradient():
    config = train_config(learning_rate=0.5, weight_decay=0.1)
    tx, parameters = optimizer(config, {}), {"w": jnp.array([3.0, -2.0])}
    updates, _ = tx.update({"w": jnp.zeros(2)}, tx.init(parameters), parameters)
    np.testing.assert_allclose(updates["w"], [-0.15, 0.1], rtol=1e-6)


def run_steps(of, count, config, seed=0):
    mesh = sharding.make_mesh(MeshConfig(1, 1, 1), jax.devices()[:1])
    tx = optimizer(config, of.axes())
    state = jax.jit(functools.partial(init_state, of, tx, seed))()
    step = make_train_step(of, tx, config, mesh)
    pairs = batch(sentences(0, [7, 12, 3]), 12, sentences(1, [5, 9, 12]))
    losses = []
    for _ in range(count):
        state, sums = step(state, pairs)
        losses.append(float(sums.objective / sums.tokens))
    return state, losses, pairs


@pytest.mark.parametrize(
    ("G", "wanted"),
    [(1, [3.48436, 3.39724, 3.31341]), (2, [3.50238, 3.40184, 3.30767]), (4, [3.64093, 3.53842, 3.43975])],
    ids=["G1", "G2", "G4"],
)
def test_golden_losses(G, wanted):
    """The loss before any update and after one and two: a change of the model, its initial values, the loss or the
    size of an update shows here. Rounding moves it by 1e-6 from one version of JAX to the next, no z-loss by 1e-3."""
    _, losses, _ = run_steps(model("translation", G), 3, train_config(learning_rate=1e-3))
    np.testing.assert_allclose(losses, wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["adamw", "adafactor"])
def test_a_batch_can_be_learnt_by_heart(name):
    of = model("translation", 1, dtype="bfloat16", dropout=DropoutConfig(0.0, 0.0, 0.0))
    config = train_config(optimizer=name, learning_rate=1e-2 if name == "adamw" else 5e-2, label_smoothing=0, z_loss=0)
    state, losses, pairs = run_steps(of, 150, config)
    assert losses[-1] < 0.2 < losses[0]
    sums = score(of, state.parameters, pairs)
    assert float(sums.nll / sums.tokens) == pytest.approx(losses[-1], abs=0.1)


def test_dropout_differs_by_step_and_repeats_by_seed():
    of = model("translation", 1, dropout=DropoutConfig(0.3, 0.1, 0.1))
    config = train_config(learning_rate=0.0, weight_decay=0.0)
    _, one, _ = run_steps(of, 3, config)
    _, two, _ = run_steps(of, 3, config)
    assert one == two and len(set(one)) == 3


@pytest.mark.parametrize("rate", [0.0, 0.1])
def test_parts_of_an_accumulated_batch_draw_dropout_of_their_own(rate):
    """Two equal rows, a part each: of their logits x and y, 2 (x^2 + y^2) - (x + y)^2 is (x - y)^2."""
    of = model("language", 1, dropout=DropoutConfig(rate, rate, rate))
    texts = batch(sentences(0, [9]) * 2, 9)

    def logits_and_squares(parameters, rows, key):
        logits_BLV = of.bind(parameters)(rows, key)
        return logits_BLV, logits_BLV**2

    total, squares = jax.jit(accumulated(logits_and_squares, 2))(of.init(jax.random.key(0)), texts, jax.random.key(1))
    assert (jnp.abs(2 * squares - total**2).max() > 0.1) == (rate > 0)


def test_the_papers_schedule():
    config = train_config(schedule="paper", learning_rate=1.0, steps=100_000, warmup=10_000, cooldown=20_000)
    rate = schedule(config)
    assert float(rate(0)) == float(rate(10_000)) == pytest.approx(0.01)
    assert float(rate(40_000)) == pytest.approx(0.005)
    assert float(rate(90_000)) == pytest.approx(0.5 / 300)
    assert float(rate(100_000)) == 0


RATES = {
    "paper": {
        **dict.fromkeys((0, 9, 10), 10**-0.5),
        11: 11**-0.5,
        80: 80**-0.5,
        81: 19 / 20 / 9,
        99: 1 / 20 / 99**0.5,
        100: 0,
    },
    "warmup_cosine": {0: 0, 1: 0.1, 9: 0.9, 10: 1, 55: 0.5, 100: 0},
    "warmup_rsqrt": {0: 0.1, 8: 0.9, 9: 1, 10: (10 / 11) ** 0.5, 39: 0.5, 99: 10**-0.5},
    "warmup_flat_sqrt": {0: 0, 1: 0.1, 9: 0.9, **dict.fromkeys((10, 50, 80), 1), 85: 0.5, 99: 1 - 0.95**0.5, 100: 0},
    "constant": dict.fromkeys((0, 9, 10, 100), 1),
}


@pytest.mark.parametrize("name", RATES)
def test_rates_around_the_warm_up_and_at_the_end(name):
    """Ten steps of warm-up, a hundred in all, twenty of cooldown; worked out by hand. The first step is number 0."""
    rate = schedule(train_config(schedule=name, learning_rate=0.2, steps=100, warmup=10, cooldown=20))
    for step, wanted in RATES[name].items():
        assert float(rate(step)) == pytest.approx(0.2 * wanted, rel=1e-5, abs=1e-8), step


def test_adafactor_is_the_papers():
    """Scaled by parameter size, no momentum: one update of a constant gradient is -rate x the parameter's RMS."""
    config = train_config(optimizer="adafactor", weight_decay=0.0, learning_rate=0.01)
    parameters = {"w": jnp.full((256, 256), 3.0)}
    tx = optimizer(config, {})
    updates, _ = tx.update({"w": jnp.full((256, 256), 7.0)}, tx.init(parameters), parameters)
    np.testing.assert_allclose(updates["w"], -0.03, rtol=1e-3)
    statistics = sum(leaf.size for leaf in jax.tree.leaves(tx.init(parameters)))
    assert statistics < 1000, "factored: rows and columns, not the whole matrix"
    assert isinstance(optax.apply_updates(parameters, updates)["w"], jax.Array)


def brief(experiment):
    """The experiment with one layer for each attention of a stack's cycle: the others repeat these."""
    stacks = {name: getattr(experiment.model, name) for name in ("encoder", "decoder")}
    fewer = {name: dataclasses.replace(each, layers=len(each.attention)) for name, each in stacks.items() if each}
    return dataclasses.replace(experiment, model=dataclasses.replace(experiment.model, **fewer))


@pytest.mark.parametrize("name", ["wmt14", "lm1b"])
def test_adafactor_factors_every_row_alike(name):
    """Every weight, over width and all heads' numbers together, as in mesh-tensorflow, however heads share these."""
    for variant in get(name).variants:
        of = build(brief(configs.read(get(name, variant))).model)
        tx = optimizer(train_config(optimizer="adafactor", weight_decay=0.0), of.axes())
        state = jax.eval_shape(tx.init, of.shapes())
        rows, columns = (jax.tree.leaves(optax.tree.get(state, part)) for part in ("v_row", "v_col"))
        for (path, weight), row, column in zip(jax.tree.leaves_with_path(of.shapes()), rows, columns, strict=True):
            if weight.ndim == 1:  # a norm
                assert row.shape == column.shape == (1,)
                continue
            at = f"{variant} {jax.tree_util.keystr(path)} {weight.shape}"
            assert row.shape[0] * column.shape[0] == weight.size and len(row.shape) == len(column.shape) == 1, at
            assert weight.shape[0] in row.shape + column.shape or weight.shape[-1] in row.shape + column.shape, at


@pytest.mark.parametrize("name", ["wmt14", "lm1b"])
def test_rows_differ_in_attention_and_feed_forward_width_alone(name):
    """Their experiments, and all their other weights: shapes and standard deviations at the start."""
    bare = lambda stack: stack and dataclasses.replace(stack, attention=(), cross=(), feed_forward=0)  # noqa: E731

    def rest(experiment):
        model = experiment.model
        model = dataclasses.replace(model, encoder=bare(model.encoder), decoder=bare(model.decoder))
        return dataclasses.replace(experiment, variant="", model=model)

    def others(experiment):
        of = build(brief(experiment).model)
        state = nnx.state(of._abstract(), nnx.Param)
        stds = dict(jax.tree.leaves_with_path(build_module._metadata(state, "std"), is_leaf=lambda x: x is None))
        found = set()
        for path, weight in jax.tree.leaves_with_path(of.shapes()):
            place = jax.tree_util.keystr(path)
            if not any(part in place for part in ("['attention']", "['cross']", "['feed_forward']")):
                found.add((re.sub(r"\[\d+\]", "", place), weight.shape, stds[path]))
        return found

    wanted = configs.read(get(name))
    for variant in get(name).variants:
        experiment = configs.read(get(name, variant))
        assert rest(experiment) == rest(wanted), variant
        assert others(experiment) == others(wanted), variant
