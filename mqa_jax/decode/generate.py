"""Text in, text out: lines into buckets, a search on each batch, lines back in their order.

Shapes come from few buckets of source length and two batch sizes, so that thousands of lines compile a
handful of programs. N lines in are N lines out: an empty line gives an empty line.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mqa_jax.batch import Rows
from mqa_jax.decode import search
from mqa_jax.experiment import DecodeConfig
from mqa_jax.model.build import Model, Parameters
from mqa_jax.model.cache import reorder
from mqa_jax.tokens import BOS, EOS, PAD, Tokenizer

SMALLEST_BUCKET = 16


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How to draw tokens at random; see choose.sample."""

    seed: int = 0
    temperature: float = 1.0
    top: int = 0
    mass: float = 1.0


@dataclasses.dataclass(frozen=True)
class Generated:
    """What came out, in the order of the lines that went in.

    Attributes:
      texts: one for each line.
      truncated: indices of lines that were longer than the model's positions and were cut.
      tokens: output tokens, EOS included.
    """

    texts: list[str]
    truncated: list[int]
    tokens: int


def translate(
    lines: Sequence[str],
    model: Model,
    parameters: Parameters,
    vocabulary: Tokenizer,
    config: DecodeConfig,
    on_progress: Callable[[int], None] = lambda done: None,
) -> Generated:
    """Translates each line with greedy search (beam 1) or beam search.

    Args:
      lines: source sentences.
      parameters: in the type to decode in (see `model.build.cast`).
      config: beam, alpha, length limits and batch size.
      on_progress: called with the number of lines that are through.
    """
    longest = model.config.positions

    def run(rows: Sequence[list[int]], bucket: int, batch: int) -> np.ndarray:
        source = _pad_behind([[*row[: longest - 1], EOS] for row in rows], bucket, batch)
        limits = [min(longest, int(config.length_factor * len(row) + config.length_extra)) for row in rows]
        limits_B = np.zeros((batch,), np.int32)
        limits_B[: len(rows)] = limits
        length = min(longest, int(config.length_factor * bucket + config.length_extra))
        return np.asarray(
            _translate(model, config.beam, config.alpha, length, parameters, source, jnp.asarray(limits_B))
        )

    return _generate(lines, vocabulary, config.batch, longest - 1, longest, run, on_progress)


def continue_text(
    lines: Sequence[str],
    model: Model,
    parameters: Parameters,
    vocabulary: Tokenizer,
    config: DecodeConfig,
    tokens: int,
    sampling: Sampling | None = None,
    on_progress: Callable[[int], None] = lambda done: None,
) -> Generated:
    """Continues each line by up to `tokens` tokens: sampled, or by beam search, or greedily (beam 1).

    A prompt that leaves no room for `tokens` keeps its end. Arguments as in `translate`.
    """
    longest = model.config.positions - tokens

    def run(rows: Sequence[list[int]], bucket: int, batch: int) -> np.ndarray:
        prompts = [[BOS, *row][-longest:] for row in rows]
        prompt_BP = np.zeros((batch, bucket), np.int32)
        lengths_B, first_B, limits_B = (np.zeros((batch,), np.int32) for _ in range(3))
        for row, prompt in enumerate(prompts):
            prompt_BP[row, bucket - len(prompt) + 1 :] = prompt[:-1]
            lengths_B[row], first_B[row], limits_B[row] = len(prompt) - 1, prompt[-1], tokens
        return np.asarray(
            _continue(
                model, config.beam, config.alpha, tokens, sampling, parameters, prompt_BP, lengths_B, first_B, limits_B
            )
        )

    if longest < 2:
        raise ValueError(f"tokens={tokens} leaves no room for a prompt in {model.config.positions} positions")
    return _generate(lines, vocabulary, config.batch, longest - 1, longest, run, on_progress)


def _generate(
    lines: Sequence[str],
    vocabulary: Tokenizer,
    batch: int,
    limit: int,
    longest: int,
    run: Callable[[Sequence[list[int]], int, int], np.ndarray],
    on_progress: Callable[[int], None],
) -> Generated:
    encoded = {index: vocabulary.encode(line) for index, line in enumerate(lines) if line.strip()}
    texts, count, done = [""] * len(lines), 0, len(lines) - len(encoded)
    truncated = [index for index, row in encoded.items() if len(row) > limit]
    for bucket, size, members in buckets({i: min(len(row), limit) + 1 for i, row in encoded.items()}, batch, longest):
        outputs_BT = run([encoded[index] for index in members], bucket, size)
        for index, output in zip(members, outputs_BT, strict=False):
            texts[index] = vocabulary.decode(output.tolist())
            count += int((output != PAD).sum())
        done += len(members)
        on_progress(done)
    return Generated(texts, truncated, count)


def buckets(lengths: dict[int, int], batch: int, longest: int) -> Iterator[tuple[int, int, list[int]]]:
    """Groups lines of similar length: (padded length, rows of the batch, indices), longest first.

    Padded lengths are powers of two from 16, or `longest`. Batches have `batch` rows, or the next power of
    two where there are fewer lines in all.
    """
    size = min(batch, 1 << max(0, len(lengths) - 1).bit_length())
    order = sorted(lengths, key=lambda index: (-lengths[index], index))
    for start in range(0, len(order), size):
        members = order[start : start + size]
        bucket = SMALLEST_BUCKET
        while bucket < lengths[members[0]]:
            bucket *= 2
        yield min(bucket, longest), size, members


def _pad_behind(rows: Sequence[Sequence[int]], length: int, batch: int) -> Rows:
    tokens_BL = np.full((batch, length), PAD, np.int32)
    for row, tokens in enumerate(rows):
        tokens_BL[row, : len(tokens)] = tokens
    positions_BL = np.broadcast_to(np.arange(length, dtype=np.int32), tokens_BL.shape)
    return Rows(tokens_BL, (tokens_BL != PAD).astype(np.int32), positions_BL)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _translate(model, beam, alpha, length, parameters, source, limits_B) -> jax.Array:
    module = model.bind(parameters)
    state = module.begin(source, beam, length)
    first_B = jnp.full(limits_B.shape, BOS, jnp.int32)
    if beam == 1:
        return search.greedy(module.step, state, first_B, limits_B, length, EOS).tokens_BT
    return search.beam(module.step, reorder, state, first_B, limits_B, length, EOS, beam, alpha).tokens_BT


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def _continue(model, beam, alpha, length, sampling, parameters, prompt_BP, lengths_B, first_B, limits_B) -> jax.Array:
    module = model.bind(parameters)
    beams = 1 if sampling else beam
    state = module.begin(prompt_BP, lengths_B, beams, prompt_BP.shape[1] + length)
    if sampling:
        key = jax.random.key(sampling.seed)
        draw = sampling.temperature, sampling.top, sampling.mass
        return search.sample(module.step, state, first_B, limits_B, length, EOS, key, *draw).tokens_BT
    if beam == 1:
        return search.greedy(module.step, state, first_B, limits_B, length, EOS).tokens_BT
    return search.beam(module.step, reorder, state, first_B, limits_B, length, EOS, beam, alpha).tokens_BT
