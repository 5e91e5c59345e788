"""What the heads of a trained model look at, and how much room their keys and values take: the `attention` record."""

import dataclasses
import functools
import operator
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from mqa_jax import progress, records
from mqa_jax.attention.config import in_turn
from mqa_jax.batch import Batch
from mqa_jax.data import pipeline
from mqa_jax.data.corpus import Split
from mqa_jax.evaluate.patterns import Patterns
from mqa_jax.evaluate.rank import Moments
from mqa_jax.kernels import whole
from mqa_jax.model import tap
from mqa_jax.model.build import Model, Parameters
from mqa_jax.model.tap import Seen
from mqa_jax.train.trained import Trained

TOKENS = 2048  # of a side of a batch, about
MAP = 12  # tokens of the sentence whose maps are kept: as many as can be seen in a small picture
LONGEST_MAP = 24


class Sums(NamedTuple):
    """What one attention showed; sums over tokens.

    Attributes:
      spaces: of its keys, its values, and each of the rows that a cache keeps, by name.
    """

    patterns: Patterns
    spaces: dict[str, Moments]

    @classmethod
    def of(cls, seen: Seen) -> "Sums":
        """Those of a batch. Padding counts neither as query nor as key."""
        real_BL, real_BM = (np.asarray(each) > 0 for each in seen.sight[:2])
        p_NHM = np.swapaxes(probabilities(seen), 1, 2)[real_BL]
        visible_N = np.asarray(seen.sight.mask_BLM).sum(axis=-1)[real_BL]
        spaces = seen.rows | {"keys": seen.k_BMGK, "values": seen.v_BMGV}
        moments = {name: Moments.of(np.asarray(each)[real_BM]) for name, each in spaces.items()}
        return cls(Patterns.of(p_NHM, visible_N), moments)


def inspect(run: Trained, split: Split, name: str) -> dict[str, Any]:
    """The `attention` record of a run on a split that is called so, each line alone in a row."""
    experiment = run.experiment
    data = dataclasses.replace(experiment.data, packed_scoring=False)
    rows = max(1, TOKENS // max(pipeline.limits(split, data).values()))
    batches = list(pipeline.scoring_batches(split, run.vocabulary, data, rows))
    sums = None
    with progress.bar(f"inspect {run.folder.name}", len(batches)) as bar:
        for number, batch in enumerate(batches, 1):
            found = forward(run.model, run.parameters, batch)
            own = {site: [Sums.of(each) for each in layers] for site, layers in found.items()}
            sums = own if sums is None else jax.tree.map(operator.add, sums, own)
            bar.update(number)
    assert sums is not None, "a split has lines"
    there = [site for site in tap.SITES if site in sums]  # in their order: JAX sorts what it gives back by name
    layers = [_layer(site, n, each) for site in there for n, each in enumerate(sums[site])]
    figures = {
        "run": run.folder.name,
        "split": name,
        "sentences": len(split),
        "checkpoints": list(run.steps),
        **{f"{site}_{key}": value for site in there for key, value in _means(layers, site).items()},
        **{f"{site}_attention": text for site, text in _described(run.model).items()},
        "layers": layers,
        "maps": dict(_maps(run, split, data)),
    }
    return records.make("attention", experiment, figures, 1)


@functools.partial(jax.jit, static_argnums=0)
def forward(model: Model, parameters: Parameters, batch: Batch) -> dict[str, list[Seen]]:
    """What each attention is given: `tap.seen`."""
    return tap.seen(model.bind(parameters), batch)


def probabilities(seen: Seen) -> np.ndarray:
    """p_BHLM, float64: where each head looks."""
    weights_BGRLM = np.asarray(_weights(seen.q_BLHK, seen.k_BMGK, seen.sight.mask_BLM), np.float64)
    B, _, _, L, M = weights_BGRLM.shape
    return weights_BGRLM.reshape(B, -1, L, M)


_weights = jax.jit(whole.weights)  # one attention's at a time: those of all layers would fill the memory


def _layer(site: str, layer: int, sums: Sums) -> dict[str, Any]:
    """The figures of one attention, as the record has them."""
    patterns, spaces = sums.patterns, {}
    for name, moments in sums.spaces.items():
        (rank, heads), (G, X) = moments.ranks(), moments.sum_GX.shape
        spaces[name] = {"rank": rank, "dimensions": G * X, "rank_by_head": heads, "head_dimensions": X}
    return {
        "site": site,
        "layer": layer,
        "entropy": (patterns.entropy_H / patterns.queries).tolist(),
        "uniform_entropy": patterns.uniform / patterns.queries,
        "normalised_entropy": (patterns.share_H / patterns.several).tolist() if patterns.several else None,
        "divergence": patterns.divergence / patterns.queries if len(patterns.entropy_H) > 1 else None,
        "spaces": spaces,
    }


def _means(layers: list[dict[str, Any]], site: str) -> dict[str, float]:
    """The figures of a site, on average over its layers and heads."""
    found: dict[str, list[float]] = {}
    for each in (each for each in layers if each["site"] == site):
        for key in ("entropy", "uniform_entropy", "normalised_entropy", "divergence"):
            if each[key] is not None:
                found.setdefault(key, []).append(float(np.mean(each[key])))
        for name, space in each["spaces"].items():
            for key, value in space.items():
                found.setdefault(f"{name}_{key}", []).append(float(np.mean(value)))
    return {key: float(np.mean(values)) for key, values in found.items()}


def _described(model: Model) -> dict[str, str]:
    """The attention of each site in words."""
    config = model.config
    cycles = {"encoder": config.encoder and config.encoder.attention, "decoder": config.decoder.attention}
    return {site: in_turn(each) for site, each in (cycles | {"cross": config.decoder.cross}).items() if each}


def _maps(run: Trained, split: Split, data: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """By site: where the heads of the last layer look in a sentence of about `MAP` tokens, to three decimals."""
    lengths = np.array([len(ids) + 1 for ids in run.vocabulary.encode_all(split.target)])
    number = int(np.abs(lengths - MAP).argmin())
    line = Split(split.source[number : number + 1], split.target[number : number + 1])
    limits = {f"{side}_length": min(limit, LONGEST_MAP) for side, limit in pipeline.limits(line, data).items()}
    batch = next(pipeline.scoring_batches(line, run.vocabulary, dataclasses.replace(data, **limits), 1))
    read = {"decoder": (batch.inputs_BL, batch.target.segments_BL)}
    if batch.source is not None:
        read["encoder"] = batch.source.tokens_BL, batch.source.segments_BL
    tokens = {side: [run.vocabulary.piece(int(t)) for t in ids[real > 0]] for side, (ids, real) in read.items()}
    for site, layers in forward(run.model, run.parameters, batch).items():
        queries, memory = ("decoder", "encoder") if site == "cross" else (site, site)
        p_HLM = probabilities(layers[-1])[0, :, : len(tokens[queries]), : len(tokens[memory])]
        yield (
            site,
            {
                "layer": len(layers) - 1,
                "queries": tokens[queries],
                "memory": tokens[memory],
                "weights": p_HLM.round(3).tolist(),
            },
        )
