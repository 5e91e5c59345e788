"""The page of what heads look at, and of the room that keys and values take, from `attention` records alone."""

import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure

from mqa_jax.report import html, plots
from mqa_jax.report.cells import count, decimals, percent
from mqa_jax.report.selection import Record, of_the_same_lines
from mqa_jax.report.table import Column, Table, code

SITES = {"encoder": "encoder self-attention", "decoder": "decoder self-attention", "cross": "cross-attention"}
ACROSS = 8  # maps in a row
ENTROPY = (
    "A dot is a head of a layer. 1: it looks at all that it sees alike, and chooses nothing. 0: it looks at one token."
)
DIVERGENCE = (
    "How much two heads of a layer differ in where they look, on average over pairs. 0: all look alike, so one would "
    "do. 0.69 (log 2): no two look at the same tokens."
)
RANK = (
    "In how many directions the keys (solid) and values (dashed, open) of tokens vary, those of all write heads side "
    "by side. Where that is below the dimensions of one write head (dotted), one head has room for all of it."
)
MAPS = "A row is a token that looks, a column one that is looked at. The stronger the colour, the more weight."
PREMISE = (
    "Multi-query attention rests on one claim: one set of keys and values can carry the patterns of all heads. It "
    "holds as far as the heads of a run with one write head still differ (divergence) and choose (entropy) as those of "
    "multi-head attention do. Rank says how much of the room of several write heads is in use."
)
READING = (
    "Entropy: of a head's weights, on average over the queries, in nats. Share of even: that entropy as a share of the "
    "logarithm of how many tokens the query sees, without queries that see one token.",
    "Divergence: Jensen-Shannon, in nats, the mean over all pairs of heads and all queries.",
    "Rank: effective rank, exp of the entropy of the squared singular values (as shares of their sum) of the matrix of "
    "all tokens' keys or values. They are centred first: a mean is nothing that attention can choose by.",
    "Keys are as attention meets them, with rotary positions in them. Latent attention's are made for each head from "
    "the latent row, the only one that its cache keeps.",
    "Padding and other sentences are neither queries nor keys. The records have every layer and head.",
)


def write(records: Sequence[Record], folder: pathlib.Path, names: Sequence[str] = ()) -> pathlib.Path:
    """Writes attention.md, attention.html and the pictures, of the sentences that were looked at last.

    Args:
      names: the variants in their order; by default as the records come.
    Returns:
      The path of attention.html.
    """
    runs = of_the_same_lines(records, names)
    first, there = runs[0], sites(runs)
    title = f"{first['name']}: what heads look at"
    parts = [PREMISE]
    parts += [table(runs, site).to_markdown() for site in there]
    for heading, text, name, figure in (
        ("How much heads choose", ENTROPY, "entropy", entropies(runs, there)),
        ("How much heads differ", DIVERGENCE, "divergence", divergences(runs, there)),
        ("How many directions", RANK, "rank", ranks(runs, there)),
    ):
        parts += [f"## {heading}", text, plots.draw(folder, f"attention_{name}", figure, heading)]
    parts += ["## One sentence", MAPS]
    for site in there:
        shown = first["maps"][site]
        shows = f"Where heads look, {SITES[site]}"
        parts += [plots.draw(folder, f"attention_maps_{site}", maps(runs, site), shows)]
        parts += [f"Down: {code(' '.join(shown['queries']))}. Across: {code(' '.join(shown['memory']))}"]
    parts += ["## How to read it", html.items(READING)]
    facts = {"Split": f"{first['sentences']:,} sentences of {first['split']}", "Device": first["device"]}
    facts |= {f"Command of {run['run']}": f"{run['command']} at {run['commit']}" for run in runs}
    return html.write(folder, "attention", title, [*parts, "## Provenance", html.facts(facts)])


def sites(runs: Sequence[Record]) -> list[str]:
    """Where the runs have attention; those of a task have it at the same places."""
    return [site for site in SITES if _at(runs[0], site)]


def table(runs: Sequence[Record], site: str) -> Table:
    """The figures of a site, on average over its layers and heads; a rank beside the dimensions that there are."""
    at = lambda header, field, *show: Column(header, f"{site}_{field}", *show)  # noqa: E731
    columns = [
        Column("run", "run"),
        at("entropy", "entropy", decimals(2)),
        at("an even look's", "uniform_entropy", decimals(2)),
        at("share of even", "normalised_entropy", percent),
        at("divergence", "divergence", decimals(3)),
    ]
    rows = [dict(run) for run in runs]
    for name in dict.fromkeys(name for run in runs for layer in run["layers"] for name in layer["spaces"]):
        columns += [Column(f"rank of {name}", f"{name} of all"), Column(f"{name} of a head", f"{name} of one")]
        for row in rows:
            size, head_size = (row.get(f"{site}_{name}_{each}") for each in ("dimensions", "head_dimensions"))
            if size:
                row[f"{name} of all"] = f"{row[f'{site}_{name}_rank']:.1f} of {count(size)}"
            if size and head_size and size != head_size:
                row[f"{name} of one"] = f"{row[f'{site}_{name}_rank_by_head']:.1f} of {count(head_size)}"
    columns.append(at("attention", "attention"))
    return Table.of(f"{SITES[site][0].upper()}{SITES[site][1:]}", columns, [[row] for row in rows])


@plots.styled
def entropies(runs: Sequence[Record], there: Sequence[str]) -> Figure:
    """Share of even of every head against the layer, runs beside each other."""
    figure, panels = plots.panels_of(2.0, len(there))
    for axes, site in zip(panels, there, strict=True):
        for place, (run, look) in enumerate(_looks(runs)):
            beside = 0.12 * (place - (len(runs) - 1) / 2)  # so that the dots of several runs do not hide each other
            dots = [(at["layer"] + beside, share) for at in _at(run, site) for share in at["normalised_entropy"] or ()]
            axes.plot(*_points(dots), **look, linestyle="", alpha=0.7, label=run["run"])
        axes.set(ylim=(0, 1.03), ylabel="share of even")
        _layers(axes, runs, site)
    return plots.finished(figure, "Entropy of each head", "", _conditions(runs))


@plots.styled
def divergences(runs: Sequence[Record], there: Sequence[str]) -> Figure:
    """Mean divergence between a layer's heads."""
    figure, panels = plots.panels_of(1.9, len(there))
    for axes, site in zip(panels, there, strict=True):
        for run, look in _looks(runs):
            axes.plot(*_points((at["layer"], at["divergence"]) for at in _at(run, site)), **look, label=run["run"])
        axes.set(ylim=(0, np.log(2)), ylabel="nats")
        _layers(axes, runs, site)
    return plots.finished(figure, "Divergence between heads", "", _conditions(runs))


@plots.styled
def ranks(runs: Sequence[Record], there: Sequence[str]) -> Figure:
    """Effective rank of keys and values, all heads of them together, beside the dimensions of one head."""
    figure, panels = plots.panels_of(2.2, len(there))
    for axes, site in zip(panels, there, strict=True):
        for run, look in _looks(runs):
            for name, style in (("keys", {}), ("values", {"linestyle": plots.DASHED, "mfc": "none"})):
                points = _points((at["layer"], at["spaces"][name]["rank"]) for at in _at(run, site))
                axes.plot(*points, **look, **style, label=run["run"] if name == "keys" else None)
        for size in {at["spaces"]["keys"]["head_dimensions"] for run in runs for at in _at(run, site)}:
            axes.axhline(size, color=plots.INK, linewidth=0.8, linestyle=":")
        axes.set_ylim(bottom=0)
        axes.set(ylabel="effective rank")
        _layers(axes, runs, site)
    key = "solid: keys; dashed, open: values; dots: dimensions of one head's keys"
    return plots.finished(figure, "Effective rank of keys and values", key, _conditions(runs))


@plots.styled
def maps(runs: Sequence[Record], site: str) -> Figure:
    """The maps of all heads of the layer that the records keep, a run below the other."""
    shown = [(run["run"], look["color"], run["maps"][site]["weights"]) for run, look in _looks(runs)]
    across = min(ACROSS, max(len(heads) for *_, heads in shown))
    rows = [
        (name if first == 0 else "", color, first, heads[first : first + across])
        for name, color, heads in shown
        for first in range(0, len(heads), across)
    ]
    figure = Figure(figsize=(plots.WIDTH, len(rows) * (plots.WIDTH / across + 0.2) + 0.2 * len(shown)))
    parts = figure.subfigures(len(rows), 1, squeeze=False)[:, 0]
    for part, (name, color, first, heads) in zip(parts, rows, strict=True):
        if name:
            part.suptitle(name, x=0.01, horizontalalignment="left", fontsize=10, color=color)
        # A colour that lets the page through where there is no weight: it reads on white and on black.
        tint = LinearSegmentedColormap.from_list(name, [f"{color}00", f"{color}ff"])
        for number, axes in enumerate(part.subplots(1, across, squeeze=False)[0]):
            if number >= len(heads):
                axes.set_axis_off()
                continue
            axes.imshow(heads[number], cmap=tint, norm=PowerNorm(0.5, 0, 1), interpolation="none", aspect="auto")
            axes.set_title(f"{first + number}", fontsize=9, pad=2)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set(visible=True, linewidth=0.4)
    key = f"layer {runs[0]['maps'][site]['layer']}, a picture a head; strength of the colour: root of the weight"
    return plots.finished(figure, f"Where heads look, {SITES[site]}", key, _conditions(runs))


def _at(run: Record, site: str) -> list[Mapping[str, Any]]:
    return [layer for layer in run["layers"] if layer["site"] == site]


def _points(found: Iterable[tuple[float, float | None]]) -> tuple[list[float], list[float | None]]:
    """x and y of points; without those that have no y."""
    kept = [(x, y) for x, y in found if y is not None]
    return [x for x, _ in kept], [y for _, y in kept]


def _looks(runs: Sequence[Record]) -> list[tuple[Record, dict[str, Any]]]:
    names = [run["run"] for run in runs]
    return [(run, plots.look_of(names, run["run"])) for run in runs]


def _layers(axes: Axes, runs: Sequence[Record], site: str) -> None:
    """An axis of layers, which are whole numbers."""
    layers = max(len(_at(run, site)) for run in runs)
    axes.set(xlabel=f"layer, {SITES[site]}", xticks=range(layers), xlim=(-0.5, layers - 0.5))


def _conditions(runs: Sequence[Record]) -> str:
    return f"{runs[0]['name']}, {runs[0]['sentences']:,} sentences of {runs[0]['split']}"
