"""Loss, optimisers, schedules and the step."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small import batch, model, sentences
from test_sharding import train_config

from mqa_jax import sharding
from mqa_jax.experiment import DropoutConfig, MeshConfig
from mqa_jax.train.loss import loss_sums
from mqa_jax.train.optimizer import optimizer, schedule
from mqa_jax.train.step import init_state, make_train_step, score


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


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("z_loss", [0.0, 1e-2])
def test_loss_sums_match_the_slow_twin(smoothing, z_loss):
    target = batch(sentences(0, [5, 9, 1]), 9).target
    logits = 3 * jax.random.normal(jax.random.key(0), (3, 9, 24))
    np.testing.assert_allclose(
        loss_sums(logits, target, smoothing, z_loss), slow_sums(logits, target, smoothing, z_loss), rtol=1e-5
    )


def test_padding_has_no_gradient():
    target = batch(sentences(0, [3]), 6).target
    gradient = jax.grad(lambda x: loss_sums(x, target, 0.1, 1e-2).objective)(jnp.ones((1, 6, 24)))
    assert jnp.abs(gradient[0, :3]).min() > 0 and not gradient[0, 3:].any()


def run_steps(of, count, config, seed=0):
    mesh = sharding.make_mesh(MeshConfig(1, 1, 1), jax.devices()[:1])
    tx = optimizer(config)
    state = jax.jit(functools.partial(init_state, of, tx, seed))()
    step = make_train_step(of, tx, config, mesh)
    pairs = batch(sentences(0, [7, 12, 3]), 12, sentences(1, [5, 9, 12]))
    losses = []
    for _ in range(count):
        state, sums = step(state, pairs)
        losses.append(float(sums.objective / sums.tokens))
    return state, losses, pairs


@pytest.mark.parametrize(
    ("G", "first", "third"), [(1, 4.2568, 3.9671), (2, 4.0306, 3.7838), (4, 3.9114, 3.6227)], ids=["G1", "G2", "G4"]
)
def test_golden_losses(G, first, third):
    """The loss before any update and after two, to four digits: a change of the model, its initial values, the
    loss or the optimiser shows here."""
    _, losses, _ = run_steps(model("translation", G), 3, train_config(learning_rate=1e-3))
    assert losses[0] == pytest.approx(first, abs=2e-3)
    assert losses[2] == pytest.approx(third, abs=2e-3)


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


def test_the_papers_schedule():
    config = train_config(schedule="paper", learning_rate=1.0, steps=100_000, warmup=10_000, cooldown=20_000)
    rate = schedule(config)
    assert float(rate(0)) == float(rate(10_000)) == pytest.approx(0.01)
    assert float(rate(40_000)) == pytest.approx(0.005)
    assert float(rate(90_000)) == pytest.approx(0.5 / 300)
    assert float(rate(100_000)) == 0


@pytest.mark.parametrize("name", ["warmup_cosine", "warmup_rsqrt"])
def test_warm_up_rises_to_the_rate_and_falls(name):
    rate = schedule(train_config(schedule=name, learning_rate=0.1, steps=100, warmup=10))
    values = [float(rate(step)) for step in range(101)]
    assert np.argmax(values) in (9, 10) and max(values) == pytest.approx(0.1, rel=0.01)
    assert values[5] > values[2] and values[99] < values[50] < values[20]


def test_adafactor_is_the_papers():
    """Scaled by parameter size, no momentum: one update of a constant gradient is -rate x the parameter's RMS."""
    config = train_config(optimizer="adafactor", weight_decay=0.0, learning_rate=0.01)
    parameters = {"w": jnp.full((256, 256), 3.0)}
    tx = optimizer(config)
    updates, _ = tx.update({"w": jnp.full((256, 256), 7.0)}, tx.init(parameters), parameters)
    np.testing.assert_allclose(updates["w"], -0.03, rtol=1e-3)
    statistics = sum(leaf.size for leaf in jax.tree.leaves(tx.init(parameters)))
    assert statistics < 1000, "factored: rows and columns, not the whole matrix"
    assert isinstance(optax.apply_updates(parameters, updates)["w"], jax.Array)
