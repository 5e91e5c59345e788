"""Meshes: the same loss and update on one device and on eight, whatever the axes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec
from small import HEADS, batch, model, sentences

from mqa_jax import sharding
from mqa_jax.errors import InputError
from mqa_jax.experiment import MeshConfig, TrainConfig
from mqa_jax.train.loss import loss_sums
from mqa_jax.train.optimizer import optimizer
from mqa_jax.train.step import init_state, make_train_step, state_shardings

MESHES = [(8, 1, 1), (1, 8, 1), (2, 1, 4), (2, 2, 2), (1, 2, 4)]


def train_config(**changes):
    values = dict(
        steps=10,
        optimizer="adamw",
        schedule="constant",
        learning_rate=1e-2,
        warmup=1,
        cooldown=1,
        weight_decay=0.01,
        label_smoothing=0.1,
        z_loss=1e-4,
        clip_norm=0.0,
        accumulate=1,
        rematerialise=False,
        log_every=1,
        evaluate_every=1,
        checkpoint_every=1,
        keep=1,
    )
    return TrainConfig(**(values | changes))


def after_one_step(of, mesh_config, devices, config):
    mesh = sharding.make_mesh(MeshConfig(*mesh_config), devices)
    tx = optimizer(config)
    state = jax.jit(functools.partial(init_state, of, tx, 0), out_shardings=state_shardings(of, tx, mesh))()
    # Rows of very different lengths: a mean of per-device means would differ.
    pairs = batch(sentences(0, [2, 12, 3, 12, 2, 7, 12, 4]), 12, sentences(1, [5] * 8))
    pairs = jax.device_put(pairs, sharding.batch_sharding(mesh))
    return *make_train_step(of, tx, config, mesh)(state, pairs), mesh


@functools.cache
def on_one_device(G, config):
    state, sums, _ = after_one_step(model("translation", G), (1, 1, 1), jax.devices()[:1], config)
    return state, sums


@pytest.mark.parametrize(("shape", "G"), [(shape, 1) for shape in MESHES] + [((2, 2, 2), 2), ((2, 2, 2), HEADS)])
def test_every_mesh_gives_the_single_device_update(shape, G):
    of = model("translation", G)
    # Adam would blow rounding up where a gradient is near zero.
    config = train_config(optimizer="adafactor", weight_decay=0.0)
    alone, sums_alone = on_one_device(G, config)
    spread, sums_spread, mesh = after_one_step(of, shape, jax.devices(), config)
    for a, b in zip(sums_alone, sums_spread, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    for (path, a), b in zip(
        jax.tree.flatten_with_path(alone.parameters)[0], jax.tree.leaves(spread.parameters), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=2e-5, err_msg=jax.tree_util.keystr(path))
    query = spread.parameters["decoder"]["blocks"][0]["attention"]["wq_DHK"]
    assert query.addressable_shards[0].data.size * mesh.shape["fsdp"] * min(mesh.shape["tensor"], HEADS) == query.size


def test_the_single_write_head_is_replicated_and_its_queries_are_split():
    mesh = sharding.make_mesh(MeshConfig(2, 1, 4))
    axes = ("width", "write_heads", "head_size")
    assert sharding.partition(axes, (16, 1, 4), mesh) == PartitionSpec(None, None, None)
    assert sharding.partition(axes, (16, 4, 4), mesh) == PartitionSpec(None, "tensor", None)
    assert sharding.partition(("width", "heads", "head_size"), (16, 4, 4), mesh) == PartitionSpec(None, "tensor", None)


def test_optimizer_statistics_lie_as_their_parameters_do():
    of, config = model("language", 1), train_config()
    state, _, mesh = after_one_step(of, (1, 8, 1), jax.devices(), config)
    moments = [leaf for leaf in jax.tree.leaves(state.optimizer) if leaf.ndim > 1]
    assert len(moments) == 2 * len([leaf for leaf in jax.tree.leaves(state.parameters) if leaf.ndim > 1])
    for leaf in moments:
        assert leaf.addressable_shards[0].data.size * 8 == leaf.size
    assert mesh.shape["fsdp"] == 8 and jnp.isfinite(moments[0]).all()


@pytest.mark.parametrize("shape", [(3, 1, 1), (-1, -1, 1), (-1, 3, 1), (0, 1, 1)])
def test_meshes_that_do_not_fit_are_refused(shape):
    with pytest.raises(InputError, match="does not fit 8 devices"):
        sharding.make_mesh(MeshConfig(*shape))


def test_the_loss_weighs_tokens_not_rows():
    """The gradient of a batch against the rows' gradients added up by hand and divided by all tokens."""
    of = model("language", 2)
    texts = batch(sentences(0, [2, 12, 5, 3]), 12)
    parameters = of.init(jax.random.key(0))

    def sums(p, some):
        module = of.bind(p)
        return loss_sums(module.hidden(some), module.embedding.softmax(), some.target)

    def nll(p, some):
        return sums(p, some).objective

    rows = [jax.tree.map(lambda x, row=row: x[row : row + 1], texts) for row in range(4)]
    by_hand = jax.tree.map(lambda *g: sum(g) / 22, *(jax.grad(nll)(parameters, row) for row in rows))

    def mean(p):
        whole = sums(p, texts)
        return whole.objective / whole.tokens

    for a, b in zip(jax.tree.leaves(by_hand), jax.tree.leaves(jax.grad(mean)(parameters)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
