"""Names written beside what they name, where they do not cover one another."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox

Label = tuple[float, float, str, str]  # x, y, text, colour
POINTS_PER_INCH = 72
LINE_HEIGHT = 12.5  # points
_FONT = 9
# What a place costs for each name it covers, for lying outside, for each mark and each bit of a line.
_NAME, _OUTSIDE, _MARK, _LINE, _FAR = 100.0, 100.0, 5.0, 1.0, 0.05


def beside_ends(axes: Axes, ends: Sequence[Label]) -> None:
    """Writes each name to the right of the axes at the height of its line's end, or as near as the others allow.

    The limits of the axes must not change after this.
    """
    axes.autoscale_view()  # matplotlib leaves it for later, but the places below depend on it
    scale = POINTS_PER_INCH / axes.figure.dpi
    places = axes.transData.transform(np.array([(x, y) for x, y, _, _ in ends])) * scale
    box = axes.get_window_extent()
    heights = spread(places[:, 1].tolist(), LINE_HEIGHT, box.y0 * scale, box.y1 * scale)
    for (x, y, text, color), (from_x, from_y), height in zip(ends, places, heights, strict=True):
        axes.annotate(
            text,
            (x, y),
            xytext=(box.x1 * scale - from_x + 16, height - from_y),
            textcoords="offset points",
            va="center",
            color=color,
            fontsize=_FONT,
            annotation_clip=False,
            arrowprops=_leader(color) | {"relpos": (0, 0.5)},
        )


def beside_points(axes: Axes, points: Sequence[Label]) -> None:
    """Writes each name near its point where it covers least: other names, marks, lines. Far names get a leader.

    The limits of the axes must not change after this.
    """
    canvas = axes.figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    axes.autoscale_view()
    scale = axes.figure.dpi / POINTS_PER_INCH
    lines = [axes.transData.transform(np.asarray(line.get_xydata())) for line in axes.lines]
    marks, between = np.concatenate(lines), np.concatenate([_along(line) for line in lines])
    inside, taken = axes.get_window_extent(), []

    def cost(box: Bbox) -> float:
        outside = box.x0 < inside.x0 or box.x1 > inside.x1 or box.y0 < inside.y0 or box.y1 > inside.y1
        covered = _NAME * sum(map(box.overlaps, taken)) + _MARK * _within(box.padded(3 * scale), marks)
        return covered + _OUTSIDE * outside + _LINE * _within(box, between)

    for x, y, text, color in points:
        label = axes.annotate(
            text, (x, y), xytext=(0, 0), textcoords="offset points", va="bottom", color=color, fontsize=_FONT
        )
        size = np.array(label.get_window_extent(canvas.get_renderer()).size)
        place = axes.transData.transform((x, y))
        offsets = list(_offsets(*size / scale))
        boxes = [Bbox([place + offset * scale, place + offset * scale + size]) for offset in offsets]
        far = [_FAR * np.hypot(*offset) for offset in offsets]
        best = min(range(len(boxes)), key=lambda index, boxes=boxes, far=far: cost(boxes[index]) + far[index])
        label.set_position(tuple(offsets[best]))
        taken.append(boxes[best])
        near = np.clip(place, boxes[best].min, boxes[best].max) - place
        if np.hypot(*near) > 15 * scale:
            axes.annotate("", (x, y), xytext=tuple(near / scale), textcoords="offset points", arrowprops=_leader(color))


def spread(values: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """The nearest values (least squares) that are `gap` apart in the same order, within low and high if they fit."""
    order = sorted(range(len(values)), key=lambda index: values[index])
    # Less its rank times the gap, a value need only not fall: pools of those that would are averaged.
    pools: list[tuple[float, int]] = []
    for rank, index in enumerate(order):
        total, count = values[index] - rank * gap, 1
        while pools and pools[-1][0] / pools[-1][1] >= total / count:
            before = pools.pop()
            total, count = total + before[0], count + before[1]
        pools.append((total, count))
    flat = [total / count for total, count in pools for _ in range(count)]
    room = high - low - (len(values) - 1) * gap
    if room >= 0:
        flat = [min(max(value, low), low + room) for value in flat]
    result = [0.0] * len(values)
    for rank, index in enumerate(order):
        result[index] = flat[rank] + rank * gap
    return result


def _offsets(width: float, height: float) -> Iterator[np.ndarray]:
    """Where the lower left corner of a name may be, in points from its point: around it, in growing rings."""
    for gap in (8, 16, 28, 42):
        xs = gap, -width / 2, -gap - width
        ys = -height / 2, gap, -gap - height
        yield from (np.array(each) for each in itertools.product(xs, ys) if each != (-width / 2, -height / 2))


def _along(line: np.ndarray, count: int = 40) -> np.ndarray:
    """Points on the pieces of a line."""
    steps = np.linspace(0, 1, count)[:, None]
    return np.concatenate([line, *(a + (b - a) * steps for a, b in itertools.pairwise(line))])


def _within(box: Bbox, places: np.ndarray) -> int:
    return int(((places >= box.min) & (places <= box.max)).all(axis=1).sum())


def _leader(color: str) -> dict:
    return {"arrowstyle": "-", "color": color, "linewidth": 0.6, "alpha": 0.7, "shrinkA": 1, "shrinkB": 4}
