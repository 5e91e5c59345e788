"""The dev set during training: its loss, and the losses so far."""

import pathlib

import numpy as np
from jax.sharding import Mesh

from mqa_jax import sharding
from mqa_jax.data import pipeline
from mqa_jax.data.sources import Corpus
from mqa_jax.data.vocabulary import Vocabulary
from mqa_jax.experiment import Experiment
from mqa_jax.model.build import Model, Parameters
from mqa_jax.train import metrics
from mqa_jax.train.interrupt import Stop
from mqa_jax.train.step import score


def dev_loss(
    model: Model,
    parameters: Parameters,
    corpus: Corpus,
    vocabulary: Vocabulary,
    experiment: Experiment,
    mesh: Mesh,
    stop: Stop | None = None,
) -> float | None:
    """Negative log-likelihood per token of the dev set, without smoothing or dropout; each line once, in the process
    whose device it lies on.

    None if a stop cut it short.
    """
    totals = np.zeros(2)
    rows = experiment.decode.batch
    own = sharding.own_rows(rows, mesh)
    batches = pipeline.scoring_batches(corpus.splits["dev"], vocabulary, experiment.data, rows, own)
    for batch in batches:
        if stop and stop.agreed():
            return None
        sums = score(model, parameters, sharding.place(batch, mesh, rows, own), mesh)
        totals += [float(sums.nll), float(sums.tokens)]
    return float(totals[0] / totals[1])


def dev_losses(folder: pathlib.Path) -> dict[int, float]:
    """The dev losses of a run so far, by step."""
    lines = metrics.read(folder)
    return {int(line["step"]): line["dev_nll_per_token"] for line in lines if "dev_nll_per_token" in line}
