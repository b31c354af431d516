"""Rungs: which candidates pass, whatever the order of their scores, and what it costs."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from initsearch.errors import ConfigError
from initsearch.search.rungs import RungTable, rung_epochs

SCORES = st.lists(
    st.one_of(st.sampled_from([0.1, 0.5, 0.5, 0.9, math.nan]), st.floats(0, 1)),
    min_size=1,
    max_size=60,
)


def passes(seen: list[float], score: float, factor: float, higher: bool) -> bool:
    """The rule by sorting all scores: the best ceil(n / factor), ties kept, NaN never."""
    if math.isnan(score):
        return False
    ranked = sorted((s for s in seen if not math.isnan(s)), reverse=higher)
    last = ranked[min(math.ceil(len(seen) / factor), len(ranked)) - 1]
    return score >= last if higher else score <= last


@given(SCORES, st.sampled_from([1.5, 2, 3, 4.0]), st.booleans())
def test_the_best_share_of_the_scores_so_far_passes(
    scores: list[float], factor: float, higher: bool
) -> None:
    table = RungTable(factor, higher)
    for number, score in enumerate(scores):
        table.add(1.0, number, score)
        seen = scores[: number + 1]
        for earlier in range(number + 1):
            assert table.keep(1.0, earlier) == passes(seen, scores[earlier], factor, higher)


@given(SCORES, st.sampled_from([2, 3]))
def test_at_least_one_passes_unless_all_diverged(scores: list[float], factor: int) -> None:
    table = RungTable(factor)
    for number, score in enumerate(scores):
        table.add(0.5, number, score)
    alive = [number for number in range(len(scores)) if table.keep(0.5, number)]
    assert bool(alive) == any(not math.isnan(score) for score in scores)


def test_rungs_are_apart() -> None:
    table = RungTable(2)
    for number, score in enumerate([0.9, 0.8, 0.7, 0.6]):
        table.add(1.0, number, score)
    table.add(2.0, 3, 0.6)
    assert not table.keep(1.0, 3)
    assert table.keep(2.0, 3)


def test_adding_a_score_twice_changes_nothing_and_a_contradiction_is_an_error() -> None:
    table = RungTable(2)
    for number, score in enumerate([0.9, 0.8, math.nan]):
        table.add(1.0, number, score)
        table.add(1.0, number, score)
    assert [table.keep(1.0, n) for n in range(3)] == [True, True, False]
    with pytest.raises(ConfigError, match=r"candidate 1 must have one score at rung 1\.0"):
        table.add(1.0, 1, 0.7)


def test_an_unknown_candidate_is_an_error() -> None:
    with pytest.raises(ConfigError, match="candidate 5 has no score"):
        RungTable(2).keep(1.0, 5)


@pytest.mark.parametrize("factor", [1, 0.5, 0, -2, math.inf, math.nan])
def test_the_factor_must_be_above_one(factor: float) -> None:
    for build in (RungTable, lambda f: rung_epochs(9, f, 1)):
        with pytest.raises(ConfigError, match="reduction_factor must be above 1"):
            build(factor)


class _Counted(float):
    """A score that counts how often it is compared."""

    comparisons = 0

    def __lt__(self, other: float) -> bool:
        _Counted.comparisons += 1
        return float.__lt__(self, other)

    def __neg__(self) -> "_Counted":
        return _Counted(float.__neg__(self))

    def __rmul__(self, other: float) -> "_Counted":
        return _Counted(other * float(self))


def test_the_cost_of_a_candidate_does_not_grow_with_their_number() -> None:
    table = RungTable(2)
    scores = np.random.default_rng(0).uniform(size=10_000)
    counts = []
    for number, score in enumerate(scores):
        before = _Counted.comparisons
        table.add(1.0, number, _Counted(score))
        table.keep(1.0, number)
        counts.append(_Counted.comparisons - before)
    # Two heaps: at most some multiple of log2(10,000) = 13 comparisons, and few on average.
    assert min(counts[1:]) > 0
    assert max(counts) < 6 * 14
    assert np.mean(counts[9_000:]) < 2 * np.mean(counts[900:1_000])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((9, 3, 1), (1, 3, 9)),
        ((9, 3, 0.5), (1, 3, 9)),
        ((3, 3, 0.3), (1 / 3, 1, 3)),
        ((4, 2, 1), (1, 2, 4)),
        ((1, 2, 0.25), (0.25, 0.5, 1)),
        ((5, 2, 10), (5,)),
        ((0.3, 3, 0.1), (0.1, 0.3)),
    ],
)
def test_rung_epochs(arguments: tuple[float, float, float], expected: tuple[float, ...]) -> None:
    assert rung_epochs(*arguments) == pytest.approx(expected)


@pytest.mark.parametrize("arguments", [(0, 2, 1), (math.inf, 2, 1), (4, 2, 0), (4, 2, -1)])
def test_rung_epochs_needs_positive_budgets(arguments: tuple[float, float, float]) -> None:
    with pytest.raises(ConfigError, match=r"positive|above 0"):
        rung_epochs(*arguments)
