"""Figures as text: significant digits, units, mean and spread. What is missing is a dash."""

import math
from collections.abc import Sequence

from mqa_jax.report.selection import Sample

MISSING = "–"


def decimals(value: float | None, digits: int) -> str:
    """A fixed number of decimals: 27.4."""
    return MISSING if value is None else "NaN" if math.isnan(value) else f"{value:,.{digits}f}"


def significant(value: float | None, digits: int = 3) -> str:
    """A number of significant digits, none of the whole ones cut: 3.81, 46.0, 1,234."""
    if value is None or not math.isfinite(value) or value == 0:
        return decimals(value, 0)
    places = digits - 1 - math.floor(math.log10(abs(value)))
    return f"{value:,.{max(0, places)}f}"


def whole(value: float | None) -> str:
    """211,058,688."""
    return decimals(value, 0)


def count(value: float | None) -> str:
    """3, or 2.5 where it is a mean."""
    return decimals(value, 1).removesuffix(".0")


def percent(value: float | None) -> str:
    """62%."""
    return MISSING if value is None else "NaN" if math.isnan(value) else f"{value:.0%}"


def times(value: float | None) -> str:
    """A ratio: 0.98×, 12.1×."""
    return MISSING if value is None else f"{decimals(value, 2 if value < 10 else 1)}×"


def size(value: float | None) -> str:
    """Bytes in binary units: 512 B, 16.0 KiB."""
    if value is None or not math.isfinite(value):
        return decimals(value, 0)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024 or unit == "GiB":
            break
        value /= 1024
    return f"{value:,.0f} {unit}" if unit == "B" else f"{significant(value)} {unit}"


def rate(value: float | None, unit: str) -> str:
    """A peak in giga-units a second: 31.0 GB/s."""
    return MISSING if value is None else f"{significant(value / 1e9)} G{unit}/s"


def mean(sample: Sample, digits: int) -> str:
    """Mean ± standard deviation where there are several values, with a fixed number of decimals."""
    return _with_sd(decimals(sample.mean, digits), None if sample.sd is None else decimals(sample.sd, digits))


def mean_significant(sample: Sample) -> str:
    """Mean ± standard deviation with three significant digits of the mean and two of the deviation."""
    return _with_sd(significant(sample.mean), None if sample.sd is None else significant(sample.sd, 2))


def plus(encoder: str, decoder: str) -> str:
    """Encoder + decoder, as the paper prints it."""
    return joined([encoder, decoder], " + ")


def joined(cells: Sequence[str], by: str = " / ") -> str:
    """Several figures in one cell; one dash where all are missing."""
    return MISSING if all(cell == MISSING for cell in cells) else by.join(cells)


def _with_sd(mean: str, sd: str | None) -> str:
    return mean if sd is None else f"{mean} ± {sd}"
