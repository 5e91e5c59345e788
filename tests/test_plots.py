"""Plots of a report: what there is, each variant in one colour, nothing outside the picture."""

import itertools
import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.text import Text
from reported import PAIR, comparison, experiment, of_kind, over_seeds, there, timing, train, without

from mqa_jax.report import plots
from mqa_jax.report.selection import Selection

BLEU = [("multi_head", 3, 30.0, 0.3) + (None,) * 5, ("multi_query", 3, 29.5, 0.2, -0.5, -1.1, 0.1, 0.09, 0.09)]
NATS = [("multi_head", 3, 2.0, 0.01) + (None,) * 5, ("multi_query", 3, 2.02, 0.01, 0.02, 0.01, 0.04, 0.01, 0.01)]


@pytest.fixture(scope="module")
def toy():
    first = experiment("toy", "multi_head")
    return [*comparison(), over_seeds(first, BLEU), over_seeds(first, NATS, "nats a token")]


# The plots.

LIGHT, DARK = "#ffffff", "#14171b"
PLOTS = [draw for draw, _ in plots.PLOTS.values()]


def legend(figure):
    """The names in a figure's legend, each with its colour."""
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    handles = [getattr(each, "lines", [each])[0] for each in figure.legends[0].legend_handles]
    return dict(zip(names, (handle.get_color() for handle in handles), strict=True))


def tick_labels(axis):
    """The labels that are drawn: matplotlib also keeps some for ticks outside of the view."""
    low, high = sorted(axis.get_view_interval())
    return [tick.label1 for tick in axis.get_major_ticks() if axis.get_visible() and low <= tick.get_loc() <= high]


def lines_of(figure, panel=0):
    return [line for line in figure.axes[panel].lines if len(line.get_xdata()) > 1]


def test_time_against_length_has_a_line_and_a_floor_for_each_variant(toy):
    figure = there(plots.time_against_length(Selection(toy, PAIR)))
    solid = {line.get_label(): line for line in lines_of(figure) if line.get_linestyle() == "-"}
    dashed = [line for line in lines_of(figure) if line.get_linestyle() != "-"]
    assert solid.keys() == set(PAIR) and len(dashed) == 2
    np.testing.assert_array_equal(solid["multi_query"].get_xydata(), [[16, 7.5], [32, 15], [64, 30], [128, 60]])
    np.testing.assert_array_equal(dashed[0].get_xydata(), [[16, 2], [32, 4], [64, 10], [128, 16]])
    assert list(legend(figure)) == PAIR


def test_speed_up_is_the_baselines_time_over_the_variants_and_faster_is_higher(toy):
    timed = [record for record in of_kind(toy, "timing") if record["beam"] == 1]
    timed += [record | {"batch": 2 * record["batch"]} for record in timed]

    def other(variant, times, floors):
        """The baseline's records with its times and floors multiplied."""
        return [
            record
            | {"variant": variant}
            | {"decoder_us_per_token": times * record["decoder_us_per_token"]}
            | {"floor_us_per_token": floors * record["floor_us_per_token"]}
            for record in timed
            if record["variant"] == "multi_head"
        ]

    base = other("multi_head", 1, 1)
    runs = Selection([*base, *other("fast", 1 / 4, 1 / 8), *other("slow", 2, 1.25)], ["multi_head"])
    figure = there(plots.speed_up(runs))
    figure.draw_without_rendering()
    assert len(figure.axes) == 2
    for panel, axes in enumerate(figure.axes):
        one = axes.transData.transform((1, 1))[1]
        for variant, speed, of_floors in (("fast", 4, 8), ("slow", 0.5, 0.8)):
            (solid,) = [line for line in axes.lines if line.get_label() == variant]
            (dashed,) = [line for line in axes.lines if line.get_color() == solid.get_color() and line is not solid]
            for line, ratio in ((solid, speed), (dashed, of_floors)):
                x, y = line.get_data()
                assert list(x) == ([16, 32, 64, 128] if panel == 0 else [64, 128])
                np.testing.assert_allclose(y, ratio)
                heights = axes.transData.transform(line.get_xydata())[:, 1]
                assert (heights > one + 2).all() if ratio > 1 else (heights < one - 2).all()


def test_memory_to_compute_has_a_mark_for_each_step_and_the_floor(toy):
    """Peaks of 10 bytes and 1,000 operations a second: at 1 byte for 100 operations both take as long."""
    peaks = {"peak_bytes_per_s": 10.0, "peak_flops_per_s": 1000.0, "flops_per_step": 2000.0}
    steps = [(5.0, 3e3), (20.0, 4e3), (200.0, 50e3)]
    timed = [
        timing(experiment("toy", "multi_query"), 1.0) | peaks | {"batch": B, "bytes_per_step": size, "ms_per_step": ms}
        for B, (size, ms) in enumerate(steps, 1)
    ]
    other = timed[0] | {"batch": 9, "cache_dtype": "int8"}
    figure = there(plots.memory_to_compute(Selection([*of_kind(toy, "train"), *timed, other], PAIR)))
    marks, floor = figure.axes[0].lines
    np.testing.assert_allclose(marks.get_xydata(), [[0.25, 1.5], [1, 2], [10, 25]])
    assert marks.get_label() == "multi_query" and marks.get_linestyle() == "None"
    x, y = floor.get_data()
    np.testing.assert_allclose(y, np.maximum(1, x))
    assert (x.min(), x.max()) == pytest.approx((0.25, 10))


def test_quality_against_time_joins_the_beams_of_a_variant(toy):
    figure = there(plots.quality_against_time(Selection(toy, PAIR)))
    joined = lines_of(figure)
    assert len(joined) == 2
    np.testing.assert_array_equal(joined[1].get_xydata(), [[30, 27.25], [90, 28.25]])
    marks = [line.get_xydata().tolist() for line in figure.axes[0].lines if len(line.get_xdata()) == 1]
    assert sorted(marks) == [[[30, 27.25]], [[90, 27.5]], [[90, 28.25]], [[270, 28.5]]]
    assert list(legend(figure)) == PAIR


def test_learning_curves_have_the_mean_over_seeds_and_a_band(toy):
    """The third seed's dev loss is no number at the end: it counts nowhere there."""
    more = train(experiment("toy", "multi_query", seed=1))
    more["curve"] = [{name: value * (1 if name == "step" else 1.1) for name, value in p.items()} for p in more["curve"]]
    broken = train(experiment("toy", "multi_query", seed=2))
    broken["curve"] = [{"step": 100, "loss": 3.0}, {"step": 200, "loss": math.nan, "dev_nll_per_token": math.nan}]
    figure = there(plots.learning_curves(Selection([*toy, more, broken], PAIR)))
    assert [len(axes.lines) for axes in figure.axes] == [2, 2]
    curves = [record["curve"] for record in (*of_kind(toy, "train"), more, broken) if record["variant"] != "multi_head"]
    for axes, field in zip(figure.axes, ("loss", "dev_nll_per_token"), strict=True):
        values = {}
        for point in (point for curve in curves for point in curve if math.isfinite(point.get(field, math.nan))):
            values.setdefault(point["step"], []).append(point[field])
        (line,) = [line for line in axes.lines if line.get_label() == "multi_query"]
        np.testing.assert_allclose(line.get_xydata(), [(step, np.mean(values[step])) for step in sorted(values)])
        band = axes.collections[0].get_paths()[0].vertices
        for step, of_seeds in values.items():
            assert band[band[:, 0] == step, 1].min() == pytest.approx(min(of_seeds))
            assert band[band[:, 0] == step, 1].max() == pytest.approx(max(of_seeds))
    words = " ".join(text.get_text() for text in figure.texts)
    assert "label smoothing" in words and "means over seeds" in words


def test_differences_have_their_intervals_a_panel_a_metric(toy):
    figure = there(plots.differences(Selection(toy, PAIR)))
    for axes, (*_, difference, low, high, _, _) in zip(figure.axes, (BLEU[1], NATS[1]), strict=True):
        (mark,) = [line for line in axes.lines if line.get_marker() != "|" and len(line.get_xdata()) == 1]
        assert mark.get_xdata() == [difference] and mark.get_color() == plots.COLORS[1]
        (bar,) = axes.collections[0].get_segments()
        np.testing.assert_allclose(bar[:, 0], (low, high))
        assert [label.get_text() for label in axes.get_yticklabels()] == ["multi_query"]
    labels = [(axes.get_title(), axes.get_xlabel()) for axes in figure.axes]
    assert labels[0] == ("BLEU intl of test, beam 4", "difference, higher is better")
    assert labels[1] == ("nats a token of test", "difference, lower is better")
    assert plots.differences(Selection(without(toy, "seeds"), PAIR)) is None
    alone = [(*row[:4], row[4], None, None, None, None) for row in BLEU]
    assert plots.differences(Selection([over_seeds(experiment("toy", "multi_head"), alone)], PAIR)) is None


def test_the_gap_along_the_training_is_that_of_pairs_of_one_seed(toy):
    """Seed 1 of multi_query has no baseline, so it does not count; in seed 2 the gap is twice as large."""
    runs = [train(experiment("toy", variant, seed)) for variant, seed in zip([PAIR[1], *PAIR], (1, 2, 2), strict=True)]
    first = of_kind(toy, "train")
    for record, gap in ((first[1], 0.1), (runs[0], 9.0), (runs[2], 0.2)):
        record = record | {"curve": [dict(point) for point in record["curve"]]}
        for point in record["curve"][1::2]:
            point["dev_nll_per_token"] += gap
        runs.append(record)
    figure = there(plots.gap_against_steps(Selection([first[0], runs[1], *runs[3:]], PAIR)))
    (line,) = [line for line in figure.axes[0].lines if line.get_label() == "multi_query"]
    np.testing.assert_allclose(line.get_xydata(), [(step, 0.15) for step in (200, 400, 600, 800)])
    band = figure.axes[0].collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((0.1, 0.2))
    assert "means of 2 seeds" in " ".join(figure.texts[0].get_text().split())
    runs[5]["curve"][3]["dev_nll_per_token"] = math.nan  # of one of the two: no mean of the other alone
    (line,) = lines_of(there(plots.gap_against_steps(Selection([first[0], runs[1], *runs[3:]], PAIR))))[:1]
    assert list(line.get_xdata()) == [200, 600, 800]


def test_cache_size_has_a_bar_for_each_variant(toy):
    axes = there(plots.cache_size(Selection(toy, PAIR))).axes[0]
    assert [bar.get_width() for bar in axes.patches] == [131_072, 16_384]
    assert [text.get_text() for text in axes.texts] == ["128 KiB", "16.0 KiB  (0.125)"]


def test_a_variant_has_one_colour_in_every_plot(toy):
    more = [*toy, timing(experiment("toy", "grouped_2"), 20.0, cache=1)]
    runs = Selection(more, ["multi_head", "grouped_2", "multi_query"])
    assert [legend(there(draw(runs)))["multi_query"] for draw in PLOTS[:4]] == [plots.COLORS[2]] * 4
    bar = there(plots.cache_size(runs)).axes[0].patches[2]
    assert bar.get_facecolor()[:3] == pytest.approx(np.array([0, 158, 115]) / 255, abs=0.01)


@pytest.mark.parametrize("draw", PLOTS)
def test_nothing_to_draw_makes_no_figure(toy, draw):
    assert draw(Selection([], PAIR)) is None and draw(Selection(of_kind(toy, "significance"), PAIR)) is None
    figure = draw(Selection([*toy, timing(experiment("toy", "grouped_2"), math.nan)], PAIR))
    assert figure is not None and figure.axes


def test_labels_of_many_lengths_do_not_touch(toy):
    """32 to 4,096 beside a panel of batches, as a sweep times them."""
    of = {variant: experiment("toy", variant) for variant in PAIR}
    found = [timing(each, 9.0, length=2**n) for each in of.values() for n in range(5, 13)]
    found += [timing(each, 9.0) | {"batch": 2**n} for each in of.values() for n in range(0, 9, 2)]
    for draw in (plots.time_against_length, plots.speed_up):
        figure = there(draw(Selection(found, PAIR)))
        figure.draw_without_rendering()
        for axes in figure.axes:
            boxes = [label.get_window_extent() for label in tick_labels(axes.xaxis)]
            assert len(boxes) >= 4
            assert all(one.x1 + 10 < two.x0 for one, two in itertools.pairwise(boxes))


@pytest.mark.parametrize("draw", PLOTS)
def test_many_variants_and_long_names_stay_inside_the_picture(toy, draw):
    many = [
        record | {"variant": f"{record['variant']}_with_a_name_{n}"}
        for record in toy
        for n in range(6)
        if record["kind"] not in ("significance", "seeds")
    ]
    names = list(dict.fromkeys(record["variant"] for record in many))
    tested = [
        (name, 3, 30.0, 0.3, *((-0.5, -1.1, 0.1, 0.09, 0.09) if n else (None,) * 5)) for n, name in enumerate(names)
    ]
    many.append(over_seeds(experiment("toy", "multi_head"), tested) | {"variant": names[0], "baseline": names[0]})
    figure = there(draw(Selection(many)))
    figure.draw_without_rendering()
    picture = figure.get_tightbbox().padded(0.1).transformed(figure.dpi_scale_trans)
    assert picture.width <= 1.07 * plots.WIDTH * figure.dpi, "so that the text is as large as on the others"
    first, last = figure.axes[0], figure.axes[-1]
    assert figure.legends[0].get_window_extent().y0 > first.get_window_extent().y1
    assert figure.texts[0].get_window_extent().y1 < last.get_tightbbox().y0
    for axes in figure.axes:
        labels = *tick_labels(axes.xaxis), *tick_labels(axes.yaxis), axes.xaxis.label, axes.yaxis.label
        for text in filter(Text.get_text, [*axes.texts, *labels, *figure.texts, *figure.legends[0].get_texts()]):
            box = text.get_window_extent()
            assert picture.contains(*box.min) and picture.contains(*box.max), text


def contrast(one, other):
    """As WCAG has it."""
    channels = np.array([[int(color[n : n + 2], 16) / 255 for n in (1, 3, 5)] for color in (one, other)])
    linear = np.where(channels <= 0.03928, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    low, high = sorted(linear @ [0.2126, 0.7152, 0.0722] + 0.05)
    return high / low


@pytest.mark.parametrize("color", plots.COLORS)
def test_a_line_shows_on_a_light_and_on_a_dark_page(color):
    assert contrast(color, LIGHT) >= 3 and contrast(color, DARK) >= 3


@pytest.mark.parametrize("draw", PLOTS)
def test_a_picture_has_no_background_and_text_of_the_readers_colour(toy, draw):
    text = plots.svg(there(draw(Selection(toy, PAIR))))
    root = ElementTree.fromstring(text)
    words = list(root.iter("{http://www.w3.org/2000/svg}text"))
    assert words and all("fill: currentColor" in word.attrib["style"] for word in words)
    used = {color.lower() for color in re.findall(r"(?:fill|stroke): (#\w{6})", text)}
    assert used and used <= {color.lower() for color in plots.COLORS}, "a card, or a colour that one page hides"
    inks = re.findall(r"svg\{color:(#\w{6})\}", text)
    assert [contrast(ink, page) > 10 for ink, page in zip(inks, (LIGHT, DARK), strict=True)] == [True] * 2
    assert "@media(prefers-color-scheme:dark){svg" in text
    assert plots.svg(there(draw(Selection(toy, PAIR)))) == text, "the same records make the same file"


@pytest.mark.parametrize("draw", PLOTS)
def test_a_picture_is_legible_on_a_phone(toy, draw):
    """On a screen of 390 pixels, of which the page leaves 358."""
    root = ElementTree.fromstring(plots.svg(there(draw(Selection(toy, PAIR)))))
    scale = 358 / float(root.attrib["viewBox"].split()[2])
    words = root.iter("{http://www.w3.org/2000/svg}text")
    sizes = [float(there(re.search(r"([\d.]+)px", word.attrib["style"]))[1]) for word in words]
    assert min(sizes) * scale >= 8.9 and np.median(sizes) * scale >= 9.9
