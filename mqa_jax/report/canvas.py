"""What all plots share: style, colours, axes with room for names beside them, titles that say the conditions.

Figures are made without pyplot: no window system, no global state.
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

from mqa_jax.report.selection import Record, Selection

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
FLOOR = {"linestyle": (0, (4, 3)), "linewidth": 1.1, "label": "_floor"}


def styled(draw: Callable[[Selection], Figure | None]) -> Callable[..., Figure | None]:
    """A function of records and an order of variants, which draws their selection in the style of all plots."""

    @functools.wraps(draw)
    def in_style(records: Sequence[Record], order: Sequence[str] = ()) -> Figure | None:
        with matplotlib.rc_context(_STYLE):
            return draw(Selection(records, order))

    return in_style


def figure_of(height: float, right: float, left: float = 0.85, panels: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure whose margins are fixed, so that labels can be placed before it is drawn. All in inches."""
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    figure.subplots_adjust(
        left=left / WIDTH, right=1 - right / WIDTH, bottom=0.62 / height, top=1 - 0.9 / height, wspace=0.32
    )
    return figure, list(axes)


def room(names: Sequence[str] | dict) -> float:
    """Inches that the longest name takes beside the axes."""
    return 0.4 + 0.082 * max(map(len, names))


def look(runs: Selection, variant: str) -> tuple[str, str]:
    """Colour and marker, by the variant's place in the order."""
    place = runs.variants.index(variant)
    return COLORS[place % len(COLORS)], MARKERS[place % len(MARKERS)]


def title(axes: Axes, title: str, below: str) -> None:
    """A bold title over a smaller line that says under which conditions."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    height, left = figure.get_size_inches()[1], axes.get_position().x0
    figure.text(left, 1 - 0.16 / height, title, weight="bold", fontsize=12, va="top", color="#111827")
    lines = [line for each in below.splitlines() for line in textwrap.wrap(each, 105)]
    figure.text(left, 1 - 0.42 / height, "\n".join(lines), fontsize=8.5, va="top", color="#57606a", linespacing=1.35)
    figure.subplots_adjust(top=1 - (0.58 + 0.165 * len(lines)) / height)


def conditions(runs: Selection, timed: Sequence[Record], lengths: bool = True, speed: bool = True) -> str:
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


def log_axis(axes: Axes, which: str, values: Sequence[float], pad: float = 1.25) -> None:
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


def log_x_at(axes: Axes, values: Sequence[float], ratio: float) -> None:
    """A logarithmic x axis with ticks at the values themselves, those left out that are nearer than `ratio`."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(_apart(values, ratio)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def _apart(values: Sequence[float], ratio: float) -> list[float]:
    """Ticks at the values, less those that would touch the one before."""
    kept: list[float] = []
    for value in values:
        if not kept or value >= kept[-1] * ratio:
            kept.append(value)
    return kept
