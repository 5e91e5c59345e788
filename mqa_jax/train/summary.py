"""What a run comes to: a text of each log line, and the record's figures from all of them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any


def line(values: Mapping[str, float]) -> str:
    """A log line's figures for the progress bar."""
    parts = [f"loss {values['loss']:.3f}"]
    if "dev_nll_per_token" in values:
        parts.append(f"dev {values['dev_nll_per_token']:.3f}")
    parts.append(f"{values['tokens_per_s']:,.0f} tokens/s")
    if "peak_share" in values:
        parts.append(f"{values['peak_share']:.0%} of peak")
    if "refused" in values:
        parts.append(f"{values['refused']:.0f} skipped")
    return "  ".join(parts)


def figures(lines: Sequence[Mapping[str, float]], compile_s: float) -> dict[str, Any]:
    """The record's figures from the metrics of the whole run, resumed or not."""
    curve, seconds, tokens = [], 0.0, 0.0
    for each in lines:
        seconds, tokens = seconds + each["seconds"], tokens + each["tokens"]
        point = {"step": each["step"], "seconds": seconds, "tokens": tokens, "loss": each["loss"]}
        if "dev_nll_per_token" in each:
            point["dev_nll_per_token"] = each["dev_nll_per_token"]
        curve.append(point)
    return {
        "tokens_per_s": tokens / seconds if seconds else 0.0,
        "peak_share": _peak_share(lines),
        "train_s": seconds,
        "compile_s": compile_s,
        "final_loss": curve[-1]["loss"] if curve else math.nan,
        "curve": curve,
    }


def _peak_share(lines: Sequence[Mapping[str, float]]) -> float | None:
    """Of the whole run's time, where it is known throughout."""
    if not lines or not all("peak_share" in each for each in lines):
        return None
    return sum(each["peak_share"] * each["seconds"] for each in lines) / sum(each["seconds"] for each in lines)
