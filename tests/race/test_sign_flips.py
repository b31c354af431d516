"""The sign-flip test and its bound, against SciPy's permutation test and the claims about collapsing runs."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats
from simulated_races import most_errors, race

from initsearch.race import RaceRules
from initsearch.race.sign_flips import lower_bound, p_value, t_is_blind

SIX = RaceRules(max_seeds=6, margin=0.005)
HEALTHY, COLLAPSED = 0.948, 0.1


@pytest.mark.parametrize("blocks", [3, 6, 9])
def test_the_p_value_is_that_of_scipy_with_all_permutations(blocks: int) -> None:
    rng = np.random.default_rng(blocks)
    for shift in (0.0, 0.8, -1.5):
        values = rng.normal(shift, 1.0, size=blocks)
        test = stats.permutation_test(
            (values,), np.mean, permutation_type="samples", n_resamples=np.inf
        )
        assert p_value(values) == pytest.approx(test.pvalue)


def test_the_bound_is_where_the_one_sided_test_begins_to_reject() -> None:
    values = np.random.default_rng(0).normal(1.0, 1.0, size=8)
    bound = lower_bound(values, 0.03 / 0.9)
    for shift, rejected in ((bound - 1e-6, True), (bound + 1e-6, False)):
        test = stats.permutation_test(
            (values - shift,),
            np.mean,
            permutation_type="samples",
            n_resamples=np.inf,
            alternative="greater",
        )
        assert (test.pvalue <= 0.03) == rejected
    assert lower_bound(values[:5], 0.025) == -np.inf


def test_t_is_blind_only_where_no_signs_would_be_significant() -> None:
    for few in ([84.0, 84.0, 1.0, 2.0, 1.0, 2.0], [1.0, 1.1, 0.9, 1.0, 1.2, 1.0]):
        values = np.array(few)
        signs = np.array(np.meshgrid(*[[-1.0, 1.0]] * 6)).reshape(6, -1).T
        best = stats.ttest_1samp(signs * values, 0.0, axis=1, alternative="greater").pvalue.min()
        assert t_is_blind(values, 0.0216) == (best > 0.0216)


def collapsing(
    rng: np.random.Generator, rates: list[float], blocks: int, behind: float = 0.0
) -> np.ndarray:
    """Accuracies of candidates that collapse at these rates; all but the first are also a little worse."""
    scores = HEALTHY + 0.003 * rng.normal(size=(len(rates), blocks))
    scores[1:] -= behind
    guess = COLLAPSED + 0.01 * rng.normal(size=scores.shape)
    return np.where(rng.random(scores.shape) < np.array(rates)[:, None], guess, scores)


def share_of(wanted: str | None, draw: Callable[[], np.ndarray], count: int) -> float:
    outcomes = [race(draw(), SIX) for _ in range(count)]
    return float(np.mean([outcome.winner == wanted for outcome in outcomes]))


@pytest.mark.slow
@pytest.mark.parametrize("others", [1, 3])
def test_a_candidate_that_never_collapses_wins_over_those_that_do_on_most_seeds(
    others: int,
) -> None:
    rng = np.random.default_rng(0)
    assert share_of("c0", lambda: collapsing(rng, [0.0, *[0.9] * others], 6), 80) > 0.87
    # With the healthy runs of the others behind as well, the rate of collapses does not matter.
    for rate in (0.4, 0.7):
        worse = [0.0, *[rate] * others]
        assert share_of("c0", lambda worse=worse: collapsing(rng, worse, 6, 0.02), 80) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("rate", [0.05, 0.1])
def test_equal_rates_of_collapses_name_a_false_winner_as_rarely_as_stated(rate: float) -> None:
    rng = np.random.default_rng(1)
    rules = RaceRules(margin=0.0, futility=0.0)
    draws = [collapsing(rng, [rate, rate], 12) for _ in range(1000)]
    assert sum(race(scores, rules).winner is not None for scores in draws) <= most_errors(1000)
