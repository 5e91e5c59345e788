"""Optimisers and learning-rate schedules, by the names a config gives them."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mqa_jax.experiment import TrainConfig


def schedule(config: TrainConfig) -> optax.Schedule:
    """Step -> learning rate."""
    return SCHEDULES[config.schedule](config)


def optimizer(config: TrainConfig, axes: Any) -> optax.GradientTransformation:
    """The named optimiser on the named schedule, behind a clipping of the gradients' global norm if one is set.

    Adafactor is the paper's: factored, scaled by parameter size, update clipped at 1.0, decay power 0.8, no momentum,
    which are optax's defaults.

    Args:
      axes: the logical axes of each parameter (`Model.axes`); none for one of a shape of its own.
    """
    if config.optimizer == "adamw":
        named = optax.adamw(schedule(config), b1=0.9, b2=0.98, eps=1e-9, weight_decay=config.weight_decay)
    else:
        adafactor = optax.adafactor(schedule(config), weight_decay_rate=config.weight_decay or None)
        named = _of_matrices(adafactor, axes)
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), named) if config.clip_norm else named


def _paper(config: TrainConfig) -> optax.Schedule:
    """1/sqrt(max(step, warmup)) x min(1, (steps - step) / cooldown): flat, then falling, then to 0. No warm-up."""

    def rate(step):
        step = jnp.asarray(step, jnp.float32)
        fall = jnp.minimum(1.0, (config.steps - step) / max(config.cooldown, 1))
        return config.learning_rate * fall / jnp.sqrt(jnp.maximum(step, max(config.warmup, 1)))

    return rate


def _warmup_cosine(config: TrainConfig) -> optax.Schedule:
    """Linear up over `warmup` steps, then half a cosine down to 0 at the last step."""
    warmup = min(config.warmup, config.steps - 1)
    return optax.warmup_cosine_decay_schedule(0.0, config.learning_rate, warmup, config.steps)


def _warmup_rsqrt(config: TrainConfig) -> optax.Schedule:
    """Linear up over `warmup` steps, then by 1/sqrt(step) (Vaswani et al. 2017)."""

    def rate(step):
        step = jnp.asarray(step, jnp.float32) + 1
        warmup = float(max(config.warmup, 1))
        return config.learning_rate * jnp.minimum(step / warmup, jnp.sqrt(warmup / step))

    return rate


def _warmup_flat_sqrt(config: TrainConfig) -> optax.Schedule:
    """Linear up over `warmup` steps, flat, and over the last `cooldown` steps down to 0 as 1 - sqrt(share of them)."""
    cooldown = min(config.cooldown, config.steps)
    warmup, turn = min(config.warmup, config.steps - cooldown), config.steps - cooldown
    fall = lambda step: config.learning_rate * (1 - jnp.sqrt(jnp.clip(step / max(cooldown, 1), 0, 1)))  # noqa: E731
    flat = optax.warmup_constant_schedule(0.0, config.learning_rate, warmup)
    return optax.join_schedules([flat, fall], [turn]) if cooldown else flat


def _of_matrices(inner: optax.GradientTransformation, axes: Any) -> optax.GradientTransformation:
    """`inner` on weights whose heads and head size are one dimension, as in mesh-tensorflow.

    Adafactor factors a weight over its two largest dimensions, if both have 128 numbers. Whether heads are few and
    large or many and small must not decide that: the rows of a comparison would train by different rules.
    """
    names = dict(jax.tree.leaves_with_path(axes, is_leaf=lambda each: isinstance(each, tuple)))

    def flat(tree: Any) -> Any:
        return jax.tree.map_with_path(lambda path, x: x.reshape(_matrix(x.shape, names.get(path, ()))), tree)

    def init(params: Any) -> Any:
        return inner.init(flat(params))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        shaped, state = inner.update(flat(updates), state, flat(params))
        return jax.tree.map(lambda each, gradient: each.reshape(gradient.shape), shaped, updates), state

    return optax.GradientTransformation(init, update)


def _matrix(shape: tuple[int, ...], names: tuple[str, ...]) -> tuple[int, ...]:
    """The shape with its head size, and the heads before it, as one dimension."""
    if "head_size" not in names:
        return shape
    size = names.index("head_size")
    return *shape[: size - 1], math.prod(shape[size - 1 : size + 1]), *shape[size + 1 :]


SCHEDULES: dict[str, Callable[[TrainConfig], optax.Schedule]] = {
    "paper": _paper,
    "warmup_cosine": _warmup_cosine,
    "warmup_rsqrt": _warmup_rsqrt,
    "warmup_flat_sqrt": _warmup_flat_sqrt,
    "constant": lambda config: optax.constant_schedule(config.learning_rate),
}
