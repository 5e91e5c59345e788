"""Text in, text out: lines into buckets of source length, each through a pool of rows, lines back in their order.

Shapes come from few buckets and one batch size, so that thousands of lines compile a handful of programs. A
bucket has room for outputs twice as long as its sources; the rare one that outgrows it starts again in the
next. N lines in are N lines out: an empty line gives an empty line. They are handed on in their order as soon as they
are there, so the lines of a few dozen batches go through all buckets before the next ones do.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from mqa_jax.attention.cache import reorder
from mqa_jax.batch import Prompt, Rows
from mqa_jax.data import unknown
from mqa_jax.data.vocabulary import Vocabulary
from mqa_jax.decode import pool, replicas
from mqa_jax.decode.search import Beam, Greedy, Sample, Search
from mqa_jax.errors import InputError
from mqa_jax.experiment import DecodeConfig
from mqa_jax.model.build import Model, Parameters
from mqa_jax.tokens import PAD

SMALLEST_BUCKET = 16
FINE_BUCKETS_TO = 64
WINDOW = 64  # batches of lines that are sorted by length: at the end of each bucket rows stand empty
NAMED = 5  # lines that were cut


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How to draw tokens at random: limits as in `search.sample`.

    Raises:
      InputError: a limit that cannot be.
    """

    seed: int = 0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not 1e-6 <= self.temperature <= 1e6:
            raise InputError(f"--temperature={self.temperature} must be from 0.000001 to 1,000,000, or 0 to search")
        if not 0 < self.top_p <= 1:
            raise InputError(f"--top_p={self.top_p} must be above 0 and at most 1")


@dataclasses.dataclass(frozen=True)
class Generated:
    """What came out, in the order of the lines that went in.

    Attributes:
      texts: one for each line.
      truncated: indices of lines that were longer than the model's positions and were cut.
      tokens: output tokens, EOS included.
      programs: how many programs the lines needed: one for each bucket.
      limit: tokens of the longest line that is not cut.
      devices: how many decoded.
    """

    texts: list[str]
    truncated: list[int]
    tokens: int
    programs: int
    limit: int
    devices: int

    def cut(self) -> str:
        """Which lines were cut, in one line; empty if none was."""
        numbers = [str(index + 1) for index in self.truncated[:NAMED]] + ["..."] * (len(self.truncated) > NAMED)
        said = f"too long, cut to {self.limit:,} tokens: {len(self.truncated):,} of {len(self.texts):,} lines"
        return f"{said} ({', '.join(numbers)})" if numbers else ""

    def speed(self, seconds: float) -> dict[str, Any]:
        """The figures of a record, when all lines took so long."""
        return {
            "sentences": len(self.texts),
            "translate_s": seconds,
            "sentences_per_s": len(self.texts) / seconds,
            "truncated": len(self.truncated),
            "output_tokens": self.tokens,
            "programs": self.programs,
        }


def translate(
    lines: Sequence[str],
    model: Model,
    parameters: Parameters,
    vocabulary: Vocabulary,
    config: DecodeConfig,
    on_progress: Callable[[int], None] = lambda done: None,
    on_text: Callable[[str], None] = lambda text: None,
    alternatives: int = 1,
) -> Generated:
    """Translates each line with greedy search (beam 1) or beam search.

    Args:
      lines: source sentences.
      parameters: as decoding multiplies with them (`Model.lay_out`).
      config: beam, alpha, length limits and batch size.
      on_progress: called with the number of lines that are through.
      on_text: called with each line's text, in the order of the lines, once it and all before it are there.
      alternatives: above 1, a text is so many of the line's outputs, or all there are, best first, each behind its
        score (log-probability over the length penalty) and a space, with tabs between them.
    """
    longest = model.config.positions
    requests, truncated = [], []
    for index, row in _encoded(lines, vocabulary):
        truncated += [index] if len(row) > longest - 1 else []
        source = [*row[: longest - 1], vocabulary.eos]
        limit = min(longest, int(config.length_factor * len(source) + config.length_extra))
        requests.append(pool.Request(index, source, vocabulary.bos, limit, seed=0))

    eos = vocabulary.eos

    def search(bucket: int) -> Search:
        length = longest if bucket == longest else min(longest, 2 * bucket)
        return Beam(length, eos, config.beam, config.alpha, reorder) if config.beam > 1 else Greedy(length, eos)

    def inputs(bucket: int, sources: Sequence[Sequence[int]]) -> Rows:
        tokens_BL = np.full((len(sources), bucket), PAD, np.int32)
        segments_BL = np.zeros_like(tokens_BL)
        for row, tokens in enumerate(sources):
            tokens_BL[row, : len(tokens)], segments_BL[row, : len(tokens)] = tokens, 1
        positions_BL = np.broadcast_to(np.arange(bucket, dtype=np.int32), tokens_BL.shape)
        return Rows(tokens_BL, segments_BL, positions_BL)

    answers = _answers(requests, longest, config.batch, model, parameters, search, inputs)
    texts, tokens, used = _in_order(len(lines), requests, answers, vocabulary, on_progress, on_text, alternatives)
    devices = _devices(model, config.batch, len(requests), config.beam)
    return Generated(texts, truncated, tokens, used, longest - 1, devices)


def continue_text(
    lines: Sequence[str],
    model: Model,
    parameters: Parameters,
    vocabulary: Vocabulary,
    config: DecodeConfig,
    tokens: int,
    sampling: Sampling | None = None,
    unk: str = "",
    on_progress: Callable[[int], None] = lambda done: None,
    on_text: Callable[[str], None] = lambda text: None,
    alternatives: int = 1,
) -> Generated:
    """Continues each line by up to `tokens` tokens: sampled, or by beam search, or greedily (beam 1).

    A prompt that leaves no room for `tokens` keeps its end. Other arguments as in `translate`.

    Args:
      unk: a file of words; each other word of a prompt is UNK, as it was in training.
    Raises:
      InputError: the model has not positions enough for `tokens`, or the file of words is not one.
    """
    longest = model.config.positions - tokens
    if longest < 2:
        raise InputError(
            f"--tokens={tokens} leaves no room for a prompt in the model's {model.config.positions} positions; lower it"
        )
    requests, truncated = [], []
    for index, row in _encoded(unknown.replaced(lines, unk), vocabulary):
        truncated += [index] if len(row) > longest - 1 else []
        prompt = [vocabulary.bos, *row][-longest:]
        seed = np.random.SeedSequence((sampling.seed, index)).generate_state(1)[0] if sampling else 0
        requests.append(pool.Request(index, prompt[:-1], prompt[-1], tokens, int(seed)))

    eos = vocabulary.eos

    def search(bucket: int) -> Search:
        if sampling:
            return Sample(tokens, eos, sampling.temperature, sampling.top_k, sampling.top_p)
        return Beam(tokens, eos, config.beam, config.alpha, reorder) if config.beam > 1 else Greedy(tokens, eos)

    def inputs(bucket: int, prompts: Sequence[Sequence[int]]) -> Prompt:
        tokens_BP = np.full((len(prompts), bucket), PAD, np.int32)
        for row, prompt in enumerate(prompts):
            tokens_BP[row, bucket - len(prompt) :] = prompt
        return Prompt(tokens_BP, np.asarray([len(prompt) for prompt in prompts], np.int32))

    answers = _answers(requests, longest, config.batch, model, parameters, search, inputs)
    texts, tokens, used = _in_order(len(lines), requests, answers, vocabulary, on_progress, on_text, alternatives)
    devices = _devices(model, config.batch, len(requests), 1 if sampling else config.beam)
    return Generated(texts, truncated, tokens, used, longest - 1, devices)


def buckets(longest: int) -> list[int]:
    """The padded lengths of sources: doubling from 16 to 64, where most sentences are, then fourfold, to `longest`."""
    sizes = []
    size = SMALLEST_BUCKET
    while size < longest:
        sizes.append(size)
        size *= 2 if size < FINE_BUCKETS_TO else 4
    return [*sizes, longest]


def _devices(model: Model, batch: int, lines: int, beams: int) -> int:
    """How many decode so many lines."""
    return sum(group.size for group in replicas.groups(model, rows_of(batch, lines), beams))


def rows_of(batch: int, lines: int) -> int:
    """The rows of a batch for so many lines: fewer than asked for where there are few."""
    return min(batch, 1 << max(0, lines - 1).bit_length())


def _encoded(lines: Sequence[str], vocabulary: Vocabulary) -> list[tuple[int, list[int]]]:
    """The ids of each line that is not empty."""
    return [(index, vocabulary.encode(line)) for index, line in enumerate(lines) if line.strip()]


def _answers(
    requests: Sequence[pool.Request],
    longest: int,
    batch: int,
    model: Model,
    parameters: Parameters,
    search: Callable[[int], Search],
    inputs: Callable[[int, Sequence[Sequence[int]]], Any],
) -> Iterator[tuple[int, pool.Answer]]:
    """Serves every request in the smallest bucket that holds it: the bucket and the answer.

    One that is not over is served again, in the next bucket.
    """
    rows = rows_of(batch, len(requests))
    for start in range(0, len(requests), WINDOW * rows):
        waiting = list(requests[start : start + WINDOW * rows])
        for bucket in buckets(longest):
            here = sorted((each for each in waiting if len(each.tokens) <= bucket), key=lambda each: -len(each.tokens))
            if not here:
                continue
            waiting = [each for each in waiting if len(each.tokens) > bucket]
            by_index = {each.index: each for each in here}
            for answer in pool.serve(model, search(bucket), parameters, functools.partial(inputs, bucket), here, rows):
                if not answer.over:
                    waiting.append(by_index[answer.index])
                yield bucket, answer


def _in_order(
    count: int,
    requests: Sequence[pool.Request],
    answers: Iterator[tuple[int, pool.Answer]],
    vocabulary: Vocabulary,
    on_progress: Callable[[int], None],
    on_text: Callable[[str], None],
    alternatives: int,
) -> tuple[list[str], int, int]:
    """The texts of `count` lines, those without a request empty; the number of their tokens, and of buckets used."""
    texts, missing, ready = [""] * count, {each.index for each in requests}, 0
    tokens, used = 0, set()

    def hand_on() -> None:
        nonlocal ready
        while ready < count and ready not in missing:
            on_text(texts[ready])
            ready += 1

    hand_on()
    for bucket, answer in answers:
        used.add(bucket)
        if not answer.over:
            continue
        found = [(score, vocabulary.decode(ids)) for score, ids in answer.outputs[:alternatives]]
        texts[answer.index] = found[0][1] if alternatives == 1 else "\t".join(f"{at:.3f} {text}" for at, text in found)
        tokens += sum(token != PAD for token in answer.outputs[0][1])
        missing.remove(answer.index)
        on_progress(count - len(missing))
        hand_on()
    return texts, tokens, len(used)
