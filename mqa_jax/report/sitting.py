"""Timings of several configs from one sitting as tables, with other libraries' figures for the same work beside.

Peers come as JSON lines, one a measurement: `peer`, `work` (W1, W2, W3), `attention` (mha, mqa), `dtype`, `batch`,
`beam`, `enc_us_per_token`, `dec_us_per_token`, the last two of the fastest run, a microsecond an output token. For
training `work` is W4 (W2's model) or W4big (W1's), with `dropout` and `tokens_per_s`, source and target, of the
fastest step.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mqa_jax.report import cells
from mqa_jax.report.document import Table
from mqa_jax.report.selection import Record

# The works of the peers' scripts, by the config that has their shape.
WORKS = {"wmt14": "W1", "text_translation": "W2", "lm1b": "W3"}
TRAINED = {"wmt14": "W4big", "text_translation": "W4"}
ATTENTIONS = {"multi_head": "mha", "multi_query": "mqa"}


def table(records: Sequence[Record], peers: Sequence[Mapping[str, Any]] = ()) -> Table:
    """One row for each work, beam, attention type and number type; a column for each peer and its type."""
    peers = [peer for peer in peers if peer["work"] in WORKS.values()]
    columns = list(dict.fromkeys((peer["peer"], peer["dtype"]) for peer in sorted(peers, key=_peer_order)))
    timings = sorted((record for record in records if record["kind"] == "timing"), key=_order)
    rows = [(*_ours(record), *(_theirs(record, peers, *column) for column in columns)) for record in timings]
    first = timings[0] if timings else None
    note = (
        "Decoder, µs an output token: ours the median of the rounds with minimum and maximum; the peers' fastest run."
    )
    note += " The encoder's is added in front where the work has one, per source token."
    if first:
        note += f" {first['device']}, jax {first['versions']['jax']}, commit {first['commit']}."
    ours = "work", "attention", "type", "µs/token", "min to max", "floor", "share of floor", "parts", "MiB"
    return Table("Decoding in one sitting", (*ours, *(f"{name} {dtype}" for name, dtype in columns)), tuple(rows), note)


def training(records: Sequence[Record], peers: Sequence[Mapping[str, Any]] = ()) -> Table:
    """One row for each timed training step; a column for each peer and its type, with dropout where we have it."""
    peers = [peer for peer in peers if peer["work"] in TRAINED.values()]
    columns = list(dict.fromkeys((peer["peer"], peer["dtype"]) for peer in sorted(peers, key=_peer_order)))
    timings = [record for record in records if record["kind"] == "train_timing"]
    rows = []
    for record in sorted(timings, key=lambda record: (record["name"], record["variant"], record["dropout"])):
        low, high = record["ms_spread"]
        same = [peer for peer in peers if peer["work"] == TRAINED.get(record["name"])]
        same = [peer for peer in same if peer["attention"] == ATTENTIONS.get(record["variant"])]
        same = [peer for peer in same if bool(peer["dropout"]) == any(record["dropout"])]
        fastest = {
            column: max((p["tokens_per_s"] for p in same if (p["peer"], p["dtype"]) == column), default=None)
            for column in columns
        }
        rows.append(
            (
                f"{record['name']}: {record['batch']} x ({record['source_length']} + {record['target_length']})",
                record["variant"],
                record["dtype"],
                "yes" if any(record["dropout"]) else "no",
                cells.whole(record["tokens_per_s"]),
                f"{cells.significant(record['ms_per_step'])} ({cells.significant(low)} to {cells.significant(high)})",
                cells.percent(record["peak_share"]),
                cells.whole(record["activations_mb"]),
                cells.significant(record["compile_s"]),
                *(cells.whole(fastest[column]) for column in columns),
            )
        )
    note = "Tokens/s: source and target, of the median step; the peers' of the fastest."
    if timings:
        note += f" {timings[0]['device']}, jax {timings[0]['versions']['jax']}, commit {timings[0]['commit']}."
    ours = (
        "work",
        "attention",
        "type",
        "dropout",
        "tokens/s",
        "ms a step",
        "matmul peak",
        "activations MiB",
        "compile s",
    )
    return Table("Training steps in one sitting", (*ours, *(f"{n} {dtype}" for n, dtype in columns)), tuple(rows), note)


def _ours(record: Record) -> tuple[str, ...]:
    low, high = record["decoder_us_spread"]
    padded = ", padded" if record["padded_cache"] else ""
    what = f"batch {record['batch']}, {record['source_length']} to {record['target_length']}, beam {record['beam']}"
    encoder = record["encoder_us_per_token"] if record["task"] == "translation" else None
    time = cells.significant(record["decoder_us_per_token"])
    return (
        f"{record['name']}: {what}{padded}",
        record["variant"],
        record["dtype"],
        f"{cells.significant(encoder)} + {time}" if encoder else time,
        f"{cells.significant(low)} to {cells.significant(high)}",
        cells.significant(record["floor_us_per_token"]),
        cells.percent(record["floor_share"]),
        str(record["parts"]),
        cells.whole(record["peak_memory_mb"]),
    )


def _theirs(record: Record, peers: Sequence[Mapping[str, Any]], name: str, dtype: str) -> str:
    for peer in peers:
        same = peer["work"] == WORKS.get(record["name"]) and peer["attention"] == ATTENTIONS.get(record["variant"])
        if same and (peer["beam"], peer["peer"], peer["dtype"]) == (record["beam"], name, dtype):
            encoder = peer["enc_us_per_token"]
            time = cells.significant(peer["dec_us_per_token"])
            return f"{cells.significant(encoder)} + {time}" if encoder else time
    return cells.MISSING


def _order(record: Record) -> tuple[Any, ...]:
    return WORKS.get(record["name"], record["name"]), record["beam"], record["variant"], record["dtype"]


def _peer_order(peer: Mapping[str, Any]) -> tuple[str, str]:
    return peer["peer"], peer["dtype"]
