"""Replicas of several devices, which share weights and caches: what one device decodes."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import BOS, EOS, find, model, parameters, rows, sentences
from test_generate import CONFIG, HOT, Letters

from mqa_jax import sharding
from mqa_jax.attention import registry
from mqa_jax.attention.cache import reorder
from mqa_jax.batch import Prompt
from mqa_jax.decode import generate, replicas
from mqa_jax.decode.search import Beam, Greedy, Sample
from mqa_jax.errors import InputError
from mqa_jax.experiment import MeshConfig

LENGTH = 6
BEAM, GREEDY = Beam(LENGTH, EOS, 2, 0.6, reorder), Greedy(LENGTH, EOS)
SAMPLE = Sample(LENGTH, EOS, temperature=3.0, top_k=12, top_p=0.95)
CASES = {
    "one write head": (model("translation", "grouped_1", tied=False), GREEDY),
    "two in int8": (model("language", "grouped_2", tied=False, cache_dtype="int8"), BEAM),
    "all": (model("language", "grouped_4", "sinks", tied=False), SAMPLE),
    "latent": (model("language", "latent_ranked", tied=False), BEAM),
}
assert {each.config.decoder.attention[0].name for each, _ in CASES.values()} == registry.TYPES.keys()


@functools.cache
def decoded(tensor, *names):
    """The cases' outputs, scores and states by a replica of so many devices, in one program."""
    group = sharding.groups(MeshConfig(tensor=tensor), jax.devices())[0]
    of = {name: CASES[name][0].over(group) for name in names}
    values = {name: each.lay_out(parameters(each, seed=18)) for name, each in of.items()}
    where = {name: replicas.weight_shardings(each, values[name], group) for name, each in of.items()}
    source = rows(sentences(3, [5, 3, 6, 4]), 6)
    prompt = Prompt(source.tokens_BL[:, ::-1], jnp.asarray([5, 3, 6, 4]))

    def run(values):
        def one(name, each):
            search, module = dataclasses.replace(CASES[name][1], mesh=each.mesh), each.bind(values[name])
            state = module.begin(source if each.config.encoder else prompt, search.beams, LENGTH)
            first_B, seeds_B = jnp.full((4,), BOS), jnp.arange(4, dtype=jnp.uint32)
            found = find(search, module.step, state, first_B, jnp.full((4,), LENGTH), seeds_B)
            return found._replace(state=replicas.keep(each, (), found.state)[1])

        return {name: one(name, each) for name, each in of.items()}

    return jax.jit(run)(jax.device_put(values, where))


@pytest.mark.parametrize(("tensor", "names"), [(2, tuple(CASES)), (4, tuple(CASES)), (8, ("all",))])
def test_a_replica_of_several_devices_decodes_what_one_does(tensor, names):
    """Four heads are on every one of eight devices. Each device has its part of the rows, or all where it must."""
    alone = decoded(1, *CASES)
    for name, found in decoded(tensor, *names).items():
        np.testing.assert_array_equal(found.tokens_BT, alone[name].tokens_BT, err_msg=name)
        np.testing.assert_allclose(found.scores_B, alone[name].scores_B, rtol=1e-5, atol=2e-6, err_msg=name)
        G = CASES[name][0].config.decoder.attention[0].rows()[0].heads
        for row in jax.tree.leaves((found.state.caches, found.state.prompts)):
            assert row.addressable_shards[0].data.nbytes * (tensor if G % tensor == 0 else 1) == row.nbytes, name
    outputs = {tuple(np.asarray(each.tokens_BT).flat) for each in alone.values()}
    assert len(outputs) == len(CASES) and all(np.unique(each).size > 4 for each in outputs), "no token again and again"


def test_groups_of_devices_share_the_lines_as_single_ones_do():
    """Two groups of two, and one device alone."""
    of = model("language", "grouped_2")
    values, lines = parameters(of, seed=2), ["abcdefghijklmno"[: 1 + n % 15] for n in range(40)]

    def run(tensor, batch):
        replica = of.over(sharding.groups(MeshConfig(tensor=tensor), jax.devices())[0])
        config, laid_out = dataclasses.replace(CONFIG, batch=batch), replica.lay_out(values)
        return generate.continue_text(lines, replica, laid_out, Letters(), config, 8, HOT)

    alone, shared = run(1, 8), run(2, 16)
    assert alone.texts == shared.texts and (alone.devices, shared.devices) == (1, 4)


@pytest.mark.parametrize("tensor", [0, 3, 16])
def test_devices_that_cannot_be_grouped_are_refused(tensor):
    with pytest.raises(InputError, match=f"config.mesh.tensor={tensor} does not divide the 8 .* one of 1, 2, 4, 8 "):
        sharding.groups(MeshConfig(tensor=tensor), jax.devices())
    assert [each.shape["tensor"] for each in sharding.groups(MeshConfig(2, 1, -1), jax.devices())] == [4, 4]


def test_weights_in_int8_are_not_shared():
    of = model("language", 1, weight_dtype="int8").over(sharding.groups(MeshConfig(tensor=2), jax.devices())[0])
    with pytest.raises(InputError, match=r"config\.mesh\.tensor=2 does not share weights in int8; set .*tensor=1"):
        jax.eval_shape(of.lay_out, of.shapes())
