"""`race.decide` on complete tables, against SciPy, statsmodels and a race that is fed block by block."""

import contextlib
import io
import math
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from initsearch.errors import ConfigError
from initsearch.race import Decision, Race, RaceRules, decide

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # deprecations inside its own dependencies
    from statsmodels.stats.multitest import multipletests
    from statsmodels.stats.weightstats import ttost_paired

README = Path(__file__).resolve().parents[2] / "README.md"
PATIENT = RaceRules(futility=0.0)


def made_up(
    means: dict[str, float], seeds: int = 12, sd: float = 0.004, draw: int = 0
) -> dict[str, dict[int, float]]:
    """Scores with noise shared within each seed, and separate noise."""
    rng = np.random.default_rng(draw)
    shared = rng.normal(0.0, 0.01, size=seeds)
    return {
        name: dict(enumerate((mean + shared + rng.normal(0.0, sd, size=seeds)).tolist()))
        for name, mean in means.items()
    }


def first(scores: dict[str, dict[int, float]], seeds: int) -> dict[str, dict[int, float]]:
    return {
        name: {s: x for s, x in by_seed.items() if s < seeds} for name, by_seed in scores.items()
    }


def test_a_single_look_reports_the_paired_tests_of_scipy_and_statsmodels() -> None:
    scores = made_up({"a": 0.97, "b": 0.968, "c": 0.966, "d": 0.95}, seeds=8)
    rules = RaceRules(looks=(8,), max_seeds=8, margin=0.002, alpha=0.05, correct_skew=False)
    decision = decide(scores, rules)
    values = {name: list(by_seed.values()) for name, by_seed in scores.items()}
    names = list(scores)
    pairs = [(i, j) for k, i in enumerate(names) for j in names[k + 1 :]]
    plain = [stats.ttest_rel(values[i], values[j]).pvalue for i, j in pairs]
    holm = dict(zip(pairs, multipletests(plain, method="holm")[1], strict=True))
    assert decision.leader == max(names, key=lambda name: np.mean(values[name]))
    assert decision.level == pytest.approx(0.05)
    for comparison in decision.comparisons:
        ours, theirs = values[decision.leader], values[comparison.name]
        test = stats.ttest_rel(ours, theirs)
        interval = test.confidence_interval(0.95)
        pair = (decision.leader, comparison.name)
        assert comparison.gap == pytest.approx(np.mean(ours) - np.mean(theirs))
        assert comparison.p_value == pytest.approx(test.pvalue)
        assert (comparison.low, comparison.high) == pytest.approx((interval.low, interval.high))
        assert comparison.p_holm == pytest.approx(holm.get(pair, holm.get(pair[::-1])))
        # The interval that two one-sided tests at 5 % stand for.
        narrow = test.confidence_interval(0.9)
        ends = (comparison.tie_low, comparison.tie_high)
        assert ends == pytest.approx((narrow.low, narrow.high))
        tost = ttost_paired(np.array(ours), np.array(theirs), -0.002, 0.002)[0]
        assert comparison.p_equivalence == pytest.approx(tost)
        assert comparison.beaten == (interval.low > 0.002)


@pytest.mark.parametrize("draw", range(12))
def test_a_table_is_decided_as_a_race_that_is_fed_block_by_block(draw: int) -> None:
    scores = made_up({"a": 0.97, "b": 0.968, "c": 0.94, "d": 0.935}, draw=draw)
    scores["b"][draw] = math.nan
    rules = RaceRules(margin=0.002, futility=0.05 * (draw % 2))
    race = Race(list(scores), rules, baseline="d")
    while not race.finished:
        for seed in range(len(race.seeds), race.next_look or 0):
            race.add_block(seed, {name: by_seed[seed] for name, by_seed in scores.items()})
        race.decide()
    assert decide(scores, rules, baseline="d") == race.decisions[-1]


@pytest.mark.parametrize("draw", range(6))
def test_a_table_that_grows_takes_the_same_looks(draw: int) -> None:
    """A decision stands when seeds are added, and seeds between two looks change nothing."""
    scores = made_up({"a": 0.97, "b": 0.966, "c": 0.94}, draw=draw)
    decisions: list[Decision] = [decide(first(scores, n), PATIENT) for n in range(4, 13)]
    end = next(i for i, decision in enumerate(decisions) if decision.status)
    for seeds, decision in enumerate(decisions[:end], 4):
        assert decision.look == max(look for look in (4, 6, 8) if look <= seeds)
    assert decisions[end].look == end + 4
    assert all(decision == decisions[end] for decision in decisions[end:])


def test_seeds_count_in_ascending_order_however_the_table_is_written() -> None:
    scores = made_up({"a": 0.97, "b": 0.969, "c": 0.94})
    turned = {name: dict(reversed(by_seed.items())) for name, by_seed in scores.items()}
    assert decide(turned) == decide(scores)


def test_a_table_is_not_ended_for_futility_unless_the_rules_say_so() -> None:
    scores = made_up({"a": 0.97, "b": 0.97}, sd=0.02)
    assert (decide(scores).look, decide(scores).prospect) == (12, None)
    assert decide(scores, RaceRules()).look < 12


def test_seeds_beyond_the_maximum_are_not_used() -> None:
    scores = made_up({"a": 0.97, "b": 0.97}, seeds=20, sd=0.02)
    assert decide(scores) == decide(first(scores, 12))
    assert decide(scores, RaceRules(max_seeds=20, futility=0.0)).look == 20


def test_a_baseline_is_compared_on_all_seeds() -> None:
    scores = made_up({"a": 0.970, "b": 0.969, "default": 0.5})
    blocks = {c.name: c.blocks for c in decide(scores, baseline="default").comparisons}
    assert blocks["default"] == decide(scores).look > 4
    assert {c.name: c.blocks for c in decide(scores).comparisons}["default"] == 4


def test_a_stopped_candidate_needs_no_further_scores() -> None:
    scores = made_up({"a": 0.970, "b": 0.969, "c": 0.5})
    whole = decide(scores)
    scores["c"] = {seed: score for seed, score in scores["c"].items() if seed < 4}
    assert decide(scores) == whole
    with pytest.raises(ConfigError, match=r"c has none for 4, 5; add them \(nan"):
        decide(scores, baseline="c")


def test_a_missing_score_is_named_and_never_left_out() -> None:
    scores = made_up({"a": 0.97, "b": 0.97, "c": 0.97}, seeds=6, sd=0.02)
    del scores["b"][1], scores["c"][0], scores["c"][3]
    with pytest.raises(ConfigError, match=r"b has none for 1; c has none for 0, 3; add them"):
        decide(scores)
    disjoint = {"a": dict.fromkeys(range(4), 0.9), "b": dict.fromkeys(range(4, 8), 0.9)}
    with pytest.raises(ConfigError, match="b has none for 0, 1, 2, 3"):
        decide(disjoint)


def test_a_missing_score_that_no_look_needs_is_no_error() -> None:
    scores = made_up({"a": 0.97, "b": 0.90, "c": 0.90}, sd=0.001)
    assert decide(scores).look == 4
    complete = decide(scores)
    del scores["b"][11]
    assert decide(scores) == complete


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_run_that_is_not_finite_has_diverged(bad: float) -> None:
    scores = made_up({"a": 0.97, "b": 0.969})
    scores["a"][1] = bad
    decision = decide(scores)
    assert decision.diverged == {"a": 1}
    assert decision.leader == "b"
    ours = [scores["b"][s] for s in range(decision.look)]
    # Without a score for diverged runs, an accuracy counts as 0.
    theirs = [scores["a"][s] if s != 1 else 0.0 for s in range(decision.look)]
    assert decision.comparisons[0].gap == pytest.approx(np.mean(ours) - np.mean(theirs))


def test_a_loss_is_better_when_it_is_lower() -> None:
    losses = made_up({"a": 0.30, "b": 0.20}, sd=0.002)
    decision = decide(losses, RaceRules(higher_is_better=False))
    assert (decision.status, decision.leader) == ("winner", "b")
    assert decision.lead > 0


def test_scores_and_seeds_may_be_numpy_numbers() -> None:
    scores = made_up({"a": 0.97, "b": 0.96})
    arrays = {
        name: {np.int64(seed): np.float64(score) for seed, score in by_seed.items()}
        for name, by_seed in scores.items()
    }
    assert decide(arrays) == decide(scores)
    assert decide({name: dict.fromkeys(range(4), 1) for name in "ab"}).status == "tie"


FOUR = dict.fromkeys(range(4), 0.9)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([("a", FOUR)], "scores must map each candidate to its scores by seed: got list"),
        ({}, r"two or more candidates: got \[\]"),
        ({"a": FOUR}, r"two or more candidates: got \['a'\]"),
        ({"a": FOUR, 3: FOUR}, "candidates must have names: got 3"),
        ({"a": FOUR, "": FOUR}, "candidates must have names: got ''"),
        ({"a": FOUR, "b": [0.9] * 4}, "scores of b must be a mapping from seeds to scores"),
        ({"a": FOUR, "b": {}}, "scores of b are empty"),
        ({"a": {}, "b": {}}, "scores of a are empty"),
        ({"a": FOUR, "b": {0: "0.9"}}, r"score of b for seed 0 must be a number: got '0\.9'"),
        ({"a": FOUR, "b": {0: None}}, "score of b for seed 0 must be a number: got None"),
        ({"a": FOUR, "b": {0: True}}, "score of b for seed 0 must be a number: got True"),
        ({"a": FOUR, "b": {"0": 0.9}}, "seeds must be integers: got '0' for b"),
        ({"a": FOUR, "b": {0.5: 0.9}}, "seeds must be integers: got 0.5 for b"),
        ({"a": {0: 0.9}, "b": {0: 0.9}}, "at least 4 seeds, for the first look: got 1; add seeds$"),
        ({"a": {0: 0.9, 1: 0.8}, "b": {0: 0.9, 1: 0.8}}, "got 2; .* or declare max_seeds=2"),
    ],
)
def test_a_table_that_cannot_be_decided_is_refused(scores: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        decide(scores)


def test_an_unknown_baseline_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"unknown baseline 'torch_defalt'.*torch_default"):
        decide({"torch_default": FOUR, "b": FOUR}, baseline="torch_defalt")


def test_a_declared_number_of_seeds_makes_a_small_table_a_whole_race() -> None:
    scores = made_up({"a": 0.97, "b": 0.60}, seeds=3, sd=0.001)
    assert decide(scores, RaceRules(max_seeds=3)).status == "winner"


def test_the_room_loads_neither_torch_nor_any_of_the_upper_rooms() -> None:
    code = (
        "import initsearch.race, initsearch.race.program, sys\n"
        "initsearch.race.decide({n: dict.fromkeys(range(4), 0.5) for n in 'ab'})\n"
        "print(*{name.partition('.')[0] for name in sys.modules})\n"
        "print(*(name for name in sys.modules if name.startswith('initsearch.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    packages, modules = (set(line.split()) for line in done.stdout.splitlines())
    assert {"numpy", "scipy"} <= packages
    heavy = {"torch", "optuna", "mlflow", "lightning", "pandas", "rich", "hydra", "matplotlib"}
    assert not packages & heavy
    rooms = {name.split(".")[1] for name in modules}
    assert rooms <= {"race", "errors", "checks", "ctrl_c", "lazy"}


def test_the_example_in_the_readme_prints_what_it_says() -> None:
    readme = README.read_text(encoding="utf-8")
    example = re.search(
        r"```python\n(from initsearch\.race import.*?)```\n\n```text\n(.*?)```", readme, re.DOTALL
    )
    assert example is not None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(example[1], {})
    assert printed.getvalue() == example[2]
