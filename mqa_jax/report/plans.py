"""A plan for a person to read, from its record alone; and the plans of several variants as one table."""

from collections.abc import Mapping, Sequence
from typing import Any

from mqa_jax.report import cells, paper
from mqa_jax.report.document import Table
from mqa_jax.report.selection import Record

GIB = 1 << 30


def lines(record: Record) -> list[str]:
    """Both steps: memory by kind, operations, exchanges, floor."""
    per_device = record["memory_bytes_per_device"] / GIB
    chips, devices = record["chips"], record["devices"]
    cores = f" of {devices} cores" if devices > chips else ""
    text = [
        f"{record['name']} {record['variant']} on {record['topology']}: {chips} chips{cores}, "
        f"{per_device:.1f} GiB a device",
    ]
    train, decode = record["train"], record["decode"]
    title = f"train step, {train['rows']} rows of {train['target_length']} tokens, {_mesh(record)}"
    text += ["", title, *_step(train, per_device)]
    beam = "greedy" if decode["beam"] == 1 else f"beam {decode['beam']}"
    title = f"decode step, {decode['batch']} sentences, {beam}, cache of {decode['target_length']} tokens, "
    groups = record["devices"] // decode["spread_over_devices"]
    title += f"{groups} x {decode['spread_over_devices']} devices" if groups > 1 else "one group of devices"
    return [*text, "", title, *_step(decode, per_device)]


def _mesh(record: Record) -> str:
    return ", ".join(f"{axis}={size}" for axis, size in record["config"]["mesh"].items())


def _step(step: Mapping[str, Any], per_device: float) -> list[str]:
    held = step["held_bytes"]
    if step["fits"]:
        text = [f"  fits: {step['held_bytes_total'] / GIB:.2f} of {per_device:.1f} GiB"]
    else:
        change = step["change"]
        text = [f"  DOES NOT FIT: {step['reason']}"]
        text.append(f"  smallest change that fits: {change}" if change else "  no change that was tried fits")
    text += [f"    {kind:<16}{size / 2**20:>12,.1f} MiB a device" for kind, size in held.items()]
    text.append(f"  operations  {step['flops'] / 1e9:,.1f} G on all devices")
    if step["fits"]:
        text[-1] += f" (the compiler counts {step['compiler_flops_per_device'] / 1e9:,.1f} G a device)"
        for name, of in step["collectives"].items():
            text.append(f"  {name} devices: {of['count']} times, {of['bytes'] / 2**20:,.1f} MiB together")
        if not step["collectives"]:
            text.append("  no exchange between devices")
    parts = ", ".join(f"{name} {seconds * 1e3:.3f}" for name, seconds in step["floor_parts_s"].items())
    text.append(f"  floor       {step['floor_s'] * 1e3:.3f} ms ({parts}), {step['floor_us_per_token']:.3f} us a token")
    return text


def table(found: Sequence[Record]) -> Table:
    """One row a variant: what it holds and its floors, beside the paper's microseconds a token where it has them."""
    rows = []
    for record in found:
        train, decode = record["train"], record["decode"]
        theirs = paper.table_2(record["name"], record["config"])
        measured = theirs and (theirs.greedy if decode["beam"] == 1 else theirs.beam_4)
        pairs = (
            (train["floor_us_per_token"], theirs and theirs.training),
            (decode["encoder_floor_us_per_token"], measured and measured[0]),
            (decode["floor_us_per_token"], measured and measured[1]),
        )
        rows.append(
            (
                record["variant"],
                "yes" if record["fits"] else "no",
                cells.size(train.get("held_bytes_total")),
                cells.size(decode.get("held_bytes_total")),
                cells.size(decode["held_bytes"]["cache"]),
                *(cells.significant(value) if value else cells.MISSING for pair in pairs for value in pair),
            )
        )
    columns = ["variant", "fits", "training holds", "decoding holds", "cache among it"]
    columns += [f"{what}{of}" for what in ("training", "encoder", "decoder") for of in (": floor", ", paper")]
    first = found[0]
    decode = first["decode"]
    note = (
        f"Bytes are a device's ({first['devices']} on {first['chips']} chips). Floors and the paper's times on "
        f"{paper.DEVICE} are microseconds a token: {decode['batch']} sentences of {decode['source_length']} to "
        f"{decode['target_length']} tokens, beam {decode['beam']}; training on {first['train']['rows']} rows of "
        f"{first['train']['target_length']}. Paper: {paper.SOURCE}, {paper.CONDITIONS}."
    )
    return Table(f"Plan: {first['name']} on {first['topology']}", tuple(columns), tuple(rows), note)
