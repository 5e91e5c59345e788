"""Figures as text: how a number is printed, and the mean and spread over seeds. What is missing is a dash."""

import math
from collections.abc import Callable

from mqa_jax.report.selection import Series

Show = Callable[[float], str]  # a finite number as text
MISSING = "–"


def text(series: Series, show: Show) -> str:
    """Mean ± standard deviation where seeds differ. Values that are text already are printed as they are."""
    if not series.values:
        return MISSING
    if isinstance(series.values[0], str):
        return ", ".join(dict.fromkeys(series.values))
    mean, sd = (
        None if value is None else show(value) if math.isfinite(value) else f"{value:g}".replace("nan", "NaN")
        for value in (series.mean, series.sd)
    )
    return f"{mean} ± {sd}" if series.sd else str(mean)


def decimals(digits: int) -> Show:
    """A fixed number of decimals: 27.4."""
    return lambda value: f"{value:,.{digits}f}"


def integer(value: float) -> str:
    """211,058,688."""
    return f"{value:,.0f}"


def count(value: float) -> str:
    """3, or 2.5 where it is a mean."""
    return f"{value:,.1f}".removesuffix(".0")


def significant(value: float) -> str:
    """Three significant digits, but no digit before the point is cut: 3.81, 46.0, 1,234."""
    places = 2 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:,.{max(0, places)}f}"


def percent(value: float) -> str:
    """62%."""
    return f"{value:.0%}"


def times(value: float) -> str:
    """A ratio: 0.98×, 12.1×."""
    return f"{value:,.{2 if value < 10 else 1}f}×"


def size(value: float) -> str:
    """Bytes in binary units: 512 B, 16.0 KiB."""
    for unit in ("B", "KiB", "MiB"):
        if abs(value) < 1024:
            return f"{value:,.0f} B" if unit == "B" else f"{significant(value)} {unit}"
        value /= 1024
    return f"{significant(value)} GiB"


def yes_no(value: float) -> str:
    """A truth value."""
    return "yes" if value else "no"
