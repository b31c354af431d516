"""The correction for differences with rare low values, against a numerical inversion and simulated races."""

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import brentq

from initsearch.race import RaceRules
from initsearch.race.critical import critical_values, excess_variability, skewness
from initsearch.race.pairs import compare
from initsearch.race.spending import t_levels


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
        found = critical_values(np.array(blocks), np.array(0.04), np.array(skew), np.array(0.3))
        assert found == pytest.approx(stats.t.isf(0.02, blocks - 1))


def test_a_lead_of_the_more_variable_candidate_has_a_tenth_of_the_level_below_24_blocks() -> None:
    for blocks, level in ((5, 0.02), (6, 0.002), (12, 0.002), (23, 0.002), (24, 0.02)):
        found = critical_values(np.array(blocks), np.array(0.04), np.array(0.0), np.array(0.5))
        assert found == pytest.approx(stats.t.isf(level, blocks - 1))


def test_the_skewness_is_that_of_scipy() -> None:
    scores = np.random.default_rng(0).exponential(size=(2, 20))
    table = compare(scores)
    expected = stats.skew(scores[0] - scores[1], bias=False)
    assert (table.skew[0, 1], table.skew[1, 0]) == pytest.approx((expected, -expected))
    assert compare(np.ones((2, 20))).skew[0, 1] == 0.0


def false_leads(
    first: np.ndarray, second: np.ndarray, rules: RaceRules, correct: bool = True
) -> float:
    """Share of rows in which either of the two is called better, at any look."""
    called = np.zeros(len(first), dtype=bool)
    differences, sums = first - second, first + second
    for look, level in zip(rules.schedule, t_levels(rules.schedule, 0.025), strict=True):
        seen, both = differences[:, :look], sums[:, :look]
        centred = seen - seen.mean(axis=1, keepdims=True)
        around = both - both.mean(axis=1, keepdims=True)
        many, squares = np.full(len(seen), look), (centred**2).sum(axis=1)
        skew = skewness((centred**3).sum(axis=1), squares, many)
        products = (centred * around).sum(axis=1)
        excess = excess_variability(products, squares, (around**2).sum(axis=1))
        t = seen.mean(axis=1) / stats.sem(seen, axis=1)
        for sign in (1.0, -1.0):
            towards = sign * correct
            bound = critical_values(many, np.array(2 * level), towards * skew, towards * excess)
            called |= sign * t > bound
    return float(called.mean())


@pytest.mark.parametrize(
    ("ratio", "shared", "seeds", "most"),
    [
        (4.0, 0.0, 12, 0.065),
        (8.0, 0.0, 12, 0.06),
        (8.0, 0.0, 16, 0.055),
        (4.0, 0.0, 24, 0.055),
        # Noise that both share hides from 12 blocks who varies more.
        (4.0, 3.0, 12, 0.095),
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
    assert false_leads(first, second, rules, correct=False) > 0.08
    assert false_leads(first, second, rules) < most


@pytest.mark.parametrize(("seeds", "gap", "most"), [(12, 1.0, 0.045), (24, 0.7, 0.04)])
def test_the_correction_costs_normal_differences_little_power(
    seeds: int, gap: float, most: float
) -> None:
    scores = np.random.default_rng(1).normal(0.0, 0.5**0.5, size=(2, 10_000, seeds))
    rules = RaceRules(max_seeds=seeds)
    plain, corrected = (
        false_leads(scores[0] + gap, scores[1], rules, correct) for correct in (False, True)
    )
    assert plain - most < corrected <= plain
