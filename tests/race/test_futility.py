"""Races that end for futility: what they save, and that they lose hardly any decision.

The oracles are races that continue, SciPy's tests on blocks drawn one by one, and frequencies.
"""

import numpy as np
import pytest
from scipy import stats
from simulated_races import Outcome, heavy_tailed, normal, race, races

from initsearch.race.futility import chance_of_decision
from initsearch.race.judged import weigh
from initsearch.race.rules import RaceRules
from initsearch.race.spending import t_levels

ON = RaceRules()
OFF = RaceRules(futility=0.0)


def chance(scores: np.ndarray, rules: RaceRules) -> float:
    """The predicted probability after all blocks of `scores`, with every candidate in training."""
    blocks = np.full((len(scores), rules.max_seeds), np.nan)
    blocks[:, : scores.shape[1]] = scores
    trained = np.ones(len(scores), dtype=bool)
    return chance_of_decision(
        weigh(blocks, scores.shape[1], rules), trained, scores.shape[1], rules
    )


@pytest.mark.parametrize(("gap", "sd"), [(0.002, 0.002), (0.0, 0.0009), (0.004, 0.004)])
def test_for_two_candidates_it_is_the_share_of_futures_that_decide(gap: float, sd: float) -> None:
    """Futures are drawn block by block from the posterior, and tested by SciPy at the last look's level."""
    rng = np.random.default_rng(0)
    n, end, draws = 6, ON.max_seeds, 20_000
    seen = stats.zscore(rng.normal(size=n), ddof=1) * sd + gap
    variance = (n - 1) * seen.var(ddof=1) / rng.chisquare(n - 1, draws)
    mean = rng.normal(seen.mean(), np.sqrt(variance / n))
    new = rng.normal(mean[:, None], np.sqrt(variance)[:, None], (draws, end - n))
    whole = np.concatenate([np.tile(seen, (draws, 1)), new], axis=1)

    def below(shift: float, alternative: str, alpha: float) -> np.ndarray:
        p = stats.ttest_1samp(whole, shift, axis=1, alternative=alternative).pvalue
        return p <= t_levels(ON.schedule, alpha)[-1]

    wins = below(ON.margin, "greater", 0.025) | below(-ON.margin, "less", 0.025)
    ties = below(-ON.margin, "greater", 0.05) & below(ON.margin, "less", 0.05)
    expected = float((wins | ties).mean())
    assert 0.02 < expected < 0.98
    scores = np.stack([0.95 + seen, np.full(n, 0.95)])
    assert chance(scores, ON) == pytest.approx(expected, abs=0.03)


@pytest.mark.slow
def test_the_predicted_probabilities_are_calibrated() -> None:
    """True gaps of all sizes: the share decided at the last look is the mean predicted probability."""
    rng = np.random.default_rng(0)
    single = RaceRules(looks=(12,), futility=0.0)
    predicted, decided = [], []
    for gap in rng.uniform(-0.012, 0.012, 1500):
        scores = np.array([[0.95 + gap], [0.95]]) + 0.002 / 2**0.5 * rng.normal(size=(2, 12))
        predicted.append(chance(scores[:, :6], RaceRules(looks=(6, 12))))
        decided.append(race(scores, single).decision.status != "undecided")
    predicted, decided = np.array(predicted), np.array(decided)
    for low, high in ((0.0, 0.05), (0.05, 0.5), (0.5, 0.95)):
        those = (predicted >= low) & (predicted < high)
        count = int(those.sum())
        assert count > 20
        least, most = stats.binom.ppf([0.001, 0.999], count, predicted[those].mean()) / count
        assert least - 0.01 <= decided[those].mean() <= most + 0.01


def both_ways(
    replicates: int, means: list[float], noise=normal, **rules: object
) -> list[list[Outcome]]:
    sd = float(rules.pop("sd"))
    return [
        races(replicates, means, RaceRules(futility=futility, **rules), noise, sd=sd)
        for futility in (0.05, 0.0)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("noise", [normal, heavy_tailed])
@pytest.mark.parametrize("gap", [0.005, 0.003])
def test_it_costs_hardly_any_winner_and_adds_none(noise, gap: float) -> None:
    on, off = both_ways(300, [0.97, 0.97 - gap, 0.955, 0.94], noise, sd=0.004 / 2**0.5)
    for ended, whole in zip(on, off, strict=True):
        if ended.decision.status != "undecided":
            assert (ended.decision.status, ended.winner) == (whole.decision.status, whole.winner)
    found, all_found = (sum(o.winner is not None for o in way) for way in (on, off))
    assert all_found > 80
    assert found >= all_found - 300 * 0.02


@pytest.mark.slow
def test_it_costs_hardly_any_tie() -> None:
    on, off = both_ways(300, [0.97, 0.97, 0.94], sd=0.0008 / 2**0.5)
    ties, all_ties = (sum(o.decision.status == "tie" for o in way) for way in (on, off))
    assert all_ties > 200
    assert ties >= all_ties - 300 * 0.02


@pytest.mark.slow
@pytest.mark.parametrize("means", [[0.97, 0.97, 0.94], [0.97] * 5])
def test_if_nothing_can_be_decided_it_saves_a_third_of_the_work(means: list[float]) -> None:
    on, off = both_ways(200, means, sd=0.004 / 2**0.5)
    assert sum(o.winner is not None for o in on) <= sum(o.winner is not None for o in off)
    spent, whole = (np.mean([o.blocks_trained for o in way]) for way in (on, off))
    assert spent < 2 / 3 * whole


def test_the_same_scores_on_every_block_are_certain_to_tie() -> None:
    scores = np.tile(np.random.default_rng(0).normal(0.95, 0.01, 4), (2, 1))
    for margin in (0.0, 0.001):
        assert chance(scores, RaceRules(margin=margin)) == 1.0


def test_a_stopped_candidate_that_the_leader_has_not_beaten_prevents_a_decision() -> None:
    """More blocks can neither beat nor tie a candidate that is no longer in training."""
    rng = np.random.default_rng(1)
    scores = np.full((3, 12), np.nan)
    scores[:2, :6] = np.array([[0.97], [0.90]]) + 0.001 * rng.normal(size=(2, 6))
    scores[2, :4] = scores[0, :4] - 0.002 + 0.004 * rng.normal(size=4)
    trained = np.array([True, True, False])
    assert chance_of_decision(weigh(scores, 6, ON), trained, 6, ON) < 0.05
    assert chance(scores[:2, :6], ON) > 0.99


def test_the_decision_reports_the_probability_that_ended_it() -> None:
    (outcome,) = races(1, [0.97, 0.97], ON, sd=0.02, power=True)
    *before, end = outcome.race.decisions
    assert end.status == "undecided"
    assert end.look < 12
    assert end.prospect is not None
    assert end.prospect < ON.futility
    assert all(d.prospect is not None and d.prospect >= ON.futility for d in before)
    # The power is that of the planned race: a paired t-test of 12 blocks at the last level, averaged over
    # what the blocks so far leave uncertain about the spread.
    level = t_levels(ON.schedule, 0.025)[-1]
    seen = end.look - 1
    spreads = (
        end.comparisons[0].spread * (seen / np.random.default_rng(7).chisquare(seen, 4000)) ** 0.5
    )
    shift = (end.detectable_gap - ON.margin) / spreads * 12**0.5
    assert end.power_blocks == 12
    assert stats.nct.sf(stats.t.isf(level, 11), 11, shift).mean() == pytest.approx(0.8, abs=0.03)
    (whole,) = races(1, [0.97, 0.97], OFF, sd=0.02)
    assert whole.decision.look == 12
    assert [d.prospect for d in whole.race.decisions] == [None] * 4
