"""Timings of several configs from one sitting as tables, with other libraries' figures for the same work beside.

Peers come as JSON lines, one a measurement: `peer`, `work` (W1, W2, W3), `attention` (mha, mqa), `dtype`, `batch`,
`beam`, `enc_us_per_token`, `dec_us_per_token`, the last two of the fastest run, a microsecond an output token. For
training `work` is W4 (W2's model) or W4big (W1's), with `dropout` and `tokens_per_s`, source and target, of the
fastest step. A peer's figure stands beside ours only where batch and lengths are the same.
"""

import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mqa_jax.errors import InputError
from mqa_jax.report import cells
from mqa_jax.report.document import Table
from mqa_jax.report.selection import Record

Peer = Mapping[str, Any]

# The works of the peers' scripts, by the config and the source and target lengths that they have.
WORKS = {("wmt14", 128, 128): "W1", ("text_translation", 64, 64): "W2", ("lm1b", 8, 248): "W3"}
TRAINED = {("wmt14", 128, 128): "W4big", ("text_translation", 64, 64): "W4"}
ATTENTIONS = {"multi_head": "mha", "multi_query": "mqa"}
FIELDS = {"peer", "work", "attention", "dtype", "batch", "beam", "enc_us_per_token", "dec_us_per_token"}


def read_peers(path: str | pathlib.Path) -> list[Peer]:
    """The lines of a file of peers.

    Raises:
      InputError: it is missing, or a line of it is no such measurement.
    """
    try:
        lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"--peers={path} cannot be read: {error.strerror}") from error
    peers = []
    for number, line in enumerate(lines, 1):
        try:
            peers.append(json.loads(line))
            missing = FIELDS - peers[-1].keys()
        except (ValueError, AttributeError) as error:
            raise InputError(f"--peers={path}, line {number} is not a JSON object ({error})") from error
        if missing:
            raise InputError(f"--peers={path}, line {number} lacks {', '.join(sorted(missing))}")
    return peers


def table(records: Sequence[Record], peers: Sequence[Peer] = ()) -> Table:
    """One row for each work, beam, attention type and number type; a column for each peer and its type."""
    peers = [peer for peer in peers if peer["work"] in WORKS.values()]
    columns = list(dict.fromkeys((peer["peer"], peer["dtype"]) for peer in sorted(peers, key=_peer_order)))
    timings = sorted((record for record in records if record["kind"] == "timing"), key=_order)
    rows = [(*_ours(record), *(_theirs(record, peers, *column) for column in columns)) for record in timings]
    note = (
        "Decoder, µs an output token: ours the median of the rounds with minimum and maximum; the peers' fastest run. "
        "The encoder's is added in front where the work has one, per source token. MiB: the most that the process "
        f"held, the array that memory's peak is measured with (256 MiB on a CPU) included.{_where(timings)}"
    )
    ours = "work", "attention", "type", "µs/token", "min to max", "floor", "share of floor", "parts", "MiB"
    return Table("Decoding in one sitting", (*ours, *(f"{name} {dtype}" for name, dtype in columns)), tuple(rows), note)


def training(records: Sequence[Record], peers: Sequence[Peer] = ()) -> Table:
    """One row for each timed training step; a column for each peer and its type, with dropout where we have it."""
    peers = [peer for peer in peers if peer["work"] in TRAINED.values()]
    columns = list(dict.fromkeys((peer["peer"], peer["dtype"]) for peer in sorted(peers, key=_peer_order)))
    timings = [record for record in records if record["kind"] == "train_timing"]
    rows = []
    for record in sorted(
        timings,
        key=lambda record: (record["name"], record["variant"], record["dropout"], record.get("rematerialise", False)),
    ):
        low, high = record["ms_spread"]
        same = [peer for peer in _same_work(record, peers, TRAINED) if bool(peer["dropout"]) == any(record["dropout"])]
        peer = {column: _speeds([p for p in same if (p["peer"], p["dtype"]) == column]) for column in columns}
        rows.append(
            (
                f"{record['name']}: {record['batch']} x ({record['source_length']} + {record['target_length']})",
                record["variant"],
                record["dtype"],
                "yes" if any(record["dropout"]) else "no",
                "yes" if record.get("rematerialise") else "no",
                cells.whole(record["tokens_per_s"]),
                f"{cells.significant(record['ms_per_step'])} ({cells.significant(low)} to {cells.significant(high)})",
                cells.percent(record["peak_share"]),
                cells.whole(record["activations_mb"]),
                cells.significant(record["compile_s"]),
                *(peer[column] for column in columns),
            )
        )
    note = (
        f"Tokens/s: source and target, of the median step; the peers' of the fastest and the median.{_where(timings)}"
    )
    ours = (
        "work",
        "attention",
        "type",
        "dropout",
        "rematerialised",
        "tokens/s",
        "ms a step",
        "matmul peak",
        "activations MiB",
        "compile s",
    )
    return Table("Training steps in one sitting", (*ours, *(f"{n} {dtype}" for n, dtype in columns)), tuple(rows), note)


def _speeds(runs: Sequence[Peer]) -> str:
    """Tokens a second of a peer's fastest step and, if it is known, of its best median."""
    if not runs:
        return cells.MISSING
    medians = [run["tokens_per_s_median"] for run in runs if run.get("tokens_per_s_median")]
    fastest = cells.whole(max(run["tokens_per_s"] for run in runs))
    return f"{fastest} / {cells.whole(max(medians))}" if medians else fastest


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


def _theirs(record: Record, peers: Sequence[Peer], name: str, dtype: str) -> str:
    wanted = record["beam"], name, dtype
    same = [p for p in _same_work(record, peers, WORKS) if (p["beam"], p["peer"], p["dtype"]) == wanted]
    if not same:
        return cells.MISSING
    fastest = min(same, key=lambda peer: peer["dec_us_per_token"])
    encoder, time = fastest["enc_us_per_token"], cells.significant(fastest["dec_us_per_token"])
    return f"{cells.significant(encoder)} + {time}" if encoder else time


def _same_work(record: Record, peers: Iterable[Peer], works: Mapping[tuple[str, int, int], str]) -> list[Peer]:
    """The peers' measurements of what the record measured."""
    work = works.get((record["name"], record["source_length"], record["target_length"]))
    attention = ATTENTIONS.get(record["variant"])
    same = [peer for peer in peers if (peer["work"], peer["attention"]) == (work, attention)]
    return [peer for peer in same if peer["batch"] == record["batch"]]


def _where(records: Sequence[Record]) -> str:
    """Device, version and commit, all that there are."""
    places = dict.fromkeys(f" {r['device']}, jax {r['versions']['jax']}, commit {r['commit']}." for r in records)
    return "".join(places)


def _order(record: Record) -> tuple[Any, ...]:
    names = [name for name, *_ in WORKS]
    place = names.index(record["name"]) if record["name"] in names else len(names)
    return place, record["name"], record["beam"], record["variant"], record["dtype"]


def _peer_order(peer: Peer) -> tuple[str, str]:
    return peer["peer"], peer["dtype"]
