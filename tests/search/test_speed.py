"""How soon a candidate reaches the baseline's final score, against closed forms and SciPy."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import ttest_rel

from initsearch.search.metric import METRICS
from initsearch.search.verdict import Speed
from initsearch.search.verdict.speed import speeds
from initsearch.training.job import Curve, Point

EPOCHS = np.linspace(0.5, 10, 20)
ACCURACY = METRICS["val_accuracy"]


def curves(
    shape: Callable[[float], float], shifts: np.ndarray, score: str = "val_accuracy"
) -> dict[int, Curve]:
    """A curve per seed: the shape over the share of the budget, shifted."""
    return {
        seed: Curve(
            "he",
            seed,
            tuple(Point(e, int(8 * e), 1.0, {score: shape(e / 10) + shift}) for e in EPOCHS),
            2.3,
        )
        for seed, shift in enumerate(shifts)
    }


def speed_of(mine: dict[int, Curve], theirs: dict[int, Curve], metric=ACCURACY) -> Speed:
    return speeds({"he": mine, "default": theirs}, "default", metric, 0.05)["he"]


def test_a_line_crosses_where_the_closed_form_says() -> None:
    shifts = np.array([0.01, -0.01, 0.02, 0.0])
    twice = speed_of(curves(lambda x: 2 * x, shifts), curves(lambda x: x, shifts))
    # Equal shifts cancel in every pair: 2 x = 1 without any spread.
    assert (twice.share, twice.low, twice.high) == pytest.approx((0.5, 0.5, 0.5), abs=0.0101)


def test_the_interval_is_where_scipy_does_not_show_which_is_better() -> None:
    rng = np.random.default_rng(0)
    mine, theirs = (rng.normal(0, 0.05, 8) for _ in "ab")
    found = speed_of(curves(lambda x: 2 * x, mine), curves(lambda x: x, theirs))
    interval = ttest_rel(mine, theirs).confidence_interval(0.95)
    # The paired lead at share x is 2 x - 1 plus the difference of the shifts.
    assert found.low == pytest.approx((1 - interval.high) / 2, abs=0.0101)
    assert found.high == pytest.approx((1 - interval.low) / 2, abs=0.0101)
    assert found.share == pytest.approx((1 - (mine - theirs).mean()) / 2, abs=0.0101)


@pytest.mark.parametrize("metric", ["learning_curve_area", "steps_to_target"])
def test_a_metric_of_the_whole_curve_asks_for_the_accuracy(metric: str) -> None:
    shifts = np.array([0.01, -0.01, 0.02, 0.0])
    found = speed_of(curves(lambda x: 4 * x, shifts), curves(lambda x: x, shifts), METRICS[metric])
    assert found.share == pytest.approx(0.25, abs=0.0101)


def test_a_loss_is_reached_from_above() -> None:
    shifts = np.array([0.01, -0.01, 0.02, 0.0])
    mine, theirs = (curves(lambda x, k=k: 2 - k * x, shifts, "val_loss") for k in (4, 1))
    assert speed_of(mine, theirs, METRICS["val_loss"]).share == pytest.approx(0.25, abs=0.0101)


def test_a_candidate_that_never_gets_there_has_no_share() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.01, (2, 6))
    worse = speed_of(curves(lambda x: x / 2, noise[0]), curves(lambda x: x, noise[1]))
    assert all(map(math.isnan, (worse.share, worse.low, worse.high)))


def test_an_early_crossing_is_bounded_by_the_first_evaluation() -> None:
    shifts = np.zeros(4)
    at_once = speed_of(curves(lambda x: 2.0, shifts), curves(lambda x: x, shifts))
    assert at_once == Speed(0.05, 0.05, 0.05)


def test_curves_that_do_not_show_it_give_nothing() -> None:
    whole = curves(lambda x: x, np.zeros(4))
    lost = Curve("he", 2, (), 2.3, diverged=True)
    short = {seed: Curve("he", seed, curve.points[-1:], 2.3) for seed, curve in whole.items()}
    other = curves(lambda x: x, np.zeros(4), score="val/f1")
    for mine in (whole | {2: lost}, short, other, {0: whole[0]}, {}):
        assert speeds({"he": mine, "default": whole}, "default", ACCURACY, 0.05) == {}


@pytest.mark.parametrize("seeds", [6, 12])
def test_the_interval_covers_the_true_share(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    covered = 0
    for _ in range(200):
        mine, theirs = (rng.normal(0, 0.03, seeds) for _ in "ab")
        found = speed_of(
            curves(lambda x: 1 - math.exp(-6 * x), mine),
            curves(lambda x: 1 - math.exp(-3 * x), theirs),
        )
        covered += found.low <= 0.51 and not found.high < 0.49
    assert covered >= 183  # 95 % of 200, less two standard errors
