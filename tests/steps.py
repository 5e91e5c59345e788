"""What the tests of decoding share: types, sights and tasks that could differ, and steps with given tokens."""

import dataclasses

import jax.numpy as jnp
import pytest
from small import TYPES, attention

from mqa_jax.attention import registry

LENGTHS = [7, 12, 3]
# With sinks there is a window too. Without either, and with a window alone, those whose paths could differ.
EVERY_TYPE = [
    *((kind, "sinks") for kind in ("grouped_1", "grouped_2", "grouped_4", "latent")),
    *(("grouped_1", "global"), ("latent", "global"), ("grouped_2", "local")),
]
assert {TYPES[kind].name for kind, _ in EVERY_TYPE} == registry.TYPES.keys(), "a type that is registered is tested"
IN_BOTH_TASKS = [("language", *case) for case in EVERY_TYPE]
IN_BOTH_TASKS += [("translation", kind, "sinks") for kind in ("grouped_1", "grouped_4", "latent")]
# Rings of three lengths; two layers that differ in their sinks alone.
MIXED = [
    dataclasses.replace(attention(1), window=3),
    attention("latent", "sinks"),
    attention(2, "sinks"),
    attention("latent", "global"),
]
MIXED_TOO = [
    *IN_BOTH_TASKS,
    *(pytest.param(task, MIXED, "", id=f"{task}-mixed") for task in ("translation", "language")),
]


def feed(module, state, inputs_BL, start, stop):
    """The logits of positions start to stop - 1, one cached step at a time, for every beam."""
    W = state.ancestry_BWM.shape[1]
    step, logits = module.step, []
    for position in range(start, stop):
        tokens_BW = jnp.broadcast_to(inputs_BL[:, position, None], (inputs_BL.shape[0], W))
        state, logits_VBW = step(state, tokens_BW)
        logits.append(jnp.moveaxis(logits_VBW, 0, -1))
    return state, jnp.stack(logits, axis=2)
