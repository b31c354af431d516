"""Metrics of learning curves, against NumPy and by hand."""

import math
from pathlib import Path

import numpy as np
import pytest
from simulated_jobs import simulate
from study_runs import Trained, numbers, run, settings

from initsearch.errors import ConfigError
from initsearch.race.race import Race
from initsearch.race.rules import Decision, RaceRules
from initsearch.race.sentences import STEPS, sentence
from initsearch.search.metric import METRICS, make_metric, steps_to
from initsearch.training import Point

#: What a guess among ten classes scores.
TEN_CLASSES = {"val_accuracy": 1 / 10, "val_loss": math.log(10)}


def curve(*accuracies: float, every: int = 10) -> list[Point]:
    return [
        Point(i / 10, every * i, 1.0, {"val_accuracy": accuracy, "val_loss": 1.0})
        for i, accuracy in enumerate(accuracies, 1)
    ]


def test_steps_to_a_target_are_interpolated() -> None:
    rising = [0.2, 0.5, 0.55, 0.8, 0.95]
    points = curve(*rising)
    for target in np.linspace(0.2, 0.95, 16):
        expected = np.interp(target, rising, [point.step for point in points])
        assert steps_to(float(target), points) == pytest.approx(expected)


def test_the_first_time_counts_though_the_curve_falls_again() -> None:
    assert steps_to(0.5, curve(0.4, 0.6, 0.3, 0.7)) == pytest.approx(15)
    assert steps_to(0.3, curve(0.4, 0.2)) == 10


def test_runs_that_miss_the_target_rank_behind_all_others_by_their_best_accuracy() -> None:
    far, near = steps_to(0.9, curve(0.1, 0.3, 0.2)), steps_to(0.9, curve(0.1, 0.2, 0.85))
    assert 30 < near < far < 31
    assert steps_to(0.9, curve(0.1, 0.2, 0.9)) == 30


def test_a_diverged_run_is_worse_than_one_that_did_not_get_there() -> None:
    metric = make_metric("steps_to_target", 0.9)
    assert math.isnan(metric.score(curve(0.95), diverged=True))
    assert metric.floor(TEN_CLASSES, 30) > steps_to(0.9, curve(0.0, 0.0, 0.0)) - 0.9


@pytest.mark.parametrize("target", [0.0, 1.5, -1.0, math.nan])
def test_a_target_is_a_share(target: float) -> None:
    with pytest.raises(ConfigError, match=r"target_accuracy must lie in \(0, 1\], but got"):
        make_metric("steps_to_target", target)


def decided(scores: dict[str, list[float]], **rules: object) -> Decision:
    blocks = len(next(iter(scores.values())))
    race = Race(list(scores), RaceRules(looks=(blocks,), max_seeds=blocks, **rules))  # type: ignore[arg-type]
    for seed in range(blocks):
        race.add_block(seed, {name: values[seed] for name, values in scores.items()})
    return race.decide()


def test_a_target_that_no_candidate_reaches_decides_nothing() -> None:
    """All scores lie within a step, far less than the margin: without the bound this is a tie."""
    scores = {"a": [100.2, 100.3, 100.1, 100.4], "b": [100.3, 100.3, 100.2, 100.5]}
    rules = {"higher_is_better": False, "margin": 5.0}
    assert decided(scores, **rules).status == "tie"
    decision = decided(scores, bound=100.0, **rules)
    assert decision.status == "undecided"
    text = sentence(decision, "net/data", STEPS, "raise max_epochs")
    assert text.startswith("undecided: no candidate reached the target on any of 4 paired seeds")
    assert text.endswith("on net/data; raise max_epochs")
    assert sentence(decision, "net/data", STEPS).endswith("on net/data")


def test_one_run_that_reaches_the_target_in_its_last_step_is_an_exact_score() -> None:
    scores = {"a": [100.0, 100.3, 100.1, 100.4], "b": [100.3, 100.3, 100.2, 100.5]}
    decision = decided(scores, bound=100.0, higher_is_better=False, margin=5.0)
    assert not decision.all_bounds
    scores = {"a": [101.0, 100.3, 100.1, 99.0], "b": [100.1, 100.1, 100.1, 100.01]}
    assert not decided(scores, bound=100.0, higher_is_better=False, margin=5.0).all_bounds


def test_runs_that_miss_the_target_are_counted() -> None:
    """They count as at their last step, which is better than they are, so the sentence names them."""
    scores = {"a": [40.0, 44.0, 100.2, 42.0], "b": [100.3, 100.3, 100.2, 100.5]}
    decision = decided(scores, bound=100.0, higher_is_better=False, margin=5.0)
    assert decision.bounds == {"a": 1, "b": 4}
    text = sentence(decision, "net/data", STEPS)
    assert text.endswith("; a missed the target on 1 of 4 and b missed the target on 4 of 4")
    assert decided(scores, higher_is_better=False, margin=5.0).bounds == {}


def test_a_candidate_that_reaches_the_target_beats_one_that_does_not() -> None:
    scores = {"a": [40.0, 44.0, 41.0, 42.0], "b": [100.3, 100.3, 100.2, 100.5]}
    decision = decided(scores, bound=100.0, higher_is_better=False, margin=5.0)
    assert (decision.status, decision.leader) == ("winner", "a")
    assert "by at least" in (text := sentence(decision, "net/data", STEPS))
    assert "steps; 4 paired seeds" in text


def test_a_study_counts_steps_to_its_target(tmp_path) -> None:
    trained = Trained(simulate)
    asked = {"metric": "steps_to_target", "evaluations_per_epoch": 8, "race": {"margin": 1.0}}
    verdict = trained.run(settings(tmp_path / "reached", target_accuracy=0.3, **asked))
    plain = numbers(verdict)
    assert (plain["metric"], plain["higher_is_better"]) == ("steps_to_target", False)
    best, *others = (candidate["mean"] for candidate in plain["candidates"])
    assert best < 16
    assert all(best <= other for other in others)
    beyond = trained.run(settings(tmp_path / "beyond", target_accuracy=1.0, **asked))
    assert beyond.status == "undecided"
    assert beyond.sentence.endswith("; raise max_epochs, or lower target_accuracy")


@pytest.mark.parametrize("metric", ["val_accuracy", "learning_curve_area", "steps_to_target"])
def test_margins_in_points_and_steps_may_be_any(metric: str) -> None:
    make_metric(metric, 0.9).check_margin(1.5, TEN_CLASSES)


def test_a_margin_in_points_is_refused_for_a_loss() -> None:
    """Within 1.5 nats a net that has learned everything is as good as a guess, log 10 = 2.3."""
    metric = make_metric("val_loss", 0.9)
    metric.check_margin(0.23, TEN_CLASSES)
    with pytest.raises(
        ConfigError, match=r"race.margin must be at most 0.23 for val_loss.*got 1.5"
    ):
        metric.check_margin(1.5, TEN_CLASSES)
    with pytest.raises(ConfigError, match=r"race.margin must be at most"):
        run(settings(Path("nowhere"), metric="val_loss", race={"margin": 1.5}))


def test_an_interval_is_clipped_to_what_a_metric_can_be() -> None:
    accuracy, steps, loss = (METRICS[n] for n in ("val_accuracy", "steps_to_target", "val_loss"))
    assert [accuracy.clipped(value) for value in (-0.1, 0.4, 1.2)] == [0.0, 0.4, 1.0]
    assert [steps.clipped(value) for value in (-3.0, 9e9)] == [0.0, 9e9]
    assert loss.clipped(-0.1) == -0.1
    assert math.isnan(accuracy.clipped(math.nan))
