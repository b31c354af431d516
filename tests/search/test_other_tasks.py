"""A study of a regression: its metric, direction, unit and test score reach the verdict and the terminal."""

import io
from pathlib import Path

import pytest
from rich.console import Console
from study_runs import TRAINER, run

from initsearch.search.settings import RaceSettings, SearchSettings, StudySettings
from initsearch.search.verdict import Verdict
from initsearch.search.verdict.builder import held_out
from initsearch.space import Space
from initsearch.tasks.registry import build_task
from initsearch.tracking import print_verdict
from initsearch.tracking.words.number_format import format_of
from initsearch.tracking.words.summary import verdict_metrics
from initsearch.training import TrainerSettings

SPACE = {
    "plans": {"huge": {"name": "normal", "std": 30.0}, "small": {"name": "normal", "std": 0.1}}
}


@pytest.fixture(scope="module")
def verdict(tmp_path_factory: pytest.TempPathFactory) -> Verdict:
    groups = {
        "task": {"name": "tabular"},
        "data": {"name": "diabetes"},
        "model": {"name": "mlp", "depth": 1, "width": 4},
        "optimizer": {"name": "sgd", "lr": 0.01, "batch_size": 32},
    }
    asked = StudySettings(
        name="rows",
        architecture="mlp",
        task=build_task(groups),
        trainer=TrainerSettings.parse("trainer", TRAINER),
        space=Space.from_spec(SPACE),
        output_dir=tmp_path_factory.mktemp("study"),
        n_trials=3,
        max_epochs=1,
        metric="val_rmse",
        search=SearchSettings(seeds=1, pruner="none"),
        race=RaceSettings(max_seeds=4, looks=(4,), margin=0.5),
    )
    return run(asked)


def test_a_smaller_error_wins_and_is_given_in_the_targets_own_unit(verdict: Verdict) -> None:
    assert (verdict.metric, verdict.higher_is_better) == ("val_rmse", False)
    means = {one.name: one.mean for one in verdict.candidates}
    assert min(means.values()) == verdict.candidates[0].mean
    assert all(one.gap_to_leader >= 0 for one in verdict.candidates)
    assert 40 < min(means.values()) < 90  # the targets' standard deviation is 77
    assert "points" not in verdict.sentence


def test_the_score_on_the_test_set_has_its_name_and_a_lead_is_positive(
    verdict: Verdict, tmp_path: Path
) -> None:
    assert verdict.test
    for score in verdict.test.values():
        assert score.metric == "test_rmse"
        assert 40 < score.test_accuracy < 100
    verdict.save(tmp_path / "verdict.json")
    assert {
        who: read.metric for who, read in Verdict.load(tmp_path / "verdict.json").test.items()
    } == {who: score.metric for who, score in verdict.test.items()}


def test_a_lead_in_an_error_is_how_much_smaller_it_is() -> None:
    lead = held_out(
        "a", {0: 3.0, 1: 2.0}, {0: 4.0, 1: 5.0}, 0.05, "test_rmse", higher_is_better=False
    )
    assert lead.gap == pytest.approx(2.0)
    lead = held_out("a", {0: 0.5, 1: 0.7}, {0: 0.4, 1: 0.4}, 0.05)
    assert lead.gap == pytest.approx(0.2)


def test_the_terminal_names_the_score(verdict: Verdict) -> None:
    text = io.StringIO()
    print_verdict(Console(file=text, width=110), verdict)
    shown = text.getvalue()
    assert "validation RMSE" in shown
    assert "On the test set (test_rmse)" in shown
    assert "%" not in shown.partition("On the test set")[2].partition("interval")[0].replace(
        "95 %", ""
    )


def test_metrics_of_the_records_carry_the_name_of_the_score(verdict: Verdict) -> None:
    found = verdict_metrics(verdict)
    assert "test/baseline/test_rmse" in found
    assert not [name for name in found if name.endswith("test_accuracy")]


@pytest.mark.parametrize(
    ("metric", "label", "gap"),
    [
        ("val_rmse", "validation RMSE", ""),
        ("val_bits_per_token", "validation bits per token", " bits"),
        ("val_psnr", "validation PSNR (dB)", " dB"),
        ("val_balanced_accuracy", "validation balanced accuracy (%)", " points"),
        ("test_accuracy", "test accuracy (%)", " points"),
    ],
)
def test_a_metric_is_shown_with_its_unit(metric: str, label: str, gap: str) -> None:
    form = format_of(metric)
    assert (form.label, form.gap_unit) == (label, gap)
