"""Plots of what decoding costs, from records: time against length, speed-up, cache size.

Each function returns a `Figure`, or None where there is nothing to draw.
"""

import math

from matplotlib.figure import Figure

from mqa_jax.report import canvas, labels
from mqa_jax.report.selection import Selection, drawable, sample


@canvas.styled
def time_against_length(runs: Selection) -> Figure | None:
    """Greedy decoder time a token against the number of output tokens; each variant's floor is dashed."""
    timed = {variant: found for variant in runs.variants if len(found := runs.lengths(variant)) > 1}
    if not timed:
        return None
    figure, (axes,) = canvas.figure_of(4.8, right=canvas.room(timed))
    everything, ends = [], []
    for variant, found in timed.items():
        color, marker = canvas.look(runs, variant)
        for field, style in (
            ("decoder_us_per_token", {"marker": marker, "label": variant}),
            ("floor_us_per_token", canvas.FLOOR),
        ):
            points = drawable([(record["target_length"], record[field]) for record in found])
            if points:
                axes.plot(*zip(*points, strict=True), color=color, **style)
                everything += [value for _, value in points]
                if field == "decoder_us_per_token":
                    ends.append((*points[-1], variant, color))
        lengths = [record["target_length"] for record in found]
        low, high = zip(*(record["decoder_us_spread"] for record in found), strict=True)
        everything += [value for value in (*low, *high) if math.isfinite(value)]
        axes.fill_between(lengths, low, high, color=color, alpha=0.15, linewidth=0)
    if not ends:
        return None
    lengths = sorted({record["target_length"] for found in timed.values() for record in found})
    canvas.log_x_at(axes, lengths, 1.2)
    canvas.log_axis(axes, "y", everything)
    axes.set_xlabel("output tokens a sentence (log scale)")
    axes.set_ylabel("decoder time, µs per output token (log scale)")
    records = [record for found in timed.values() for record in found]
    canvas.title(
        axes,
        "Greedy decoder time against output length",
        "solid: measured median, shaded: minimum to maximum, dashed: floor of this machine\n"
        + canvas.conditions(runs, records, lengths=False),
    )
    labels.beside_ends(axes, ends)
    return figure


@canvas.styled
def speed_up(runs: Selection) -> Figure | None:
    """The baseline's greedy decoder time over each variant's, against length and batch, beside that of the floors."""
    panels = []
    for field, along, label in (
        ("target_length", runs.lengths, "output tokens a sentence"),
        ("batch", runs.batches, "sentences at once"),
    ):
        baseline = {record[field]: record for record in along(runs.variants[0])}
        lines = {}
        for variant in runs.variants[1:]:
            pairs = [
                (record[field], baseline[record[field]], record)
                for record in along(variant)
                if record[field] in baseline and record["device"] == baseline[record[field]]["device"]
            ]
            if len(pairs) > 1:
                lines[variant] = pairs
        if lines:
            panels.append((label, lines))
    if not panels:
        return None
    figure, all_axes = canvas.figure_of(4.4, panels=len(panels), right=canvas.room(runs.variants))
    records = [record for _, lines in panels for pairs in lines.values() for _, _, record in pairs]
    below = "solid: measured, dashed: ratio of the floors (bytes and operations over this machine's peaks)\n"
    canvas.title(
        all_axes[0],
        f"Decoder speed-up over {runs.variants[0]}",
        below + canvas.conditions(runs, records, lengths=False),
    )
    ends = {}
    for axes, (label, lines) in zip(all_axes, panels, strict=True):
        everything = [1.0]
        for variant, pairs in lines.items():
            color, marker = canvas.look(runs, variant)
            for time, style in (
                ("decoder_us_per_token", {"marker": marker, "label": variant}),
                ("floor_us_per_token", canvas.FLOOR),
            ):
                points = drawable([(x, before[time] / after[time]) for x, before, after in pairs if after[time]])
                if points:
                    axes.plot(*zip(*points, strict=True), color=color, **style)
                    everything += [y for _, y in points]
                    if time == "decoder_us_per_token" and axes is all_axes[-1]:
                        ends[variant] = (*points[-1], variant, color)
        axes.axhline(1.0, color="#6b7280", linewidth=0.8)
        canvas.log_x_at(axes, sorted({x for pairs in lines.values() for x, _, _ in pairs}), 1.6)
        canvas.log_axis(axes, "y", everything, pad=1.08)
        axes.set_xlabel(f"{label} (log scale)")
        axes.set_ylabel("speed-up (log scale)")
    labels.beside_ends(all_axes[-1], list(ends.values()))
    return figure


@canvas.styled
def cache_size(runs: Selection) -> Figure | None:
    """Bytes of keys and values that one sentence's decoding keeps, as bars."""
    sizes = {
        variant: value
        for variant in runs.variants
        if (value := sample(runs.headline(variant, 1), "cache_bytes_per_sequence").mean) is not None
        and math.isfinite(value)
    }
    if not sizes:
        return None
    figure, (axes,) = canvas.figure_of(1.5 + 0.42 * len(sizes), right=0.35, left=canvas.room(sizes))
    names = list(sizes)
    power, unit = (2, "MiB") if max(sizes.values()) >= 1024**2 else (1, "KiB")
    widths = [value / 1024**power for value in sizes.values()]
    axes.barh(names, widths, color=[canvas.look(runs, name)[0] for name in names], height=0.62)
    baseline = sizes.get(runs.variants[0])
    for place, (variant, value) in enumerate(sizes.items()):
        share = f"  ({value / baseline:.3g})" if baseline and variant != runs.variants[0] else ""
        axes.annotate(
            f"{widths[place]:.3g} {unit}{share}",
            (widths[place], place),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            color="#374151",
            fontsize=9,
        )
    axes.set_xlim(0, max(widths) * 1.35)
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(f"cache of one sequence, {unit}")
    shares = f"in brackets: share of {runs.variants[0]}\n" if baseline and len(sizes) > 1 else ""
    timed = [record for variant in sizes for record in runs.headline(variant, 1)]
    canvas.title(axes, "Keys and values cached for one sequence", shares + canvas.conditions(runs, timed, speed=False))
    return figure
