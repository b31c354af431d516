"""The correction for differences with rare low values, against a numerical inversion and simulated races."""

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import brentq

from initsearch.race import RaceRules
from initsearch.race.pairs import compare, critical_values, skewness
from initsearch.race.spending import t_levels


@pytest.mark.parametrize("blocks", [16, 24, 32])
@pytest.mark.parametrize("skew", [-0.4, -1.0, -2.5])
def test_the_critical_value_inverts_halls_transformation(blocks: int, skew: float) -> None:
    student = stats.t.isf(0.02, blocks - 1)
    g, root = 2 * skew, blocks**0.5

    def transformed(t: float) -> float:
        return t + g * t**2 / (3 * root) + g**2 * t**3 / (27 * blocks) + g / (6 * root)

    inverse = brentq(lambda t: transformed(t) - (1 - 3 / blocks) * student, -100.0, 1000.0)
    found = critical_values(np.array(blocks), np.array(0.04), np.array(skew))
    assert found == pytest.approx(max(student, inverse), rel=1e-6)


def test_few_blocks_and_skewness_to_high_values_leave_students_value() -> None:
    for blocks, skew in ((2, -1.0), (12, -3.0), (24, 2.0), (24, 0.0)):
        found = critical_values(np.array(blocks), np.array(0.04), np.array(skew))
        assert found == pytest.approx(stats.t.isf(0.02, blocks - 1))


def test_the_skewness_is_that_of_scipy() -> None:
    scores = np.random.default_rng(0).exponential(size=(2, 20))
    table = compare(scores)
    expected = stats.skew(scores[0] - scores[1], bias=False)
    assert (table.skew[0, 1], table.skew[1, 0]) == pytest.approx((expected, -expected))
    assert compare(np.ones((2, 20))).skew[0, 1] == 0.0


def false_leads(differences: np.ndarray, rules: RaceRules, correct: bool) -> float:
    """Share of rows whose mean is called different from 0, on either side, at any look."""
    called = np.zeros(len(differences), dtype=bool)
    for look, level in zip(rules.schedule, t_levels(rules.schedule, 0.025), strict=True):
        seen = differences[:, :look]
        centred = seen - seen.mean(axis=1, keepdims=True)
        many = np.full(len(seen), look)
        skew = skewness((centred**3).sum(axis=1), (centred**2).sum(axis=1), many)
        t = seen.mean(axis=1) / stats.sem(seen, axis=1)
        for sign in (1.0, -1.0):
            bound = critical_values(many, np.array(2 * level), sign * skew * correct)
            called |= sign * t > bound
    return float(called.mean())


@pytest.mark.parametrize("ratio", [4.0, 8.0])
def test_one_candidate_with_rare_low_values_wins_less_often_by_luck(ratio: float) -> None:
    rng = np.random.default_rng(0)
    low = 1.0 - rng.exponential(size=(10_000, 32))
    differences = ratio * low + rng.normal(size=low.shape)
    for seeds, most in ((24, 0.064), (32, 0.055)):
        rules = RaceRules(max_seeds=seeds)
        assert false_leads(differences, rules, correct=False) > 0.075
        assert false_leads(differences, rules, correct=True) < most


def test_the_correction_costs_normal_differences_little_power() -> None:
    differences = np.random.default_rng(1).normal(0.7, 1.0, size=(10_000, 24))
    rules = RaceRules(max_seeds=24)
    plain, corrected = (false_leads(differences, rules, correct) for correct in (False, True))
    assert plain - 0.025 < corrected <= plain
