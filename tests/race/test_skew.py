"""The correction for differences with rare low values, against a numerical inversion and simulated races."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import brentq

from initsearch.race import RaceRules
from initsearch.race.critical import critical_values
from initsearch.race.judged import weigh
from initsearch.race.pairs import compare


@pytest.mark.parametrize("blocks", [16, 24, 32])
@pytest.mark.parametrize("skew", [-0.4, -1.0, -2.5])
def test_the_critical_value_inverts_halls_transformation(blocks: int, skew: float) -> None:
    student = stats.t.isf(0.02, blocks - 1)
    g, root = 2 * skew, blocks**0.5

    def transformed(t: float) -> float:
        return t + g * t**2 / (3 * root) + g**2 * t**3 / (27 * blocks) + g / (6 * root)

    inverse = brentq(lambda t: transformed(t) - (1 - 3 / blocks) * student, -100.0, 1000.0)
    found = critical_values(np.array(blocks), np.array(0.04), np.array(skew), np.array(0.0))
    assert found == pytest.approx(max(student, inverse), rel=1e-6)


def test_few_blocks_and_skewness_to_high_values_leave_students_value() -> None:
    for blocks, skew in ((2, -1.0), (12, -3.0), (24, 2.0), (24, 0.0)):
        found = critical_values(np.array(blocks), np.array(0.04), np.array(skew), np.array(0.6))
        assert found == pytest.approx(stats.t.isf(0.02, blocks - 1))


def test_a_doubted_lead_has_a_tenth_of_the_level_in_6_to_23_blocks() -> None:
    for blocks, level in ((5, 0.02), (6, 0.002), (12, 0.002), (23, 0.002), (24, 0.02)):
        found = critical_values(np.array(blocks), np.array(0.04), np.array(0.0), np.array(0.7))
        assert found == pytest.approx(stats.t.isf(level, blocks - 1))


def test_the_skewness_is_that_of_scipy() -> None:
    scores = np.random.default_rng(0).exponential(size=(2, 20))
    table = compare(scores)
    expected = stats.skew(scores[0] - scores[1], bias=False)
    assert (table.skew[0, 1], table.skew[1, 0]) == pytest.approx((expected, -expected))
    assert compare(np.ones((2, 20))).skew[0, 1] == 0.0


def false_leads(first: np.ndarray, second: np.ndarray, rules: RaceRules) -> float:
    """Share of rows in which either of the two is called better by t, at any look."""
    called = np.zeros(len(first), dtype=bool)
    for look in rules.schedule:
        seen = np.stack([first[:, :look], second[:, :look]], axis=1)
        called |= weigh(seen, look, replace(rules, sign_flips=False, margin=0.0)).beats.any(
            axis=(1, 2)
        )
    return float(called.mean())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ratio", "shared", "seeds", "most"),
    [
        (2.0, 0.0, 12, 0.062),
        (4.0, 0.0, 12, 0.06),
        (8.0, 0.0, 12, 0.06),
        (8.0, 0.0, 16, 0.055),
        (4.0, 0.0, 24, 0.055),
        # Noise that both share hides from 12 blocks who varies more.
        (4.0, 3.0, 12, 0.085),
        (4.0, 3.0, 24, 0.06),
    ],
)
def test_one_candidate_with_rare_low_values_wins_less_often_by_luck(
    ratio: float, shared: float, seeds: int, most: float
) -> None:
    rng = np.random.default_rng(0)
    low = ratio * (1.0 - rng.exponential(size=(6000, seeds)))
    noise = shared * rng.normal(size=low.shape)
    first, second = rng.normal(size=low.shape) + noise, low + noise
    rules = RaceRules(max_seeds=seeds)
    assert false_leads(first, second, replace(rules, correct_skew=False)) > 0.07
    assert false_leads(first, second, rules) < most


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "gap", "most"), [(12, 1.0, 0.045), (24, 0.7, 0.04)])
def test_the_correction_costs_normal_differences_little_power(
    seeds: int, gap: float, most: float
) -> None:
    scores = np.random.default_rng(1).normal(0.0, 0.5**0.5, size=(2, 10_000, seeds))
    rules = RaceRules(max_seeds=seeds)
    plain, corrected = (
        false_leads(scores[0] + gap, scores[1], replace(rules, correct_skew=correct))
        for correct in (False, True)
    )
    assert plain - most < corrected <= plain


def lower_end(scores: np.ndarray, **rules: float) -> float:
    return float(weigh(scores, 8, RaceRules(max_seeds=8, **rules)).low[0, 1])


def test_a_lead_over_a_candidate_that_learned_nothing_is_not_doubted_for_its_spread() -> None:
    rng = np.random.default_rng(0)
    leader = 0.29 + 0.06 * rng.normal(size=8)
    guesses = 0.1 + 0.01 * rng.random(8)
    alive = np.full(8, 0.2)
    failed = np.full(8, np.inf)
    level = RaceRules(max_seeds=8).levels[-1]
    for other, known, doubted in (
        (guesses, {"diverged_score": 0.1}, False),
        (guesses, {}, True),  # nobody knows that this is a guess
        (alive, {"diverged_score": 0.1}, True),
        (failed, {"diverged_score": 0.1}, False),
    ):
        seen = np.where(np.isinf(other), 0.1, other)
        test = stats.ttest_rel(leader, seen)
        expected = test.confidence_interval(1 - level / (10 if doubted else 1)).low
        assert lower_end(np.stack([leader, other]), **known) == pytest.approx(expected)
    # Where scores can be worse than a guess, a lead over guesses may still be luck.
    worse = np.full(8, -0.2)
    assert lower_end(np.stack([leader, guesses, worse]), diverged_score=0.1) == pytest.approx(
        lower_end(np.stack([leader, guesses]))
    )
