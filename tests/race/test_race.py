"""The race's rules and numbers, against SciPy and statsmodels."""

import itertools
import json
import math
import re
import warnings
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats

from initsearch.errors import ConfigError
from initsearch.race import judged, pairs
from initsearch.race.race import Race
from initsearch.race.rules import Decision, RaceRules
from initsearch.race.sentences import PLAIN, POINTS, STEPS, sentence
from initsearch.race.spending import t_levels

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what its own dependencies deprecate is not ours to fix
    from statsmodels.stats.multitest import multipletests
    from statsmodels.stats.power import TTestPower
    from statsmodels.stats.weightstats import ttost_paired

DEFAULT = RaceRules()


def run(
    scores: np.ndarray,
    rules: RaceRules = DEFAULT,
    protected: Collection[str] = (),
    names: Sequence[str] | None = None,
) -> Race:
    """Race the rows of `scores` (candidates x blocks) to the end; the blocks' seeds are 100, 101, …"""
    names = names or [f"c{i}" for i in range(len(scores))]
    race = Race(names, rules, protected)
    while race.next_look is not None:
        for block in range(len(race.seeds), race.next_look):
            race.add_block(100 + block, dict(zip(names, scores[:, block], strict=True)))
        race.decide()
    return race


def last(race: Race) -> Decision:
    return race.decisions[-1]


def noisy(means: Sequence[float], blocks: int, seed: int = 0, sd: float = 0.004) -> np.ndarray:
    """Scores with a part that is shared within each block, and one that is not."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(0, 2 * sd, size=blocks)
    return np.array(means)[:, None] + shared + rng.normal(0, sd, size=(len(means), blocks))


# --- the numbers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("blocks", [2, 3, 4, 12, 32])
def test_all_pairs_agree_with_scipy_and_statsmodels(blocks: int) -> None:
    scores = noisy([0.97, 0.969, 0.96, 0.5], blocks, seed=blocks)
    table = pairs.compare(scores)
    p_values, low, equivalence = table.p_values(), table.low(0.03), table.equivalence(0.002)
    for i in range(4):
        for j in range(4):
            if i == j:
                continue
            # Two blocks are the exception: two differences spread less than the step between them.
            if blocks > 2:
                test = stats.ttest_rel(scores[i], scores[j])
                # The end that bounds a doubted lead is further out.
                excess = np.corrcoef(scores[i] - scores[j], scores[i] + scores[j])[0, 1]
                doubts = [
                    sign * excess
                    - 0.5 * min(stats.skew(x, bias=False) for x in (mine, mine - other))
                    for sign, mine, other in (
                        (1, scores[i], scores[j]),
                        (-1, scores[j], scores[i]),
                    )
                ]
                assert [table.doubts[i, j], table.doubts[j, i]] == pytest.approx(doubts)
                doubted = [6 <= blocks < 24 and doubt > 0.65 for doubt in doubts]
                ends = [test.confidence_interval(1 - 0.03 / (10 if is_ else 1)) for is_ in doubted]
                lower, upper = ends[0].low, ends[1].high
                tost = ttost_paired(scores[i], scores[j], -0.002, 0.002)[0]
                assert p_values[i, j] == pytest.approx(test.pvalue, rel=1e-7)
                # Many blocks: an interval is wider where the differences are skewed away from it.
                if blocks < 16 or table.skew[i, j] >= 0.0:
                    assert low[i, j] == pytest.approx(lower, rel=1e-7)
                if blocks < 16 or table.skew[i, j] <= 0.0:
                    assert -low[j, i] == pytest.approx(upper, rel=1e-7)
                assert low[i, j] <= lower + 1e-9
                assert -low[j, i] >= upper - 1e-9
                skewness = stats.skew(scores[i] - scores[j], bias=False)
                assert table.skew[i, j] == pytest.approx(skewness)
                assert equivalence[i, j] == pytest.approx(tost, rel=1e-7, abs=1e-12)
            else:
                assert p_values[i, j] >= stats.ttest_rel(scores[i], scores[j]).pvalue


def test_holm_is_statsmodels_holm() -> None:
    rng = np.random.default_rng(0)
    for count in (2, 3, 8):
        p = np.ones((count, count))
        upper = np.triu_indices(count, k=1)
        p[upper] = rng.uniform(size=len(upper[0])) ** 4
        p = np.minimum(p, p.T)
        adjusted = pairs.holm(p)
        assert adjusted[upper] == pytest.approx(multipletests(p[upper], method="holm")[1])
        assert (adjusted == adjusted.T).all()


@pytest.mark.parametrize(("gap", "spread", "blocks"), [(0.01, 0.02, 12), (-0.3, 0.2, 4), (1, 1, 2)])
@pytest.mark.parametrize("level", [0.05, 0.003])
def test_power_is_that_of_statsmodels(gap: float, spread: float, blocks: int, level: float) -> None:
    expected = TTestPower().power(abs(gap) / spread, blocks, level, alternative="two-sided")
    assert pairs.power(gap, spread, blocks, level) == pytest.approx(expected, rel=1e-6)


def test_power_at_the_ends() -> None:
    assert pairs.power(0.0, 0.1, 8, 0.01) == 0.01
    assert pairs.power(0.1, 0.0, 8, 0.01) == 1.0
    assert pairs.power(0.87, 0.01, 4, 2e-4) == pytest.approx(1.0)
    # Far out, where the noncentral t gives up, against a simulation of the test itself.
    rng = np.random.default_rng(0)
    gap, spread, level = 1.0, 0.05, 1e-6
    draws = rng.normal(gap, spread, size=(4, 200_000))
    t = draws.mean(axis=0) / (draws.std(axis=0, ddof=1) / 2)
    found = (np.abs(t) > stats.t.isf(level / 2, 3)).mean()
    assert pairs.power(gap, spread, 4, level) == pytest.approx(found, abs=0.005)


def test_the_detectable_gap_has_its_power() -> None:
    for blocks, level in ((4, 0.05), (12, 0.046), (32, 0.001)):
        gap = pairs.detectable_gap(0.004, blocks, level)
        # The wrong tail adds next to nothing at a power of 0.8.
        assert pairs.power(gap, 0.004, blocks, level) == pytest.approx(0.8, abs=1e-4)


@pytest.mark.parametrize("level", [1e-4, 1e-6, 1e-9])
def test_the_detectable_gap_far_out(level: float) -> None:
    """Two blocks at the tiny level of an early look: against a simulation of the test itself."""
    gap = pairs.detectable_gap(0.004, 2, level)
    draws = np.random.default_rng(0).normal(0.0, 0.004, size=(2, 400_000)) + gap
    t = draws.mean(axis=0) / (draws.std(axis=0, ddof=1) / 2**0.5)
    assert (t > stats.t.isf(level / 2, 1)).mean() == pytest.approx(0.8, abs=0.003)


def test_correlation_is_the_mean_over_pairs_and_pairing_removes_variance() -> None:
    scores = noisy([0.9, 0.8, 0.7], 12, seed=1)
    found = pairs.correlation(scores)
    assert found is not None
    upper = np.triu_indices(3, k=1)
    assert found[0] == pytest.approx(np.corrcoef(scores)[upper].mean())
    apart = sum(scores[i].var(ddof=1) + scores[j].var(ddof=1) for i, j in zip(*upper, strict=True))
    paired = sum((scores[i] - scores[j]).var(ddof=1) for i, j in zip(*upper, strict=True))
    assert found[1] == pytest.approx(1 - paired / apart)
    assert found[1] > 0.5


@pytest.mark.parametrize("scores", [np.ones((3, 8)), np.eye(2), np.zeros((0, 4)), np.zeros((2, 0))])
def test_correlation_is_undefined_without_variation(scores: np.ndarray) -> None:
    assert pairs.correlation(scores) is None


def test_equal_differences_count_like_a_sign_test_not_as_certainty() -> None:
    scores = np.array([[0.95, 0.96, 0.97, 0.98], [0.90, 0.91, 0.92, 0.93]])
    t = math.sqrt(4)
    assert pairs.compare(scores).p_values()[0, 1] == pytest.approx(2 * stats.t.sf(t, 3))
    assert 2 * stats.t.sf(t, 3) > 2 * 0.5**4  # the sign test's own p-value is the lower bound


def test_equal_differences_are_seen_through_rounding() -> None:
    rng = np.random.default_rng(0)
    right = rng.integers(300, 350, size=6)
    scores = np.stack([right / 360, ((right - 2) / 360).astype(np.float32).astype(float)])
    assert len(np.unique(scores[0] - scores[1])) > 1
    assert pairs.compare(scores).spread[0, 1] == pytest.approx(2 / 360)


def test_the_spread_of_different_values_is_left_alone() -> None:
    rng = np.random.default_rng(0)
    for blocks in (3, 4, 12):
        for _ in range(50):
            scores = rng.standard_t(3, size=(2, blocks))
            spread = pairs.compare(scores).spread[0, 1]
            assert spread == pytest.approx((scores[0] - scores[1]).std(ddof=1), rel=1e-12)


# --- looks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("max_seeds", "schedule"),
    [(12, (4, 6, 8, 12)), (10, (4, 6, 8, 10)), (4, (4,)), (3, (3,)), (2, (2,)), (40, None)],
)
def test_looks_end_at_max_seeds(max_seeds: int, schedule: tuple[int, ...] | None) -> None:
    expected = schedule or (4, 6, 8, 12, 16, 24, 32, 40)
    assert RaceRules(max_seeds=max_seeds).schedule == expected


def test_a_linear_boundary_looks_at_every_block() -> None:
    rules = RaceRules(boundary="linear", max_seeds=9)
    assert rules.schedule == (4, 5, 6, 7, 8, 9)
    race = run(noisy([0.97, 0.95], 9, sd=0.006), rules)
    assert last(race).status == "winner"
    assert [d.look for d in race.decisions] == list(range(4, last(race).look + 1))


def test_moderated_looks_borrow_the_largest_variance_of_a_pair() -> None:
    rules = RaceRules(boundary="moderated", max_seeds=9)
    assert rules.schedule == (3, 4, 5, 6, 8, 9)
    scores = noisy([0.97, 0.9, 0.88, 0.5], 5, sd=0.006)
    scores[3, 4:] = np.nan  # stopped after four blocks
    found = judged.weigh(scores, 5, rules).low[0]
    for other, blocks in ((1, 5), (2, 5), (3, 4)):
        raced = scores[:, :blocks][np.isfinite(scores[:, blocks - 1])]
        spreads = [(a - b).var(ddof=1) for a, b in itertools.combinations(raced, 2)]
        freedom = {4: 4, 3: 2}[len(raced)]
        difference = (scores[0] - scores[other])[:blocks]
        own = blocks - 1
        pooled = (freedom * max(spreads) + own * difference.var(ddof=1)) / (freedom + own)
        level = rules.levels[rules.schedule.index(blocks)]
        plain, moderated = (
            difference.mean() - stats.t.isf(level / 2, degrees) * (variance / blocks) ** 0.5
            for degrees, variance in ((own, difference.var(ddof=1)), (own + freedom, pooled))
        )
        assert found[other] == pytest.approx(max(plain, moderated))
    alone = judged.weigh(scores[:2], 5, rules).table
    assert not alone.prior_freedom.any()  # two candidates have nothing to borrow from


def test_decisions_come_at_declared_looks_only() -> None:
    race = Race(["a", "b"], RaceRules())
    for seed in range(4):
        assert race.next_look == 4
        with pytest.raises(ConfigError, match="next look is at 4"):
            race.decide()
        race.add_block(seed, {"a": 0.9, "b": 0.9 + 0.001 * (-1) ** seed})
    with pytest.raises(ConfigError, match=r"call decide\(\) first"):
        race.add_block(9, {"a": 0.9, "b": 0.9})
    decision = race.decide()
    assert decision.status is None
    assert (race.next_look, race.finished) == (6, False)


def test_a_finished_race_accepts_no_more_blocks() -> None:
    race = run(np.full((2, 12), 0.9))
    assert race.finished
    with pytest.raises(ConfigError, match="the race is decided"):
        race.add_block(7, {"c0": 0.1, "c1": 0.2})
    with pytest.raises(ConfigError, match="the next look is at None"):
        race.decide()


def test_levels_are_those_of_the_spending_function() -> None:
    race = run(noisy([0.95, 0.95], 12, seed=3), RaceRules(futility=0.0))
    two_sided = 2 * np.array(t_levels((4, 6, 8, 12), 0.025))
    assert [d.level for d in race.decisions] == pytest.approx(two_sided)
    assert [d.tie_level for d in race.decisions] == pytest.approx(t_levels((4, 6, 8, 12), 0.05))
    assert [d.information for d in race.decisions] == pytest.approx([1 / 3, 1 / 2, 2 / 3, 1])


# --- outcomes --------------------------------------------------------------------------------------


def test_a_clear_leader_wins_and_the_claim_is_the_intervals() -> None:
    scores = noisy([0.95, 0.97, 0.94], 12, seed=0, sd=0.002)
    race = run(scores, RaceRules(correct_skew=False))
    decision = last(race)
    assert (decision.status, decision.leader, decision.tie_set) == ("winner", "c1", ("c1",))
    for comparison in decision.comparisons:
        n = comparison.blocks
        other = scores[int(comparison.name[1])]
        test = stats.ttest_rel(scores[1, :n], other[:n])
        level = next(d.level for d in race.decisions if d.look == n)
        assert comparison.p_value == pytest.approx(test.pvalue)
        assert comparison.p_value < level
        interval = test.confidence_interval(1 - level)
        assert (comparison.low, comparison.high) == pytest.approx((interval.low, interval.high))
        assert comparison.low > DEFAULT.margin
    assert decision.lead == min(c.low for c in decision.comparisons)
    assert decision.p_value == max(c.p_value for c in decision.comparisons)


def test_a_gap_that_is_real_but_small_is_no_win() -> None:
    scores = noisy([0.9710, 0.9705], 12, sd=0.0001)
    decision = last(run(scores))
    assert decision.p_value < decision.level
    assert (decision.status, decision.tie_set) == ("tie", ("c0", "c1"))
    without = last(run(scores, RaceRules(margin=0.0)))
    assert without.status == "winner"


def test_one_unbeaten_rival_is_enough_against_a_winner() -> None:
    rules = RaceRules(futility=0.0)
    decision = last(run(noisy([0.97, 0.9699, 0.90, 0.80], 12, sd=0.006), rules))
    assert decision.status == "undecided"
    assert set(decision.tie_set) == {"c0", "c1"}
    assert decision.look == 12


def test_same_scores_on_every_block_are_a_tie_at_the_first_look() -> None:
    scores = noisy([0.97, 0.50], 12)
    decision = last(run(np.stack([scores[0], scores[0], scores[1]])))
    assert (decision.status, decision.leader, decision.tie_set) == ("tie", "c0", ("c0", "c1"))
    assert (decision.comparisons[0].p_value, decision.comparisons[0].equivalent) == (1.0, True)
    assert decision.look == 4


def test_a_tie_needs_equivalence_of_all_that_is_not_beaten() -> None:
    rng = np.random.default_rng(1)
    base = rng.normal(0.95, 0.01, size=12)
    close = base + rng.normal(0, 0.0002, size=12)
    wild = base - 0.003 + rng.normal(0, 0.02, size=12)
    assert last(run(np.stack([base, close]))).status == "tie"
    decision = last(run(np.stack([base, close, wild])))
    assert decision.status == "undecided"
    assert len(decision.tie_set) == 3


def test_too_few_seeds_end_undecided_with_one_look() -> None:
    race = run(noisy([0.97, 0.96], 2, sd=0.01), RaceRules(max_seeds=2))
    assert [d.look for d in race.decisions] == [2]
    assert last(race).status == "undecided"


def test_a_loss_is_compared_in_its_own_direction() -> None:
    scores = noisy([0.95, 0.97, 0.94], 12, sd=0.002)
    up = run(scores)
    down = run(2 - scores, RaceRules(higher_is_better=False))
    assert last(down).leader == last(up).leader == "c1"
    for a, b in zip(last(up).comparisons, last(down).comparisons, strict=True):
        assert (a.name, a.beaten) == (b.name, b.beaten)
        assert (a.gap, a.low, a.p_value) == pytest.approx((b.gap, b.low, b.p_value))


# --- stopping early --------------------------------------------------------------------------------


def test_beaten_candidates_are_stopped_and_protected_ones_are_not() -> None:
    scores = noisy([0.970, 0.969, 0.5, 0.4], 12, sd=0.003)
    race = run(scores, protected=["c3"])
    first = race.decisions[0]
    assert (first.look, first.dropped) == (4, ("c2",))
    assert race.dropped_at == {"c2": 4}
    assert race.active == ("c0", "c1", "c3")
    by_name = {c.name: c for c in last(race).comparisons}
    assert (by_name["c2"].blocks, by_name["c3"].blocks) == (4, last(race).look)
    assert by_name["c3"].beaten
    assert "c3" not in last(race).tie_set


def test_a_stopped_candidate_was_beaten_after_correction_over_all_pairs() -> None:
    stopped = 0
    for seed in range(60):
        race = run(noisy([0.970, 0.969, 0.955, 0.95, 0.94], 12, seed=seed, sd=0.005))
        for decision in race.decisions:
            for comparison in decision.comparisons:
                if comparison.name in decision.dropped:
                    stopped += 1
                    assert comparison.p_holm < decision.level
                    assert comparison.low > DEFAULT.margin
    assert stopped > 20


def test_scores_of_the_stopped_do_not_count() -> None:
    scores = noisy([0.970, 0.969, 0.5], 12, sd=0.003)
    given = scores.copy()
    given[2, 4:] = 1.0
    assert run(given).decisions == run(scores).decisions
    withheld = scores.copy()
    withheld[2, 4:] = math.nan
    assert run(withheld).decisions == run(scores).decisions


def test_a_new_leader_has_to_beat_stopped_candidates_itself() -> None:
    # c0 stops c2 at the first look; c1, too noisy there to have beaten c2, overtakes c0 by far.
    rng = np.random.default_rng(0)
    c0 = 0.90 + rng.normal(0, 0.0005, size=12)
    c1 = np.concatenate([[0.99, 0.80, 0.97, 0.82], np.full(8, 0.99)]) + rng.normal(0, 1e-3, 12)
    c2 = 0.88 + rng.normal(0, 0.0005, size=12)
    rules = RaceRules(max_seeds=40, looks=(4, 12, 40), alpha=0.4, correct_skew=False)
    race = Race(["c0", "c1", "c2"], rules)
    blocks = np.concatenate(
        [
            np.stack([c0, c1, c2]),
            np.tile([[0.9], [0.99], [0.8]], 28) + rng.normal(0, 1e-3, (3, 28)),
        ],
        axis=1,
    )
    while race.next_look is not None:
        for block in range(len(race.seeds), race.next_look):
            race.add_block(block, {f"c{i}": blocks[i, block] for i in range(3)})
        race.decide()
    assert race.dropped_at["c2"] == 4
    decision = last(race)
    assert decision.leader == "c1"
    against = {c.name: c for c in decision.comparisons}
    assert against["c0"].beaten
    assert not against["c2"].beaten
    assert (decision.status, decision.tie_set) == ("undecided", ("c1", "c2"))


def test_a_race_with_the_same_blocks_decides_the_same() -> None:
    scores = noisy([0.97, 0.968, 0.95, 0.9], 12, seed=5)
    assert run(scores, protected=["c3"]).decisions == run(scores, protected=["c3"]).decisions


def test_renaming_and_reordering_change_nothing_but_the_names() -> None:
    scores = noisy([0.97, 0.96, 0.95, 0.9], 12, seed=6)
    plain = last(run(scores))
    turned = last(run(scores[::-1], names=["c3", "c2", "c1", "c0"]))
    assert (plain.status, plain.leader, plain.tie_set) == (
        turned.status,
        turned.leader,
        turned.tie_set,
    )
    assert [c.gap for c in plain.comparisons] == pytest.approx([c.gap for c in turned.comparisons])


# --- divergence ------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_candidate_that_always_diverges_is_beaten(bad: float) -> None:
    scores = noisy([0.97, 0.95], 12, sd=0.001)
    scores[1] = bad
    race = run(scores)
    decision = last(race)
    assert (decision.status, decision.leader, decision.diverged) == ("winner", "c0", {"c1": 4})
    assert decision.comparisons[0].gap == pytest.approx(scores[0, :4].mean())


def test_one_divergence_neither_loses_nor_wins_by_itself() -> None:
    scores = noisy([0.970, 0.969], 12, sd=0.002)
    scores[0, 2] = math.nan
    decision = last(run(scores))
    assert (decision.status, decision.leader) == ("undecided", "c1")
    assert decision.diverged == {"c0": 1}


def test_a_diverged_run_gets_the_given_score_but_never_better_than_the_worst() -> None:
    scores = np.array([[0.9, 0.8, 0.9, 0.8], [0.9, np.nan, 0.8, 0.9]])
    for given, counted in ((None, 0.0), (0.1, 0.1), (0.85, 0.8)):
        rules = RaceRules(max_seeds=4, diverged_score=given)
        gap = last(run(scores, rules)).comparisons[0].gap
        assert gap == pytest.approx(scores[0].mean() - (2.6 + counted) / 4)
    losses = np.array([[0.2, 0.3, 0.2, 0.4], [0.2, np.nan, 0.2, 0.4]])
    for given, counted in ((None, 0.8), (2.3, 2.3), (0.1, 0.4)):
        rules = RaceRules(max_seeds=4, diverged_score=given, higher_is_better=False)
        gap = last(run(losses, rules)).comparisons[0].gap
        assert gap == pytest.approx((0.8 + counted) / 4 - losses[0].mean())


def test_divergence_on_the_same_block_is_no_difference() -> None:
    scores = noisy([0.97, 0.97], 12, sd=0.002)
    scores[1] = scores[0]
    scores[:, 1] = math.nan
    decision = last(run(scores))
    assert (decision.status, decision.diverged) == ("tie", {"c0": 1, "c1": 1})


def test_a_race_in_which_every_run_diverges_has_no_winner() -> None:
    decision = last(run(np.full((3, 12), np.nan)))
    assert (decision.status, decision.look, decision.all_diverged) == ("undecided", 4, True)
    assert "every candidate diverged" in sentence(decision, "mlp/digits")


# --- results ----------------------------------------------------------------------------------------


def test_results_have_the_statistics_of_each_candidate() -> None:
    scores = noisy([0.969, 0.970, 0.5], 12, sd=0.003)
    scores[0, 1] = math.nan
    race = run(scores, RaceRules(diverged_score=0.1))
    results = race.results()
    assert [s.gap_to_leader for s in results] == sorted(s.gap_to_leader for s in results)
    by_name = {s.name: s for s in results}
    first, stopped, diverged = results[0], by_name["c2"], by_name["c0"]
    assert first.name == "c1"
    assert (first.gap_to_leader, first.p_value, first.dropped_at) == (0.0, None, None)
    assert first.mean == pytest.approx(scores[1].mean())
    assert first.std == pytest.approx(scores[1].std(ddof=1))
    interval = stats.ttest_1samp(scores[1], 0).confidence_interval(0.95)
    assert (first.ci_low, first.ci_high) == pytest.approx((interval.low, interval.high))
    assert list(first.scores) == list(range(100, 112))
    assert (stopped.dropped_at, stopped.n_seeds, len(stopped.scores)) == (4, 4, 4)
    assert stopped.mean == pytest.approx(scores[2, :4].mean())
    assert (diverged.diverged, math.isnan(diverged.scores[101])) == (1, True)
    counted = np.where(np.isnan(scores[0]), 0.1, scores[0])
    assert diverged.mean == pytest.approx(counted.mean())


def test_a_result_has_the_interval_that_decides() -> None:
    """For the members of a tie, it lies within the margin exactly if they are equivalent."""
    rng = np.random.default_rng(5)
    statuses = set()
    for _ in range(60):
        scores = np.array([0.95, 0.951, 0.94])[:, None] + 0.003 * rng.normal(size=(3, 12))
        race = Race(["a", "b", "c"], RaceRules(margin=0.003, futility=0.0), protected=["c"])
        while race.next_look is not None:
            for block in range(len(race.seeds), race.next_look):
                race.add_block(block, dict(zip("abc", scores[:, block].tolist(), strict=True)))
            decision = race.decide()
        leader, *others = race.results()
        assert (leader.gap_low, leader.gap_high, leader.p_adjusted) == (0.0, 0.0, None)
        statuses.add(decision.status)
        for result, against in zip(others, decision.comparisons, strict=True):
            tied = decision.status == "tie" and result.name in decision.tie_set
            within = -0.003 <= result.gap_low < result.gap_high <= 0.003
            assert within == against.equivalent if tied else result.gap_low == against.low
            assert result.p_adjusted == against.p_holm
    assert statuses == {"tie", "undecided"}


def test_results_of_a_loss_are_in_its_own_direction() -> None:
    losses = noisy([0.3, 0.2], 12, sd=0.002)
    race = run(losses, RaceRules(higher_is_better=False))
    first, second = race.results()
    n = last(race).look
    assert (first.name, second.name) == ("c1", "c0")
    assert (first.mean, second.mean) == pytest.approx((losses[1, :n].mean(), losses[0, :n].mean()))
    assert first.ci_low < first.mean < first.ci_high
    assert second.gap_to_leader == pytest.approx((losses[0] - losses[1])[:n].mean())
    assert second.gap_to_leader > 0


def test_results_need_a_decision() -> None:
    race = Race(["c0", "c1"], RaceRules())
    with pytest.raises(ConfigError, match="results need a decision"):
        race.results()


def test_a_decision_is_plain_data() -> None:
    race = run(noisy([0.97, 0.96, 0.95], 12))
    plain = [decision.to_json() for decision in race.decisions]
    assert json.loads(json.dumps(plain, allow_nan=False))[-1]["leader"] == last(race).leader


# --- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alpha": 0.0}, r"race\.alpha must lie between"),
        ({"alpha": 0.5}, r"race\.alpha must lie between"),
        ({"margin": -0.1}, r"race\.margin must be 0 or more"),
        ({"margin": math.nan}, r"race\.margin must be 0 or more"),
        ({"max_seeds": 1}, r"race\.max_seeds must be at least 2"),
        ({"looks": (6, 4)}, r"race\.looks must be increasing"),
        ({"looks": (4, 4)}, r"race\.looks must be increasing"),
        ({"looks": (1, 4)}, r"race\.looks must be increasing"),
        ({"diverged_score": math.nan}, r"race\.diverged_score must be finite"),
        ({"alpha": "0.05"}, r"race\.alpha must be a number: got '0\.05'"),
        ({"margin": None}, r"race\.margin must be a number: got None"),
        ({"futility": True}, r"race\.futility must be a number: got True"),
        ({"futility": 1.0}, r"race\.futility must be 0 or more and below 1"),
        ({"max_seeds": 12.0}, r"race\.max_seeds must be an integer: got 12\.0; try 12"),
        ({"looks": (4, 6.0)}, r"race\.looks must be integers: got \(4, 6\.0\)"),
        ({"looks": 4}, r"race\.looks must be integers: got 4; try"),
        ({"diverged_score": "low"}, r"race\.diverged_score must be a number or None: got 'low'"),
        (
            {"boundary": "pocock"},
            r"race\.boundary must be one of obrien_fleming, linear, moderated",
        ),
        ({"bound": False}, r"race\.bound must be a number or None: got False"),
    ],
)
def test_rules_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RaceRules(**changes)


@pytest.mark.parametrize(
    ("names", "protected", "message"),
    [
        ([], [], "two or more different"),
        (["a"], [], "two or more different"),
        (["a", "a"], [], "two or more different"),
        (["a", "b"], ["c"], "protected candidates must be in the race"),
    ],
)
def test_a_race_needs_rivals(names: list[str], protected: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Race(names, RaceRules(), protected)


@pytest.mark.parametrize(
    ("seed", "scores", "message"),
    [
        (1, {"a": 0.1}, r"missing \['b'\]"),
        (1, {"a": 0.1, "b": 0.2, "c": 0.3}, r"unknown \['c'\]"),
        (0, {"a": 0.1, "b": 0.2}, "got 0 a second time"),
    ],
)
def test_a_block_is_whole_and_counts_once(
    seed: int, scores: dict[str, float], message: str
) -> None:
    race = Race(["a", "b"], RaceRules())
    race.add_block(0, {"a": 0.5, "b": 0.6})
    with pytest.raises(ConfigError, match=message):
        race.add_block(seed, scores)
    assert race.seeds == [0]


# --- the sentence ----------------------------------------------------------------------------------


def test_the_sentence_of_a_winner_promises_no_more_than_the_interval() -> None:
    race = run(noisy([0.97, 0.95, 0.94], 12, sd=0.002), names=["he_normal", "lecun", "small"])
    decision = last(race)
    text = sentence(decision, "relu_convnet/MNIST")
    assert text.startswith("he_normal beats ")
    assert " on relu_convnet/MNIST " in text
    stated = re.search(r"by at least (\S+) points", text)
    assert stated is not None
    assert 0.9 * 100 * decision.lead < float(stated[1]) <= 100 * decision.lead
    assert f"; {decision.look} paired seeds, p " in text


def test_the_sentence_of_a_winner_names_those_beaten_on_fewer_seeds() -> None:
    race = run(noisy([0.97, 0.965, 0.85], 12, sd=0.0025))
    decision = last(race)
    assert (decision.status, race.dropped_at) == ("winner", {"c2": 4})
    text = sentence(decision, "mlp/digits")
    assert f"; {decision.look} paired seeds, p " in text
    assert text.endswith("fewer seeds: c2 on 4")


def test_the_sentence_of_a_tie_names_the_margin() -> None:
    scores = noisy([0.97, 0.97, 0.5], 12)
    scores[1] = scores[0]
    race = run(scores, names=["he_normal", "he_uniform", "bad"])
    text = sentence(last(race), "mlp/digits")
    assert text.startswith("he_normal and he_uniform are equivalent on mlp/digits")
    assert "within 0.1 points; 4 paired seeds" in text
    assert " on " not in sentence(last(race))


def test_the_sentence_of_an_undecided_race_names_the_remedy() -> None:
    scores = noisy([0.97, 0.97, 0.97, 0.97, 0.97], 12, sd=0.01)
    scores[0, 3] = math.nan
    whole = last(run(scores, RaceRules(futility=0.0)))
    text = sentence(whole, "mlp/digits", POINTS)
    assert text.startswith("undecided: 12 paired seeds ")
    assert " and 2 more differ by more than 0.1 points on mlp/digits (gap of " in text
    nearest = next(c for c in whole.comparisons if c.name in whole.tie_set)
    assert f"interval {POINTS.number(nearest.low)} to {POINTS.number(nearest.high)}" in text
    assert whole.seeds_to_decide is not None
    assert f"; raise race.max_seeds to about {whole.seeds_to_decide} " in text
    assert "is at most 0.1" in text  # alpha of both races
    assert "remaining" not in text

    early = last(run(scores))
    assert early.look < 12
    text = sentence(early, "mlp/digits", POINTS)
    assert re.search(
        rf"; the remaining {12 - early.look} seeds would decide it .* (of|below) \d+ % \(race.futility\)",
        text,
    )
    assert "race.max_seeds" in text or "; more seeds would hardly decide it" in text


def test_the_sentence_of_an_earlier_look_says_that_the_race_continues() -> None:
    decision = run(noisy([0.97, 0.97], 12, sd=0.01)).decisions[0]
    text = sentence(decision, "mlp/digits")
    assert text.startswith("not decided yet: 4 paired seeds")
    assert "raise" not in text


@pytest.mark.parametrize(
    ("unit", "value", "at_least", "expected"),
    [
        (POINTS, 0.003, True, "0.3 points"),
        (POINTS, 0.00289, True, "0.28 points"),
        (POINTS, 0.00289, False, "0.29 points"),
        (POINTS, 0.01, False, "1 point"),
        (POINTS, 0.4708, True, "47 points"),
        (POINTS, 0.0, False, "0 points"),
        (POINTS, -0.00123, False, "-0.12 points"),
        (PLAIN, 0.0123, False, "0.012"),
        (PLAIN, 1e-9, True, "0"),
        (STEPS, 1234.0, True, "1234 steps"),
    ],
)
def test_amounts_are_short_and_never_overstated(
    unit: Any, value: float, at_least: bool, expected: str
) -> None:
    assert unit.amount(value, at_least) == expected
