"""The plots of a comparison, from records. A variant has one colour in all of them and its name beside its line.

Each function returns a `Figure`, or None where there is nothing to draw. Figures are made without pyplot:
no window system, no global state.
"""

import functools
import math
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from mqa_jax.report import labels
from mqa_jax.report.selection import Record, Sample, Selection, drawable, sample

# Okabe and Ito's colours without the yellow, which is too pale for lines, then three of Tol's.
COLORS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#5A5A5A",
    "#882255",
    "#999933",
    "#332288",
)
MARKERS = "osD^vPX<>p"  # a second cue, for print without colour
DPI = 200
WIDTH = 8.0  # inches
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.edgecolor": "#6b7280",
    "axes.labelcolor": "#374151",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e5e7eb",
    "grid.linewidth": 0.8,
    "xtick.color": "#6b7280",
    "ytick.color": "#6b7280",
    "xtick.labelcolor": "#374151",
    "ytick.labelcolor": "#374151",
    "lines.linewidth": 1.8,
    "lines.markersize": 6,
}


def _styled(draw: Callable[..., Figure | None]) -> Callable[..., Figure | None]:
    @functools.wraps(draw)
    def in_style(records: Sequence[Record], order: Sequence[str] = ()) -> Figure | None:
        with matplotlib.rc_context(_STYLE):
            return draw(Selection(records, order))

    return in_style


@_styled
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
    figure, (axes,) = _figure(4.6, right=0.35)
    texts = []
    for variant in runs.variants:
        color, marker = _look(runs, variant)
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
    _log_axis(axes, "x", everything)
    axes.margins(y=0.2)
    axes.set_xlabel("decoder time, µs per output token (log scale)")
    axes.set_ylabel("test BLEU (sacreBLEU, intl)" if translation else "test perplexity per word (lower is better)")
    beams = sorted({beam for _, beam in points})
    key = f"filled: greedy, open: beam {beams[-1]}\n" if len(beams) > 1 else ""
    if any(quality.sd for _, quality in points.values()):
        key = f"bars: standard deviation over seeds; {key}"
    what = "Test BLEU" if translation else "Test perplexity per word"
    _title(
        axes,
        f"{what} against decoder time",
        key + _conditions(runs, [r for v in runs.variants for r in runs.headline(v, 1)]),
    )
    labels.beside_points(axes, texts)
    return figure


@_styled
def time_against_length(runs: Selection) -> Figure | None:
    """Greedy decoder time a token against the number of output tokens; each variant's floor is dashed."""
    timed = {variant: found for variant in runs.variants if len(found := runs.lengths(variant)) > 1}
    if not timed:
        return None
    figure, (axes,) = _figure(4.8, right=_room(timed))
    everything, ends = [], []
    for variant, found in timed.items():
        color, marker = _look(runs, variant)
        for field, style in (
            ("decoder_us_per_token", {"marker": marker, "label": variant}),
            ("floor_us_per_token", _FLOOR),
        ):
            points = drawable([(record["target_length"], record[field]) for record in found])
            if points:
                axes.plot(*zip(*points, strict=True), color=color, **style)
                everything += [value for _, value in points]
                if field == "decoder_us_per_token":
                    ends.append((*points[-1], variant, color))
        lengths = [record["target_length"] for record in found]
        low, high = zip(*(record["decoder_us_spread"] for record in found), strict=True)
        everything += [value for value in (*low, *high) if math.isfinite(value)]
        axes.fill_between(lengths, low, high, color=color, alpha=0.15, linewidth=0)
    if not ends:
        return None
    lengths = sorted({record["target_length"] for found in timed.values() for record in found})
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(_apart(lengths, 1.2)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    _log_axis(axes, "y", everything)
    axes.set_xlabel("output tokens a sentence (log scale)")
    axes.set_ylabel("decoder time, µs per output token (log scale)")
    records = [record for found in timed.values() for record in found]
    _title(
        axes,
        "Greedy decoder time against output length",
        "solid: measured median, shaded: minimum to maximum, dashed: floor of this machine\n"
        + _conditions(runs, records, lengths=False),
    )
    labels.beside_ends(axes, ends)
    return figure


@_styled
def speed_up(runs: Selection) -> Figure | None:
    """The baseline's greedy decoder time over each variant's, against length and batch, beside that of the floors."""
    panels = []
    for field, along, label in (
        ("target_length", runs.lengths, "output tokens a sentence"),
        ("batch", runs.batches, "sentences at once"),
    ):
        baseline = {record[field]: record for record in along(runs.variants[0])}
        lines = {}
        for variant in runs.variants[1:]:
            pairs = [
                (record[field], baseline[record[field]], record)
                for record in along(variant)
                if record[field] in baseline and record["device"] == baseline[record[field]]["device"]
            ]
            if len(pairs) > 1:
                lines[variant] = pairs
        if lines:
            panels.append((label, lines))
    if not panels:
        return None
    figure, all_axes = _figure(4.4, panels=len(panels), right=_room(runs.variants))
    records = [record for _, lines in panels for pairs in lines.values() for _, _, record in pairs]
    below = "solid: measured, dashed: ratio of the floors (bytes and operations over this machine's peaks)\n"
    _title(all_axes[0], f"Decoder speed-up over {runs.variants[0]}", below + _conditions(runs, records, lengths=False))
    ends = {}
    for axes, (label, lines) in zip(all_axes, panels, strict=True):
        everything = [1.0]
        for variant, pairs in lines.items():
            color, marker = _look(runs, variant)
            for time, style in (
                ("decoder_us_per_token", {"marker": marker, "label": variant}),
                ("floor_us_per_token", _FLOOR),
            ):
                points = drawable([(x, before[time] / after[time]) for x, before, after in pairs if after[time]])
                if points:
                    axes.plot(*zip(*points, strict=True), color=color, **style)
                    everything += [y for _, y in points]
                    if time == "decoder_us_per_token" and axes is all_axes[-1]:
                        ends[variant] = (*points[-1], variant, color)
        axes.axhline(1.0, color="#6b7280", linewidth=0.8)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(_apart(sorted({x for ps in lines.values() for x, _, _ in ps}), 1.6)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        _log_axis(axes, "y", everything, pad=1.08)
        axes.set_xlabel(f"{label} (log scale)")
        axes.set_ylabel("speed-up (log scale)")
    labels.beside_ends(all_axes[-1], list(ends.values()))
    return figure


@_styled
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
    figure, all_axes = _figure(4.2, panels=len(drawn), right=_room(runs.variants))
    what = " and ".join(label for _, label in drawn)
    _title(all_axes[0], f"{what[0].upper()}{what[1:]} against training steps", _counted(runs))
    for axes, (field, label) in zip(all_axes, drawn, strict=True):
        ends = {}
        for variant, points in lines[field]:
            color, marker = _look(runs, variant)
            dots = marker if len(points) <= 12 else ""
            axes.plot(*zip(*points, strict=True), color=color, linewidth=1.2, marker=dots, markersize=4, label=variant)
            ends.setdefault(variant, (*points[-1], variant, color))
        axes.set_xlim(0, runs.records[0]["config"]["train"]["steps"] * 1.02)
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10], integer=True))
        axes.xaxis.set_major_formatter(
            FuncFormatter(lambda value, _: f"{value / 1000:g}k" if value >= 10_000 else f"{value:,.0f}")
        )
        _log_axis(axes, "y", [loss for _, points in lines[field] for _, loss in points], pad=1.04)
        axes.set_xlabel("training steps")
        axes.set_ylabel(f"{label}, nats per token (log scale)")
    labels.beside_ends(all_axes[-1], list(ends.values()))
    return figure


@_styled
def cache_size(runs: Selection) -> Figure | None:
    """Bytes of keys and values that one sentence's decoding keeps, as bars."""
    sizes = {
        variant: value
        for variant in runs.variants
        if (value := sample(runs.headline(variant, 1), "cache_bytes_per_sequence").mean) is not None
        and math.isfinite(value)
    }
    if not sizes:
        return None
    figure, (axes,) = _figure(1.5 + 0.42 * len(sizes), right=0.35, left=_room(sizes))
    names = list(sizes)
    power, unit = (2, "MiB") if max(sizes.values()) >= 1024**2 else (1, "KiB")
    widths = [value / 1024**power for value in sizes.values()]
    axes.barh(names, widths, color=[_look(runs, name)[0] for name in names], height=0.62)
    baseline = sizes.get(runs.variants[0])
    for place, (variant, value) in enumerate(sizes.items()):
        share = f"  ({value / baseline:.3g})" if baseline and variant != runs.variants[0] else ""
        axes.annotate(
            f"{widths[place]:.3g} {unit}{share}",
            (widths[place], place),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            color="#374151",
            fontsize=9,
        )
    axes.set_xlim(0, max(widths) * 1.35)
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(f"cache of one sequence, {unit}")
    shares = f"in brackets: share of {runs.variants[0]}\n" if baseline and len(sizes) > 1 else ""
    timed = [record for variant in sizes for record in runs.headline(variant, 1)]
    _title(axes, "Keys and values cached for one sequence", shares + _conditions(runs, timed, speed=False))
    return figure


_FLOOR = {"linestyle": (0, (4, 3)), "linewidth": 1.1, "label": "_floor"}


def _quality(runs: Selection, variant: str, beam: int) -> Sample:
    if runs.task == "language":
        return sample(runs.of("perplexity", variant, split="test"), "perplexity_per_word")
    return sample(runs.of("quality", variant, split="test", beam=beam), "bleu_intl")


def _counted(runs: Selection) -> str:
    """What the training loss has that the dev figure has not."""
    train = runs.records[0]["config"]["train"]
    extra = [name for name in ("label_smoothing", "z_loss") if train[name]]
    return f"training loss counts {' and '.join(extra).replace('_', ' ')}, dev NLL does not" if extra else runs.name


def _look(runs: Selection, variant: str) -> tuple[str, str]:
    """Colour and marker, by the variant's place in the order."""
    place = runs.variants.index(variant)
    return COLORS[place % len(COLORS)], MARKERS[place % len(MARKERS)]


def _room(names: Sequence[str] | dict) -> float:
    """Inches that the longest name takes beside the axes."""
    return 0.4 + 0.082 * max(map(len, names))


def _figure(height: float, right: float, left: float = 0.85, panels: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure whose margins are fixed, so that labels can be placed before it is drawn. All in inches."""
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    figure.subplots_adjust(
        left=left / WIDTH, right=1 - right / WIDTH, bottom=0.62 / height, top=1 - 0.9 / height, wspace=0.32
    )
    return figure, list(axes)


def _title(axes: Axes, title: str, below: str) -> None:
    """A bold title over a smaller line that says under which conditions."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    height, left = figure.get_size_inches()[1], axes.get_position().x0
    figure.text(left, 1 - 0.16 / height, title, weight="bold", fontsize=12, va="top", color="#111827")
    lines = [line for each in below.splitlines() for line in textwrap.wrap(each, 105)]
    figure.text(left, 1 - 0.42 / height, "\n".join(lines), fontsize=8.5, va="top", color="#57606a", linespacing=1.35)
    figure.subplots_adjust(top=1 - (0.58 + 0.165 * len(lines)) / height)


def _conditions(runs: Selection, timed: Sequence[Record], lengths: bool = True, speed: bool = True) -> str:
    """What the times are of, as far as it is the same for all."""

    def shared(field: str, words: str) -> list[str]:
        values = {record[field] for record in timed}
        return [words.format(values.pop())] if len(values) == 1 else []

    parts = [runs.name, *(shared("batch", "batch {}") if speed else ())]
    parts += shared("source_length", "{} tokens in")
    if lengths:
        parts += shared("target_length", "{} out")
    elif all(record["source_length"] == record["target_length"] for record in timed):
        parts += ["source as long as output"]
    parts += shared("dtype", "{}")
    return ", ".join(parts + (shared("device", "{}") if speed else []))


def _log_axis(axes: Axes, which: str, values: Sequence[float], pad: float = 1.25) -> None:
    """A logarithmic axis that always has a few round ticks, however narrow its range."""
    low, high = min(values), max(values)
    low, high = low / pad, high * pad
    axes.set(**{f"{which}scale": "log", f"{which}lim": (low, high)})
    ticks: list[float] = []
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]
        if len(ticks) >= 4:
            break
    if len(ticks) < 4:
        ticks = [tick for tick in MaxNLocator(5).tick_values(low, high) if low <= tick <= high]
    axis = {"x": axes.xaxis, "y": axes.yaxis}[which]
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}" if value < 1000 else f"{value:,.0f}"))


def _apart(values: Sequence[float], ratio: float) -> list[float]:
    """Ticks at the values, less those that would touch the one before."""
    kept: list[float] = []
    for value in values:
        if not kept or value >= kept[-1] * ratio:
            kept.append(value)
    return kept
