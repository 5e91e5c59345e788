"""The guard before the optimiser: what is refused, and that a refused step changes nothing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small import batch, model, sentences
from test_sharding import train_config

from mqa_jax import sharding
from mqa_jax.experiment import MeshConfig
from mqa_jax.train.optimizer import optimizer
from mqa_jax.train.step import KEPT, SETTLED, fresh_guard, init_state, judge, make_train_step, score

GRADIENT = {"w": jnp.ones((2, 3)), "b": jnp.full((3,), 2.0)}


def verdicts(losses, spike=0.0, gradients=None):
    """What is said of each loss in turn, and the guard after them."""
    guard, said = fresh_guard(), []
    step = jax.jit(functools.partial(judge, spike=spike))
    for index, loss in enumerate(losses):
        sound, guard = step(guard, jnp.float32(loss), (gradients or {}).get(index, GRADIENT))
        said.append(bool(sound))
    return said, guard


def test_without_trouble_every_batch_is_accepted():
    said, guard = verdicts([4.0, 3.0, 2.0], 1.0)
    assert all(said) and (int(guard.accepted), int(guard.refused)) == (3, 0)
    assert float(guard.gradient_norm) == pytest.approx(np.sqrt(6 + 3 * 4))


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_a_broken_loss_or_gradient_is_refused_and_numbered(broken):
    bad = GRADIENT | {"b": jnp.array([0.0, broken, 0.0])}
    said, guard = verdicts([4.0, broken, 3.0, 3.5], gradients={2: bad})
    assert said == [True, False, False, True]
    assert (int(guard.accepted), int(guard.refused)) == (2, 2)
    assert sorted(int(step) for step in guard.steps_R if step) == [2, 3]
    assert float(guard.average) == float(verdicts([4.0, 3.5])[1].average)


def test_a_spike_is_refused_once_the_average_has_settled():
    assert verdicts([3.0, 9.0], 2.0)[0] == [True, True]
    calm = [3.0] * SETTLED
    said, guard = verdicts([*calm, 5.1], 2.0)
    assert said == [True] * SETTLED + [False] and int(guard.steps_R[0]) == SETTLED + 1
    assert float(guard.average) == pytest.approx(3.0)
    assert verdicts([*calm, 4.9], 2.0)[0][-1]


def test_the_last_refused_steps_are_remembered():
    _, guard = verdicts([np.nan] * (KEPT + 3))
    assert int(guard.refused) == KEPT + 3
    assert sorted(guard.steps_R.tolist()) == list(range(4, KEPT + 4))


@pytest.mark.parametrize("name", ["adamw", "adafactor"])
def test_a_refused_step_changes_nothing_and_an_accepted_one_is_the_optimisers(name):
    config = train_config(optimizer=name, label_smoothing=0.0, z_loss=0.0)
    of, pairs = model("language", 2), batch(sentences(0, [7, 12, 3]), 12)
    tx = optimizer(config, of.axes())
    mesh = sharding.make_mesh(MeshConfig(1, 1, 1), jax.devices()[:1])
    begin = jax.jit(functools.partial(init_state, of, tx, 0))

    def loss(parameters):
        sums = score(of, parameters, pairs)
        return sums.objective / sums.tokens

    @jax.jit
    def updated(parameters, statistics):
        updates, statistics = tx.update(jax.grad(loss)(parameters), statistics, parameters)
        return optax.apply_updates(parameters, updates), statistics

    before = begin()
    by_hand = updated(before.parameters, before.optimizer)
    step = make_train_step(of, tx, config, mesh)
    after, _ = step(begin(), pairs)
    assert int(after.guard.accepted) == 1
    for a, b in zip(jax.tree.leaves((after.parameters, after.optimizer)), jax.tree.leaves(by_hand), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)

    @jax.jit
    def broken(state):
        return state._replace(parameters=jax.tree.map(lambda x: x.at[(0,) * x.ndim].set(jnp.nan), state.parameters))

    refused, _ = step(broken(before), pairs)
    assert (int(refused.step), int(refused.guard.refused)) == (1, 1)
    for part in ("parameters", "optimizer", "key"):
        jax.tree.map(np.testing.assert_array_equal, getattr(refused, part), getattr(broken(before), part))


def test_a_step_refuses_a_batch_whose_loss_jumps_if_a_spike_is_set():
    """The same batch against running averages far below its loss and close to it, in nats per token."""
    of, pairs = model("language", 2), batch(sentences(0, [7, 12, 3]), 12)
    tx = optimizer(train_config(), of.axes())
    mesh = sharding.make_mesh(MeshConfig(1, 1, 1), jax.devices()[:1])
    begin = jax.jit(functools.partial(init_state, of, tx, 0))
    before = begin().parameters
    sums = score(of, before, pairs)
    loss = float(sums.nll / sums.tokens)
    for spike, refusals in ((1.0, {loss - 2: 1, loss - 0.5: 0}), (0.0, {loss - 2: 0})):
        step = make_train_step(of, tx, train_config(spike=spike, label_smoothing=0.0, z_loss=0.0), mesh)
        for average, refused in refusals.items():
            state = begin()
            settled = state.guard._replace(average=jnp.float32(average), accepted=jnp.int32(SETTLED))
            after, _ = step(state._replace(guard=settled), pairs)
            unmoved = jax.tree.map(np.array_equal, after.parameters, before)
            assert int(after.guard.refused) == refused == all(jax.tree.leaves(unmoved))
