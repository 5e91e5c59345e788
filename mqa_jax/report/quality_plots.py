"""Plots of quality and of training, from records: quality against decoder time, and the learning curves.

Each function returns a `Figure`, or None where there is nothing to draw.
"""

import math

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from mqa_jax.report import canvas, labels
from mqa_jax.report.selection import Sample, Selection, drawable, sample


@canvas.styled
def quality_against_time(runs: Selection) -> Figure | None:
    """Test BLEU (or perplexity per word) of each variant against its decoder time; beams of one variant are joined."""
    if not runs:
        return None
    translation = runs.task == "translation"
    points = {}
    for variant in runs.variants:
        for beam in runs.beams if translation else [1]:
            time = sample(runs.headline(variant, beam), "decoder_us_per_token").mean
            quality = _quality(runs, variant, beam)
            if all(value is not None and math.isfinite(value) for value in (time, quality.mean)):
                points[variant, beam] = time, quality
    if not points:
        return None
    figure, (axes,) = canvas.figure_of(4.6, right=0.35)
    texts = []
    for variant in runs.variants:
        color, marker = canvas.look(runs, variant)
        own = [(beam, *points[variant, beam]) for beam in runs.beams if (variant, beam) in points]
        times, means = [time for _, time, _ in own], [quality.mean for _, _, quality in own]
        if len(own) > 1:
            axes.plot(times, means, color=color, linewidth=1, alpha=0.4, label=f"_{variant}")
        for beam, time, quality in own:
            face = color if beam == 1 else "white"
            axes.errorbar(
                time,
                quality.mean,
                yerr=quality.sd,
                color=color,
                marker=marker,
                mfc=face,
                mew=1.6,
                capsize=3,
                elinewidth=1,
            )
        if own:
            texts.append((times[0], means[0], variant, color))
    everything = [time for time, _ in points.values()]
    canvas.log_axis(axes, "x", everything)
    axes.margins(y=0.2)
    axes.set_xlabel("decoder time, µs per output token (log scale)")
    axes.set_ylabel("test BLEU (sacreBLEU, intl)" if translation else "test perplexity per word (lower is better)")
    beams = sorted({beam for _, beam in points})
    key = f"filled: greedy, open: beam {beams[-1]}\n" if len(beams) > 1 else ""
    if any(quality.sd for _, quality in points.values()):
        key = f"bars: standard deviation over seeds; {key}"
    what = "Test BLEU" if translation else "Test perplexity per word"
    canvas.title(
        axes,
        f"{what} against decoder time",
        key + canvas.conditions(runs, [r for v in runs.variants for r in runs.headline(v, 1)]),
    )
    labels.beside_points(axes, texts)
    return figure


@canvas.styled
def learning_curves(runs: Selection) -> Figure | None:
    """Training loss and dev negative log-likelihood against steps, one line a seed."""
    panels = (("loss", "training loss"), ("dev_nll_per_token", "dev NLL"))
    lines = {
        field: [
            (record["variant"], points)
            for variant in runs.variants
            for record in runs.of("train", variant)
            if (points := drawable([(point["step"], point.get(field)) for point in record["curve"]]))
        ]
        for field, _ in panels
    }
    drawn = [(field, label) for field, label in panels if lines[field]]
    if not drawn:
        return None
    figure, all_axes = canvas.figure_of(4.2, panels=len(drawn), right=canvas.room(runs.variants))
    what = " and ".join(label for _, label in drawn)
    canvas.title(all_axes[0], f"{what[0].upper()}{what[1:]} against training steps", _counted(runs))
    for axes, (field, label) in zip(all_axes, drawn, strict=True):
        ends = {}
        for variant, points in lines[field]:
            color, marker = canvas.look(runs, variant)
            dots = marker if len(points) <= 12 else ""
            axes.plot(*zip(*points, strict=True), color=color, linewidth=1.2, marker=dots, markersize=4, label=variant)
            ends.setdefault(variant, (*points[-1], variant, color))
        axes.set_xlim(0, runs.records[0]["config"]["train"]["steps"] * 1.02)
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10], integer=True))
        axes.xaxis.set_major_formatter(
            FuncFormatter(lambda value, _: f"{value / 1000:g}k" if value >= 10_000 else f"{value:,.0f}")
        )
        canvas.log_axis(axes, "y", [loss for _, points in lines[field] for _, loss in points], pad=1.04)
        axes.set_xlabel("training steps")
        axes.set_ylabel(f"{label}, nats per token (log scale)")
    labels.beside_ends(all_axes[-1], list(ends.values()))
    return figure


def _quality(runs: Selection, variant: str, beam: int) -> Sample:
    if runs.task == "language":
        return sample(runs.of("perplexity", variant, split="test"), "perplexity_per_word")
    return sample(runs.of("quality", variant, split="test", beam=beam), "bleu_intl")


def _counted(runs: Selection) -> str:
    """What the training loss has that the dev figure has not."""
    train = runs.records[0]["config"]["train"]
    extra = [name for name in ("label_smoothing", "z_loss") if train[name]]
    return f"training loss counts {' and '.join(extra).replace('_', ' ')}, dev NLL does not" if extra else runs.name
