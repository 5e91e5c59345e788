"""What a model would lose and gain with fewer key/value heads: converted, trained on, scored, timed, reported.

The original is trained on too, on the same tokens: a conversion that sees text the original has not seen may win by the
text alone. Every stage leaves its result, and a later start goes on where an earlier one was.

    FOLDER/sources/{original,NAME}/   FOLDER/{original,NAME,NAME_taught}-s0/{checkpoints,records}   {report,heads}.html
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence

from mqa_jax import progress, records
from mqa_jax.compare import DEPENDS_ON, compare
from mqa_jax.data import sources
from mqa_jax.evaluate import quality
from mqa_jax.experiment import Experiment
from mqa_jax.interop import runs
from mqa_jax.interop.targets import Target
from mqa_jax.report import heads, page
from mqa_jax.timing import sweep
from mqa_jax.timing.decode import Workload
from mqa_jax.train import trained

TAUGHT = "_taught"  # after the name of a conversion that learns from the original


Conversion = tuple[Target, Sequence[str]]  # what attentions become, and at which sites; none: at all


def compare_heads(
    given: pathlib.Path,
    training: Callable[[pathlib.Path], Experiment],
    conversions: Mapping[str, Conversion],
    calibration: Sequence[str],
    contexts: Sequence[int],
    taught: bool,
    folder: pathlib.Path,
) -> pathlib.Path:
    """Compares a model with conversions of it.

    Args:
      given: a run's folder, or a model outside (`runs.imported`).
      training: how the run in a folder is trained on.
      conversions: by their names.
      calibration: files of text for those that take any.
      contexts: tokens in the cache, of which decoding is timed.
      taught: whether each conversion is trained on a second time, learning from the original too.
    Returns:
      The page with the picture.
    Raises:
      InputError: see `runs` and `compare.compare`; or what `training` raises.
    """
    from_runs = _made(given, conversions, calibration, folder / "sources")
    experiments = [dataclasses.replace(training(each), variant=name) for name, each in from_runs.items()]
    if taught:
        teacher = str(from_runs[heads.ORIGINAL].absolute())
        train = dataclasses.replace(experiments[0].train, teacher=teacher)
        experiments += [
            dataclasses.replace(each, variant=each.variant + TAUGHT, train=train) for each in experiments[1:]
        ]
    _score_untrained(experiments, folder)
    compare(experiments, [experiments[0].seed], folder)
    _time(experiments, contexts, folder)
    found, names = records.read(folder), [each.variant for each in experiments]
    title = f"{experiments[0].name}: fewer key/value heads"
    page.write([each for each in found if each["variant"] in names], folder, title, names)
    return heads.write(found, folder, title, names)


def _made(
    given: pathlib.Path, conversions: Mapping[str, Conversion], calibration: Sequence[str], folder: pathlib.Path
) -> dict[str, pathlib.Path]:
    """The runs that training starts from; those that are not there are made."""
    original = given
    if not (given / "experiment.json").exists():
        original = folder / heads.ORIGINAL
        if not original.exists():
            runs.imported(given, original)
    made = {heads.ORIGINAL: original}
    for name, (target, sites) in conversions.items():
        made[name] = folder / name
        if not made[name].exists():
            progress.say(f"converting {original} to {name}")
            runs.converted(original, made[name], target, name, sites, lines=calibration if target.takes_text else ())
    return made


def _score_untrained(experiments: Sequence[Experiment], folder: pathlib.Path) -> None:
    """The perplexity of dev of each run as it is before it is trained on."""
    corpus = sources.load(experiments[0].data, experiments[0].task)
    for each in experiments:
        place, parts = _place(folder, each), DEPENDS_ON["perplexity"]
        if records.is_there(place / "records", f"perplexity-{heads.BEFORE}", each, parts):
            progress.say(f"{each.variant}: perplexity before training is there")
            continue
        run = dataclasses.replace(trained.load(pathlib.Path(each.start)), folder=place, experiment=each)
        quality.perplexity_of(run, corpus.splits["dev"], heads.BEFORE, "dev, before training")


def _time(experiments: Sequence[Experiment], contexts: Sequence[int], folder: pathlib.Path) -> None:
    timing = experiments[0].timing
    workloads = [Workload(timing.batch, 1, context, timing.target_length, padded_cache=True) for context in contexts]
    place = {each.variant: _place(folder, each) for each in experiments}
    sweep.time_missing(experiments, workloads, place, timing.repeats, DEPENDS_ON["timing"])


def _place(folder: pathlib.Path, experiment: Experiment) -> pathlib.Path:
    return folder / f"{experiment.variant}-s{experiment.seed}"
