"""The quality of a trained run on a split, as records: BLEU and chrF of its translations, perplexity of its scores."""

import dataclasses
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from mqa_jax import progress, records, sharding, workdir
from mqa_jax.batch import Batch
from mqa_jax.data import pipeline, text
from mqa_jax.data.corpus import Split
from mqa_jax.decode import generate
from mqa_jax.evaluate import bleu, sentences, stepwise
from mqa_jax.evaluate.perplexity import perplexity
from mqa_jax.experiment import MeshConfig
from mqa_jax.train.step import nll_of_rows
from mqa_jax.train.trained import Trained

OWN = "the run's corpus"  # where a split is from that the run was made of
EXAMPLES = 3  # lines that a quality record holds, for a person to see


def translation_quality(run: Trained, split: Split, name: str, beam: int, origin: str = OWN) -> dict[str, Any]:
    """Translates a split with the given beam and scores it on raw text; the `quality` record.

    The translations are kept in the run's folder as hypotheses/NAME-beamW.txt, one line for each source line, and the
    references beside them as references/NAME.txt, for sacreBLEU's own command line.
    """
    _check_own(run, split, name, origin)
    config = dataclasses.replace(run.experiment.decode, beam=beam)
    start = time.perf_counter()
    with progress.bar(f"translate {name} {run.experiment.variant} beam {beam}", len(split)) as bar:
        output = generate.translate(
            split.source, run.model, run.decoding_parameters(), run.vocabulary, config, bar.update
        )
    seconds = time.perf_counter() - start
    path = hypotheses_path(run.folder, f"{name}{_variation(run)}", beam)
    text.write_lines(path, output.texts)
    references = run.folder / "references" / f"{name}.txt"
    if not references.exists() or text.read_lines(references) != list(split.target):
        text.write_lines(references, split.target)
    figures = {
        "split": _split(run, name),
        "split_from": origin,
        "beam": beam,
        "alpha": config.alpha,
        **output.speed(seconds),
        "checkpoints": list(run.steps),
        "hypotheses": str(path.relative_to(run.folder)),
        "examples": [
            {"line": n + 1, "source": split.source[n], "reference": split.target[n], "output": output.texts[n]}
            for n in sorted({len(split) * part // EXAMPLES for part in range(EXAMPLES)})
        ],
        "references": str(references.relative_to(run.folder)),
    } | bleu.score(output.texts, split.target)
    record, label = (
        records.make("quality", run.experiment, figures, output.devices),
        f"{name}{_variation(run)}-beam{beam}",
    )
    sentences.write(run.folder, f"quality-{label}", sentences.bleu_counts(output.texts, split.target))
    records.write(run.folder / "records", record, label)
    return record


def perplexity_of(run: Trained, split: Split, name: str, origin: str = OWN) -> dict[str, Any]:
    """Perplexity of a split per token and, where no target is cut, per original word; the `perplexity` record."""
    _check_own(run, split, name, origin)
    tensor = run.model.tensor
    here = jax.local_devices() if tensor > 1 else sharding.training_devices(local=True)
    mesh = sharding.make_mesh(MeshConfig(tensor=tensor), here)
    whole, rows = _nll_over(run, mesh), run.experiment.decode.batch
    stepped = run.decoding_parameters() if _in_other_types(run) else None
    data = dataclasses.replace(run.experiment.data, packed_scoring=run.experiment.data.packed_scoring and not stepped)
    batches = pipeline.scoring_batches(split, run.vocabulary, data, rows)
    pairs_cut, tokens_cut = pipeline.lost_in_scoring(split, run.vocabulary, data)

    found = []
    for batch in batches:
        there = (tokens_B := (batch.target.segments_BL > 0).sum(1)) > 0
        whole_B = np.asarray(whole(batch))
        nll_B = np.asarray(stepwise.nll_of_rows(run.model, stepped, batch)) if stepped else whole_B
        found.append(np.stack([nll_B, whole_B, tokens_B], axis=1)[there])
    nll_N, whole_N, tokens_N = np.concatenate(found or [np.zeros((0, 3))]).T
    figures = {
        "split": _split(run, name),
        "split_from": origin,
        "checkpoints": list(run.steps),
        "packed": data.packed_scoring,
        "pairs_cut": pairs_cut,
    }
    figures |= perplexity(nll_N, tokens_N, split.target, tokens_cut)
    if stepped:
        figures["nll_lost_per_token"] = float((nll_N - whole_N).sum() / tokens_N.sum())
    record, label = records.make("perplexity", run.experiment, figures, mesh.size), f"{name}{_variation(run)}"
    sentences.write(run.folder, f"perplexity-{label}", np.stack([nll_N, tokens_N], axis=1))
    records.write(run.folder / "records", record, label)
    return record


def _nll_over(run: Trained, mesh: Mesh) -> Callable[[Batch], jax.Array]:
    """What scores the rows of a batch, which the mesh's devices share, and its parameters those along `tensor`."""
    if mesh.size == 1:
        return lambda batch: nll_of_rows(run.model, run.parameters, batch)
    model, rows = dataclasses.replace(run.model, mesh=mesh), run.experiment.decode.batch
    where = sharding.parameter_shardings(model.axes(), run.parameters, mesh)
    parameters = jax.device_put(run.parameters, where)
    return lambda batch: nll_of_rows(model, parameters, sharding.place(batch, mesh, rows, range(rows)), mesh)


def _check_own(run: Trained, split: Split, name: str, origin: str) -> None:
    if origin == OWN:
        workdir.refuse_unlike(run.folder, workdir.fingerprint(run.folder), {name: split.digest()})


def _in_other_types(run: Trained) -> str:
    """The types of weights and cache where they are not the model's own."""
    model = run.experiment.model
    return model.decoding_types if model.weight_dtype or model.cache_dtype else ""


def _variation(run: Trained) -> str:
    """What tells the files of averaged checkpoints, or of other types, from those of the newest in the model's own."""
    averaged = f"average{len(run.steps)}" if len(run.steps) > 1 else ""
    return "".join(f"-{each}" for each in (averaged, _in_other_types(run)) if each)


def _split(run: Trained, name: str) -> str:
    """What a record calls the split: scores in other types than the model's own are not to be mixed with them."""
    return ", ".join(filter(None, (name, _in_other_types(run))))


def hypotheses_path(folder: pathlib.Path, split: str, beam: int) -> pathlib.Path:
    """Where the translations of a split are kept."""
    return folder / "hypotheses" / f"{split}-beam{beam}.txt"


def read_hypotheses(folder: pathlib.Path, split: str, beam: int) -> list[str]:
    """The translations that `translation_quality` kept."""
    return text.read_lines(hypotheses_path(folder, split, beam))


def words(record: Mapping[str, Any]) -> str:
    """A record of this module for a person to read, in one line."""
    steps = record["checkpoints"]
    step = f"step {steps[-1]:,}" if len(steps) == 1 else f"mean of {len(steps)} checkpoints to step {steps[-1]:,}"
    rest = [f"{record['sentences']:,} sentences of {record['split']}", step]
    if record["kind"] == "quality":
        scores = [f"BLEU {record['bleu_intl']:.2f} intl", f"{record['bleu_13a']:.2f} 13a", f"chrF {record['chrf']:.1f}"]
        rest.insert(1, f"beam {record['beam']}" if record["beam"] > 1 else "greedy")
    else:
        scores = [f"perplexity {record['perplexity_per_token']:,.2f} a token"]
        if record["perplexity_per_word"] is not None:
            scores.append(f"{record['perplexity_per_word']:,.2f} a word")
        if record["packed"]:
            rest.append("in packed rows")
        if "nll_lost_per_token" in record:
            scores.append(f"{record['nll_lost_per_token']:+.4f} nats a token by the types")
        if record["pairs_cut"]:
            rest.append(f"{record['pairs_cut']:,} of them cut")
    return ", ".join([*scores, *rest])
