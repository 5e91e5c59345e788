"""Plots of a report: what there is, each variant in one colour, nothing outside the picture."""

import math

import numpy as np
import pytest
from reported import PAIR, comparison, experiment, of_kind, there, timing, train

from mqa_jax.report import canvas, labels, page, quality_plots, time_plots


@pytest.fixture(scope="module")
def toy():
    return comparison()


# The plots.

PLOTS = [draw for _, draw, _ in page.PLOTS]


def lines_of(figure, panel=0):
    return [line for line in figure.axes[panel].lines if len(line.get_xdata()) > 1]


def test_time_against_length_has_a_line_and_a_floor_for_each_variant(toy):
    figure = there(time_plots.time_against_length(toy, PAIR))
    solid = {line.get_label(): line for line in lines_of(figure) if line.get_linestyle() == "-"}
    dashed = [line for line in lines_of(figure) if line.get_linestyle() != "-"]
    assert solid.keys() == set(PAIR) and len(dashed) == 2
    np.testing.assert_array_equal(solid["multi_query"].get_xydata(), [[16, 7.5], [32, 15], [64, 30], [128, 60]])
    np.testing.assert_array_equal(dashed[0].get_xydata(), [[16, 2], [32, 4], [64, 10], [128, 16]])
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert sorted(texts) == sorted(PAIR)


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
    figure = there(time_plots.speed_up([*base, *other("fast", 1 / 4, 1 / 8), *other("slow", 2, 1.25)], ["multi_head"]))
    figure.canvas.draw()
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
                assert (heights > one + 5).all() if ratio > 1 else (heights < one - 5).all()


def test_quality_against_time_joins_the_beams_of_a_variant(toy):
    figure = there(quality_plots.quality_against_time(toy, PAIR))
    joined = lines_of(figure)
    assert len(joined) == 2
    np.testing.assert_array_equal(joined[1].get_xydata(), [[30, 27.25], [90, 28.25]])
    assert {text.get_text() for text in figure.axes[0].texts} >= set(PAIR)


def test_learning_curves_have_a_line_for_each_run_and_panel(toy):
    more = train(experiment("toy", "multi_query", seed=1))
    broken = train(experiment("toy", "multi_query", seed=2))
    broken["curve"] = [{"step": 100, "loss": 3.0}, {"step": 200, "loss": math.nan, "dev_nll_per_token": math.nan}]
    figure = there(quality_plots.learning_curves([*toy, more, broken], PAIR))
    assert len(figure.axes[0].lines) == 4 and len(figure.axes[1].lines) == 3
    assert "label smoothing" in " ".join(text.get_text() for text in figure.texts)


def test_cache_size_has_a_bar_for_each_variant(toy):
    axes = there(time_plots.cache_size(toy, PAIR)).axes[0]
    assert [bar.get_extents().width / axes.patches[1].get_extents().width for bar in axes.patches] == pytest.approx(
        [8, 1]
    )
    assert [text.get_text() for text in axes.texts] == ["128 KiB", "16 KiB  (0.125)"]


def test_a_variant_has_one_colour_in_every_plot(toy):
    more = [*toy, timing(experiment("toy", "grouped_2"), 20.0, cache=1)]
    order = ["multi_head", "grouped_2", "multi_query"]
    seen = {
        line.get_color()
        for draw in PLOTS[:3]
        for line in lines_of(there(draw(more, order)))
        if "query" in str(line.get_label())
    }
    bar = there(time_plots.cache_size(more, order)).axes[0].patches[2]
    assert seen == {canvas.COLORS[2]} and bar.get_facecolor()[:3] == pytest.approx(
        np.array([0, 158, 115]) / 255, abs=0.01
    )


@pytest.mark.parametrize("draw", PLOTS)
def test_nothing_to_draw_makes_no_figure(toy, draw):
    assert draw([], PAIR) is None and draw(of_kind(toy, "significance"), PAIR) is None
    figure = draw([*toy, timing(experiment("toy", "grouped_2"), math.nan)], PAIR)
    assert figure is not None and figure.axes


@pytest.mark.parametrize("draw", PLOTS)
def test_many_variants_and_long_names_stay_inside_the_picture(toy, draw):
    many = [
        record | {"variant": f"{record['variant']}_with_a_name_{n}"}
        for record in toy
        for n in range(6)
        if record["kind"] != "significance"
    ]
    figure = there(draw(many))
    figure.canvas.draw()
    width, height = figure.get_size_inches() * figure.dpi
    assert all(text.get_window_extent().x1 <= width + 1 for text in figure.texts)
    for axes in figure.axes:
        for text in [*axes.texts, *axes.get_xticklabels(), *axes.get_yticklabels(), axes.xaxis.label, axes.yaxis.label]:
            box = text.get_window_extent()
            assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1, text


def test_spread_keeps_order_and_distance_and_moves_little():
    values = [5.0, 5.1, 40.0, 4.9]
    placed = labels.spread(values, 10, 0, 100)
    assert np.argsort(placed).tolist() == np.argsort(values).tolist()
    assert np.diff(sorted(placed)).min() == pytest.approx(10)
    assert placed[2] == 40.0 and min(placed) >= 0
    assert labels.spread([1.0, 50.0], 10, 0, 100) == [1.0, 50.0]
    crowded = labels.spread([5.0] * 20, 10, 0, 100)
    assert np.diff(sorted(crowded)) == pytest.approx(np.full(19, 10.0))
