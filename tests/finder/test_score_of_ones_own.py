"""`init_find` of a function: proposals, rungs, fresh seeds, verdict and records without a model of ours."""

import json
import math
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from scores import HEIGHTS, SPACE, Scored, luck, study

import initsearch
from initsearch.errors import ConfigError, InitSearchError, ModelError
from initsearch.finder import InitFindResult
from initsearch.plan import InitPlan
from initsearch.race import RaceRules, decide

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[InitFindResult, Scored, Path]:
    """A search of one function, with all its records."""
    folder = tmp_path_factory.mktemp("found")
    score = Scored()
    before = np.random.get_state()[1].copy()  # type: ignore[union-attr]
    result = initsearch.init_find(
        score,
        space=SPACE,
        budget=8,
        race={"max_seeds": 4},
        name="steps",
        output_dir=folder,
        progress=False,
    )
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    return result, score, folder


def test_the_best_plan_wins_by_the_scores_that_the_function_returned(
    found: tuple[InitFindResult, Scored, Path],
) -> None:
    result, _, _ = found
    verdict = result.verdict
    assert (verdict.status, verdict.winner, verdict.baseline) == (
        "winner",
        "he_normal",
        "torch_default",
    )
    assert result.suggestion() == InitPlan.from_spec("he_normal")
    table = {one.name: dict(one.scores) for one in verdict.candidates}
    for name, scores in table.items():
        for seed, value in scores.items():
            assert value == pytest.approx(HEIGHTS[name] + luck(name, seed), rel=1e-12)
    rules = RaceRules(margin=0.0, max_seeds=4)
    assert decide(table, rules).status == "winner"


def test_the_race_has_seeds_that_the_search_did_not_see(
    found: tuple[InitFindResult, Scored, Path],
) -> None:
    result, score, _ = found
    raced = {seed for one in result.verdict.candidates for seed in one.scores}
    searched = {seed for _, seed, budget in score.calls if budget < 8}
    assert raced
    assert searched
    assert not raced & searched


def test_weak_candidates_end_at_a_smaller_budget_and_budgets_are_whole(
    found: tuple[InitFindResult, Scored, Path],
) -> None:
    result, score, _ = found
    assert {budget for _, _, budget in score.calls} == {2, 4, 8}
    assert all(isinstance(budget, int) for _, _, budget in score.calls)
    ends = {row.name: row.status for row in result.verdict.evidence.search}
    assert ends["lecun_normal"] == "pruned"
    assert ends["he_normal"] == "complete"


def test_a_search_leaves_the_same_records_as_a_shipped_sweep(
    found: tuple[InitFindResult, Scored, Path],
) -> None:
    result, _, folder = found
    assert json.loads((result.folder / "verdict.json").read_text())["winner"] == "he_normal"
    assert InitPlan.load(result.folder / "winner.yaml") == result.suggestion()
    for file in ("leaderboard.csv", "figures/race.png", "figures/search.png"):
        assert (result.folder / file).is_file(), file
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    (experiment,) = [e for e in client.search_experiments() if e.name != "Default"]
    runs = client.search_runs([experiment.experiment_id])
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert {run.data.tags["scheme"] for run in children} == set(HEIGHTS)


def test_the_result_can_be_printed_plotted_and_read_as_rows(
    found: tuple[InitFindResult, Scored, Path],
) -> None:
    result, _, _ = found
    assert "he_normal" in str(result)
    assert result.results[0]["candidate"] == "he_normal"
    assert result.plot().get_axes()


def test_a_study_with_a_name_is_resumed(found: tuple[InitFindResult, Scored, Path]) -> None:
    result, _, folder = found
    again = Scored()
    options: dict[str, Any] = {"space": SPACE, "budget": 8, "race": {"max_seeds": 4}}
    resumed = initsearch.init_find(
        again, name="steps", output_dir=folder, progress=False, **options
    )
    assert resumed.verdict.to_json() == result.verdict.to_json()
    assert again.calls == []


def test_mode_min_takes_the_lowest_score(tmp_path: Path) -> None:
    verdict = study(Scored(), tmp_path, mode="min", space={"plans": {"he": "he_normal"}})
    assert verdict.winner == "torch_default"
    assert not verdict.higher_is_better


def test_a_function_without_a_budget_is_called_once_per_candidate_and_seed(tmp_path: Path) -> None:
    calls = []

    def score(plan: InitPlan, seed: int) -> float:
        calls.append((str(plan), seed))
        return Scored()(plan, seed)

    assert study(score, tmp_path, budget=None).winner == "he_normal"
    assert len(calls) == len(set(calls))


def test_a_budget_may_be_a_fraction(tmp_path: Path) -> None:
    score = Scored()
    study(score, tmp_path, budget=0.5)
    assert {budget for _, _, budget in score.calls} == {0.125, 0.25, 0.5}


def test_candidates_that_raise_fail_and_those_that_give_nan_diverge(tmp_path: Path) -> None:
    def score(name: str, seed: int, budget: float) -> float:
        if name == "orthogonal":
            raise ZeroDivisionError("no reward\nat all")
        return math.nan if name == "lecun_normal" else HEIGHTS[name] + luck(name, seed)

    verdict = study(Scored(score), tmp_path)
    rows = {row.name: row for row in verdict.evidence.search}
    assert rows["orthogonal"].status == "failed"
    assert "ZeroDivisionError: at all (test_score_of_ones_own.py" in rows["orthogonal"].reason
    assert rows["lecun_normal"].status == "diverged"
    assert verdict.winner == "he_normal"


def test_a_candidate_that_diverges_in_the_race_counts_as_the_worst(tmp_path: Path) -> None:
    def score(name: str, seed: int, budget: float) -> float:
        raced = seed >= 1000
        return math.nan if raced and name == "he_normal" else HEIGHTS[name] + luck(name, seed)

    verdict = study(Scored(score), tmp_path)
    assert verdict.winner == "orthogonal"
    worst = next(one for one in verdict.candidates if one.name == "he_normal")
    assert worst.diverged == worst.n_seeds


def test_a_function_that_always_raises_is_reported_in_one_line_after_one_cohort(
    tmp_path: Path,
) -> None:
    score = Scored(lambda *_: [].index(0))
    with pytest.raises(ModelError, match="ValueError") as raised:
        study(score, tmp_path)
    assert "\n" not in str(raised.value)
    assert len(score.calls) <= 2 * 4


def test_scores_that_are_all_nan_are_reported_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InitSearchError, match=r"4 diverged.*score not finite.*learning rate") as e:
        study(Scored(lambda *_: math.nan), tmp_path)
    assert "\n" not in str(e.value)


def test_a_result_that_is_no_number_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"must return a number, but returned None"):
        study(Scored(lambda *_: None), tmp_path)


def with_plan_alone(plan: InitPlan) -> float:
    return 0.0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"model": 3}, "score must be a function"),
        ({"model": with_plan_alone}, r"must take \(plan, seed\)"),
        ({"model": lambda plan, seed: 0.0, "budget": 3}, r"plan, seed, budget.*leave budget out"),
        ({"model": lambda plan, seed, budget: 0.0}, r"give budget="),
        ({"budget": 0}, "budget must be finite and above 0"),
        ({"budget": "ten"}, "budget must be a number"),
        ({"mode": "best"}, "unknown mode 'best'"),
        ({"space": {"lr": [0.1], **SPACE}}, "space.lr must be left out"),
        ({"space": {}}, "groups or plans"),
        ({"race": {"margn": 1}}, "margin"),
        ({"baselines": []}, "baselines"),
        ({"workers": 2, "model": lambda plan, seed: 0.0}, "top level of a module"),
    ],
)
def test_a_wrong_argument_is_reported_in_one_line_before_anything_runs(
    arguments: dict[str, Any], words: str, tmp_path: Path
) -> None:
    plain = {"model": Scored(), "space": SPACE, "output_dir": tmp_path / "out", "progress": False}
    with pytest.raises(InitSearchError, match=words) as raised:
        initsearch.init_find(**(plain | arguments))
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()
