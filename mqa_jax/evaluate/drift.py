"""How often decoding over a cache, in the types that it is fast in, takes another token than float32 without one."""

import dataclasses
import functools
import pathlib
from typing import Any

import jax
import numpy as np

from mqa_jax import progress, records
from mqa_jax.batch import Batch
from mqa_jax.data import pipeline
from mqa_jax.data.corpus import Split
from mqa_jax.decode import generate
from mqa_jax.evaluate import stepwise
from mqa_jax.kernels import largest
from mqa_jax.model.build import Model, Parameters
from mqa_jax.train import trained
from mqa_jax.train.trained import Trained

TOKENS = 2048  # of a side of a batch, about
EXACT = "float32"
# By name: the types of weights and activations, and of what is kept of past tokens.
TYPES = {
    "float32": (EXACT, EXACT),
    "bfloat16": ("bfloat16", "bfloat16"),
    "bfloat16, cache int8": ("bfloat16", "int8"),
    "weights int8, cache int8": ("int8", "int8"),
}


def drift(folder: pathlib.Path, split: Split, name: str) -> dict[str, Any]:
    """The `drift` record of the run in `folder` on a split that is called so, each line alone in a row.

    At every place of the given targets, with the target's own tokens before it, the likeliest token by a cached step
    in each of `TYPES` is set beside that of a whole float32 forward. A translation model also translates the lines
    greedily in each.
    """
    exact, figures = trained.load(folder, 1, EXACT, EXACT), []
    data = dataclasses.replace(exact.experiment.data, packed_scoring=False)
    rows = max(1, TOKENS // max(pipeline.limits(split, data).values()))
    batches = list(pipeline.scoring_batches(split, exact.vocabulary, data, rows))
    reals = [np.asarray(batch.target.segments_BL) > 0 for batch in batches]
    longest = max(int(real_BL.sum(1).max()) for real_BL in reals)
    total_P = np.sum([_by_place(real_BL, longest) for real_BL in reals], axis=0)
    wanted = [np.asarray(whole_choices(exact.model, exact.parameters, batch)) for batch in batches]
    texts = _texts(exact, split)
    with progress.bar(f"drift {folder.name}", len(TYPES)) as bar:
        for done, (types, (dtype, cache_dtype)) in enumerate(TYPES.items(), 1):
            run = trained.load(folder, 1, dtype, cache_dtype)
            parameters, changed_P = run.decoding_parameters(), np.zeros(longest, np.int64)
            for batch, want_BL, real_BL in zip(batches, wanted, reals, strict=True):
                got_BL = np.asarray(stepwise.choices_of_rows(run.model, parameters, batch))
                changed_P += _by_place((got_BL != want_BL) & real_BL, longest)
            own = _texts(run, split)
            other = sum(one != two for one, two in zip(own, texts, strict=True)) / len(texts) if texts else None
            share = float(changed_P.sum() / total_P.sum())
            figures.append({"types": types, "changed": share, "outputs": other, "changed_at": changed_P.tolist()})
            bar.update(done)
    about = {"run": folder.name, "split": name, "sentences": len(split), "checkpoints": list(exact.steps)}
    about |= {"tokens": int(total_P.sum()), "tokens_at": total_P.tolist(), "by_types": figures}
    return records.make("drift", exact.experiment, about, 1)


@functools.partial(jax.jit, static_argnums=0)
def whole_choices(model: Model, parameters: Parameters, batch: Batch) -> jax.Array:
    """`stepwise.choices_of_rows` of whole sequences, without a cache."""
    logits_BLV = model.bind(parameters)(batch)
    return largest.argmax(logits_BLV.reshape(-1, logits_BLV.shape[-1]).T, None).reshape(logits_BLV.shape[:2])


def _texts(run: Trained, split: Split) -> list[str]:
    """Greedy translations; a language model has none."""
    if run.experiment.task != "translation":
        return []
    config = dataclasses.replace(run.experiment.decode, beam=1)
    return generate.translate(split.source, run.model, run.decoding_parameters(), run.vocabulary, config).texts


def _by_place(found_BL: np.ndarray, length: int) -> np.ndarray:
    """How many rows have it at each place from the start, int [length]."""
    counts_L = found_BL.sum(axis=0)[:length]
    return np.pad(counts_L, (0, length - len(counts_L)))
