"""Timings of several configs from one sitting as one table, with other libraries' figures for the same work beside.

Peers come as JSON lines, one a measurement: `peer`, `work` (W1, W2, W3), `attention` (mha, mqa), `dtype`, `batch`,
`beam`, `enc_us_per_token`, `dec_us_per_token`, the last two of the fastest run, a microsecond an output token.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mqa_jax.report import cells
from mqa_jax.report.document import Table
from mqa_jax.report.selection import Record

# The works of the peers' scripts, by the config that has their shape.
WORKS = {"wmt14": "W1", "text_translation": "W2", "lm1b": "W3"}
ATTENTIONS = {"multi_head": "mha", "multi_query": "mqa"}


def table(records: Sequence[Record], peers: Sequence[Mapping[str, Any]] = ()) -> Table:
    """One row for each work, beam, attention type and number type; a column for each peer and its type."""
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
