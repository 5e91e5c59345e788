"""The guard around an optimiser: what is refused, and that a refused step changes nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mqa_jax.train.guard import KEPT, SETTLED, guarded

PARAMETERS = {"w": jnp.arange(6.0).reshape(2, 3), "b": jnp.ones(3)}
GRADIENT = {"w": jnp.ones((2, 3)), "b": jnp.full((3,), 2.0)}


def steps(tx, values, gradients=None):
    """Parameters and state after a step for each loss of `values`."""
    parameters, state = PARAMETERS, tx.init(PARAMETERS)
    update = jax.jit(tx.update)
    for index, value in enumerate(values):
        gradient = (gradients or {}).get(index, GRADIENT)
        updates, state = update(gradient, state, parameters, value=jnp.float32(value))
        parameters = optax.apply_updates(parameters, updates)
    return parameters, state


def same(one, two):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_array_equal(a, b)


def test_without_trouble_the_optimiser_is_what_it_was():
    plain = optax.adamw(1e-2)
    parameters, state = PARAMETERS, plain.init(PARAMETERS)
    for _ in range(3):
        updates, state = plain.update(GRADIENT, state, parameters)
        parameters = optax.apply_updates(parameters, updates)
    guarded_parameters, guard = steps(guarded(plain, 1.0), [4.0, 3.0, 2.0])
    for a, b in zip(jax.tree.leaves(parameters), jax.tree.leaves(guarded_parameters), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    assert (int(guard.accepted), int(guard.refused)) == (3, 0)
    assert float(guard.gradient_norm) == pytest.approx(np.sqrt(6 + 3 * 4))


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_a_broken_loss_or_gradient_changes_nothing_and_is_numbered(broken):
    tx = guarded(optax.adamw(1e-2))
    bad = GRADIENT | {"b": jnp.array([0.0, broken, 0.0])}
    with_trouble, guard = steps(tx, [4.0, broken, 3.0, 3.5], {2: bad})
    without, untroubled = steps(tx, [4.0, 3.5])
    same(with_trouble, without)
    same(guard.inner, untroubled.inner)
    assert (int(guard.accepted), int(guard.refused)) == (2, 2)
    assert sorted(int(step) for step in guard.steps_R if step) == [2, 3]
    assert float(guard.average) == float(untroubled.average)


def test_a_spike_is_refused_once_the_average_has_settled():
    early, guard = steps(guarded(optax.sgd(1e-2), 2.0), [3.0, 9.0])
    assert int(guard.refused) == 0
    calm = [3.0] * SETTLED
    early, before = steps(guarded(optax.sgd(1e-2), 2.0), calm)
    after, guard = steps(guarded(optax.sgd(1e-2), 2.0), [*calm, 5.1])
    same(early, after)
    assert int(guard.refused) == 1 and int(guard.steps_R[0]) == SETTLED + 1
    _, guard = steps(guarded(optax.sgd(1e-2), 2.0), [*calm, 4.9])
    assert int(guard.refused) == 0
    assert float(before.average) == pytest.approx(3.0)


def test_the_last_refused_steps_are_remembered():
    _, guard = steps(guarded(optax.sgd(1e-2)), [np.nan] * (KEPT + 3))
    assert int(guard.refused) == KEPT + 3
    assert sorted(guard.steps_R.tolist()) == list(range(4, KEPT + 4))
