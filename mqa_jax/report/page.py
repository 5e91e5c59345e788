"""The report of a comparison, from records alone: report.md, report.html in one file, and the plots as PNG."""

import pathlib
from collections.abc import Sequence

from mqa_jax.report import context, document, full, quality_plots, tables, time_plots
from mqa_jax.report.document import Block, Facts, Heading, Items, Notice, Picture
from mqa_jax.report.selection import Record, Selection

PLOTS = (
    ("quality_time", quality_plots.quality_against_time, "Quality against decoder time"),
    (
        "time_length",
        time_plots.time_against_length,
        "Decoder time against output length, with the floor of each variant",
    ),
    ("speed_up", time_plots.speed_up, "Decoder speed-up against output length and batch, measured and predicted"),
    ("learning_curves", quality_plots.learning_curves, "Training loss and dev loss against steps"),
    ("cache_size", time_plots.cache_size, "Bytes of keys and values for one sentence"),
)


def write(records: Sequence[Record], folder: str | pathlib.Path, title: str, order: Sequence[str] = ()) -> pathlib.Path:
    """Writes the report into `folder`. Variants appear in `order`, the baseline first; by default as records come.

    Returns:
      The path of report.html, which needs no other file.
    Raises:
      InputError: the records are of more than one config.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    blocks = _blocks(records, folder, order)
    _write_whole(folder / "report.md", document.to_markdown(title, blocks).encode())
    return _write_whole(folder / "report.html", document.to_html(title, blocks).encode())


def _blocks(records: Sequence[Record], folder: pathlib.Path, order: Sequence[str]) -> list[Block]:
    runs = Selection(records, order)
    if not runs:
        return [Notice("There are no records yet.")]
    limits, signatures = list(context.limits(runs)), context.signatures(runs)
    sections: dict[str, Sequence[Block | None]] = {
        "Result": [tables.summary(records, order)],
        "In the paper's shape": [table(records, order) for table in (tables.table_1, tables.table_2, tables.table_3)],
        "Significance": tables.significance(records, order),
        "Plots": _pictures(records, folder, order),
        "Limits": [Items(limits)] if limits else [],
        "How to read it": [Items(list(context.reading(runs)))],
        "sacreBLEU signatures": [Facts(signatures, literal=dict(signatures))] if signatures else [],
        "In full": [
            table(records, order)
            for table in (full.attention_types, full.quality, full.perplexity, full.timing, full.latency)
        ],
    }
    blocks: list[Block] = [
        Facts(context.head(runs), literal=("Commit", "Command")),
        *map(Notice, context.warnings(runs)),
    ]
    for heading, content in sections.items():
        there = [block for block in content if block]
        blocks += [Heading(heading), *there] if there else []
    return blocks


def _pictures(records: Sequence[Record], folder: pathlib.Path, order: Sequence[str]) -> list[Picture]:
    pictures = []
    for name, draw, alt in PLOTS:
        figure, path = draw(records, order), folder / f"{name}.png"
        if figure:
            half = path.with_suffix(".part")
            figure.savefig(half, format="png")
            half.replace(path)
            pictures.append(Picture(path, alt))
        else:
            path.unlink(missing_ok=True)  # of an earlier report
    return pictures


def _write_whole(path: pathlib.Path, data: bytes) -> pathlib.Path:
    half = path.with_suffix(path.suffix + ".part")
    half.write_bytes(data)
    half.replace(path)
    return path
