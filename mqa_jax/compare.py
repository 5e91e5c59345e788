"""One task, many attention types: train what is missing, evaluate, time in turn, test for significance, report.

Every stage leaves JSON records and is passed over by a later run that finds them, so a stopped comparison
goes on where it was. Several processes may be started on one folder, on one machine or many: each takes runs that
nobody holds, and the last one times and reports. Processes that joined each other (processes.py) are one such start:
they train together, and the first evaluates, times and reports on its own devices. All runs share one corpus, one
vocabulary and one parameter budget; runs of a seed see the same batches in the same order.

    FOLDER/vocabulary.model   VARIANT-sSEED/{checkpoints,hypotheses,records}   records/   report.md  report.html
"""

import dataclasses
import pathlib
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from mqa_jax import processes, progress, records, workdir, workers
from mqa_jax.data import sources, test_sets
from mqa_jax.data import vocabulary as vocabularies
from mqa_jax.data.corpus import Corpus, Split
from mqa_jax.evaluate import quality, sentences
from mqa_jax.evaluate import seeds as over_seeds
from mqa_jax.evaluate.significance import paired_bootstrap
from mqa_jax.experiment import Experiment
from mqa_jax.kernels import host
from mqa_jax.model.build import build, count
from mqa_jax.report import context, page
from mqa_jax.timing import memory, sweep
from mqa_jax.timing.decode import Workload
from mqa_jax.train import teacher, trained
from mqa_jax.train.loop import train

Record = dict[str, Any]

# The parts of an experiment that make a record of each kind out of date when they change.
DEPENDS_ON = {
    "train": ("model", "data", "train", "seed"),
    "quality": ("model", "data", "train", "seed", "decode"),
    "perplexity": ("model", "data", "train", "seed"),
    "timing": ("model", "timing"),
}


def compare(
    experiments: Sequence[Experiment], seeds: Sequence[int], folder: pathlib.Path, rows: int | None = None
) -> list[Record]:
    """Compares variants of one task; `experiments` holds one for each variant, the baseline first.

    Args:
      rows: train and evaluate at most so many runs; time and report nothing.
    Returns:
      All records of the comparison; none in other processes than the first. The report is written to `folder`.
    Raises:
      InputError: bad data, or a folder of another experiment.
    """
    first = experiments[0]
    processes.together(lambda: _check_memory(experiments))
    if processes.is_first():
        parameters = {each.variant: count(build(each.model).shapes()) for each in experiments}
        for text in context.unequal_budgets(parameters):
            progress.say(f"note: {text}")
        progress.say(f"comparing {', '.join(each.variant for each in experiments)} on {first.name} in {folder}")
    corpus = processes.together(lambda: sources.load(first.data, first.task))
    with workers.held(folder / "vocabulary.lock", wait=True):  # nor is anything fetched twice at once
        tests = processes.first_alone(lambda: _tests(first, corpus)) or {}
        obtain = lambda: vocabularies.obtain(first.data, corpus, vocabularies.path_in(folder))  # noqa: E731
        vocabulary = processes.first_then_others(obtain)
    runs = {
        folder / f"{each.variant}-s{seed}": dataclasses.replace(each, seed=seed)
        for seed in seeds
        for each in experiments
    }

    def train_and_evaluate(run: pathlib.Path) -> bool:
        experiment = runs[run]

        def prepare() -> None:
            fingerprint = workdir.fingerprint_of(run, experiment, corpus.digests, vocabulary.fingerprint)
            workdir.refuse_another(run, experiment, fingerprint)
            shutil.copyfile(vocabulary.path, run / vocabulary.path.name)

        processes.first_alone(prepare)
        untrained = _missing(run, experiment, ["train"])
        if untrained:
            train(experiment, corpus, vocabulary, run)
        evaluated_now = _evaluate(experiment, run, corpus, tests)
        jax.clear_caches()  # the next run's programs are others
        host.give_back_freed_memory()
        return bool(untrained) or evaluated_now

    def time_and_report() -> None:
        if first.task == "translation":
            for seed in seeds:
                _significance(experiments, seed, folder, *next(iter(tests.items())))
        _across_seeds(experiments, folder, next(iter(tests)))
        timed = [dataclasses.replace(each, seed=seeds[0]) for each in experiments]
        place = {each.variant: folder / f"{each.variant}-s{each.seed}" for each in timed}
        sweep.time_missing(timed, _workloads(first), place, first.timing.repeats, DEPENDS_ON["timing"])
        page.write(found(), folder, f"{first.name}: attention types compared", names)

    def found() -> list[Record]:
        return [record for record in records.read(folder) if record["variant"] in names]

    names = [each.variant for each in experiments]
    workers.share(list(runs), train_and_evaluate, rows)
    if rows is None:
        with workers.held(folder / "report.lock", wait=True):
            processes.first_alone(time_and_report)
    return found() if processes.is_first() else []


def _check_memory(experiments: Sequence[Experiment]) -> None:
    for each in experiments:
        memory.check_training(each, teacher.check(each))
        for workload in _workloads(experiments[0]):
            workload.check(each, "config.timing.batch")


def _tests(experiment: Experiment, corpus: Corpus) -> dict[str, tuple[Split, str]]:
    """The texts that translations are judged by, by the names that records give them, and where each is from."""
    asked_by, names = "config.decode.test_sets", experiment.decode.test_sets
    named = {name.replace("/", "-"): test_sets.load(name, asked_by=asked_by) for name in names}
    return named or {"test": (corpus.splits["test"], quality.OWN)}


def _evaluate(
    experiment: Experiment, folder: pathlib.Path, corpus: Corpus, tests: Mapping[str, tuple[Split, str]]
) -> bool:
    """Whether there was anything that was not scored yet."""
    scores: dict[str, Callable[[trained.Trained], Record]] = {
        f"perplexity-{split}": lambda run, s=split: quality.perplexity_of(run, corpus.splits[s], s)
        for split in ("dev", "test")
    }
    if experiment.task == "translation":
        texts = {"dev": (corpus.splits["dev"], quality.OWN), **tests}
        for name, beam in [("dev", 1), *((name, beam) for name in tests for beam in (1, experiment.decode.beam))]:
            scores[f"quality-{name}-beam{beam}"] = lambda run, n=name, b=beam: quality.translation_quality(
                run, texts[n][0], n, b, texts[n][1]
            )
    missing = _missing(folder, experiment, scores)
    if missing:
        run = trained.load(folder)  # in every process: each has written a part of the checkpoint
        processes.first_alone(lambda: [scores[name](run) for name in missing])
    return bool(missing)


def _significance(
    experiments: Sequence[Experiment], seed: int, folder: pathlib.Path, name: str, test: tuple[Split, str]
) -> None:
    """Paired bootstrap of the translations of a test text, of one seed, against the first variant's."""
    beam, baseline = experiments[0].decode.beam, dataclasses.replace(experiments[0], seed=seed)
    places = [quality.hypotheses_path(folder / f"{each.variant}-s{seed}", name, beam) for each in experiments]
    if gone := [str(path) for path in places if not path.exists()]:
        progress.say(f"no paired bootstrap of seed {seed}: {gone[0]} is gone")  # records alone were kept
        return
    systems = {
        each.variant: quality.read_hypotheses(folder / f"{each.variant}-s{seed}", name, beam) for each in experiments
    }
    if len(systems) < 2:
        return
    figures = {"split": name, "beam": beam, "baseline": baseline.variant} | paired_bootstrap(systems, test[0].target)
    records.write(folder / "records", records.make("significance", baseline, figures), f"s{seed}")


def _across_seeds(experiments: Sequence[Experiment], folder: pathlib.Path, name: str) -> None:
    """Tests each variant against the first over all seeds that the folder holds: nats a token, BLEU of a test text."""
    first = experiments[0]
    files: dict[str, tuple[Record, sentences.Figure]] = {
        "perplexity-test": ({"metric": "nats a token", "split": "test"}, sentences.nats)
    }
    if first.task == "translation":
        beam = first.decode.beam
        files[f"quality-{name}-beam{beam}"] = ({"metric": "BLEU intl", "split": name, "beam": beam}, sentences.bleu)
    for file, (about, figure) in files.items() if len(experiments) > 1 else ():
        counts = {each.variant: _sentences(folder, each, file) for each in experiments}
        if max(map(len, counts.values())) < 2:
            continue
        if lacking := [variant for variant, of_runs in counts.items() if not of_runs]:
            progress.say(f"no test of {about['metric']} over seeds: {lacking[0]} has no sentences/{file}.json")
            continue
        figures = about | {"baseline": first.variant, "rows": over_seeds.compare(counts, figure)}
        records.write(folder / "records", records.make("seeds", first, figures), file)


def _sentences(folder: pathlib.Path, experiment: Experiment, file: str) -> list[np.ndarray]:
    """The `sentences` of all runs of a variant that `folder` holds, of whatever seed, if they are of this config."""
    found = []
    for run in sorted(folder.glob(f"{experiment.variant}-s*")):
        seed = run.name.removeprefix(f"{experiment.variant}-s")
        if seed.isdecimal():
            own = dataclasses.replace(experiment, seed=int(seed))
            if records.is_there(run / "records", file, own, DEPENDS_ON[file.partition("-")[0]]):
                found.append(sentences.read(run, file))
    return [each for each in found if each is not None]


def _workloads(experiment: Experiment) -> list[Workload]:
    """Every beam at the config's lengths, and every length greedily."""
    config, translation = experiment.timing, experiment.task == "translation"
    sizes = [(beam, config.source_length, config.target_length) for beam in config.beams]
    sizes += [(1, length if translation else config.source_length, length) for length in config.lengths]
    return [Workload(config.batch, *each, padded_cache=True) for each in dict.fromkeys(sizes)]


def _missing(folder: pathlib.Path, experiment: Experiment, names: Iterable[str]) -> list[str]:
    """Which records are not there yet, as the first process finds them."""

    def look() -> list[str]:
        missing = []
        for name in names:
            if records.is_there(folder / "records", name, experiment, DEPENDS_ON[name.partition("-")[0]]):
                progress.say(f"{experiment.variant} seed {experiment.seed}: {name} is there")
            else:
                missing.append(name)
        return missing

    return processes.told_by_first(look)
