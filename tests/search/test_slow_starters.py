"""Slow starters: a candidate that is behind at a rung and rises fast is not lost."""

import itertools
import math
from dataclasses import replace
from typing import Any

import pytest
from simulated_jobs import simulate
from study_runs import Call, Listener, Trained, numbers, settings

from initsearch.search.candidates import TrainedCandidate
from initsearch.search.metric import METRICS
from initsearch.search.rungs import Budgets, make_budgets
from initsearch.search.settings import FIRST_RACE_BLOCK
from initsearch.search.slow_starters import Reserve, projection
from initsearch.search.verdict import Verdict
from initsearch.training import Candidate, CohortResult, Curve, Job, Point, TrainJob, run_job

pytestmark = pytest.mark.slow

ACCURACY, LOSS = METRICS["val_accuracy"], METRICS["val_loss"]


def measured(number: int, *curves: dict[float, float]) -> TrainedCandidate:
    """A candidate with a curve per seed: accuracy by epoch; its loss is 1 - accuracy."""
    candidate = TrainedCandidate(Candidate(f"c{number}", {}, 0.1, number=number))
    for seed, curve in enumerate(curves):
        points = tuple(
            Point(epoch, round(8 * epoch), 1.0, {"val_accuracy": value, "val_loss": 1.0 - value})
            for epoch, value in curve.items()
        )
        candidate.curves[seed] = Curve(candidate.name, seed, points, 2.3)
    return candidate


@pytest.mark.parametrize("epoch", [1.0, 2.0, 3.0])
def test_a_curve_that_is_linear_in_the_logarithm_is_projected_exactly(epoch: float) -> None:
    curves = [
        {at: level + slope * math.log(at) for at in (0.25, 0.5, epoch)}
        for level, slope in ((0.2, 0.1), (0.3, 0.05))
    ]
    candidate = measured(0, *curves)
    expected = 0.25 + 0.075 * math.log(8.0)
    assert projection(candidate, epoch, 8.0, ACCURACY) == pytest.approx(expected)
    assert projection(candidate, epoch, 8.0, LOSS) == pytest.approx(1.0 - expected)


def test_a_flat_curve_keeps_its_score() -> None:
    assert projection(measured(0, {0.5: 0.9, 1.0: 0.9}), 1.0, 4.0, ACCURACY) == pytest.approx(0.9)


def test_without_an_earlier_measurement_there_is_no_projection() -> None:
    candidate = measured(0, {0.5: 0.5, 1.0: 0.9}, {1.0: 0.9})
    assert math.isnan(projection(candidate, 1.0, 4.0, ACCURACY))
    reserve = Reserve(0.5, ACCURACY, 4.0)
    reserve.add(candidate, 1.0)
    assert not reserve.keep(candidate, 1.0)


@pytest.mark.parametrize("metric", [ACCURACY, LOSS], ids=lambda metric: metric.name)
def test_the_steepest_have_a_place_whatever_their_scores(metric) -> None:
    ahead = [measured(n, {0.5: 0.88, 1.0: 0.9 + n / 1000}) for n in range(6)]
    slow, dead = measured(6, {0.5: 0.2, 1.0: 0.6}), measured(7, {0.5: 0.1, 1.0: 0.1})
    reserve = Reserve(1 / 8, metric, 4.0)
    everyone = [*ahead, slow, dead]
    for candidate in everyone:
        reserve.add(candidate, 1.0)
    assert [c.name for c in everyone if reserve.keep(c, 1.0)] == ["c6"]


#: Eight plans that are soon near their end, and one that is behind until half of the budget and the best then.
PLANS: dict[str, Any] = {f"fast_{n}": {"name": "normal", "std": 0.1 + n / 100} for n in range(8)}
PLANS["slow"] = "orthogonal"


def slow_start(job: Job) -> CohortResult:
    """Accuracy 0.8 to 0.87 at once, but 0.2, 0.5, 0.8 and 0.95 after an eighth, a quarter, a half and all."""
    result = simulate(job)
    return replace(result, curves=tuple(map(_slow_start, result.curves)))


def _slow_start(curve: Curve) -> Curve:
    rising = {0.25: 0.2, 0.5: 0.5, 1.0: 0.8, 2.0: 0.95}
    name = curve.candidate
    level = 0.85 if name == "torch_default" else 0.8 + int(name[-1]) / 100 if name != "slow" else 0
    points = tuple(
        replace(p, scores={"val_accuracy": level or rising[p.epoch], "val_loss": 1.0})
        for p in curve.points
    )
    return replace(curve, points=points, diverged=False, diverged_at=None)


def search_plans(
    tmp_path, train=slow_start, listener=None, **changes: Any
) -> tuple[Trained, Verdict]:
    trained = Trained(train)
    plain: dict[str, Any] = {
        "space": {"plans": PLANS},
        "baselines": {"torch_default": "torch_default"},
        "n_trials": 10,
        "search": {"cohort_size": 10},
        "race": {"max_seeds": 2, "looks": (2,)},
    }
    return trained, trained.run(settings(tmp_path, **(plain | changes)), listener)


@pytest.mark.parametrize("pruner", ["halving", "median"])
def test_a_best_candidate_that_starts_slowly_enters_the_race(tmp_path, pruner: str) -> None:
    search = {"cohort_size": 5, "open_cohorts": 1, "pruner": pruner}
    found = {
        reserve: search_plans(tmp_path / str(reserve), search=search | {"reserve": reserve})[1]
        for reserve in (0, 0.125)
    }
    rows = {r: {row.name: row for row in verdict.evidence.search} for r, verdict in found.items()}
    assert rows[0]["slow"].status == "pruned"
    assert (rows[0.125]["slow"].status, rows[0.125]["slow"].raced) == ("complete", True)
    assert found[0.125].candidates[0].name == "slow"


def test_the_measurement_before_the_first_rung_is_made_in_the_search_alone(tmp_path) -> None:
    trained, _ = search_plans(tmp_path)
    points = {
        part: {
            epoch
            for job in trained.jobs
            if isinstance(job, TrainJob) and (job.seed < FIRST_RACE_BLOCK) == part
            for epoch in job.points
        }
        for part in (True, False)
    }
    assert points == {True: {0.25, 0.5, 1.0, 2.0}, False: {0.5, 1.0, 2.0}}


@pytest.mark.parametrize(
    "change",
    [
        {"search": {"reserve": 0}},
        {"search": {"pruner": "none"}},
        {"search": {"first_rung": 1.0}},
        {"metric": "learning_curve_area"},
    ],
    ids=["no reserve", "no pruner", "a single rung", "whole curves"],
)
def test_where_there_is_no_reserve_nothing_is_measured_for_it(tmp_path, change) -> None:
    asked = settings(tmp_path, **change)

    def budgets(per_epoch: int) -> Budgets:
        return make_budgets(asked, METRICS[asked.metric], per_epoch)

    assert budgets(8).early == 0
    assert make_budgets(settings(tmp_path), ACCURACY, 8).early == 0.25
    # The first rung is at one step, and there is nothing before it.
    assert make_budgets(settings(tmp_path), ACCURACY, 2).early == 0


def test_workers_and_interruptions_keep_the_same_slow_starters(tmp_path) -> None:
    _, verdict = search_plans(tmp_path / "one")
    _, by_two = search_plans(tmp_path / "two", workers=2)
    assert numbers(by_two) == numbers(verdict)
    left = itertools.count(12, -1)

    def stop(call: Call) -> bool:
        return call[0] == "measure" and next(left) == 0

    with pytest.raises(KeyboardInterrupt):
        search_plans(tmp_path / "resumed", listener=Listener(stop))
    _, resumed = search_plans(tmp_path / "resumed")
    assert numbers(resumed) == numbers(verdict)


def test_small_weights_that_start_slowly_win_on_real_data(tmp_path) -> None:
    """Real training: six plans of large weights are ahead at a quarter of the budget, and worse at its end."""
    wide = {
        f"factor_{n}": {"name": "variance_scaling", "factor": float(n), "mode": "fan_in"}
        for n in range(6, 12)
    }
    small = {"name": "variance_scaling", "factor": 0.5, "mode": "fan_in"}
    _, verdict = search_plans(
        tmp_path,
        run_job,
        data={"name": "digits", "train_size": 300, "val_size": 500},
        model={"name": "mlp", "depth": 2, "width": 32, "activation": "relu"},
        optimizer={"name": "sgd", "lr": 0.01, "momentum": 0.9, "batch_size": 20},
        space={"plans": {**wide, "small": small}},
        baselines={"factor_12": wide["factor_11"] | {"factor": 12.0}},
        n_trials=8,
        max_epochs=16,
        search={"cohort_size": 8},
        race={"max_seeds": 2, "looks": (2,), "shortlist": 1},
        trainer={"engine": "stacked"},  # faster for so small a model
    )
    rows = {row.name: row for row in verdict.evidence.search}
    first = {name: row.scores[4.0] for name, row in rows.items()}
    # Halving alone keeps the better four of eight.
    assert sum(score > first["small"] for score in first.values()) >= 4
    assert rows["small"].status == "complete"
    assert verdict.candidates[0].name == "small"
