"""The plots of a comparison, from records. Each function gives a `Figure`, or None where there is nothing to draw.

Figures are made without pyplot: no window system, no global state. They are as wide as a phone's screen, so that their
text can be read there, and have no background: lines show on white and on black, and text takes the reader's colour.
"""

import io
import math
import pathlib
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from mqa_jax import files
from mqa_jax.report import cells
from mqa_jax.report.selection import Record, Selection, Series, over_seeds

# Okabe and Ito's colours and some between; each has a contrast of 3 to 1 with white and with a dark page.
COLORS = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B8860B", "#2E97B8", "#7A7A7A", "#A0526D", "#7F8C1F", "#7D6BD0"
MARKERS = "osD^vPX<>p"  # a second cue, for print without colour
DASHED = (0, (4, 3))
INK = "#010203"  # stands for the reader's text colour until a figure is written
_INKS = "svg{color:#1b1f24}@media(prefers-color-scheme:dark){svg{color:#e3e6ea}}"
_STYLE: dict[Any, Any] = {
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": INK,
    "grid.alpha": 0.15,
    "font.size": 11,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "legend.borderaxespad": 0.2,
    "legend.borderpad": 0,
    "figure.constrained_layout.use": True,
    "savefig.bbox": "tight",  # as large as all that is on it and around it
    "savefig.pad_inches": 0.05,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "mqa_jax",  # the same figure is the same file
}
WIDTH = 4.9  # inches of 72 points
LONGEST_IN_TWO_COLUMNS = 20  # characters of a name in a legend
_TIMES = "decoder_us_per_token", "floor_us_per_token"
styled = matplotlib.rc_context(_STYLE)


@styled
def quality_against_time(runs: Selection) -> Figure | None:
    """Test BLEU (or perplexity per word) of each variant against its decoder time; beams of one variant are joined."""
    if not runs:
        return None
    translation = runs.task == "translation"
    points: dict[str, dict[int, tuple[float, Series]]] = {}
    for variant in runs.variants:
        for beam in runs.beams if translation else [1]:
            time = over_seeds(runs.timed(variant, beam), "decoder_us_per_token").mean
            quality = runs.quality(variant, beam)
            if _drawable(time) and _drawable(quality.mean):
                points.setdefault(variant, {})[beam] = time, quality
    if not points:
        return None
    figure, (axes,) = panels_of(3.2)
    for variant, own in points.items():
        look = look_of(runs.variants, variant)
        joined = np.transpose([(time, quality.mean) for time, quality in own.values()])
        axes.plot(*joined, color=look["color"], alpha=0.4)
        for beam, (time, quality) in own.items():
            style = look | {"mfc": look["color"] if beam == 1 else "none", "linestyle": "", "capsize": 3}
            axes.errorbar(time, quality.mean, quality.sd, **style, label=variant if beam == min(own) else None)
    axes.margins(0.15)
    log_axis(axes, "x")
    axes.set(
        xlabel="decoder time, µs an output token (log)",
        ylabel=f"BLEU of {runs.test} (intl)" if translation else "test perplexity per word",
    )
    key = f"filled: greedy; open: beam {runs.beams[-1]}" if translation else ""
    if any(quality.sd for own in points.values() for _, quality in own.values()):
        key += "; bars: standard deviation over seeds"
    what = f"BLEU of {runs.test}" if translation else "Test perplexity (lower is better)"
    timed = [record for variant in points for record in runs.timed(variant)]
    return finished(figure, f"{what} against decoder time", key.strip("; "), _conditions(runs, timed))


@styled
def time_against_length(runs: Selection) -> Figure | None:
    """Greedy decoder time a token against the number of output tokens; each variant's floor is dashed."""
    timed = {variant: found for variant in runs.variants if len(found := runs.along("target_length", variant)) > 1}
    if not timed:
        return None
    figure, (axes,) = panels_of(3.4)
    for variant, found in timed.items():
        _with_floor(axes, runs, variant, {x: [record[time] for time in _TIMES] for x, record in found.items()})
        low, high = zip(*(record["decoder_us_spread"] for record in found.values()), strict=True)
        color = look_of(runs.variants, variant)["color"]
        axes.fill_between(list(found), low, high, color=color, alpha=0.15, linewidth=0)
    log_axis(axes, "x", base=2)
    log_axis(axes, "y")
    axes.set(xlabel="output tokens a sentence (log)", ylabel="decoder, µs an output token (log)")
    key = "solid: measured median; shaded: minimum to maximum; dashed: floor of this machine"
    records = [record for found in timed.values() for record in found.values()]
    return finished(figure, "Greedy decoder time against output length", key, _conditions(runs, records))


@styled
def speed_up(runs: Selection) -> Figure | None:
    """The baseline's greedy decoder time over each variant's, against length and batch, beside that of the floors."""
    named = {"target_length": "output tokens a sentence", "batch": "sentences at once"}
    panels = {label: lines for field, label in named.items() if (lines := runs.beside_baseline(field))}
    if not panels:
        return None
    figure, all_axes = panels_of(2.3, len(panels))
    for axes, (label, lines) in zip(all_axes, panels.items(), strict=True):
        for variant, pairs in lines.items():
            ratios = {x: [base[time] / own[time] for time in _TIMES] for x, (base, own) in pairs.items()}
            _with_floor(axes, runs, variant, ratios)
        axes.axhline(1.0, color=INK, linewidth=0.8)
        log_axis(axes, "x", base=2)
        axes.set(xlabel=f"{label} (log)", ylabel="speed-up")
    key = "solid: measured; dashed: ratio of the floors (bytes and operations over this machine's peaks)"
    records = [r for lines in panels.values() for pairs in lines.values() for pair in pairs.values() for r in pair]
    return finished(figure, f"Decoder speed-up over {runs.variants[0]}", key, _conditions(runs, records))


@styled
def memory_to_compute(runs: Selection) -> Figure | None:
    """The paper's argument (sections 2.4, 3.1): the time of each timed step over that of its operations alone, against
    its memory-to-compute ratio, where 1 means that this machine needs as long for the bytes as for the operations."""
    points = {variant: found for variant in runs.variants if len(found := runs.timed_alike(variant)) > 1}
    if not points:
        return None
    figure, (axes,) = panels_of(3.4)
    ratios: list[float] = []
    for variant, found in points.items():
        operations_s = np.array([each["flops_per_step"] / each["peak_flops_per_s"] for each in found])
        bytes_s = np.array([each["bytes_per_step"] / each["peak_bytes_per_s"] for each in found])
        ratios += list(bytes_s / operations_s)
        took = [each["ms_per_step"] / 1e3 for each in found] / operations_s
        axes.plot(bytes_s / operations_s, took, **look_of(runs.variants, variant), linestyle="", label=variant)
    ends = np.geomspace(min(ratios), max(ratios), 100)
    axes.plot(ends, np.maximum(1, ends), color=INK, linewidth=1.1, linestyle=DASHED)
    log_axis(axes, "x")
    log_axis(axes, "y")
    axes.set(xlabel="memory to compute (log)", ylabel="time over operations' (log)")
    key = "a mark: a decode step of some batch and lengths. Memory to compute: bytes over operations, each over this "
    key += "machine's peak. Dashed: the floor. Right of 1 memory is the limit, and fewer bytes are less time"
    records = [record for found in points.values() for record in found]
    return finished(figure, "Memory-to-compute ratio and time", key, _conditions(runs, records))


@styled
def learning_curves(runs: Selection) -> Figure | None:
    """Training loss and dev negative log-likelihood against steps: the mean over seeds, and from lowest to highest."""
    panels = {"loss": "training loss", "dev_nll_per_token": "dev NLL"}
    curves: dict[str, dict[str, dict[int, list[float]]]] = {field: {} for field in panels}
    for variant in runs.variants:
        for point in (point for record in runs.of("train", variant) for point in record["curve"]):
            for field in (each for each in panels if _drawable(point.get(each))):
                curves[field].setdefault(variant, {}).setdefault(point["step"], []).append(point[field])
    drawn = [field for field in panels if curves[field]]
    if not drawn:
        return None
    figure, all_axes = panels_of(2.2, len(drawn))
    for axes, field in zip(all_axes, drawn, strict=True):
        for variant, points in curves[field].items():
            _with_band(axes, points, look_of(runs.variants, variant), variant)
        log_axis(axes, "y")
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
        axes.set(xlabel="training steps", ylabel=panels[field])
    key = "nats a token, log scale; training loss counts label smoothing and z-loss where they are on, dev NLL does not"
    if any(len(values) > 1 for points in curves["loss"].values() for values in points.values()):
        key = f"lines: means over seeds; bands: lowest to highest; {key}"
    return finished(figure, "Loss against steps", key, runs.name)


@styled
def differences(runs: Selection) -> Figure | None:
    """How far each variant's mean over seeds is from the baseline's, with its confidence interval; a panel a metric."""
    tested = {}
    for record in runs.of("seeds", baseline=runs.variants[0]) if runs else ():
        found = {row["variant"]: row for row in record["rows"] if row["low"] is not None}
        if rows := [found[name] for name in runs.variants if name in found]:
            place = f"{record['split']}, beam {record['beam']}" if "beam" in record else record["split"]
            tested[f"{record['metric']} of {place}"] = rows
    if not tested:
        return None
    figure, panels = panels_of(1.0 + 0.3 * max(map(len, tested.values())), len(tested))
    for axes, (metric, rows) in zip(panels, tested.items(), strict=True):
        for place, row in enumerate(rows):
            reach = [[row["difference"] - row["low"]], [row["high"] - row["difference"]]]
            axes.errorbar(row["difference"], place, xerr=reach, **look_of(runs.variants, row["variant"]), capsize=3)
        axes.axvline(0, color=INK, linewidth=0.8)
        better = "higher" if "BLEU" in metric else "lower"
        axes.set(yticks=range(len(rows)), yticklabels=[row["variant"] for row in rows])
        axes.set(xlabel=f"difference, {better} is better", title=metric)
        axes.margins(y=0.3 / len(rows) + 0.1)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
    key = "mean over seeds less the baseline's, and its 95% interval, not corrected for the number of variants; chance "
    key += "is both the seed and the choice of sentences"
    return finished(figure, f"Quality against {runs.variants[0]}", key, runs.name)


@styled
def gap_against_steps(runs: Selection) -> Figure | None:
    """How much more dev loss each variant has than the baseline of the same seed, along the training."""
    curves = {variant: _dev_curves(runs, variant) for variant in runs.variants}
    baseline, gaps, pairs = curves.pop(runs.variants[0], {}) if curves else {}, {}, 0
    for variant, of_seeds in curves.items():
        both = [(of_seeds[seed], baseline[seed]) for seed in sorted(of_seeds.keys() & baseline.keys())]
        steps = set.intersection(*({*own} & {*base} for own, base in both)) if both else ()  # means are of all pairs
        if steps:
            gaps[variant] = {step: [own[step] - base[step] for own, base in both] for step in steps}
            pairs = max(pairs, len(both))
    if not gaps:
        return None
    figure, (axes,) = panels_of(2.6)
    for variant, points in gaps.items():
        _with_band(axes, points, look_of(runs.variants, variant), variant)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes.set(xlabel="training steps", ylabel="dev NLL, difference")
    key = "nats a token more than the baseline of the same seed; "
    key += (
        f"lines: means of {pairs} seeds; bands: lowest to highest" if pairs > 1 else "one seed, whose noise is unknown"
    )
    return finished(figure, f"Dev loss less {runs.variants[0]}'s", key, runs.name)


@styled
def cache_size(runs: Selection) -> Figure | None:
    """Bytes of keys and values that one sentence's decoding keeps, as bars."""
    means = {name: over_seeds(runs.timed(name), "cache_bytes_per_sequence").mean for name in runs.variants}
    sizes = {name: value for name, value in means.items() if _drawable(value)}
    if not sizes:
        return None
    figure, (axes,) = panels_of(0.2 + 0.32 * len(sizes))
    bars = axes.barh(list(sizes), list(sizes.values()), color=[look_of(runs.variants, name)["color"] for name in sizes])
    first = sizes.get(runs.variants[0])
    shares = [f"  ({value / first:.3g})" if first and value != first else "" for value in sizes.values()]
    labels = [cells.size(value) + share for value, share in zip(sizes.values(), shares, strict=True)]
    axes.bar_label(bars, labels, padding=5, fontsize=10)
    axes.margins(x=0.3)
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.xaxis.set_visible(False)
    timed = [record for name in sizes for record in runs.timed(name)]
    key = f"in brackets: share of {runs.variants[0]}" if any(shares) else ""
    return finished(figure, "Keys and values cached for one sequence", key, _conditions(runs, timed))


# By the name of the picture's file: how it is drawn, and what it shows for those who cannot see it.
PLOTS = {
    "quality_time": (quality_against_time, "Quality against decoder time"),
    "time_length": (time_against_length, "Decoder time against output length, with the floor of each variant"),
    "speed_up": (speed_up, "Decoder speed-up against output length and batch, measured and predicted"),
    "memory_to_compute": (memory_to_compute, "Time of decode steps against their memory-to-compute ratio"),
    "learning_curves": (learning_curves, "Training loss and dev loss against steps"),
    "differences": (differences, "Quality of each variant less the baseline's, with confidence intervals"),
    "gap_steps": (gap_against_steps, "Dev loss of each variant less the baseline's against steps"),
    "cache_size": (cache_size, "Bytes of keys and values for one sentence"),
}


@styled
def svg(figure: Figure) -> str:
    """A figure as an SVG file whose text is dark where the reader's page is light, and light where it is dark."""
    figure.savefig(buffer := io.StringIO(), format="svg", transparent=True, metadata={"Date": None})
    return buffer.getvalue().replace(INK, "currentColor").replace("*{", f"{_INKS}*{{", 1)


@styled
def png(figure: Figure) -> bytes:
    """A figure as a PNG file, black on white: for slides, and where SVG does not show."""
    figure.savefig(buffer := io.BytesIO(), format="png", dpi=200, facecolor="white")
    return buffer.getvalue()


def draw(folder: pathlib.Path, name: str, figure: Figure | None, shows: str) -> str:
    """Writes NAME.svg and NAME.png; without a figure removes both.

    Args:
      shows: what the picture shows, for those who cannot see it.
    Returns:
      The Markdown that shows the picture; without a figure no text.
    """
    if figure is None:
        for kind in ("svg", "png"):
            (folder / f"{name}.{kind}").unlink(missing_ok=True)  # of an earlier report
        return ""
    files.write(folder / f"{name}.svg", svg(figure))
    files.write(folder / f"{name}.png", png(figure))
    return f"![{shows}]({name}.svg)"


def panels_of(height: float, panels: int = 1) -> tuple[Figure, Sequence[Axes]]:
    """A figure of panels below each other, with their height in inches."""
    figure = Figure(figsize=(WIDTH, height * panels))
    return figure, list(figure.subplots(panels, squeeze=False)[:, 0])


def look_of(variants: Sequence[str], variant: str) -> dict[str, Any]:
    """Colour and marker, by the variant's place in the order."""
    place = variants.index(variant)
    return {"color": COLORS[place % len(COLORS)], "marker": MARKERS[place % len(MARKERS)]}


def _drawable(value: float | None) -> TypeGuard[float]:
    """Whether a logarithmic axis can show it."""
    return value is not None and math.isfinite(value) and value > 0


def _with_floor(axes: Axes, runs: Selection, variant: str, points: Mapping[float, Sequence[float]]) -> None:
    """A line of what was measured, and a dashed one of the floors."""
    measured, floors = zip(*points.values(), strict=True)
    look = look_of(runs.variants, variant)
    axes.plot(list(points), measured, **look, label=variant)
    axes.plot(list(points), floors, color=look["color"], linewidth=1.1, linestyle=DASHED)


def _with_band(axes: Axes, points: Mapping[int, Sequence[float]], look: Mapping[str, Any], label: str) -> None:
    """A line of means over seeds by step, and a band from the lowest to the highest."""
    steps, values = zip(*sorted(points.items()), strict=True)
    look = {**look, **({} if len(points) <= 12 else {"marker": ""})}
    axes.plot(steps, [*map(np.mean, values)], **look, linewidth=1.2, markersize=4, label=label)
    low, high = [*map(min, values)], [*map(max, values)]
    if low != high:
        axes.fill_between(steps, low, high, color=look["color"], alpha=0.2, lw=0)


def _dev_curves(runs: Selection, variant: str) -> dict[int, dict[int, float]]:
    """Dev loss by seed and step, where it is a number."""
    found = {record["seed"]: record["curve"] for record in runs.of("train", variant)}
    losses = {seed: {each["step"]: each.get("dev_nll_per_token") for each in curve} for seed, curve in found.items()}
    finite = lambda nll: nll is not None and math.isfinite(nll)  # noqa: E731
    return {seed: {step: nll for step, nll in each.items() if finite(nll)} for seed, each in losses.items()}


def log_axis(axes: Axes, name: str, base: int = 10) -> None:
    """A logarithmic axis, x or y, with ticks at 1, 2 and 5 times powers of ten, or at powers of two."""
    axes.set(**{f"{name}scale": "log"})
    axis = {"x": axes.xaxis, "y": axes.yaxis}[name]
    axis.set_major_locator(LogLocator(2, numticks=6) if base == 2 else LogLocator(subs=(1, 2, 5)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(StrMethodFormatter("{x:,g}"))


def _conditions(runs: Selection, timed: Sequence[Record]) -> str:
    """What the times are of, as far as it is the same for all."""
    words = "batch {batch}", "{source_length} tokens in", "{target_length} out", "{dtype}", "{device}"
    texts = ({word.format_map(record) for record in timed} for word in words)
    return ", ".join([runs.name, *(each.pop() for each in texts if len(each) == 1)])


def finished(figure: Figure, title: str, key: str, conditions: str) -> Figure:
    """The figure with title and legend above it, and below it how to read it and what it is of."""
    named = (axes.get_legend_handles_labels() for axes in figure.axes)
    handles = {label: handle for found, labels in named for handle, label in zip(found, labels, strict=True)}
    figure.legend(
        handles.values(),
        handles.keys(),
        title=textwrap.fill(title, 44),
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=2 if max(map(len, handles), default=0) <= LONGEST_IN_TWO_COLUMNS else 1,
        alignment="left",
        title_fontproperties={"weight": "bold", "size": 12},
    )
    words = [line for each in (key, conditions) for line in textwrap.wrap(each, 68)]
    figure.text(0.01, -0.02, "\n".join(words), verticalalignment="top", fontsize=9)
    return figure
