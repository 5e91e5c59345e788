"""The page of a model and its conversions to fewer key/value heads, from records alone."""

import pathlib
from collections.abc import Sequence

from mqa_jax import files
from mqa_jax.report import html, plots
from mqa_jax.report.cells import decimals, integer, significant, size
from mqa_jax.report.selection import Record, Selection
from mqa_jax.report.table import Column, Table, escape

READING = (
    "Before: dev, nats a token, straight after the conversion. After: the same when training on has ended.",
    "The original was trained on with the same tokens, in the same order.",
    "Cache: bytes that one token leaves. Times: a decode step with a full cache of so many tokens, random weights.",
    "Feed-forward layers stay as wide as they were, so the conversions are smaller models.",
)


def write(found: Sequence[Record], folder: pathlib.Path, title: str, names: Sequence[str]) -> pathlib.Path:
    """Writes heads.md, heads.html and heads.svg.

    Args:
      found: the records of the folder.
      names: the variants, the original first.
    Returns:
      The path of heads.html.
    """
    rows = {name: [record for record in found if record["variant"] == name] for name in names}
    contexts = sorted({record["source_length"] for record in found if record["kind"] == "timing"})
    columns = [
        Column("model", "variant"),
        Column("parameters", "parameters", integer, {"kind": "train"}),
        Column("cache a token", "cache_bytes_per_token", size, {"kind": "timing", "source_length": contexts[0]})
        if contexts
        else None,
        Column("before", "nll_per_token", decimals(3), {"kind": "perplexity", "split": "before"}),
        Column("after", "nll_per_token", decimals(3), {"kind": "perplexity", "split": "dev"}),
        Column("test, perplexity a word", "perplexity_per_word", significant, {"kind": "perplexity", "split": "test"}),
        *(
            Column(f"us a token at {context:,}", "decoder_us_per_token", significant, {"source_length": context})
            for context in contexts
        ),
    ]
    table = Table.of("What fewer heads lose and gain", [each for each in columns if each], list(rows.values()))
    figure = plots.quality_against_cache(rows)
    if figure:
        files.write(folder / "heads.svg", plots.svg(figure))
    curves = plots.learning_curves(Selection([each for each in found if each["variant"] in names], names))
    if curves:
        files.write(folder / "learning_curves.svg", plots.svg(curves))
    parts = [
        f"# {escape(title)}",
        "![Nats a token against bytes of cache a token, before and after training on](heads.svg)" if figure else "",
        table.to_markdown(),
        "## Along the training\n\n![Dev loss against steps](learning_curves.svg)" if curves else "",
        "## How to read it\n\n" + "\n".join(f"- {text}" for text in READING),
        "All figures, and what they were made with: report.html.",
    ]
    text = "\n\n".join(filter(None, parts)) + "\n"
    files.write(folder / "heads.md", text)
    return files.write(folder / "heads.html", html.render(text, title, folder))
