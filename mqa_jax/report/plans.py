"""Plans for a person to read, from their records alone: one as text, several as a table and a picture."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mqa_jax.report import paper, plots
from mqa_jax.report.columns import column, columns
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
    mesh = ", ".join(f"{axis}={size}" for axis, size in record["config"]["mesh"].items())
    title = f"train step, {train['rows']} rows of {train['target_length']} tokens, {mesh}"
    text += ["", title, *_step(train, per_device)]
    text.append(f"  training    {hours(record):.2f} h at the floor, {record['config']['train']['steps']:,} steps")
    groups = record["devices"] // decode["spread_over_devices"]
    over = f"{groups} x {decode['spread_over_devices']} devices" if groups > 1 else "one group of devices"
    if "prefill" in record:
        title = f"prefill, {decode['batch']} sources of {decode['source_length']} tokens, {over}"
        text += ["", title, *_step(record["prefill"], per_device)]
    step = f"decode step, {decode['batch']} sentences, {paper.search(decode['beam'])}"
    title = f"{step}, cache of {decode['target_length']} tokens, {over}"
    return [*text, "", title, *_step(decode, per_device)]


def hours(record: Record) -> float:
    """What all steps of the config's training take at the floor."""
    return record["train"]["floor_s"] * record["config"]["train"]["steps"] / 3600


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
    search = paper.search(decode["beam"])
    shown = [
        *columns("variant fits train.held_bytes_total decode.held_bytes_total decode.held_bytes.cache"),
        column("train.floor_us_per_token"),
        Column("training, paper", "training"),
        column("training_hours"),
        column("decode.encoder_floor_us_per_token"),
        Column("encoder, paper", f"{search}: encoder"),
        column("decode.floor_us_per_token"),
        Column("decoder, paper", f"{search}: decoder"),
    ]
    note = (
        f"Bytes are a device's ({first['devices']} on {first['chips']} chips). Floors and the paper's times on "
        f"{paper.DEVICE} are microseconds a token: {decode['batch']} sentences of {decode['source_length']} to "
        f"{decode['target_length']} tokens, beam {decode['beam']}; training on {train['rows']} rows of "
        f"{train['target_length']}. Paper: {paper.SOURCE}, {paper.CONDITIONS}."
    )
    return Table.of(f"Plan: {first['name']} on {first['topology']}", shown, rows, note)


def capacities(found: Sequence[Record]) -> Table:
    """One row a variant and type of cache: sequences at once, tokens a second at best, and what limits them."""
    first = found[0]
    rows = [
        [{"variant": record["variant"], "cache": cache, **figures}]
        for record in found
        for cache, figures in record["caches"].items()
    ]
    at_most = "at_most.sequences at_most.tokens_per_s at_most.ms_per_token at_most.limit"
    within = columns("within_latency.sequences within_latency.tokens_per_s within_latency.limit")
    shown = [
        *columns(f"variant cache bytes_per_sequence weight_bytes_per_device {at_most}"),
        *(column(each.field, header=f"{each.header} {first['latency_ms']:g} ms") for each in within),
    ]
    note = (
        f"{first['devices']} x {first['memory_bytes_per_device'] / GIB:.1f} GiB, a model on "
        f"{first['spread_over_devices']}; sequences of {first['context']:,} tokens, all at full length. Times are "
        "floors, from published peaks. The limit is what takes the most of a step: reading the weights, reading the "
        "cache, or operations."
    )
    return Table.of(f"Decoding with {first['name']} on {first['topology']}", shown, rows, note)


@plots.styled
def curves(found: Sequence[Record]) -> Figure:
    """Tokens a second against the time of a token, from one sequence to as many as fit; a line a variant and cache."""
    figure, (axes,) = plots.panels_of(4.2)
    variants = [record["variant"] for record in found]
    for variant, record in zip(variants, found, strict=True):
        look = plots.look_of(variants, variant)
        for cache, style, filling in (("bfloat16", "-", look["color"]), ("int8", plots.DASHED, "none")):
            curve = record["caches"][cache]["curve"]
            axes.plot(*np.transpose(curve), **look, linestyle=style, lw=1.4, mfc=filling, markevery=[-1])
        axes.plot([], [], **look, label=variant)
    first = found[0]
    axes.axvline(first["latency_ms"], color=plots.INK, linewidth=0.8)
    plots.log_axis(axes, "x")
    plots.log_axis(axes, "y")
    axes.set(xlabel="time of a token, ms (log)", ylabel="tokens/s of all sequences (log)")
    key = "solid: cache of bfloat16; dashed, open: int8; from one sequence to as many as fit (mark); "
    key += f"upright line: {first['latency_ms']:g} ms; floors, from published peaks"
    conditions = f"{first['name']}, sequences of {first['context']:,} tokens, {first['topology']}"
    return plots.finished(figure, "What decoding can give at best", key, conditions)
