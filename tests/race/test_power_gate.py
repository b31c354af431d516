"""The power gate: a simulated gap of a given size is detected with the predicted frequency.

The prediction is that of the paired t-test at the last look alone, by the noncentral t distribution; earlier
looks can only add to it. A race with the predicted power falls below `least_found` with probability 0.001 (for
seeds other than the fixed ones).
"""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from simulated_races import Noise, heavy_tailed, least_found, normal, race, races

from initsearch.errors import ConfigError
from initsearch.race import plan
from initsearch.race.pairs import win_power
from initsearch.race.power import seeds_to_decide
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
    rules = RaceRules(max_seeds=max_seeds, correct_skew=False)
    spread = 0.004  # of the paired difference: each of the two adds its own share
    power = predicted(gap, spread, rules)
    assert power == pytest.approx(stated, abs=0.01)
    outcomes = races(REPLICATES, [0.97, 0.97 - gap, *OTHERS], rules, sd=spread / 2**0.5)
    found = sum(outcome.winner == "c0" for outcome in outcomes)
    assert found >= least_found(REPLICATES, power)
    assert sum(outcome.winner not in ("c0", None) for outcome in outcomes) == 0


@pytest.mark.parametrize(("gap", "margin"), [(0.005, 0.001), (0.002, 0.001), (0.0005, 0.001)])
def test_the_reported_power_is_the_share_of_winners(gap: float, margin: float) -> None:
    rules = RaceRules(looks=(12,), max_seeds=12, margin=margin, correct_skew=False)
    spread, level = 0.0015, 2 * t_levels(rules.schedule, rules.alpha / 2)[-1]
    reported = win_power(gap, margin, spread, 12, level)
    assert reported == pytest.approx(predicted(gap, spread, rules), abs=1e-6)
    outcomes = races(REPLICATES, [0.97, 0.97 - gap], rules, sd=spread / 2**0.5)
    found = sum(outcome.winner == "c0" for outcome in outcomes)
    low, high = stats.binom.ppf([0.001, 0.999], REPLICATES, reported)
    assert low <= found <= high


@pytest.mark.parametrize("count", [2, 5, 8])
def test_the_detectable_gap_over_tied_rivals_is_detected_as_often_as_stated(count: int) -> None:
    """Gaps stated by races of equal candidates, against SciPy's tests on races with that true lead."""
    rules = RaceRules(looks=(12,), max_seeds=12, futility=0.0, correct_skew=False)
    outcomes = races(120, [0.97] * count, rules, sd=0.004, power=True)
    stated = [outcome.decision.detectable_gap for outcome in outcomes]
    rng = np.random.default_rng(5)
    scores = 0.004 * rng.normal(size=(4000, count, 12))
    test = stats.ttest_rel(scores[:, :1], scores[:, 1:], axis=2)
    short = rules.margin - test.confidence_interval(0.95).low.min(axis=1)  # the lead that would win
    found = np.mean([(short < gap).mean() for gap in stated])
    assert 0.77 < found < 0.87


def test_a_plan_states_the_lead_and_the_margin_that_its_seeds_decide() -> None:
    rng = np.random.default_rng(6)
    rules = RaceRules(looks=(12,), max_seeds=12, correct_skew=False)
    for count in (2, 5):
        made = plan(rules, count, 0.004)
        scores = 0.004 / 2**0.5 * rng.normal(size=(4000, count, 12))
        led = scores + np.array([made.lead, *[0.0] * (count - 1)])[None, :, None]
        low = stats.ttest_rel(led[:, :1], led[:, 1:], axis=2).confidence_interval(0.95).low
        assert (low.min(axis=1) > rules.margin).mean() == pytest.approx(0.8, abs=0.04)
        best = scores.mean(axis=2).argmax(axis=1)
        leader = scores[np.arange(4000), best][:, None]
        with np.errstate(invalid="ignore", divide="ignore"):
            test = stats.ttest_rel(leader, scores, axis=2).confidence_interval(0.90)
        widest = np.nanmax(np.where(np.isfinite(test.high), test.high, np.nan), axis=1)
        assert (widest <= made.margin).mean() == pytest.approx(0.8, abs=0.06)


@pytest.mark.parametrize("max_seeds", [8, 12])
def test_the_lead_of_a_plan_is_found_by_races_with_the_rules_in_force(max_seeds: int) -> None:
    rules = RaceRules(looks=(max_seeds,), max_seeds=max_seeds, futility=0.0)
    made, plain = (plan(r, 3, 0.004) for r in (rules, replace(rules, correct_skew=False)))
    assert made.lead > plain.lead
    outcomes = races(300, [0.9 + made.lead, 0.9, 0.9], rules, sd=0.004 / 2**0.5, shared_sd=0.0)
    assert np.mean([outcome.winner == "c0" for outcome in outcomes]) == pytest.approx(0.8, abs=0.07)


def test_a_plan_names_the_seeds_that_its_margin_needs() -> None:
    made = plan(RaceRules(margin=0.002), 3, 0.003)
    assert made.seeds_for_tie is not None
    enough = plan(RaceRules(margin=0.002, max_seeds=made.seeds_for_tie), 3, 0.003)
    fewer = plan(RaceRules(margin=0.002, max_seeds=made.seeds_for_tie - 4), 3, 0.003)
    assert enough.margin < 1.03 * 0.002 < fewer.margin
    assert plan(RaceRules(margin=0.0), 3, 0.003).seeds_for_tie is None


@pytest.mark.parametrize(
    ("arms", "sd", "name"), [(1, 0.1, "n_arms"), (2, 0.0, "sd"), (2, np.nan, "sd")]
)
def test_a_plan_without_rivals_or_noise_is_refused(arms: int, sd: float, name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be"):
        plan(RaceRules(), arms, sd)


def test_the_seeds_that_an_undecided_race_names_decide_it() -> None:
    gaps, spread = np.array([0.004, 0.006]), np.array([0.006, 0.006])
    rules = RaceRules(margin=0.001)
    seeds = seeds_to_decide(gaps, spread, rules)
    assert seeds is not None
    level = 2 * t_levels(replace(rules, max_seeds=seeds).schedule, 0.025)[-1]
    scores = 0.006 / 2**0.5 * np.random.default_rng(0).normal(size=(1000, 3, seeds))
    led = scores[:, :1] + np.array([0.004, 0.006])[None, :, None]
    low = stats.ttest_rel(led, scores[:, 1:], axis=2).confidence_interval(1 - level).low
    assert (low.min(axis=1) > rules.margin).sum() >= least_found(1000, 0.8)
    assert seeds_to_decide(np.array([0.0011]), np.array([0.006]), rules) is None


def test_a_twin_as_the_runner_up_leaves_the_power_against_the_others() -> None:
    rng = np.random.default_rng(0)
    scores = np.array([0.97, 0.97, 0.965])[:, None] + 0.006 * rng.normal(size=(3, 12))
    scores[1] = scores[0]
    decision = race(scores, RaceRules(looks=(12,)), power=True).decision
    assert decision.detectable_gap > 0.001
    twins = race(scores[:2], RaceRules(looks=(12,)), power=True).decision
    assert np.isnan(twins.detectable_gap)
    assert twins.power == 0.0


def test_the_gap_is_detected_in_heavy_tailed_scores() -> None:
    rules = RaceRules(correct_skew=False)
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
    rules = RaceRules(correct_skew=False)
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
        # Shared noise changes which candidate seems more variable, which is another matter.
        rules = RaceRules(correct_skew=False)
        quiet = race(scores, rules)
        loud = race(scores + 0.05 * rng.normal(size=(1, 12)), rules)
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
