"""Figures: what they show is what the verdict holds, and everything on them can be read."""

import itertools
import math
import random
import re
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.markers import CARETLEFT, CARETRIGHT
from matplotlib.text import Text
from studies import SCHEMES, made_up_study, made_up_verdict, tell

from initsearch.race import Race, RaceRules
from initsearch.search.verdict import Standing, Verdict
from initsearch.tracking.figures import (
    curves_figure,
    gaps_figure,
    race_figure,
    search_figure,
    write_figures,
)
from initsearch.tracking.figures.canvas import folded, on_scale, short, spread
from initsearch.tracking.figures.curves import mean_line
from initsearch.tracking.figures.error_scale import backward, forward
from initsearch.tracking.history import HistoryRecorder, StudyHistory
from initsearch.tracking.report import ReportTracker

pytestmark = pytest.mark.slow

LONG = (
    "variance_scaling(factor={}, mode=fan_{}, distribution=truncated_normal, dialect=keras) + head"
)


def many_verdict(count: int) -> Verdict:
    rng = random.Random(count)
    names = {
        LONG.format(i, rng.choice(("in", "out", "avg"))): 0.95 + rng.random() * 0.02
        for i in range(count - 1)
    }
    return made_up_verdict(
        names | {"torch_default": 0.1135}, status="tie", diverged=("torch_default",)
    )


def recorded(
    verdict: Verdict, folder: Path, extra: int = 6, metric: str = "val_accuracy"
) -> StudyHistory:
    """The history that a made-up study leaves."""

    class Keeper(ReportTracker):
        def end_study(self, verdict: Verdict) -> None:
            kept.append(self._open().history())

    kept: list[StudyHistory] = []
    tell(Keeper(), made_up_study(folder, metric=metric), verdict, extra=extra)
    return kept[0]


def texts(figure: Figure) -> list[Text]:
    """All that is written on a figure: ticks outside of the axes' limits are not drawn."""
    hidden = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in axis.get_major_ticks() + axis.get_minor_ticks():
                if not low <= tick.get_loc() <= high:
                    hidden |= {tick.label1, tick.label2}
    return [
        text
        for text in figure.findobj(Text)
        if text.get_text().strip() and text.get_visible() and text not in hidden
    ]


def written(figure: Figure) -> str:
    return "\n".join(text.get_text().replace("\n", "") for text in texts(figure))


def assert_readable(figure: Figure) -> None:
    """No text leaves the picture and no two texts overlap."""
    figure.canvas.draw()
    width, height = figure.canvas.get_width_height()
    # Of Text, not of Annotation, whose extent takes its arrow in.
    boxes = [(text.get_text(), Text.get_window_extent(text)) for text in texts(figure)]
    for content, box in boxes:
        assert box.x0 >= 0, content
        assert box.y0 >= 0, content
        assert box.x1 <= width, content
        assert box.y1 <= height, content
    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        across = min(a.x1, b.x1) - max(a.x0, b.x0)
        down = min(a.y1, b.y1) - max(a.y0, b.y0)
        # Boxes hold the line's spacing too: letters touch only where boxes share over a quarter of a line.
        assert min(across, down) <= 0.25 * min(a.height, b.height), (one, other)


def test_shortened_names_are_numbered_alike_on_all_figures(tmp_path: Path) -> None:
    verdict = many_verdict(9)
    curves = curves_figure(verdict, recorded(verdict, tmp_path), None)
    assert curves is not None
    numbers = {f"{place}. " for place in range(1, 10)}
    for figure, missing in (
        (race_figure(verdict), set()),
        (gaps_figure(verdict), {"1. "}),
        (curves, set()),
    ):
        starts = {text.get_text()[:3] for text in texts(figure)}
        assert starts & numbers == numbers - missing
    assert "1. " not in written(race_figure(made_up_verdict()))


@pytest.mark.parametrize("count", [3, 16])
def test_every_figure_is_readable_with_long_names(count: int, tmp_path: Path) -> None:
    verdict = many_verdict(count)
    record = recorded(verdict, tmp_path)
    figures = [
        race_figure(verdict),
        gaps_figure(verdict),
        curves_figure(verdict, record, 94),
        search_figure(verdict, record),
    ]
    for figure in figures:
        assert figure is not None
        assert_readable(figure)


@pytest.mark.parametrize("metric", ["val_accuracy", "val_loss", "learning_curve_area"])
def test_figures_of_every_metric_are_readable(metric: str) -> None:
    means = (
        SCHEMES if metric != "val_loss" else {name: 2.4 * (1 - v) for name, v in SCHEMES.items()}
    )
    verdict = made_up_verdict(means, metric=metric, margin=0.3 if metric != "val_loss" else 0.01)
    for figure in (race_figure(verdict), gaps_figure(verdict)):
        assert_readable(figure)


def marks(figure: Figure, marker: str) -> list[tuple[float, float]]:
    """Where single marks of a kind stand, from top to bottom."""
    (axes,) = figure.axes
    found = [
        line for line in axes.lines if line.get_marker() == marker and len(line.get_xdata()) == 1
    ]
    points = [(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in found]
    return sorted(points, key=lambda point: point[1])


def test_the_race_shows_means_best_on_top_and_arrows_for_those_far_behind() -> None:
    verdict = made_up_verdict()
    figure = race_figure(verdict)
    competitive = [s for s in verdict.candidates if s.mean > 0.95 and s.name != "torch_default"]
    assert [x for x, _ in marks(figure, "o")] == pytest.approx([100 * s.mean for s in competitive])
    (default,) = marks(figure, "D")
    assert default[0] == pytest.approx(
        100 * next(s.mean for s in verdict.candidates if s.name == "torch_default")
    )
    arrows = marks(figure, "<")
    assert len(arrows) == 3
    low, high = figure.axes[0].get_xlim()
    assert all(low <= x < low + 0.03 * (high - low) for x, _ in arrows)
    # What leaves the scale is still shown by its number.
    assert "11.28" in written(figure)
    assert verdict.sentence in written(figure)


def test_where_less_is_better_the_far_ones_leave_to_the_right() -> None:
    verdict = made_up_verdict({"a": 0.30, "b": 0.31, "c": 2.30}, metric="val_loss", margin=0.01)
    figure = race_figure(verdict)
    assert verdict.candidates[0].name == "a"
    assert len(marks(figure, ">")) == 1
    assert marks(figure, "<") == []


def test_the_margin_is_shaded_on_the_worse_side_of_the_leader() -> None:
    for metric, sign in (("val_accuracy", -1), ("val_loss", 1)):
        verdict = made_up_verdict({"a": 0.5, "b": 0.502}, metric=metric, margin=0.3)
        scale = 100 if metric == "val_accuracy" else 1
        best = scale * verdict.candidates[0].mean
        (band,) = figure_band(race_figure(verdict))
        assert band == pytest.approx(tuple(sorted((best, best + sign * 0.3))))


def figure_band(figure: Figure) -> list[tuple[float, float]]:
    (axes,) = figure.axes
    return [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in axes.patches]


def bars_of(figure: Figure) -> list[list[float]]:
    (axes,) = figure.axes
    return [list(line.get_xdata()) for line in axes.lines if line.get_linewidth() == 2.6]


def test_gaps_are_paired_differences_with_the_interval_that_decides() -> None:
    verdict = made_up_verdict({"a": 0.97, "b": 0.968, "torch_default": 0.966})
    figure = gaps_figure(verdict)
    leader, second = verdict.candidates[:2]
    pairs = [100 * (second.scores[s] - leader.scores[s]) for s in leader.scores]
    ((x, _),) = marks(figure, "o")
    assert x == pytest.approx(statistics.fmean(pairs))
    # A gap is positive for a worse candidate; an accuracy is drawn with worse to the left.
    low, high = (-100 * end for end in (second.gap_high, second.gap_low))
    assert any(bar == pytest.approx([low, high]) for bar in bars_of(figure))
    dots = [
        sorted(line.get_xdata())
        for line in figure.axes[0].lines
        if len(line.get_xdata()) == len(pairs)
    ]
    assert any(dot == pytest.approx(sorted(pairs)) for dot in dots)


def test_the_bars_of_a_tie_lie_within_the_margin_and_those_of_the_beaten_outside() -> None:
    race = Race(["a", "b", "c", "torch_default"], RaceRules(margin=0.003, futility=0.0))
    rng = random.Random(9)
    while race.next_look is not None:
        for block in range(len(race.seeds), race.next_look):
            luck = rng.gauss(0.9, 0.01)
            means = {"a": 0.001, "b": 0.0008, "c": 0.0, "torch_default": -0.009}
            race.add_block(block, {k: m + luck + rng.gauss(0, 0.0022) for k, m in means.items()})
        decision = race.decide()
    assert decision.status == "tie"
    standings = [
        Standing(**vars(result), scheme=result.name, plan={}, lr=0.1) for result in race.results()
    ]
    verdict = replace(
        made_up_verdict(status="tie"),
        candidates=tuple(standings),
        tie_set=decision.tie_set,
        recommended=decision.recommended,
        against_baseline=None,
    )
    *tied, beaten = bars_of(gaps_figure(verdict))
    assert len(tied) == 2
    assert all(-0.3 <= low < high <= 0.3 for low, high in tied)
    assert beaten[1] < -0.3
    # At the level of a winner's interval, a tie would seem to leave the margin.
    assert any(
        max(c.high, -c.low) > 0.003 for c in decision.comparisons if c.name != "torch_default"
    )


def test_no_bar_leaves_what_a_difference_can_be_and_a_wide_one_is_cut_at_the_border() -> None:
    verdict = made_up_verdict({"a": 0.97, "torch_default": 0.966})
    leader, default = verdict.candidates
    wide = replace(verdict, candidates=(leader, replace(default, gap_low=-7.0, gap_high=7.0)))
    figure = gaps_figure(wide)
    assert bars_of(figure) == [[-100.0, 100.0]]
    assert "−100.00…100.00" in written(figure)
    low, high = figure.axes[0].get_xlim()
    assert -3 < low < high < 3
    assert sum(line.get_marker() in (CARETLEFT, CARETRIGHT) for line in figure.axes[0].lines) == 2


def test_figures_say_what_to_take_and_whether_the_default_is_beaten() -> None:
    beaten = made_up_verdict(status="tie")
    for figure in (race_figure(beaten), gaps_figure(beaten)):
        assert "a tie; take he_normal" in written(figure)
        assert "the framework's default, beaten" in written(figure)
    assert "torch_default is beaten by he_normal +0.5" in written(gaps_figure(beaten))
    kept = made_up_verdict({"a": 0.97, "torch_default": 0.9699}, status="undecided")
    assert "undecided; take torch_default" in written(race_figure(kept))
    assert "the framework's default, to take" in written(race_figure(kept))


def test_a_title_that_names_two_data_sets_is_whole() -> None:
    study = made_up_verdict(
        {"orthogonal(gain=1.33118)": 0.95, "torch_default": 0.92}, status="undecided"
    )
    verdict = replace(
        study,
        architecture="convnet-4x8-relu",
        dataset="digits",
        requested_dataset="mnist",
        recommended="orthogonal(gain=1.33118)",
    )
    for figure in (race_figure(verdict), gaps_figure(verdict)):
        heading = figure.texts[0].get_text()
        assert " ".join(heading.split()) == (
            "convnet-4x8-relu on digits (in place of mnist): undecided; take orthogonal(gain=1.33118)"
        )
        assert_readable(figure)


def test_all_diverged_is_drawn_too(tmp_path: Path) -> None:
    verdict = made_up_verdict({"a": 0.97, "torch_default": 0.96}, status="undecided")
    lost = {
        "mean": math.nan, "std": math.nan, "ci_low": math.nan, "ci_high": math.nan,
        "gap_to_leader": math.nan, "gap_low": math.nan, "gap_high": math.nan, "p_value": None,
        "p_adjusted": None, "diverged": 8,
    }  # fmt: skip
    gone = tuple(
        replace(s, scores=dict.fromkeys(s.scores, math.nan), **lost) for s in verdict.candidates
    )
    for candidates in ((verdict.candidates[0], gone[1]), gone):
        changed = replace(verdict, candidates=candidates)
        for figure in (race_figure(changed), gaps_figure(changed)):
            assert "diverged on 8 of 8 seeds" in written(figure)
            assert_readable(figure)


def test_a_mean_curve_is_the_mean_of_the_seeds_that_were_there() -> None:
    series = [
        {10: 0.5, 20: 0.7, 30: 0.9},
        {10: 0.7, 20: 0.9, 30: 0.95},
        {10: 0.1, 20: math.nan},
        {10: math.inf},
    ]
    line = mean_line(series, factor=100.0, per_epoch=10)
    assert line.x == [1, 2, 3]
    assert line.mean == pytest.approx([100 * (0.5 + 0.7 + 0.1) / 3, 80, 92.5])
    sd = statistics.pstdev([50, 70, 10])
    assert (line.low[0], line.high[0]) == pytest.approx((line.mean[0] - sd, line.mean[0] + sd))
    # The third seed's last finite value; the fourth never had one.
    assert line.ends == [(1, 10)]
    assert mean_line([{1: math.nan}], 1.0, 1.0).x == ()


def test_curves_mark_seeds_that_diverged(tmp_path: Path) -> None:
    verdict = made_up_verdict(diverged=("normal(std=1)",))
    figure = curves_figure(verdict, recorded(verdict, tmp_path), 94)
    assert figure is not None
    for axes in figure.axes:
        crosses = [line for line in axes.lines if line.get_marker() == "x"]
        assert [float(line.get_xdata()[0]) for line in crosses] == [4.0]
    assert figure.axes[0].get_xlabel() == "epoch"
    assert figure.axes[1].get_yscale() == "log"
    assert "normal(std=1) (2 diverged)" in written(figure)


@pytest.mark.parametrize("metric", ["val_accuracy", "val_loss"])
def test_the_search_shows_every_candidate_in_its_schemes_row(tmp_path: Path, metric: str) -> None:
    means = SCHEMES if metric == "val_accuracy" else {n: 2.4 * (1 - v) for n, v in SCHEMES.items()}
    verdict = made_up_verdict(means, metric=metric)
    history = recorded(verdict, tmp_path, extra=12, metric=metric)
    figure = search_figure(verdict, history)
    assert figure is not None
    axes, strip = figure.axes
    dots = [line for line in axes.lines if line.get_marker() in ("o", "D")]
    scored = [c for c in history.candidates if c.status in ("complete", "pruned")]
    assert len(dots) == len(scored)
    hollow = [line for line in dots if line.get_markerfacecolor() == "white"]
    assert len(hollow) == sum(c.status == "pruned" for c in history.candidates)
    for scheme in {c.info.scheme for c in history.candidates}:
        assert scheme in written(figure)
    # Those that diverged or failed stand apart, on the worse side, and at no score.
    for marker, status in (("x", "diverged"), ("+", "failed")):
        lost = [line for line in strip.lines if line.get_marker() == marker]
        assert len(lost) == sum(c.status == status for c in history.candidates) > 0
        assert not [line for line in axes.lines if line.get_marker() == marker]
    beside = strip.get_position().x1 <= axes.get_position().x0
    assert beside == (metric == "val_accuracy")
    assert beside or strip.get_position().x0 >= axes.get_position().x1
    assert_readable(figure)


def test_a_search_without_losses_has_no_strip_for_them(tmp_path: Path) -> None:
    verdict = made_up_verdict({"he_normal": 0.97, "torch_default": 0.96})
    figure = search_figure(verdict, recorded(verdict, tmp_path, extra=0))
    assert figure is not None
    assert len(figure.axes) == 1


def test_race_and_gaps_state_the_level_of_their_intervals() -> None:
    for alpha, level in ((0.05, "95 %"), (0.001, "99.9 %")):
        verdict = replace(made_up_verdict(), alpha=alpha)
        for figure in (race_figure(verdict), gaps_figure(verdict)):
            assert f"{level} confidence interval" in written(figure)


def test_a_comparison_on_other_seeds_than_the_means_has_a_footnote() -> None:
    verdict = made_up_verdict(diverged=("orthogonal",))
    fewer = sum(s.dropped_at is not None for s in verdict.candidates)
    for figure in (race_figure(verdict), gaps_figure(verdict)):
        cells = [text.get_text() for text in texts(figure)]
        assert sum(bool(re.fullmatch(r"\d+\*", cell)) for cell in cells) == fewer
        assert "\n* on" in "\n".join(cells)
        assert_readable(figure)
    same = made_up_verdict({"a": 0.97, "torch_default": 0.96})
    assert "*" not in written(race_figure(same)) + written(gaps_figure(same))


def test_the_bar_of_an_accuracy_ends_at_100() -> None:
    verdict = made_up_verdict({"a": 0.9995, "torch_default": 0.99}, spread=0.002)
    assert verdict.candidates[0].ci_high > 1
    figure = race_figure(verdict)
    bars = [line.get_xdata() for line in figure.axes[0].lines if line.get_linewidth() == 2.6]
    assert max(float(end) for bar in bars for end in bar) == 100
    assert "…100.00" in written(figure)


def test_names_are_drawn_as_they_are_written(tmp_path: Path) -> None:
    odd = "$\\alpha_{1} $x$ \x1b[31m\u202e"
    verdict = made_up_verdict({odd: 0.97, "torch_default": 0.96}, dataset="image_folder:$_")
    verdict = replace(verdict, sentence=f"{odd} wins")
    history = recorded(verdict, tmp_path, extra=2)
    for figure in (
        race_figure(verdict),
        gaps_figure(verdict),
        curves_figure(verdict, history, 94),
        search_figure(verdict, history),
    ):
        assert figure is not None
        figure.canvas.draw()
        assert r"$\alpha_{1} $x$ \x1b[31m\u202e" in written(figure)
        assert not {"\x1b", "\u202e"} & set(written(figure))


def test_files_are_pictures_and_nothing_else_is_left(tmp_path: Path) -> None:
    verdict = made_up_verdict()
    folder = tmp_path / "study" / "figures"
    files = write_figures(folder, verdict, recorded(verdict, tmp_path))
    assert sorted(folder.iterdir()) == sorted(files)
    assert {file.stem for file in files} == {"race", "gaps", "curves", "search"}
    for file in files:
        picture = imread(file)
        assert min(picture.shape[:2]) > 300
        assert picture[:, :, :3].std() > 0.02  # not blank
    alone = made_up_verdict({"torch_default": 0.9})
    assert [file.stem for file in write_figures(tmp_path / "alone", alone)] == ["race"]


def test_a_study_without_measurements_has_no_curves(tmp_path: Path) -> None:
    verdict = made_up_verdict()
    empty = HistoryRecorder(made_up_study(tmp_path)).history()
    assert curves_figure(verdict, empty, None) is None
    assert search_figure(verdict, empty) is None


@settings(deadline=None)
@given(
    wanted=st.lists(st.floats(-5, 5), max_size=20),
    gap=st.floats(0.001, 0.5),
)
def test_spread_labels_keep_order_distance_and_bounds(wanted: list[float], gap: float) -> None:
    placed = spread(wanted, gap, 0.0, 1.0)
    assert len(placed) == len(wanted)
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    ranked = [placed[i] for i in order]
    least = min(gap, 1.0 / max(1, len(wanted) - 1))
    assert all(b - a >= least - 1e-9 for a, b in itertools.pairwise(ranked))
    assert all(-1e-9 <= value <= 1 + 1e-9 for value in placed)


def test_labels_with_room_stay_where_they_want_to_be() -> None:
    assert spread([0.9, 0.1, 0.5], 0.1, 0.0, 1.0) == pytest.approx([0.9, 0.1, 0.5])
    assert spread([0.5, 0.5], 0.1, 0.0, 1.0) == pytest.approx([0.45, 0.55])


@settings(deadline=None)
@given(name=st.text(st.characters(codec="ascii", exclude_characters="\n"), max_size=200))
def test_long_names_take_two_lines_at_most(name: str) -> None:
    lines = folded(name, 40).split("\n")
    assert len(lines) <= 2
    assert all(len(line) <= 40 for line in lines)
    assert len(short(name, 12)) <= 12
    if len(name) <= 40:
        assert lines == [name]


def test_the_scale_leaves_failures_out() -> None:
    close, failed = (96.9, 97.1), (11.0, 11.5)
    assert on_scale([close, (96.5, 96.7), failed], floor=0.3) == 2
    assert on_scale([close, failed], floor=0.3) == 2
    assert on_scale([close, failed], floor=0.3, least=1) == 1
    assert on_scale([close, close, (math.nan, math.nan)], floor=0.3) == 2
    assert on_scale([(97, 97), (97, 97), (96, 96)], floor=0.3) == 3


def test_the_error_scale_sets_the_top_apart() -> None:
    assert backward(forward([0.0, 50.0, 99.9, 100.0])) == pytest.approx([0.0, 50.0, 99.9, 100.0])
    steps = forward([50.0, 90.0, 99.0])
    assert steps[1] - steps[0] == pytest.approx(steps[2] - steps[1], rel=0.25)
