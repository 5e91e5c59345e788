"""A trained model with fewer key/value heads, or with latents, in some of its attentions.

The feed-forward layers stay as wide as they were, so a conversion is no row of an equal budget. With calibration text
the attentions are converted in a forward over it, each as its input comes by: what the attentions before it have lost
is in that input.
"""

import collections
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx

from mqa_jax.attention.cache import Rows
from mqa_jax.attention.config import AttentionConfig, cycle, in_turn
from mqa_jax.attention.contract import Attention, Context, Whole
from mqa_jax.attention.grouped import Grouped
from mqa_jax.batch import Batch
from mqa_jax.errors import InputError
from mqa_jax.experiment import DropoutConfig, ModelConfig, StackConfig
from mqa_jax.interop.heads import Heads, Moments
from mqa_jax.interop.targets import Target
from mqa_jax.layers import Norm
from mqa_jax.model.block import Block, Held
from mqa_jax.model.build import Model, Parameters, build
from mqa_jax.model.tap import SITES, Tap

BIASES = {"wq_DHK": "bq_HK", "wk_DGK": "bk_GK", "wv_DGV": "bv_GV"}
Converter = Callable[[Attention, Moments], Attention]


def converted(
    config: ModelConfig, target: Target, sites: Sequence[str] = (), layers: Sequence[int] = ()
) -> ModelConfig:
    """The config of a model with some of its attentions converted. Says no before long work.

    Args:
      sites: of `SITES`; all that the model has, if none is named.
      layers: their numbers in each of the sites, from 0; all, if none is named.
    Raises:
      InputError: a site or a layer that the model has not, or an attention that cannot be converted so.
    """
    for site, numbers in _chosen(config, sites, layers):
        config = _with(config, site, numbers, target)
    return config


def changes(before: ModelConfig, after: ModelConfig) -> list[str]:
    """What the two have at each site where they differ, in words."""
    sites = [site for site, (stack, _) in SITES.items() if getattr(before, stack) is not None]
    pairs = [(site, _attentions(before, site), _attentions(after, site)) for site in sites]
    return [f"{site}: {in_turn(old)} -> {in_turn(new)}" for site, old, new in pairs if old != new]


def convert(
    model: Model,
    parameters: Parameters,
    target: Target,
    sites: Sequence[str] = (),
    layers: Sequence[int] = (),
    calibration: Batch | None = None,
    seed: int = 0,
) -> tuple[Model, Parameters]:
    """The model with some of its attentions converted, and its parameters; see `converted`.

    Args:
      calibration: text whose activations say what is to be kept of keys and values; float32 models only.
      seed: of what is drawn anew.
    """
    config = converted(model.config, target, sites, layers)
    module = model.bind(parameters)
    jobs: dict[tuple[str, int], dict[str, Converter]] = collections.defaultdict(dict)
    count = itertools.count()
    for site, numbers in _chosen(model.config, sites, layers):
        stack, name = SITES[site]
        for number in numbers:
            key = jax.random.fold_in(jax.random.key(seed), next(count))
            where = f"{site} layer {number}"
            jobs[stack, number][name] = functools.partial(
                _remade, target=target, positions=model.config.positions, where=where, key=key
            )
    stacks = [(name, getattr(module, name)) for name in ("encoder", "decoder") if hasattr(module, name)]
    blocks = [[(block, jobs[name, number]) for number, block in enumerate(stack.blocks)] for name, stack in stacks]
    if calibration is None:
        for block, converters in itertools.chain(*blocks):
            for name, converter in converters.items():
                attention, norms = getattr(block, name), [block.attention_norm] * 2
                if attention.place.cross:
                    norms = [block.cross_norm, getattr(module, "encoder").norm]  # noqa: B009
                setattr(block, name, converter(attention, Moments(*map(_expected, norms))))
    else:
        for (_, stack), each in zip(stacks, blocks, strict=True):
            stack.blocks = nnx.List([_Converting(block, converters) for block, converters in each])
        module.hidden(calibration)
        for _, stack in stacks:
            stack.blocks = nnx.List([each.block for each in stack.blocks])
    return build(config, model.mesh), nnx.to_pure_dict(nnx.state(module, nnx.Param))


class _Converting(nnx.Module):
    """Stands where a block is in a forward: converts its attentions in turn, each as its input comes by."""

    def __init__(self, block: Block, converters: Mapping[str, Converter]):
        self.block, self.converters = block, tuple(converters.items())

    def __call__(
        self, rates: DropoutConfig, x_BLD: jax.Array, context: Context, held: Held
    ) -> tuple[jax.Array, Rows | None]:
        for name, converter in self.converters:
            attention = getattr(self.block, name)
            input_BLD = _input(*nnx.split(self.block), name, rates, x_BLD, context)
            sight = context.memory if attention.place.cross else context.own
            assert isinstance(sight, Whole)
            queries_DD = rows_DD = _moment(input_BLD, sight.query_segments_BL)
            if attention.place.cross:
                assert context.memory_BMD is not None
                rows_DD = _moment(context.memory_BMD, sight.memory_segments_BM)
            setattr(self.block, name, converter(attention, Moments(queries_DD, rows_DD)))
        return _through(*nnx.split(self.block), rates, x_BLD, context), held.own


@functools.partial(jax.jit, static_argnums=(0, 2, 3))
def _input(
    structure: Any, values: Any, name: str, rates: DropoutConfig, x_BLD: jax.Array, context: Context
) -> jax.Array:
    """The input of one of a block's attentions; what comes after it is not computed."""
    block, noted = nnx.merge(structure, values), {}
    setattr(block, name, Tap(getattr(block, name), noted.__setitem__))
    block(rates, x_BLD, context, Held())
    return noted["input"][0]


@functools.partial(jax.jit, static_argnums=(0, 2))
def _through(structure: Any, values: Any, rates: DropoutConfig, x_BLD: jax.Array, context: Context) -> jax.Array:
    return nnx.merge(structure, values)(rates, x_BLD, context, Held())[0]


def _expected(norm: Norm) -> np.ndarray:
    """The `_moment` of what a norm leaves, where nothing is known but its gains: no direction goes with another."""
    gain_D = np.asarray(norm.scale_D[...], np.float64)
    return np.diag(np.append(gain_D**2, 1))


def _moment(x_BLD: jax.Array, segments_BL: jax.Array) -> np.ndarray:
    """E[x x^T] over the real tokens, with the 1 behind x that biases are weights of."""
    x_ND = np.asarray(x_BLD, np.float64)[np.asarray(segments_BL) > 0]
    x_ND = np.concatenate([x_ND, np.ones((len(x_ND), 1))], axis=1)
    return x_ND.T @ x_ND / len(x_ND)


def _remade(
    attention: Attention, moments: Moments, target: Target, positions: int, where: str, key: jax.Array
) -> Attention:
    """One attention as its target has it."""
    source = attention.config
    assert isinstance(source, Grouped)
    config = target.config(source, where)
    if config == source:
        return attention
    made = config.module(attention.place, nnx.Rngs(params=key))
    weights = {name: np.asarray(weight[...], np.float64) for name, weight in _weights(attention)}
    for name, bias in BIASES.items():
        if bias in weights:
            weights[name] = np.concatenate([weights[name], weights[bias][None]])
    D = len(weights["wq_DHK"])
    moments = Moments(*(moment[:D, :D] for moment in moments))
    values = target.weights(Heads(*(weights[name] for name in Heads._fields)), source, positions, moments)
    values |= {name: weights[name] for name in ("bo_D",) if name in weights}
    for name, bias in BIASES.items():
        if bias in weights and name in values:
            values |= {name: values[name][:-1], bias: values[name][-1]}
    for name, weight in _weights(made):
        if name in values:
            weight[...] = jax.numpy.asarray(values[name], weight[...].dtype)
    return made


def _weights(attention: Attention) -> Iterator[tuple[str, nnx.Param]]:
    """Every weight of an attention and its name, wherever in it."""
    for path, weight in nnx.to_flat_state(nnx.state(attention, nnx.Param)):
        yield str(path[-1]), weight


def _chosen(config: ModelConfig, sites: Sequence[str], layers: Sequence[int]) -> Iterator[tuple[str, list[int]]]:
    """The numbers of the layers at each site."""
    there = ["decoder"] if config.encoder is None else list(SITES)
    for site in sites:
        if site not in there:
            raise InputError(f"--sites={','.join(sites)}: the model has no {site}; choose from: {', '.join(there)}")
    for site in (site for site in there if site in (sites or there)):  # in the order of a forward
        count = len(_attentions(config, site))
        for layer in layers:
            if layer >= count:
                raise InputError(f"--layers={layer} is not in the {site}, whose layers are 0 to {count - 1}")
        yield site, list(layers or range(count))


def _attentions(config: ModelConfig, site: str) -> tuple[AttentionConfig, ...]:
    stack = _stack(config, site)
    return stack.crosses if site == "cross" else stack.attentions


def _stack(config: ModelConfig, site: str) -> StackConfig:
    stack = config.encoder if site == "encoder" else config.decoder
    assert stack is not None
    return stack


def _with(config: ModelConfig, site: str, layers: Sequence[int], target: Target) -> ModelConfig:
    """The model's config with these layers of a site converted."""
    attentions = list(_attentions(config, site))
    for layer in layers:
        source, where = attentions[layer], f"{site} layer {layer}"
        if type(source) is not Grouped:  # a type made from it may have weights of its own
            raise InputError(f"{where} has {source.name} attention; only {Grouped.name} attention is converted")
        attentions[layer] = target.config(source, where)
    stack = dataclasses.replace(
        _stack(config, site), **{"cross" if site == "cross" else "attention": cycle(attentions)}
    )
    return dataclasses.replace(config, **{SITES[site][0]: stack})
