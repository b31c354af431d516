"""The power gate: a simulated gap of a given size is detected with the predicted frequency.

The prediction is that of the paired t-test at the last look alone, by the noncentral t distribution; earlier
looks can only add to it. A race with the predicted power falls below `least_found` with probability 0.001 (for
seeds other than the fixed ones).
"""

import numpy as np
import pytest
from scipy import stats
from simulated_races import Noise, heavy_tailed, least_found, normal, race, races

from initsearch.race.pairs import win_power
from initsearch.race.rules import RaceRules
from initsearch.race.spending import t_levels

pytestmark = pytest.mark.slow

REPLICATES = 400
OTHERS = [0.955, 0.94, 0.90]


def predicted(gap: float, spread: float, rules: RaceRules) -> float:
    """Power of the one-sided t-test of a gap above the margin, at the level of the last look."""
    n = rules.max_seeds
    bound = stats.t.isf(t_levels(rules.schedule, rules.alpha / 2)[-1], n - 1)
    return float(stats.nct.sf(bound, n - 1, (gap - rules.margin) / spread * n**0.5))


@pytest.mark.parametrize(
    ("gap", "max_seeds", "stated"), [(0.005, 12, 0.87), (0.004, 24, 0.93), (0.008, 6, 0.91)]
)
def test_a_simulated_gap_is_detected_as_often_as_predicted(
    gap: float, max_seeds: int, stated: float
) -> None:
    rules = RaceRules(max_seeds=max_seeds)
    spread = 0.004  # of the paired difference: each of the two adds its own share
    power = predicted(gap, spread, rules)
    assert power == pytest.approx(stated, abs=0.01)
    outcomes = races(REPLICATES, [0.97, 0.97 - gap, *OTHERS], rules, sd=spread / 2**0.5)
    found = sum(outcome.winner == "c0" for outcome in outcomes)
    assert found >= least_found(REPLICATES, power)
    assert sum(outcome.winner not in ("c0", None) for outcome in outcomes) == 0


@pytest.mark.parametrize(("gap", "margin"), [(0.005, 0.001), (0.002, 0.001), (0.0005, 0.001)])
def test_the_reported_power_is_the_share_of_winners(gap: float, margin: float) -> None:
    rules = RaceRules(looks=(12,), max_seeds=12, margin=margin)
    spread, level = 0.0015, 2 * t_levels(rules.schedule, rules.alpha / 2)[-1]
    reported = win_power(gap, margin, spread, 12, level)
    assert reported == pytest.approx(predicted(gap, spread, rules), abs=1e-6)
    outcomes = races(REPLICATES, [0.97, 0.97 - gap], rules, sd=spread / 2**0.5)
    found = sum(outcome.winner == "c0" for outcome in outcomes)
    low, high = stats.binom.ppf([0.001, 0.999], REPLICATES, reported)
    assert low <= found <= high


def test_the_detectable_gap_of_a_decision_has_its_power() -> None:
    rules = RaceRules(looks=(12,), max_seeds=12)
    (outcome,) = races(1, [0.97, 0.965], rules, sd=0.003)
    decision = outcome.decision
    spread = decision.comparisons[0].spread
    assert predicted(decision.detectable_gap, spread, rules) == pytest.approx(0.8, abs=1e-4)


def test_the_gap_is_detected_in_heavy_tailed_scores() -> None:
    rules = RaceRules()
    outcomes = races(
        REPLICATES, [0.97, 0.965, *OTHERS], rules, noise=heavy_tailed, sd=0.004 / 2**0.5
    )
    found = sum(outcome.winner == "c0" for outcome in outcomes)
    assert found >= least_found(REPLICATES, predicted(0.005, 0.004, rules))


def test_a_wide_gap_is_detected_early_and_the_remaining_budget_is_saved() -> None:
    outcomes = races(REPLICATES, [0.97, 0.92, 0.90], RaceRules(), sd=0.002)
    assert all(outcome.winner == "c0" for outcome in outcomes)
    assert np.mean([outcome.blocks_trained for outcome in outcomes]) < 0.5 * 3 * 12


def test_a_race_detects_what_its_last_look_detects() -> None:
    rng = np.random.default_rng(0)
    rules = RaceRules()
    level = 2 * t_levels(rules.schedule, rules.alpha / 2)[-1]
    seen = 0
    for _ in range(200):
        scores = np.array([[0.97], [0.966]]) + 0.003 * rng.normal(size=(2, 12))
        interval = stats.ttest_rel(*scores).confidence_interval(1 - level)
        outcome = race(scores, rules)
        if outcome.decision.look == 12:
            seen += 1
            assert (outcome.winner == "c0") == (interval.low > rules.margin)
    assert seen > 50


def test_noise_shared_within_a_block_costs_no_power() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        scores = np.array([[0.97], [0.965], [0.95]]) + 0.003 * rng.normal(size=(3, 12))
        quiet = race(scores, RaceRules())
        loud = race(scores + 0.05 * rng.normal(size=(1, 12)), RaceRules())
        assert (loud.decision.status, loud.decision.look) == (
            quiet.decision.status,
            quiet.decision.look,
        )
        for a, b in zip(quiet.decision.comparisons, loud.decision.comparisons, strict=True):
            assert (a.name, a.beaten) == (b.name, b.beaten)
            assert a.p_value == pytest.approx(b.p_value, rel=1e-6)


@pytest.mark.parametrize("noise", [normal, heavy_tailed])
def test_equal_schemes_tie_if_the_noise_is_small_enough(noise: Noise) -> None:
    # The difference spreads by 0.08 points, the margin is 0.1: TOST at the last look detects it.
    rules = RaceRules(margin=0.001)
    outcomes = races(REPLICATES, [0.97, 0.97, 0.94], rules, noise, sd=0.0008 / 2**0.5)
    ties = [outcome for outcome in outcomes if outcome.decision.status == "tie"]
    assert len(ties) >= least_found(REPLICATES, 0.97)
    assert all(set(outcome.decision.tie_set) == {"c0", "c1"} for outcome in ties)
