"""A plan for a person to read, from its record alone; and the plans of several variants as one table."""

from collections.abc import Mapping, Sequence
from typing import Any

from mqa_jax.report import paper
from mqa_jax.report.cells import integer, significant, size, yes_no
from mqa_jax.report.selection import Record
from mqa_jax.report.table import Column, Table

GIB = 1 << 30


def lines(record: Record) -> list[str]:
    """Each step: memory by kind, operations, exchanges, floor."""
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
    text.append(f"  training    {hours(record):.2f} h at the floor, {record['config']['train']['steps']:,} steps")
    groups = record["devices"] // decode["spread_over_devices"]
    over = f"{groups} x {decode['spread_over_devices']} devices" if groups > 1 else "one group of devices"
    if "prefill" in record:
        title = f"prefill, {decode['batch']} sources of {decode['source_length']} tokens, {over}"
        text += ["", title, *_step(record["prefill"], per_device)]
    beam = "greedy" if decode["beam"] == 1 else f"beam {decode['beam']}"
    title = f"decode step, {decode['batch']} sentences, {beam}, cache of {decode['target_length']} tokens, "
    title += over
    return [*text, "", title, *_step(decode, per_device)]


def hours(record: Record) -> float:
    """What all steps of the config's training take at the floor."""
    return record["train"]["floor_s"] * record["config"]["train"]["steps"] / 3600


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
    if step.get("compiler_flops_per_device") is not None:
        text[-1] += f" (the compiler counts {step['compiler_flops_per_device'] / 1e9:,.1f} G a device)"
    if step["fits"]:
        for name, of in step["collectives"].items():
            text.append(f"  {name} devices: {of['count']} times, {of['bytes'] / 2**20:,.1f} MiB together")
        if not step["collectives"]:
            text.append("  no exchange between devices")
    parts = ", ".join(f"{name} {seconds * 1e3:.3f}" for name, seconds in step["floor_parts_s"].items())
    text.append(f"  floor       {step['floor_s'] * 1e3:.3f} ms ({parts}), {step['floor_us_per_token']:.3f} us a token")
    return text


def table(found: Sequence[Record]) -> Table:
    """One row a variant: what it holds and its floors, beside the paper's microseconds a token where it has them."""
    rows = [
        [record, {"training_hours": hours(record)}, paper.figures(record["name"], record["config"])] for record in found
    ]
    first, train, decode = found[0], found[0]["train"], found[0]["decode"]
    columns = [
        Column("variant", "variant"),
        Column("fits", "fits", yes_no),
        Column("training holds", "train.held_bytes_total", size),
        Column("decoding holds", "decode.held_bytes_total", size),
        Column("cache among it", "decode.held_bytes.cache", size),
        Column("training: floor", "train.floor_us_per_token", significant),
        Column("training, paper", "training_us"),
        Column("training: hours at the floor", "training_hours", significant),
        Column("encoder: floor", "decode.encoder_floor_us_per_token", significant),
        Column("encoder, paper", f"encoder_us_beam_{decode['beam']}"),
        Column("decoder: floor", "decode.floor_us_per_token", significant),
        Column("decoder, paper", f"decoder_us_beam_{decode['beam']}"),
    ]
    note = (
        f"Bytes are a device's ({first['devices']} on {first['chips']} chips). Floors and the paper's times on "
        f"{paper.DEVICE} are microseconds a token: {decode['batch']} sentences of {decode['source_length']} to "
        f"{decode['target_length']} tokens, beam {decode['beam']}; training on {train['rows']} rows of "
        f"{train['target_length']}. Paper: {paper.SOURCE}, {paper.CONDITIONS}."
    )
    return Table.of(f"Plan: {first['name']} on {first['topology']}", columns, rows, note)


def capacities(found: Sequence[Record]) -> Table:
    """One row a variant and type of cache: sequences at once, tokens a second at best, and what limits them."""
    first = found[0]
    rows = [
        [{"variant": record["variant"], "cache": cache, **figures}]
        for record in found
        for cache, figures in record["caches"].items()
    ]
    within = f"{first['latency_ms']:g} ms"
    columns = [
        Column("variant", "variant"),
        Column("cache", "cache"),
        Column("a sequence keeps", "bytes_per_sequence", lambda value, _: size(value)),
        Column("weights", "weight_bytes_per_device", size),
        Column("sequences at most", "at_most.sequences", integer),
        Column("tokens/s", "at_most.tokens_per_s", integer),
        Column("ms a token", "at_most.ms_per_token", significant),
        Column("limit", "at_most.limit"),
        Column(f"sequences in {within}", "within_latency.sequences", integer),
        Column(f"tokens/s in {within}", "within_latency.tokens_per_s", integer),
        Column(f"limit in {within}", "within_latency.limit"),
    ]
    note = (
        f"{first['devices']} x {first['memory_bytes_per_device'] / GIB:.1f} GiB, a model on "
        f"{first['spread_over_devices']}; sequences of {first['context']:,} tokens, all at full length. Times are "
        "floors, from published peaks. The limit is what takes the most of a step: reading the weights, reading the "
        "cache, or operations."
    )
    return Table.of(f"Decoding with {first['name']} on {first['topology']}", columns, rows, note)
