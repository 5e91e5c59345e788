"""The data pipeline by itself, with no model behind it: tokens a second, time to the first batch, memory, padding."""

import os
import statistics
import time
from typing import Any

import numpy as np

from mqa_jax import progress, records
from mqa_jax.data import pipeline
from mqa_jax.data.corpus import Corpus
from mqa_jax.data.vocabulary import Vocabulary
from mqa_jax.decode import generate
from mqa_jax.experiment import Experiment
from mqa_jax.kernels import host

POD = 32 * 75_000  # tokens/s; the paper's 100k steps of 65,536 tokens in 2 hours on 32 TPUv3 cores are 910,000


def time_data(experiment: Experiment, corpus: Corpus, vocabulary: Vocabulary, rounds: int) -> dict[str, Any]:
    """The `data` record: `rounds` rounds that together are an epoch or more, at least a second each.

    Tokens are those of both sides without padding; an epoch's are all that are trained on. Memory growth is from the
    first batch to the end of the last round.
    """
    start = time.perf_counter()
    iterator = pipeline.training_iterator(corpus.train, vocabulary, experiment.data, experiment.seed)
    rows = len(next(iterator).inputs_BL)
    first_batch_s = time.perf_counter() - start
    memory = _resident_mb()
    epoch = iterator.epoch_tokens
    real = total = 0
    speeds = []
    with progress.bar("read", rounds) as bar:
        for done in range(1, rounds + 1):
            begin, tokens = time.perf_counter(), 0
            while time.perf_counter() - begin < 1 or tokens < epoch / rounds:
                held, places = pipeline.filled(next(iterator))
                tokens, total = tokens + held, total + places
            real += tokens
            speeds.append(tokens / (time.perf_counter() - begin))
            bar.update(done, f"{speeds[-1]:,.0f} tokens/s")
    speed = statistics.median(speeds)
    scoring = pipeline.scoring_batches(corpus.splits["dev"], vocabulary, experiment.data, experiment.decode.batch)
    held, places = np.sum([pipeline.filled(batch) for batch in scoring], axis=0)
    figures = {
        "read_as": "ids" if corpus.prepared else "text",
        "corpus": corpus.description,
        "cores": host.cores(),
        "examples": len(corpus.train),
        "epoch_tokens": epoch,
        "epochs": real / epoch,
        "rows": rows,
        "first_batch_s": first_batch_s,
        "tokens_per_s": speed,
        "tokens_per_s_spread": [min(speeds), max(speeds)],
        "packing_share": real / total,
        "memory_mb": memory,
        "memory_growth_mb": _resident_mb() - memory,
        "scoring_padding": float(1 - held / places),
        "decode_padding": _decode_padding(corpus, vocabulary, experiment),
        "pod_share": speed / POD,
    }
    return records.make("data", experiment, figures)


def text(record: dict[str, Any]) -> str:
    """The record for a person to read."""
    low, high = record["tokens_per_s_spread"]
    decode = record["decode_padding"]
    padding = f"scoring {record['scoring_padding']:.1%}" + (f", of decoding {decode:.1%}" if decode is not None else "")
    return (
        f"{record['read_as']}, {record['cores']} cores: {record['tokens_per_s']:,.0f} tokens/s "
        f"({low:,.0f} to {high:,.0f}), {record['epochs']:.1f} epochs of {record['epoch_tokens']:,} tokens\n"
        f"first batch after {record['first_batch_s']:.2f} s; memory {record['memory_mb']:,.0f} MB, "
        f"{record['memory_growth_mb']:+.0f} MB after that\n"
        f"{record['packing_share']:.1%} of the positions hold a token; padding of {padding}\n"
        f"32 TPU cores at 75,000 tokens/s take {1 / record['pod_share']:.1f} such processes"
    )


def _decode_padding(corpus: Corpus, vocabulary: Vocabulary, experiment: Experiment) -> float | None:
    """Share of padding in the test sources as `decode.generate` buckets them; None for a language model."""
    if experiment.task == "language":
        return None
    longest = experiment.model.positions
    sizes = [min(len(ids) + 1, longest) for ids in vocabulary.encode_all(corpus.splits["test"].source)]
    padded = [min(bucket for bucket in generate.buckets(longest) if bucket >= size) for size in sizes]
    return 1 - sum(sizes) / sum(padded)


def _resident_mb() -> float:
    """Memory that this process holds now, in MiB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
