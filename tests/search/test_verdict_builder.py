"""What the verdict is built from: the rank agreement of the rungs and the test scores, against SciPy."""

import math

import numpy as np
import pytest
from scipy.stats import rankdata, ttest_rel

from initsearch.search.verdict.builder import held_out, kendall


def tau_b(x: np.ndarray, y: np.ndarray) -> float:
    """By the definition, pair by pair."""
    upper = np.triu_indices(len(x), k=1)
    a = np.sign(np.subtract.outer(x, x))[upper]
    b = np.sign(np.subtract.outer(y, y))[upper]
    return float((a * b).sum() / np.sqrt((a != 0).sum() * (b != 0).sum()))


def test_kendall_is_tau_b_with_divergence_last() -> None:
    rung = {"a": 0.9, "b": 0.8, "c": 0.8, "d": math.nan, "e": 0.1, "f": math.nan, "alone": 1.0}
    full = {"a": 0.7, "b": 0.9, "c": 0.8, "d": 0.2, "e": 0.5, "f": math.nan}
    names = list(full)
    x = rankdata([-1.0 if math.isnan(rung[n]) else rung[n] for n in names])
    y = rankdata([-1.0 if math.isnan(full[n]) else full[n] for n in names])
    assert kendall(rung, full) == pytest.approx(tau_b(x, y))


def test_kendall_ranks_divergence_last_for_losses_too() -> None:
    rung, full = {"a": 0.1, "b": 0.2, "c": math.nan}, {"a": 0.3, "b": 0.4, "c": math.inf}
    assert kendall(rung, full, higher_is_better=False) == 1.0
    assert kendall(rung, full, higher_is_better=True) == pytest.approx(-1 / 3)


@pytest.mark.parametrize(
    ("rung", "full"),
    [({}, {}), ({"a": 1.0}, {"a": 2.0}), ({"a": 1.0, "b": 1.0}, {"a": 1.0, "b": 2.0})],
)
def test_kendall_is_undefined_without_two_ranks(
    rung: dict[str, float], full: dict[str, float]
) -> None:
    assert kendall(rung, full) is None


def test_the_lead_on_the_test_set_has_the_interval_of_scipy() -> None:
    rng = np.random.default_rng(0)
    mine, theirs = ({s: float(x) for s, x in enumerate(rng.normal(0.9, 0.01, 8))} for _ in "ab")
    del mine[2], theirs[5]
    score = held_out("he_normal", mine, theirs, alpha=0.1)
    both = sorted(mine.keys() & theirs.keys())
    test = ttest_rel([mine[s] for s in both], [theirs[s] for s in both])
    interval = test.confidence_interval(0.9)
    assert (score.gap_low, score.gap_high) == pytest.approx((interval.low, interval.high))
    assert score.gap == pytest.approx(np.mean([mine[s] - theirs[s] for s in both]))
    assert score.test_accuracy == pytest.approx(np.mean(list(mine.values())))


def test_the_lead_on_the_test_set_is_unknown_where_there_is_nothing_to_compare() -> None:
    baseline = {1: 0.9, 2: 0.8}
    assert math.isnan(held_out("default", baseline, baseline, 0.05).gap)
    assert math.isnan(held_out("other", {3: 0.9}, baseline, 0.05).gap)
    single = held_out("other", {2: 0.9}, baseline, 0.05)
    assert single.gap == pytest.approx(0.1)
    assert math.isnan(single.gap_low)
    same = held_out("twin", dict(baseline), baseline, 0.05)
    assert (same.gap, same.gap_low, same.gap_high) == (0.0, 0.0, 0.0)
