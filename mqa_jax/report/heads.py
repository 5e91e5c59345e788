"""The page of a model and its conversions to fewer key/value heads, from records alone."""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from mqa_jax.report import html, plots
from mqa_jax.report.cells import decimals, integer, percent, significant, size
from mqa_jax.report.selection import Record
from mqa_jax.report.table import Column, Table

ORIGINAL = "original"  # the variant that the others are compared with
BEFORE = "before"  # the split's name in records of models that were not trained on yet
READING = (
    "Before: dev, nats a token, straight after the conversion. After: the same when training on has ended.",
    "Lost: how much more that is than the original's. Won back: the part of the loss before that is gone after.",
    "The original was trained on with the same tokens, in the same order.",
    "Cache: bytes that one token leaves. Times: a decode step with a full cache of so many tokens, random weights.",
    "Feed-forward layers stay as wide as they were, so the conversions are smaller models.",
)


def with_losses(rows: Mapping[str, Sequence[Record]]) -> dict[str, list[Record]]:
    """The records, those of dev with what the model has lost against the first one, and what it has won back of it."""
    of_dev = lambda record: record["kind"] == "perplexity" and record["split"] in (BEFORE, "dev")  # noqa: E731
    losses = {name: {r["split"]: r["nll_per_token"] for r in found if of_dev(r)} for name, found in rows.items()}
    original, made = next(iter(losses.values())), {}
    for name, found in rows.items():
        lost = {split: loss - original[split] for split, loss in losses[name].items() if split in original}
        added = {split: {"lost": each} for split, each in lost.items() if original is not losses[name]}
        if len(added) == 2:
            added["dev"]["won_back"] = 1 - lost["dev"] / lost[BEFORE]
        made[name] = [{**record, **added.get(record["split"], {})} if of_dev(record) else record for record in found]
    return made


def table(found: Sequence[Record], names: Sequence[str]) -> Table:
    """What each model loses and wins back, what its cache takes and how long a step; arguments as `write`'s."""
    rows = _rows(found, names)
    contexts = sorted({record["source_length"] for record in found if record["kind"] == "timing"})
    greedy = {"kind": "timing", "beam": 1}
    columns = [
        Column("model", "variant"),
        Column("parameters", "parameters", integer, {"kind": "train"}),
        Column("cache a token", "cache_bytes_per_token", size, greedy | {"source_length": contexts[0]})
        if contexts
        else None,
        *(
            Column(f"{header} {word}", field, decimals(3), {"kind": "perplexity", "split": split})
            for split, word in ((BEFORE, "before"), ("dev", "after"))
            for header, field in (("dev", "nll_per_token"), ("lost", "lost"))
        ),
        Column("won back", "won_back", percent, {"split": "dev"}),
        Column("test, perplexity a word", "perplexity_per_word", significant, {"kind": "perplexity", "split": "test"}),
        *(
            Column(
                f"us a token at {context:,}", "decoder_us_per_token", significant, greedy | {"source_length": context}
            )
            for context in contexts
        ),
    ]
    return Table.of("What fewer heads lose and gain", [each for each in columns if each], list(rows.values()))


def _rows(found: Sequence[Record], names: Sequence[str]) -> dict[str, list[Record]]:
    return with_losses({name: [record for record in found if record["variant"] == name] for name in names})


def write(found: Sequence[Record], folder: pathlib.Path, title: str, names: Sequence[str]) -> pathlib.Path:
    """Writes heads.md, heads.html and the pictures.

    Args:
      found: the records of the folder.
      names: the variants, the original first.
    Returns:
      The path of heads.html.
    """
    rows = _rows(found, names)
    shows = "Nats a token against bytes of cache a token, before and after training on"
    picture = plots.draw(folder, "heads", quality_against_cache(rows), shows)
    shows = "Nats a token of dev against the tokens trained on"
    curves = plots.draw(folder, "heads_curves", loss_against_tokens(rows), shows)
    parts = [picture, table(found, names).to_markdown()]
    parts += ["## Along the training", curves] if curves else []
    parts += ["## How to read it", html.items(READING), "All figures, and what they were made with: report.html."]
    return html.write(folder, "heads", title, parts)


@plots.styled
def quality_against_cache(rows: Mapping[str, Sequence[Record]]) -> Figure | None:
    """Dev loss of each model against the bytes that a token leaves in its cache, before and after training on.

    Args:
      rows: the records of each model, the original's first.
    """
    figure, (axes,) = plots.panels_of(3.2)
    for place, (name, found) in enumerate(rows.items()):
        look = plots.look_of(list(rows), name)
        sizes = [each["cache_bytes_per_token"] for each in found if each["kind"] == "timing"]
        losses = {each["split"]: each["nll_per_token"] for each in found if each["kind"] == "perplexity"}
        if not sizes or not {"before", "dev"} <= losses.keys():
            continue
        x = sizes[0] * (1 + 0.03 * place)  # beside each other where they are the same
        axes.plot([x, x], [losses["before"], losses["dev"]], color=look["color"], lw=1, linestyle=":")
        axes.plot([x], [losses["before"]], **look, mfc="none", lw=0)
        axes.plot([x], [losses["dev"]], **look, lw=0, label=name)
    if not axes.has_data():
        return None
    axes.set(xlabel="bytes a token leaves in the cache", ylabel="dev, nats a token")
    plots.log_axis(axes, "x")
    return plots.finished(figure, "Quality against cache", "hollow: before training on; filled: after", "")


@plots.styled
def loss_against_tokens(rows: Mapping[str, Sequence[Record]]) -> Figure | None:
    """Dev loss of each model against the tokens that it was trained on with; it begins with the loss before.

    Args:
      rows: the records of each model, the original's first.
    """
    figure, (axes,) = plots.panels_of(3.2)
    for name, found in rows.items():
        points = [(0, each["nll_per_token"]) for each in found if each.get("split") == "before"]
        curve = [point for each in found if each["kind"] == "train" for point in each["curve"]]
        points += [(each["tokens"], each["dev_nll_per_token"]) for each in curve if "dev_nll_per_token" in each]
        if len(points) > 1:
            axes.plot(*np.transpose(points), **plots.look_of(list(rows), name), label=name)
    if not axes.has_data():
        return None
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes.set(xlabel="tokens trained on", ylabel="dev, nats a token")
    return plots.finished(figure, "Along the training", "at 0: straight after the conversion", "")
