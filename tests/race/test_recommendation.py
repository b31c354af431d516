"""What a decision says about the baseline, what to take and the regret, against SciPy and simulation."""

from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats
from simulated_races import least_found, most_errors, without_power

from initsearch.errors import ConfigError
from initsearch.race import Decision, Race, RaceRules, SearchCounts, decide, sentence
from initsearch.race.spending import t_levels

PATIENT = RaceRules(futility=0.0)
# The oracles are plain t-tests.
ONE_LOOK = RaceRules(looks=(12,), margin=0.001, correct_skew=False)


def run(
    scores: np.ndarray,
    rules: RaceRules = PATIENT,
    simplicity: dict[str, int] | None = None,
    baseline: str = "c0",
) -> Race:
    names = [f"c{i}" for i in range(len(scores))]
    race = Race(names, rules, baseline=baseline, simplicity=simplicity)
    while race.next_look is not None:
        for block in range(len(race.seeds), race.next_look):
            race.add_block(block, dict(zip(names, scores[:, block].tolist(), strict=True)))
        race.decide()
    return race


def last(scores: np.ndarray, rules: RaceRules = PATIENT, **more: dict[str, int]) -> Decision:
    return run(scores, rules, **more).decisions[-1]


def noisy(means: Sequence[float], sd: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.array(means)[:, None] + sd * rng.normal(size=(len(means), 12))


# --- the baseline -----------------------------------------------------------------------------------


def test_a_lead_over_the_baseline_has_the_interval_of_scipy_at_bonferronis_level() -> None:
    scores = noisy([0.960, 0.966, 0.964, 0.962, 0.955], 0.002)
    decision = last(scores, ONE_LOOK)
    for gap in decision.baseline_gaps:
        test = stats.ttest_rel(scores[int(gap.name[1])], scores[0])
        interval = test.confidence_interval(1 - 2 * 0.05 / 4)
        if decision.status != "winner" or gap.name != decision.leader:
            assert (gap.low, gap.high) == pytest.approx((interval.low, interval.high), rel=1e-6)
        assert gap.gap == pytest.approx(scores[int(gap.name[1])].mean() - scores[0].mean())
        assert gap.p_value == pytest.approx(test.pvalue)
        assert gap.beats == (gap.low > 0.001)
    gaps = [gap.gap for gap in decision.baseline_gaps]
    assert gaps == sorted(gaps, reverse=True)


@pytest.mark.parametrize(
    ("count", "one_sided"), [(2, 0.025), (3, 0.025), (5, 0.0125), (16, 1 / 300)]
)
def test_the_level_of_the_family_is_that_of_a_pair_for_up_to_three(
    count: int, one_sided: float
) -> None:
    assert PATIENT.family_levels(count) == t_levels(PATIENT.schedule, one_sided)


def test_a_tie_that_beats_the_baseline_says_so_first() -> None:
    scores = noisy([0.93, 0.96, 0.96, 0.96], 0.0003)
    decision = last(scores, simplicity={"c2": 0, "c1": 5, "c3": 5})
    assert (decision.status, decision.baseline_status) == ("tie", "beaten")
    assert set(decision.baseline_beaten_by) == {"c1", "c2", "c3"}
    assert decision.recommended == "c2"
    text = sentence(decision, "mlp/digits", search=SearchCounts(12, 8, 7, 1))
    assert text.startswith("c0 is beaten by c2 (at least 2.")
    assert text.index("equivalent") < text.index("8 of 12") < text.index("1 of 7 named")
    assert "; take c2; whatever is truly the best of the 4 raced, c2 is within" in text


def test_a_baseline_in_the_tie_is_kept_however_simple_the_others_are() -> None:
    decision = last(noisy([0.96, 0.9601, 0.96], 0.0002), simplicity={"c1": 0, "c2": 0, "c0": 9})
    assert (decision.status, decision.recommended) == ("tie", "c0")
    assert decision.baseline_status == "kept"
    assert sentence(decision).startswith("c0 is not beaten; ")


def test_undecided_keeps_the_baseline_unless_it_is_beaten() -> None:
    open_ = last(noisy([0.96, 0.963, 0.962], 0.01, seed=3))
    assert (open_.status, open_.baseline_status, open_.recommended) == ("undecided", "open", "c0")
    assert open_.regret is not None
    text = sentence(open_)
    assert text.startswith("not shown whether c0 is beaten (")
    assert "; take c0; whatever is truly the best of the 3 raced, c0 is within" in text
    beaten = last(noisy([0.90, 0.963, 0.962], 0.01, seed=3))
    assert (beaten.status, beaten.baseline_status) == ("undecided", "beaten")
    assert beaten.recommended == beaten.leader != "c0"


def test_a_winner_is_recommended_and_beats_the_baseline() -> None:
    rng = np.random.default_rng(0)
    for seed in range(30):
        means = [0.960, 0.960 + rng.uniform(0, 0.01), *[0.955] * 6]
        decision = last(noisy(means, 0.003, seed))
        if decision.status == "winner":
            assert decision.recommended == decision.leader
            assert decision.leader == "c0" or decision.leader in decision.baseline_beaten_by
            assert (decision.baseline_status == "kept") == (decision.leader == "c0")


def test_the_claim_of_a_winner_counts_those_that_were_raced() -> None:
    decision = last(noisy([0.90, 0.97, 0.92, 0.91, 0.93], 0.001))
    text = sentence(decision, "mlp/digits")
    assert "c1 beats the 4 others that were raced on mlp/digits by at least" in text
    assert text.endswith("; take c1")


def test_without_a_baseline_nothing_is_said_about_it() -> None:
    scores = {f"c{i}": dict(enumerate(row)) for i, row in enumerate(noisy([0.97, 0.96], 0.002))}
    decision = decide(scores)
    assert (decision.baseline, decision.baseline_gaps, decision.baseline_status) == (None, (), None)
    assert sentence(decision).startswith("c0 beats c1 by at least")


@pytest.mark.parametrize("argument", [{"baseline": "x"}, {"simplicity": {"x": 1}}])
def test_an_unknown_name_is_refused_with_its_argument(argument: dict) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(argument))} candidates must be in the race"):
        Race(["a", "b"], RaceRules(), **argument)


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3, 8])
def test_a_baseline_among_equals_is_rarely_called_beaten(count: int) -> None:
    rng = np.random.default_rng(count)
    rules = RaceRules(margin=0.0, futility=0.0)
    with without_power():
        beaten = [
            last(0.97 + 0.004 * rng.normal(size=(count, 12)), rules).baseline_status == "beaten"
            for _ in range(600)
        ]
    assert sum(beaten) <= most_errors(600)
    assert count == 2 or sum(beaten) > 10  # a level that is never used is too strict


@pytest.mark.slow
def test_the_end_for_futility_leaves_the_baseline_its_time() -> None:
    """A baseline 0.5 points behind three tied rivals; the standard deviation of a difference is 0.4."""
    rng = np.random.default_rng(0)
    found = {0.05: 0, 0.0: 0}
    for _ in range(400):
        scores = np.array([0.965, 0.97, 0.97, 0.97])[:, None] + 0.004 / 2**0.5 * rng.normal(
            size=(4, 12)
        )
        for futility in found:
            with without_power():
                status = last(scores, RaceRules(futility=futility)).baseline_status
            found[futility] += status == "beaten"
    assert found[0.0] > 0.8 * 400
    assert found[0.05] >= 0.95 * found[0.0]


# --- the regret -------------------------------------------------------------------------------------


def test_the_regret_is_the_largest_upper_bound_of_a_rival_that_may_be_the_best() -> None:
    scores = noisy([0.960, 0.9615, 0.961, 0.95], 0.001)
    decision = last(scores, ONE_LOOK)
    bounds = {
        name: [
            stats.ttest_rel(scores[j], scores[int(name[1])])
            .confidence_interval(1 - 2 * 0.05 / 3)
            .high
            for j in range(3)  # c3 is worse by its own bound
            if f"c{j}" != name
        ]
        for name in decision.regrets
    }
    for name, regret in decision.regrets.items():
        assert regret == pytest.approx(max(0.0, *bounds[name]), rel=1e-6, abs=1e-12)
    assert decision.regret == decision.regrets[str(decision.recommended)]


def test_a_lower_loss_has_the_same_regret_as_a_higher_score() -> None:
    scores = noisy([0.960, 0.9615, 0.961], 0.002)
    up, down = last(scores), last(1 - scores, RaceRules(futility=0.0, higher_is_better=False))
    assert down.regrets == pytest.approx(up.regrets)


def test_a_race_in_which_all_diverged_bounds_no_regret() -> None:
    decision = last(np.full((3, 12), np.nan))
    assert (decision.regrets, decision.regret, decision.recommended) == ({}, None, "c0")


@pytest.mark.slow
@pytest.mark.parametrize("gap", [0.0, 0.002, 0.004, 0.006])
@pytest.mark.parametrize("count", [2, 5])
def test_the_regret_covers_the_truth_for_every_candidate_at_once(count: int, gap: float) -> None:
    rng = np.random.default_rng(1)
    truth = 0.97 - gap * np.minimum(np.arange(count), 2)
    wrong = 0
    for _ in range(300):
        scores = truth[:, None] + 0.004 * rng.normal(size=(count, 12))
        with without_power():
            decision = last(scores, RaceRules(margin=0.0, futility=0.0), baseline=f"c{count - 1}")
        bounds = decision.regrets
        wrong += any(truth.max() - truth[int(name[1])] > bounds[name] for name in bounds)
    assert 300 - wrong >= least_found(300, 0.95)
