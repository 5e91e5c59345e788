"""Timed incremental decoding: the paper's protocol (section 4.3), beside the floor of the machine; and one sentence's
latency.

Batch, source and target length are fixed and outputs are forced to full length. The encoder's time is divided by
batch x source tokens, the decoder's by batch x target tokens. Weights are random: the time of a forced decode does not
depend on them. Several models are timed in turn, round by round, so that a machine that slows down slows all of them.
"""

import dataclasses
import functools
import itertools
import statistics
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from mqa_jax import records, sharding
from mqa_jax.attention.cache import grow, reorder
from mqa_jax.batch import Prompt, Rows
from mqa_jax.decode import replicas
from mqa_jax.decode.search import Beam, Greedy, Search, run
from mqa_jax.experiment import Experiment, ModelConfig
from mqa_jax.model.build import Model, Parameters, build
from mqa_jax.timing import cost, memory, stopwatch
from mqa_jax.timing.peaks import Peaks, published
from mqa_jax.tokens import BOS

NEVER = -1  # no token ends an output
FIRST_SLOTS = 32


@dataclasses.dataclass(frozen=True)
class Workload:
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
        """What tells the record from those of other workloads in a file's name."""
        padded = "-padded" if self.padded_cache else ""
        return f"b{self.batch}-beam{self.beam}-{self.source_length}-{self.target_length}{padded}"

    @property
    def words(self) -> str:
        """For a person to read."""
        search = "greedy" if self.beam == 1 else f"beam {self.beam}"
        padded = "a cache of full length" if self.padded_cache else "a cache that grows"
        return f"{self.batch} sentences, {search}, {self.source_length} + {self.target_length} tokens, {padded}"

    @property
    def rooms(self) -> list[int]:
        """The numbers of output tokens that there is room for, one after the other."""
        rooms = [self.target_length if self.padded_cache else min(FIRST_SLOTS, self.target_length)]
        while rooms[-1] < self.target_length:
            rooms.append(min(2 * rooms[-1], self.target_length))
        return rooms

    def fitted(self, model: ModelConfig) -> ModelConfig:
        """The model with positions enough."""
        lengths = self.source_length, self.target_length
        longest = max(lengths) if model.encoder else sum(lengths)
        return dataclasses.replace(model, positions=max(model.positions, longest))

    def step_cost(self, model: ModelConfig, tensor: int = 1) -> cost.Cost:
        """Of one decode step, on average; on one of `tensor` devices that share the model."""
        lengths = self.source_length, self.target_length
        return cost.decode_cost(model, self.batch, self.beam, *lengths, self.padded_cache, tensor)

    def memory(self, models: Sequence[ModelConfig], tensor: int = 1) -> int:
        """The least bytes that it needs, for models that take turns."""
        return memory.decoding(models, self.batch, self.beam, self.source_length, self.target_length, tensor)

    def check(self, experiment: Experiment, name: str) -> None:
        """Raises InputError if no memory is there for its batch, which the user gives as `name`, or if the devices
        cannot be grouped as the config says."""
        model, tensor = experiment.model, sharding.groups(experiment.mesh, jax.local_devices())[0].size
        memory.check(name, self.batch, lambda batch: dataclasses.replace(self, batch=batch).memory([model], tensor))

    def source_cost(self, model: ModelConfig, tensor: int = 1) -> cost.Cost:
        """Of reading the source; on one of `tensor` devices that share the model."""
        return cost.encode_cost(model, self.batch, self.source_length, tensor)


class TimedDecode:
    """One model compiled for one workload, ready to be run and timed.

    The batch is shared by as many replicas of the model as `replicas.groups` gives it, all at once.
    """

    def __init__(self, experiment: Experiment, workload: Workload):
        self.experiment, self.workload = experiment, workload
        self.model_config = workload.fitted(experiment.model)
        model = build(self.model_config).over(sharding.groups(experiment.mesh, jax.local_devices())[0])
        groups = replicas.groups(model, workload.batch, workload.beam)
        share = dataclasses.replace(workload, batch=workload.batch // len(groups))
        self.replicas = [Replica(model, share, group) for group in groups]
        self.tensor = model.tensor
        self.encoder_s: list[float] = []
        self.decoder_s: list[float] = []

    def run(self) -> None:
        """One timed round: encoder (or prefill), then decoder."""
        states = []

        def encode():
            states.extend(replica.begin() for replica in self.replicas)
            return states

        self.encoder_s.append(stopwatch.time_once(encode))
        self.decoder_s.append(stopwatch.time_once(lambda: [each.decode(states.pop(0)) for each in self.replicas]))

    def figures(self, peaks: Peaks) -> dict[str, Any]:
        """The figures of a `timing` record."""
        model, load = self.model_config, self.workload
        step = load.step_cost(model)
        to_encoder = 1e6 / (load.batch * load.source_length)
        to_decoder = 1e6 / (load.batch * load.timed_steps)
        # A floor of several devices is that of one with its part of batch and model. A CPU's cores share their peaks.
        parts, tensor = (1, 1) if jax.default_backend() == "cpu" else (len(self.replicas), self.tensor)
        share = dataclasses.replace(load, batch=load.batch // parts)
        floor_us = cost.floor(share.step_cost(model, tensor), peaks) * 1e6 / load.batch
        encoder_floor_us = cost.floor(share.source_cost(model, tensor), peaks) * to_encoder
        encoder_us = statistics.median(self.encoder_s) * to_encoder
        decoder_us = statistics.median(self.decoder_s) * to_decoder
        return {
            **dataclasses.asdict(load),
            "steps": load.timed_steps,
            "dtype": model.dtype,
            "cache_dtype": model.kept_dtype,
            "weight_dtype": model.weight_dtype or model.dtype,
            "parts": len(self.replicas),
            "spread_over_devices": self.tensor,
            "encoder_us_per_token": encoder_us,
            "decoder_us_per_token": decoder_us,
            "encoder_us_spread": [min(self.encoder_s) * to_encoder, max(self.encoder_s) * to_encoder],
            "decoder_us_spread": [min(self.decoder_s) * to_decoder, max(self.decoder_s) * to_decoder],
            "floor_us_per_token": floor_us,
            "encoder_floor_us_per_token": encoder_floor_us,
            "encoder_floor_share": encoder_floor_us / encoder_us,
            "floor_share": floor_us / decoder_us,
            "ms_per_step": statistics.median(self.decoder_s) * 1e3 / load.timed_steps,
            "bytes_per_step": step.bytes,
            "flops_per_step": step.flops,
            "peak_bytes_per_s": peaks.bytes_per_s,
            "peak_flops_per_s": peaks.flops_per_s,
            **published(),
            "compile_s": self.replicas[0].compile_s,
            "peak_memory_mb": stopwatch.peak_memory_mb(),
            "cache_bytes_per_token": sum(cost.row_bytes(each, model.kept_dtype) for each in model.decoder.attentions),
            "cache_bytes_per_sequence": cost.cache_bytes_per_sequence(model, load.source_length, load.target_length),
            "repeats": len(self.decoder_s),
        }


def time_in_turn(
    experiments: Sequence[Experiment], workload: Workload, repeats: int, peaks: Peaks
) -> list[dict[str, Any]]:
    """The `timing` record of each experiment with one workload, after a warm-up round."""
    timed = [TimedDecode(experiment, workload) for experiment in experiments]
    for each in timed:
        each.run()
        each.encoder_s.clear()
        each.decoder_s.clear()
    for _ in range(repeats):
        for each in timed:
            each.run()
    return [
        records.make("timing", each.experiment, each.figures(peaks), len(each.replicas) * each.tensor) for each in timed
    ]


def text(record: dict[str, Any]) -> str:
    """A `timing` record for a person to read: encoder (of a language model: prompt), decoder, memory."""
    sides = {"encoder" if record["task"] == "translation" else "prompt": "encoder", "decoder": "decoder"}
    lines = []
    for name, side in sides.items():
        us, (low, high) = record[f"{side}_us_per_token"], record[f"{side}_us_spread"]
        share = record["floor_share" if side == "decoder" else "encoder_floor_share"]
        speed = f"{us:.1f} us a token ({low:.1f} to {high:.1f}), {1e6 / us:,.0f} tokens/s"
        lines.append(f"{name}: {speed}, {share:.0%} of the floor's speed")
    return "\n".join([*lines, f"most memory held: {record['peak_memory_mb']:,.0f} MiB"])


def latency(experiment: Experiment, source_length: int, target_length: int, repeats: int) -> dict[str, Any]:
    """The `latency` record: what a reader waits for each token of one sentence, the token on the host after every step.

    Each step is started by itself, as in a service that sends tokens out as they come, so the cost of a start counts.
    Greedy, batch 1, a padded cache; times of single steps over `repeats` sentences.
    """
    replica = TimedDecode(experiment, Workload(1, 1, source_length, target_length, padded_cache=True)).replicas[0]
    search = Greedy(target_length, NEVER, mesh=replica.model.mesh)

    @functools.partial(jax.jit, donate_argnums=(1, 2))
    def step(parameters, rows, state):
        rows, state = search.advance(replica.model.bind(parameters).step, rows, state)
        rows, state = replicas.keep(replica.model, rows, state)
        return rows, state, rows.token_B

    times_ms, first_ms = [], []
    for sentence in range(repeats + 1):
        start = time.perf_counter()
        state = replica.begin()
        rows = search.begin(jnp.full((1,), BOS), jnp.full((1,), target_length), jnp.zeros((1,), jnp.uint32))
        for t in range(target_length):
            before = start if t == 0 else time.perf_counter()
            rows, state, token_B = step(replica.parameters, rows, state)
            token_B.block_until_ready()
            took_ms = (time.perf_counter() - before) * 1e3
            if sentence:  # the first one warms up
                (times_ms if t else first_ms).append(took_ms)
    p50, p99 = np.percentile(times_ms, [50, 99])
    figures = {
        "source_length": source_length,
        "target_length": target_length,
        "dtype": experiment.model.dtype,
        "ms_per_token_p50": float(p50),
        "ms_per_token_p99": float(p99),
        "ms_to_first_token": float(np.median(first_ms)),
        "sentences": repeats,
        "peak_memory_mb": stopwatch.peak_memory_mb(),
    }
    return records.make("latency", experiment, figures, replica.model.tensor)


class Replica:
    """A model compiled for the devices of one replica and its share of the workload. Its calls start the work and do
    not wait for it."""

    def __init__(self, model: Model, workload: Workload, group: Mesh):
        self.model = model = model.over(group)
        self.parameters = _drawn(model, group)()
        source_BM = np.full((workload.batch, workload.source_length), 5, np.int32)
        self._source = jax.device_put(source_BM, sharding.replicated(group))
        begin, decode = programs(model, workload)
        self._begin, begin_s = stopwatch.compile_timed(begin, self.parameters, self._source)
        state = jax.eval_shape(begin, self.parameters, self._source)
        state = sharding.placed(state, replicas.state_shardings(model, state, group))
        self._decode, decode_s = stopwatch.compile_timed(decode, self.parameters, state)
        self.compile_s = begin_s + decode_s

    def begin(self) -> Any:
        """The decode state after the source, or the prompt, has been read."""
        return self._begin(self.parameters, self._source)

    def decode(self, state: Any) -> Any:
        """The outputs, with their scores, and the state after them."""
        return self._decode(self.parameters, state)


@functools.lru_cache(maxsize=16)
def _drawn(model: Model, group: Mesh) -> Any:
    """A program that draws the weights; compiled once for all workloads, since that takes as long as a step's.

    In the model's type from the start: all of them in float32 would be the peak of memory.
    """
    dtype = model.config.dtype

    @functools.partial(jax.jit, static_argnums=1)
    def weight(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return jax.random.normal(key, shape, dtype) * jnp.asarray(shape[0] ** -0.5, dtype)

    def draw() -> Parameters:
        return model.lay_out(jax.tree.map(lambda w: weight(jax.random.key(w.size), w.shape), model.shapes()))

    where = replicas.weight_shardings(model, jax.eval_shape(draw), group)
    return jax.jit(draw, out_shardings=where).lower().compile()


def programs(model: Model, workload: Workload) -> tuple[Any, Any]:
    """What is timed, jitted: (parameters, source_BM) -> state; (parameters, state) -> outputs and state.

    The state goes out again, so that its buffers are used in place where caches do not grow.
    """

    def begin(parameters, source_BM):
        B, M = source_BM.shape
        if model.config.encoder is None:  # the prompt up to its last token
            source = Prompt(source_BM[:, :-1], jnp.full((B,), M - 1, jnp.int32))
        else:
            source = Rows(source_BM, jnp.ones_like(source_BM), jnp.broadcast_to(jnp.arange(M)[None], (B, M)))
        return replicas.keep(model, (), model.bind(parameters).begin(source, workload.beam, workload.rooms[0]))[1]

    def decode(parameters, state):
        module, B, T = model.bind(parameters), workload.batch, workload.timed_steps
        search: Search = Greedy(T, NEVER, mesh=model.mesh)
        if workload.beam > 1:
            search = Beam(T, NEVER, workload.beam, 0.6, reorder, mesh=model.mesh)
        first_B, limits_B = jnp.full((B,), BOS, jnp.int32), jnp.full((B,), T, jnp.int32)
        rows: Any = search.begin(first_B, limits_B, jnp.zeros((B,), jnp.uint32))
        for held, room in itertools.pairwise([workload.rooms[0], *workload.rooms]):
            state = grow(state, model.config.decoder.attentions, room - held)
            rows, state = run(search, module.step, rows, state, lambda rows, room=room: rows.t_B[0] >= min(room, T))
        rows, state = replicas.keep(model, rows, state)
        return search.best(rows), state

    donated = 1 if len(workload.rooms) == 1 else ()
    return jax.jit(begin), jax.jit(decode, donate_argnums=donated, keep_unused=True)


def abstract(model: Model, workload: Workload) -> tuple[Any, tuple[Any, Any]]:
    """The jitted decode of `programs` and the shapes of its arguments, for a compiler (mqa_jax/plan)."""
    begin, decode = programs(model, workload)
    parameters = jax.eval_shape(model.lay_out, model.shapes())
    source = jax.ShapeDtypeStruct((workload.batch, workload.source_length), "int32")
    return decode, (parameters, jax.eval_shape(begin, parameters, source))
