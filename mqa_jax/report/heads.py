"""The page of a model and its conversions to fewer key/value heads, from records alone."""

import pathlib
from collections.abc import Mapping, Sequence

from mqa_jax import files
from mqa_jax.report import html, plots
from mqa_jax.report.cells import decimals, integer, percent, significant, size
from mqa_jax.report.selection import Record
from mqa_jax.report.table import Column, Table, escape

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
    """Writes heads.md, heads.html and heads.svg.

    Args:
      found: the records of the folder.
      names: the variants, the original first.
    Returns:
      The path of heads.html.
    """
    rows = _rows(found, names)
    figure = plots.quality_against_cache(rows)
    if figure:
        files.write(folder / "heads.svg", plots.svg(figure))
    curves = plots.loss_against_tokens(rows)
    if curves:
        files.write(folder / "heads_curves.svg", plots.svg(curves))
    parts = [
        f"# {escape(title)}",
        "![Nats a token against bytes of cache a token, before and after training on](heads.svg)" if figure else "",
        table(found, names).to_markdown(),
        "## Along the training\n\n![Nats a token of dev against the tokens trained on](heads_curves.svg)"
        if curves
        else "",
        "## How to read it\n\n" + "\n".join(f"- {text}" for text in READING),
        "All figures, and what they were made with: report.html.",
    ]
    text = "\n\n".join(filter(None, parts)) + "\n"
    files.write(folder / "heads.md", text)
    return files.write(folder / "heads.html", html.render(text, title, folder))
