"""The page of how far decoding drifts from float32, from `drift` records alone."""

import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mqa_jax.report import html, plots
from mqa_jax.report.cells import Show, integer
from mqa_jax.report.selection import Record, of_the_same_lines
from mqa_jax.report.table import Column, Table

LEAST = 100  # tokens that a point of the picture is of
READING = (
    "Changed: of all places in the given texts, the share where the step would take another token than a float32 "
    "forward over the whole sequence. The tokens before it are the text's own.",
    "Outputs: of the lines, the share whose greedy translation is another one. One changed token is enough.",
    "float32 is cached too. What it changes are ties, or sums in another order.",
    "int8 weights and caches have scales: docs/decoding.md. A changed token is not a worse one: scores say that.",
)


def write(records: Sequence[Record], folder: pathlib.Path, names: Sequence[str] = ()) -> pathlib.Path:
    """Writes drift.md, drift.html and drift.svg, of the sentences that were looked at last.

    Args:
      names: the variants in their order; by default as the records come.
    Returns:
      The path of drift.html.
    """
    runs = of_the_same_lines(records, names)
    first = runs[0]
    title = f"{first['name']}: tokens that other number types change"
    facts = {"Split": f"{first['sentences']:,} sentences of {first['split']}, {first['tokens']:,} tokens"}
    facts |= {"Device": first["device"]}
    facts |= {f"Command of {run['run']}": f"{run['command']} at {run['commit']}" for run in runs}
    picture = plots.draw(folder, "drift", along(runs), "Share of changed tokens by place")
    parts = [table(runs).to_markdown(), picture, "## How to read it", html.items(READING)]
    return html.write(folder, "drift", title, [*parts, "## Provenance", html.facts(facts)])


def table(runs: Sequence[Record]) -> Table:
    """A row for each run and types."""
    share: Show = lambda value, least: f"{value:.2%}"  # noqa: E731
    columns = [Column("run", "run"), Column("types", "types"), Column("tokens changed", "changed", share)]
    columns += [Column("outputs changed", "outputs", share), Column("tokens", "tokens", integer)]
    return Table.of("Changed tokens", columns, [[{**run, **types}] for run in runs for types in run["by_types"]])


@plots.styled
def along(runs: Sequence[Record]) -> Figure:
    """The share of changed tokens against the place in the sentence, a panel for each choice of types but float32."""
    names = [each["types"] for each in runs[0]["by_types"] if each["types"] != "float32"]
    figure, panels = plots.panels_of(1.9, len(names))
    variants = [run["run"] for run in runs]
    for axes, name in zip(panels, names, strict=True):
        for run in runs:
            (types,) = [each for each in run["by_types"] if each["types"] == name]
            points = list(_points(types["changed_at"], run["tokens_at"]))
            axes.plot(*np.transpose(points), **plots.look_of(variants, run["run"]), label=run["run"])
        axes.set(ylabel="changed, %", title=name)
        axes.set_ylim(bottom=0)
    panels[-1].set(xlabel="place of the token in its sentence")
    words = f"{runs[0]['name']}, {runs[0]['sentences']:,} sentences of {runs[0]['split']}, {runs[0]['device']}"
    return plots.finished(figure, "Tokens that other types change", f"a point: {LEAST} tokens or more", words)


def _points(changed: Sequence[int], tokens: Sequence[int]) -> Iterator[tuple[float, Any]]:
    """The middle place and the share in percent, of places that have `LEAST` tokens together."""
    first, seen, other = 1, 0, 0
    for place, (number, count) in enumerate(zip(changed, tokens, strict=True), 1):
        seen, other = seen + count, other + number
        if seen >= LEAST:
            yield (first + place) / 2, 100 * other / seen
            first, seen, other = place + 1, 0, 0
