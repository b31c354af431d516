"""Failure rates and their comparison, against SciPy's binomial tests and simulation."""

import numpy as np
import pytest
from scipy import stats
from simulated_races import most_errors, race

from initsearch.race import Race, RaceRules, sentence
from initsearch.race.failures import fails_more_often, failure_bound


@pytest.mark.parametrize(("failed", "runs"), [(0, 12), (1, 12), (5, 8), (8, 8)])
def test_the_bound_is_scipys_exact_interval(failed: int, runs: int) -> None:
    exact = stats.binomtest(failed, runs, alternative="less").proportion_ci(0.95, method="exact")
    assert failure_bound(failed, runs) == pytest.approx(exact.high)


@pytest.mark.parametrize(("worse", "better"), [(0, 0), (5, 0), (5, 2), (0, 3)])
def test_the_comparison_is_the_exact_test_of_discordant_blocks(worse: int, better: int) -> None:
    mine, other = np.zeros(12, dtype=bool), np.zeros(12, dtype=bool)
    other[:worse] = mine[worse : worse + better] = True
    mine[-1] = other[-1] = True
    expected = 1.0
    if worse + better:
        expected = stats.binomtest(worse, worse + better, alternative="greater").pvalue
    assert fails_more_often(mine, other) == pytest.approx(expected)


def test_a_candidate_that_fails_more_often_is_named_with_its_rate() -> None:
    rng = np.random.default_rng(0)
    scores = 0.97 + 0.002 * rng.normal(size=(3, 12))
    scores[2, :8] = np.nan
    running = Race(["a", "b", "c"], RaceRules(futility=0.0), baseline="c")
    while running.next_look is not None:
        for block in range(len(running.seeds), running.next_look):
            running.add_block(block, dict(zip("abc", scores[:, block].tolist(), strict=True)))
        decision = running.decide()
    assert list(decision.less_reliable) == ["c"]
    text = sentence(decision)
    assert "c diverged on 8 of 12" in text
    assert (
        f"{decision.recommended} diverged on 0 of 12 (a rate of up to 22 % is compatible)" in text
    )
    assert f"c diverges more often than {decision.recommended}" in text
    bounds = {result.name: result.failure_bound for result in running.results()}
    assert bounds["a"] == pytest.approx(1 - 0.05 ** (1 / 12))


@pytest.mark.slow
def test_equal_failure_rates_are_rarely_called_different() -> None:
    rng = np.random.default_rng(1)
    wrong = 0
    for _ in range(600):
        scores = 0.97 + 0.004 * rng.normal(size=(4, 12))
        scores[rng.random((4, 12)) < 0.5] = np.nan
        wrong += bool(race(scores, RaceRules(futility=0.0)).decision.less_reliable)
    assert wrong <= most_errors(600)
