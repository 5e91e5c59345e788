"""Timed incremental decoding: the paper's protocol (section 4.3), beside the floor of the machine.

Batch, source and target length are fixed and outputs are forced to full length. The encoder's time is
divided by batch x source tokens, the decoder's by batch x target tokens. Weights are random: the time of a
forced decode does not depend on them. Several models are timed in turn, round by round, so that a machine
that slows down slows all of them.
"""

import dataclasses
import functools
import statistics
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import SingleDeviceSharding

from mqa_jax import records
from mqa_jax.attention.cache import grow, reorder
from mqa_jax.batch import Prompt, Rows
from mqa_jax.decode.search import Beam, Greedy, Search, run
from mqa_jax.experiment import Experiment
from mqa_jax.kernels import host
from mqa_jax.model.build import Model, Parameters, build, count
from mqa_jax.timing import cost, stopwatch
from mqa_jax.timing.peaks import Peaks
from mqa_jax.tokens import BOS

NEVER = -1  # no token ends an output
FIRST_SLOTS = 32


@dataclasses.dataclass(frozen=True)
class Shape:
    """What is decoded. For a language model the source is the prompt.

    A padded cache has all its slots from the first step, as in the paper. Otherwise it starts with FIRST_SLOTS
    beyond the prompt and is doubled whenever it is full.

    Attributes:
      steps: how many of the steps are timed; None for all. With a padded cache every step costs the same.
    """

    batch: int
    beam: int
    source_length: int
    target_length: int
    padded_cache: bool
    steps: int | None = None

    @property
    def timed_steps(self) -> int:
        """The steps that a round takes."""
        return min(self.steps or self.target_length, self.target_length)

    @property
    def label(self) -> str:
        """What tells the record from those of other shapes in a file's name."""
        padded = "-padded" if self.padded_cache else ""
        return f"b{self.batch}-beam{self.beam}-{self.source_length}-{self.target_length}{padded}"

    def rooms(self) -> list[int]:
        """The numbers of output tokens that there is room for, one after the other."""
        rooms = [self.target_length if self.padded_cache else min(FIRST_SLOTS, self.target_length)]
        while rooms[-1] < self.target_length:
            rooms.append(min(2 * rooms[-1], self.target_length))
        return rooms


class TimedDecode:
    """One model compiled for one shape, ready to be run and timed.

    The batch is decoded in as many parts as `host.devices_for` gives it devices, all at once.
    """

    def __init__(self, experiment: Experiment, shape: Shape):
        longest = max(shape.source_length, shape.target_length)
        if experiment.task == "language":
            longest = shape.source_length + shape.target_length
        config = experiment.model
        self.model_config = dataclasses.replace(config, positions=max(config.positions, longest))
        self.experiment, self.shape = experiment, shape
        places = host.devices_for(count(build(config).shapes()), shape.batch * shape.beam)
        places = places if shape.batch % len(places) == 0 else places[:1]
        part = dataclasses.replace(shape, batch=shape.batch // len(places))
        self.parts = [Part(build(self.model_config), part, place) for place in places]
        self.compile_s = self.parts[0].compile_s
        self.encoder_s: list[float] = []
        self.decoder_s: list[float] = []

    def run(self) -> None:
        """One timed round: encoder (or prefill), then decoder."""
        states = []

        def encode():
            states.extend(part.begin() for part in self.parts)
            return states

        self.encoder_s.append(stopwatch.time_once(encode))
        self.decoder_s.append(stopwatch.time_once(lambda: [part.decode(states.pop(0)) for part in self.parts]))

    def forget_warm_up(self) -> None:
        """Drops the rounds so far."""
        self.encoder_s.clear()
        self.decoder_s.clear()

    def figures(self, peaks: Peaks) -> dict[str, Any]:
        """The figures of a `timing` record."""
        shape = self.shape
        arguments = self.model_config, shape.batch, shape.beam, shape.source_length, shape.target_length
        step_cost = cost.decode_cost(*arguments, shape.padded_cache)
        encoder_cost = cost.encode_cost(self.model_config, shape.batch, shape.source_length)
        to_encoder = 1e6 / (shape.batch * shape.source_length)
        to_decoder = 1e6 / (shape.batch * shape.timed_steps)
        floor_us = cost.floor(step_cost, peaks) * 1e6 / shape.batch
        encoder_floor_us = cost.floor(encoder_cost, peaks) * to_encoder
        encoder_us = statistics.median(self.encoder_s) * to_encoder
        decoder_us = statistics.median(self.decoder_s) * to_decoder
        return {
            **dataclasses.asdict(shape),
            "steps": shape.timed_steps,
            "dtype": self.model_config.dtype,
            "cache_dtype": self.model_config.kept_dtype,
            "weight_dtype": self.model_config.weight_dtype or self.model_config.dtype,
            "parts": len(self.parts),
            "encoder_us_per_token": encoder_us,
            "decoder_us_per_token": decoder_us,
            "encoder_us_spread": [min(self.encoder_s) * to_encoder, max(self.encoder_s) * to_encoder],
            "decoder_us_spread": [min(self.decoder_s) * to_decoder, max(self.decoder_s) * to_decoder],
            "floor_us_per_token": floor_us,
            "encoder_floor_us_per_token": encoder_floor_us,
            "encoder_floor_share": encoder_floor_us / encoder_us,
            "floor_share": floor_us / decoder_us,
            "ms_per_step": statistics.median(self.decoder_s) * 1e3 / shape.timed_steps,
            "bytes_per_step": step_cost.bytes,
            "flops_per_step": step_cost.flops,
            "peak_bytes_per_s": peaks.bytes_per_s,
            "peak_flops_per_s": peaks.flops_per_s,
            "compile_s": self.compile_s,
            "peak_memory_mb": stopwatch.peak_memory_mb(),
            "cache_bytes_per_sequence": cost.cache_bytes_per_sequence(
                self.model_config, shape.source_length, shape.target_length
            ),
            "repeats": len(self.decoder_s),
        }


def time_in_turn(experiments: Sequence[Experiment], shape: Shape, repeats: int, peaks: Peaks) -> list[dict[str, Any]]:
    """The `timing` record of each experiment at one shape, after a warm-up round."""
    timed = [TimedDecode(experiment, shape) for experiment in experiments]
    for each in timed:
        each.run()
        each.forget_warm_up()
    for _ in range(repeats):
        for each in timed:
            each.run()
    return [records.make("timing", each.experiment, each.figures(peaks)) for each in timed]


class Part:
    """A model compiled on one device for one shape. `begin` and `decode` start the work; they do not wait for it."""

    def __init__(self, model: Model, shape: Shape, device: Any):
        where = SingleDeviceSharding(device)
        with jax.default_device(device):
            parameters = jax.jit(lambda: model.lay_out(_random_parameters(model)))()
        self.parameters = jax.device_put(parameters, device)
        self.model = model
        self._source = jax.device_put(np.full((shape.batch, shape.source_length), 5, np.int32), device)
        begin = jax.jit(functools.partial(_begin, model, shape))
        self._begin, begin_s = stopwatch.compile_timed(begin, self.parameters, self._source)
        state = jax.tree.map(
            lambda each: jax.ShapeDtypeStruct(each.shape, each.dtype, sharding=where),
            jax.eval_shape(begin, self.parameters, self._source),
        )
        donated = 1 if len(shape.rooms()) == 1 else ()  # caches that grow are not written in place
        decode = jax.jit(functools.partial(_decode, model, shape), donate_argnums=donated)
        self._decode, decode_s = stopwatch.compile_timed(decode, self.parameters, state)
        self.compile_s = begin_s + decode_s

    def begin(self) -> Any:
        """The decode state after the source, or the prompt, has been read."""
        return self._begin(self.parameters, self._source)

    def decode(self, state: Any) -> Any:
        """The outputs, with their scores, and the state after them."""
        return self._decode(self.parameters, state)


def abstract(model: Model, shape: Shape, laid_out: bool = True) -> tuple[Any, tuple[Any, Any]]:
    """The jitted decode of `Part` and the shapes of its arguments, for a compiler (mqa_jax/plan); allocates nothing.

    Args:
      laid_out: the weights are in the form of `Model.lay_out`; otherwise as they are trained, for several devices.
    """
    parameters = jax.tree.map(lambda w: jax.ShapeDtypeStruct(w.shape, model.config.dtype), model.shapes())
    parameters = jax.eval_shape(model.lay_out, parameters) if laid_out else parameters
    source = jax.ShapeDtypeStruct((shape.batch, shape.source_length), "int32")
    state = jax.eval_shape(functools.partial(_begin, model, shape), parameters, source)
    donated = 1 if len(shape.rooms()) == 1 else ()
    jitted = jax.jit(functools.partial(_decode, model, shape), donate_argnums=donated, keep_unused=True)
    return jitted, (parameters, state)


def _random_parameters(model: Model) -> Parameters:
    """Weights in the model's type, one after the other: all of them at once in float32 would be the peak of memory."""
    draw = jax.jit(_random_weight, static_argnums=(1, 2))
    return jax.tree.map(lambda w: draw(jax.random.key(w.size), w.shape, model.config.dtype), model.shapes())


def _random_weight(key: jax.Array, shape: tuple[int, ...], dtype: str) -> jax.Array:
    return jax.random.normal(key, shape, dtype) * jnp.asarray(shape[0] ** -0.5, dtype)


def _begin(model: Model, shape: Shape, parameters, source_BM):
    """The encoded source, or the prompt read up to its last token."""
    B, M = source_BM.shape
    if model.config.encoder is None:
        source = Prompt(source_BM[:, :-1], jnp.full((B,), M - 1, jnp.int32))
    else:
        source = Rows(source_BM, jnp.ones_like(source_BM), jnp.broadcast_to(jnp.arange(M)[None], (B, M)))
    return model.bind(parameters).begin(source, shape.beam, shape.rooms()[0])


def _decode(model: Model, shape: Shape, parameters, state):
    """Every output forced to its full length; the state goes out again, so that its buffers are used in place."""
    module, T = model.bind(parameters), shape.timed_steps
    first_B, limits_B = jnp.full((shape.batch,), BOS, jnp.int32), jnp.full((shape.batch,), T, jnp.int32)
    search: Search = Greedy(T, NEVER) if shape.beam == 1 else Beam(T, NEVER, shape.beam, 0.6, reorder)
    rows: Any = search.begin(first_B, limits_B, jnp.zeros((shape.batch,), jnp.uint32))
    prompt = 0 if model.config.encoder else max(0, shape.source_length - 1)
    for room in shape.rooms():
        state = grow(state, model.config.decoder.attentions, prompt + room)
        rows, state, _ = run(search, module.step, rows, state, lambda rows, room=room: rows.t_B[0] >= min(room, T))
    return search.best(rows), state
