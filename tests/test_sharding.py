"""Meshes: the same loss and update on one device and on eight, whatever the axes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small
from jax.sharding import PartitionSpec
from small import HEADS, batch, model, parameters, sentences

from mqa_jax import sharding
from mqa_jax.attention import registry
from mqa_jax.errors import InputError
from mqa_jax.experiment import MeshConfig, TrainConfig
from mqa_jax.plan import collectives
from mqa_jax.train.loss import loss_sums
from mqa_jax.train.optimizer import optimizer
from mqa_jax.train.step import init_state, make_train_step, state_shardings

MESHES = [(d, f, 8 // (d * f)) for d in (1, 2, 4, 8) for f in (1, 2, 4, 8) if d * f <= 8]
TYPES = {
    "grouped_1": ("translation", "grouped_1", "global"),
    "grouped_1_sinks": ("translation", "grouped_1", "sinks"),
    "grouped_2": ("translation", "grouped_2_rotary", "global"),
    "grouped_4": ("translation", "grouped_4", "global"),
    "latent": ("translation", "latent_ranked", "global"),
    "language": ("language", "grouped_1", "global"),
}
assert {small.TYPES[kind].name for _, kind, _ in TYPES.values()} == registry.TYPES.keys(), "all that are registered"
ON_EVERY_MESH = "grouped_1", "language"


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
    tx = optimizer(config, of.axes())
    state = jax.jit(functools.partial(init_state, of, tx, 0), out_shardings=state_shardings(of, tx, mesh))()
    # Rows of very different lengths: a mean of per-device means would differ.
    pairs = batch(sentences(0, [2, 12, 3, 12, 2, 7, 12, 4]), 12, sentences(1, [5] * 8))
    pairs = jax.device_put(pairs, sharding.batch_sharding(mesh))
    return *make_train_step(of, tx, config, mesh)(state, pairs), mesh


@functools.cache
def on_one_device(G, config):
    state, sums, _ = after_one_step(model("translation", G), (1, 1, 1), jax.devices()[:1], config)
    return state, sums


@functools.cache
def start(name):
    task, kind, sight = TYPES[name]
    of = model(task, kind, sight, layers=1)
    return of, parameters(of)


def losses_and_gradients(mesh, names):
    """Of attention types: the mean loss of rows of very different lengths and its gradient, in one program."""
    pairs = batch(sentences(0, [2, 12, 3, 12, 2, 7, 12, 4]), 12, sentences(1, [5] * 8))
    kinds = {name: start(name)[0] for name in names}

    def means(parameters, pairs):
        def mean(p, name):
            module = kinds[name].bind(p)
            sums = loss_sums(module.hidden(pairs), module.embedding.softmax(), pairs.target, 0.1, 1e-4)
            return sums.objective / sums.tokens

        return {name: jax.value_and_grad(mean)(p, name) for name, p in parameters.items()}

    where = {name: sharding.parameter_shardings(of.axes(), of.shapes(), mesh) for name, of in kinds.items()}
    gradients = {name: (sharding.replicated(mesh), each) for name, each in where.items()}
    jitted = jax.jit(means, in_shardings=(where, sharding.batch_sharding(mesh)), out_shardings=gradients)
    return jitted({name: start(name)[1] for name in names}, pairs)


@functools.cache
def alone():
    return losses_and_gradients(sharding.make_mesh(MeshConfig(1, 1, 1), jax.devices()[:1]), tuple(TYPES))


@pytest.mark.parametrize("shape", MESHES)
def test_every_mesh_gives_the_single_devices_loss_and_gradients(shape):
    """Every type on each axis alone and on all three together; the single write head on every mesh there is."""
    every_type = shape in ((8, 1, 1), (1, 8, 1), (1, 1, 8), (2, 2, 2))
    names = tuple(TYPES.keys() - {"grouped_1"}) if every_type else ON_EVERY_MESH
    found = losses_and_gradients(sharding.make_mesh(MeshConfig(*shape)), names)
    for name in names:
        loss, gradients = alone()[name]
        np.testing.assert_allclose(loss, found[name][0], rtol=1e-6, err_msg=name)
        pairs = zip(jax.tree.flatten_with_path(gradients)[0], jax.tree.leaves(found[name][1]), strict=True)
        for (path, a), b in pairs:
            np.testing.assert_allclose(a, b, atol=2e-6, err_msg=f"{name} {jax.tree_util.keystr(path)}")


def test_fsdp_exchanges_weights_not_activations():
    """Split by width, as the embedding that they come from, activations would be gathered at every product."""
    of, config = model("language", 1, vocabulary=512), train_config()
    mesh, tx = sharding.make_mesh(MeshConfig(1, 8, 1)), optimizer(config, of.axes())
    state = jax.eval_shape(functools.partial(init_state, of, tx, 0))
    texts = batch(sentences(0, [32] * 256), 32)
    text = make_train_step(of, tx, config, mesh).lower(state, texts).compile().as_text()
    weights = sum(x.size * 4 for x in jax.tree.leaves(state.parameters))
    exchanged = sum(each.bytes for each in collectives.collectives(text, 8))
    assert 2 * weights < exchanged < 4 * weights, "gathered forwards and backwards; their gradients summed"


@pytest.mark.parametrize(("shape", "G"), [((2, 2, 2), 1), ((1, 2, 4), 2)])
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
    query = spread.parameters["decoder"]["blocks"][0]["attention"]["inputs"]["wq_DHK"]
    assert query.addressable_shards[0].data.size * mesh.shape["fsdp"] * min(mesh.shape["tensor"], HEADS) == query.size


def test_the_single_write_head_is_replicated_and_its_queries_are_split():
    mesh = sharding.make_mesh(MeshConfig(2, 1, 4))
    axes = ("width", "write_heads", "head_size")
    assert sharding.partition(axes, (16, 1, 4), mesh) == PartitionSpec(None, None, None)
    assert sharding.partition(axes, (16, 4, 4), mesh) == PartitionSpec(None, "tensor", None)
    assert sharding.partition(("width", "heads", "head_size"), (16, 4, 4), mesh) == PartitionSpec(None, "tensor", None)


@pytest.mark.parametrize(
    ("shape", "split"),
    [((1, 8, 1), {"width": 8}), ((2, 1, 4), {"heads": 4, "hidden": 4, "vocabulary": 4})],
    ids=["fsdp", "tensor"],
)
def test_bytes_of_each_device(shape, split):
    """Parameters and both moments of Adam, after a step: a share of what is split, all of what is not (norms, positions
    and the single write head under tensor)."""
    of, config = model("language", 1), train_config()
    state, _, _ = after_one_step(of, shape, jax.devices(), config)
    parts = lambda names: max(split.get(name, 1) for name in names)  # noqa: E731
    shares = jax.tree.map(lambda x, names: x.nbytes // parts(names), state.parameters, of.axes())
    wanted, whole = sum(jax.tree.leaves(shares)), sum(x.nbytes for x in jax.tree.leaves(state.parameters))
    assert wanted < whole / 2
    for device in jax.devices():
        for tree, copies in ((state.parameters, 1), (state.optimizer, 2)):
            on = [s.data for x in jax.tree.leaves(tree) if x.ndim for s in x.addressable_shards if s.device == device]
            assert sum(data.nbytes for data in on) == copies * wanted
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(state.optimizer))


@pytest.mark.parametrize("shape", [(3, 1, 1), (-1, -1, 1), (-1, 3, 1), (0, 1, 1)])
def test_meshes_that_do_not_fit_are_refused(shape):
    with pytest.raises(InputError, match="does not fit 8 devices"):
        sharding.make_mesh(MeshConfig(*shape))


def test_the_loss_weighs_tokens_not_rows():
    """The gradient of a batch against the rows' gradients added up by hand and divided by all tokens."""
    of = model("language", 2)
    texts = batch(sentences(0, [2, 12, 5, 3]), 12)
    values = parameters(of)

    def sums(p, some):
        module = of.bind(p)
        return loss_sums(module.hidden(some), module.embedding.softmax(), some.target)

    def nll(p, some):
        return sums(p, some).objective

    rows = [jax.tree.map(lambda x, row=row: x[row : row + 1], texts) for row in range(4)]
    by_row = jax.jit(jax.grad(nll))
    by_hand = jax.tree.map(lambda *g: sum(g) / 22, *(by_row(values, row) for row in rows))

    def mean(p):
        whole = sums(p, texts)
        return whole.objective / whole.tokens

    for a, b in zip(jax.tree.leaves(by_hand), jax.tree.leaves(jax.jit(jax.grad(mean))(values)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
