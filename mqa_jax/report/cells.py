"""Figures as text: how a number is printed, and the mean and spread over seeds. What is missing is a dash.

All numbers of a column are printed as its smallest is, in its unit and with as many decimals, so that they can be
compared by eye: a function here takes the number, and that smallest one.
"""

import math
from collections.abc import Callable, Sequence

from mqa_jax.report.selection import Series

Show = Callable[[float, float], str]  # a finite number as text, printed as another is
MISSING = "–"


def column(found: Sequence[Series], show: Show) -> list[str]:
    """The cells of a column: mean ± standard deviation where seeds differ. Texts are printed as they are."""
    means = [series.mean for series in found if series.values and not isinstance(series.values[0], str)]
    least = min((abs(mean) for mean in means if mean and math.isfinite(mean)), default=0.0)
    return [_cell(series, show, least) for series in found]


def _cell(series: Series, show: Show, least: float) -> str:
    if not series.values:
        return MISSING
    if isinstance(series.values[0], str):
        return ", ".join(dict.fromkeys(series.values))
    numbers = (value for value in (series.mean, series.sd or None) if value is not None)
    return " ± ".join(
        show(each, least) if math.isfinite(each) else f"{each:g}".replace("nan", "NaN") for each in numbers
    )


def decimals(digits: int) -> Show:
    """A fixed number of decimals: 27.4."""
    return lambda value, least=0.0: f"{value:,.{digits}f}"


def integer(value: float, least: float = 0.0) -> str:
    """211,058,688."""
    return f"{value:,.0f}"


def count(value: float, least: float = 0.0) -> str:
    """3, or 2.5 where it is a mean."""
    return f"{value:,.1f}".removesuffix(".0")


def significant(value: float, least: float = 0.0) -> str:
    """Three significant digits of the least, but no digit before the point is cut: 3.81, 46.0, 1,234."""
    least = least or abs(value)
    return f"{value:,.{max(0, 2 - math.floor(math.log10(least))) if least else 0}f}"


def percent(value: float, least: float = 0.0) -> str:
    """62%."""
    return f"{value:.0%}"


def times(value: float, least: float = 0.0) -> str:
    """A ratio: 0.98×, 12.1×."""
    return f"{value:,.{2 if (least or value) < 10 else 1}f}×"


def size(value: float, least: float = 0.0) -> str:
    """Bytes in binary units: 512 B, 16.0 KiB."""
    least, unit = least or abs(value), 0
    while least >= 1024 and unit < 3:
        value, least, unit = value / 1024, least / 1024, unit + 1
    return f"{significant(value, least) if unit else integer(value)} {('B', 'KiB', 'MiB', 'GiB')[unit]}"


def yes_no(value: float, least: float = 0.0) -> str:
    """A truth value."""
    return "yes" if value else "no"


def p_value(value: float, samples: int) -> str:
    """0.021, or ≤ 0.001 where it is as low as so many resamples can show, or lower than three decimals can."""
    least = max(math.ceil(1000 / samples) / 1000, 0.001)
    return f"≤ {least:.3f}" if value <= least else f"{value:.3f}"
