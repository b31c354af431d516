"""MLflow's records, read back through another client and from the database file."""

import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import mlflow
import pandas
import pytest
import yaml
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from studies import (
    FEW,
    curve,
    made_up_candidate,
    made_up_study,
    made_up_verdict,
    rows,
    tell,
)

from initsearch.errors import ConfigError, InitSearchError
from initsearch.search.tracker import Candidate, Measurement, StudyInfo
from initsearch.tracking.store import runs
from initsearch.tracking.store.mlflow_tracker import MlflowTracker

pytestmark = pytest.mark.slow


def runs_of(client: MlflowClient, level: str, experiment: str = "mnist") -> dict[str, Run]:
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    runs = client.search_runs([found.experiment_id], filter_string=f"tags.level = '{level}'")
    names = [run.info.run_name for run in runs]
    assert len(set(names)) == len(names)
    return dict(zip(names, runs, strict=True))


@pytest.fixture
def study(output: Path) -> StudyInfo:
    info = made_up_study(output / "convnet-1a2b")
    info.folder.mkdir()
    return info


def test_a_study_is_a_tree_of_runs(
    tracker: MlflowTracker, client: MlflowClient, study: StudyInfo
) -> None:
    verdict = made_up_verdict(FEW)
    tell(tracker, study, verdict, extra=3)
    experiment = client.get_experiment_by_name("mnist")
    assert experiment is not None
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    (parent,) = runs_of(client, "study").values()
    children = runs_of(client, "candidate")
    assert len(children) == len(verdict.candidates) + 3
    assert {c.data.tags["mlflow.parentRunId"] for c in children.values()} == {parent.info.run_id}
    assert parent.info.status == "FINISHED"


def test_a_candidate_says_what_it_is_as_params_and_as_tags(
    tracker: MlflowTracker, client: MlflowClient, study: StudyInfo
) -> None:
    tracker.start_study(study)
    tracker.start_candidate(made_up_candidate(3, "relu(factor=2)", scheme="variance_scaling"))
    tracker.close()
    (run,) = runs_of(client, "candidate").values()
    expected = {
        "architecture": "convnet",
        "dataset": "mnist",
        "scheme": "variance_scaling",
        "mode": "fan_in",
        "distribution": "truncated_normal",
        "activation": "relu",
        "lr": "0.05",
        "relu.scheme": "variance_scaling",
        "relu.variance_scaling.factor": "2.0",
    }
    assert expected.items() <= run.data.params.items()
    assert expected.items() <= run.data.tags.items()
    assert run.data.tags["number"] == "3"
    plan = made_up_candidate(3, "any").plan
    assert json.loads(run.data.params["plan"]) == plan


def test_a_filter_by_mode_finds_the_candidates_that_tried_it(
    tracker: MlflowTracker, client: MlflowClient, study: StudyInfo
) -> None:
    head = {"where": {"role": "head"}, "weight": "glorot_uniform"}
    groups = {
        "relu": {
            "where": {"activation": "relu"},
            "weight": {"variance_scaling": {"mode": ["fan_in", "fan_out"]}},
        },
        "head": head,
    }
    tracker.start_study(replace(study, settings={"space": {"groups": groups}}))
    for number, mode in enumerate(("fan_in", "fan_out")):
        weight = {"name": "variance_scaling", "mode": mode}
        rules = [{"where": {"activation": "relu"}, "weight": weight}, head]
        tracker.start_candidate(replace(made_up_candidate(number, mode), plan={"rules": rules}))
    tracker.close()
    (experiment,) = client.search_experiments(filter_string="name = 'mnist'")
    found = client.search_runs([experiment.experiment_id], "params.mode = 'fan_in'")
    assert [run.info.run_name for run in found] == ["fan_in"]
    assert found[0].data.params["head.mode"] == "fan_avg"


def test_every_measurement_arrives_at_its_step(
    tracker: MlflowTracker, client: MlflowClient, study: StudyInfo
) -> None:
    reported = [*curve("he_normal", 0, 0.97), *curve("he_normal", 7, 0.96)]
    tracker.start_study(study)
    tracker.start_candidate(made_up_candidate(0, "he_normal"))
    tracker.measure("he_normal", reported[:11])
    tracker.measure("he_normal", reported[11:])
    tracker.close()
    run_id = runs_of(client, "candidate")["he_normal"].info.run_id
    stored = {
        (key, metric.step, metric.value)
        for key in (
            "val_accuracy/seed_0",
            "val_accuracy/seed_7",
            "val_loss/seed_0",
            "val_loss/seed_7",
        )
        for metric in client.get_metric_history(run_id, key)
    }
    assert stored == {(one.key, one.step, one.value) for one in reported}


def test_one_rung_is_one_batch(
    tracker: MlflowTracker, study: StudyInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker.start_study(study)
    tracker.start_candidate(made_up_candidate(0, "he_normal"))
    batches = []
    log_batch = MlflowClient.log_batch

    def counted(self: MlflowClient, *args: object, **kwargs: object) -> object:
        batches.append(kwargs)
        return log_batch(self, *args, **kwargs)

    monkeypatch.setattr(MlflowClient, "log_batch", counted)
    tracker.measure("he_normal", curve("he_normal", 0, 0.97))
    assert len(batches) == 1


def test_values_that_are_not_finite_stay_so(
    tracker: MlflowTracker, client: MlflowClient, study: StudyInfo, output: Path
) -> None:
    tracker.start_study(study)
    tracker.start_candidate(made_up_candidate(0, "big"))
    tracker.measure(
        "big",
        [
            Measurement("val_loss", 2.5, 10),
            Measurement("val_loss", math.inf, 20),
            Measurement("val_loss", -math.inf, 25),
            Measurement("val_loss", math.nan, 30),
        ],
    )
    tracker.close()
    stored = rows(
        output, "select step, value, is_nan from metrics where key = 'val_loss' order by step"
    )
    assert stored == [(10, 2.5, 0), (20, 0.0, 1), (25, 0.0, 1), (30, 0.0, 1)]
    tags = runs_of(client, "candidate")["big"].data.tags
    assert tags["infinite"] == "val_loss = inf at step 20; val_loss = -inf at step 25"


@pytest.mark.parametrize(
    ("status", "reason", "mlflow_status"),
    [
        ("complete", "", "FINISHED"),
        ("pruned", "rung 1: below the better half", "KILLED"),
        ("diverged", "the loss was NaN at step 12", "FAILED"),
        ("failed", "out of memory", "FAILED"),
    ],
)
def test_statuses_tell_the_truth(
    tracker: MlflowTracker,
    client: MlflowClient,
    study: StudyInfo,
    status: str,
    reason: str,
    mlflow_status: str,
) -> None:
    tracker.start_study(study)
    tracker.start_candidate(made_up_candidate(0, "one"))
    tracker.end_candidate("one", status, reason)
    tracker.close()
    run = runs_of(client, "candidate")["one"]
    assert run.info.status == mlflow_status
    assert run.data.tags["status"] == status
    assert run.data.tags.get("reason", "") == reason
    assert run.info.end_time is not None


def test_the_parent_holds_the_verdict(
    tracker: MlflowTracker, client: MlflowClient, study: StudyInfo
) -> None:
    verdict = made_up_verdict(FEW)
    (study.folder / "figures").mkdir()
    (study.folder / "figures" / "race.png").write_bytes(b"a picture")
    (study.folder / "winner.yaml").write_text("rules: []\n")
    tell(tracker, study, verdict, extra=2)
    (parent,) = runs_of(client, "study").values()
    tags, metrics = parent.data.tags, parent.data.metrics
    assert tags["verdict"] == "winner"
    assert tags["winner"] == tags["winner_scheme"] == "he_normal"
    assert tags["architecture"] == "convnet"
    assert tags["dataset"] == tags["requested_dataset"] == "mnist"
    assert tags["info.steps_per_epoch"] == "94"
    assert verdict.sentence in tags["mlflow.note.content"]
    assert "| torch_default (default) | behind | 96.52 |" in tags["mlflow.note.content"]
    assert "- default: torch_default is beaten by he_normal" in tags["mlflow.note.content"]
    assert tags["recommended"] == tags["recommended_scheme"] == "he_normal"
    assert (tags["baseline_status"], tags["baseline_beaten_by"]) == ("beaten", "he_normal")
    lead = verdict.against_baseline.gaps[0]
    assert metrics["lead_over_baseline_low"] == lead.low < metrics["lead_over_baseline"] == lead.gap
    assert metrics["regret"] == 0.0
    default = next(s for s in verdict.candidates if s.name == "torch_default")
    assert metrics["winner_val_accuracy"] == verdict.candidates[0].mean
    assert metrics["baseline_val_accuracy"] == default.mean
    assert metrics["gap_baseline_to_leader"] == default.gap_to_leader
    assert metrics["test/baseline/test_accuracy"] == 0.9631
    assert parent.data.params["model.channels"] == "[16, 32]"
    assert parent.data.params["data.train_size"] == "12000"
    (data,) = parent.inputs.dataset_inputs
    assert data.dataset.name == "mnist"
    files = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert {"verdict.json", "winner.yaml", "leaderboard.json", "figures"} <= files


def test_artifacts_lie_under_the_output_folder_and_read_back(
    tracker: MlflowTracker,
    client: MlflowClient,
    study: StudyInfo,
    output: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    (study.folder / "winner.yaml").write_text("rules: []\n")
    verdict = made_up_verdict(FEW)
    tell(tracker, study, verdict, extra=0)
    (parent,) = runs_of(client, "study").values()
    folder = output / "mlartifacts" / "mnist" / parent.info.run_id / "artifacts"
    assert json.loads((folder / "verdict.json").read_text()) == verdict.to_json()
    assert yaml.safe_load((folder / "winner.yaml").read_text()) == {"rules": []}
    table = pandas.read_json(folder / "leaderboard.json", orient="split")
    assert list(table["candidate"]) == [s.name for s in verdict.candidates]
    assert list(table["mean"]) == pytest.approx([s.mean for s in verdict.candidates])
    assert list(elsewhere.iterdir()) == []


def test_the_candidates_learn_their_place(
    tracker: MlflowTracker, client: MlflowClient, study: StudyInfo
) -> None:
    verdict = made_up_verdict(FEW, status="tie")
    tell(tracker, study, verdict, extra=1)
    children = runs_of(client, "candidate")
    leader, last = verdict.candidates[0], verdict.candidates[-1]
    assert children[leader.name].data.tags["standing"] == "tied"
    assert children[leader.name].data.tags["rank"] == "1"
    assert children[last.name].data.tags["standing"] == "behind"
    assert children[last.name].data.metrics["race/gap_to_leader"] == last.gap_to_leader


def test_telling_everything_again_changes_nothing(
    tracker: MlflowTracker, study: StudyInfo, output: Path
) -> None:
    verdict = made_up_verdict(FEW)
    contents = (
        "select run_uuid, name, status, start_time from runs order by run_uuid",
        "select * from metrics order by run_uuid, key, step, timestamp",
        "select * from params order by run_uuid, key",
        "select * from tags where key != 'paused_seconds' order by run_uuid, key",
    )
    tell(tracker, study, verdict, extra=2)
    before = [rows(output, query) for query in contents]
    ended = rows(
        output, "select end_time from runs where name != 'convnet on mnist' order by run_uuid"
    )
    tell(MlflowTracker.in_folder(output), study, verdict, extra=2)
    assert [rows(output, query) for query in contents] == before
    again = rows(
        output, "select end_time from runs where name != 'convnet on mnist' order by run_uuid"
    )
    assert again == ended
    leaderboard = next(output.glob("mlartifacts/*/*/artifacts/leaderboard.json"))
    assert len(json.loads(leaderboard.read_text())["data"]) == len(verdict.candidates)


def test_an_interrupted_study_is_marked_and_taken_up_again(
    tracker: MlflowTracker, client: MlflowClient, study: StudyInfo, output: Path
) -> None:
    tracker.start_study(study)
    tracker.start_candidate(made_up_candidate(0, "done"))
    tracker.end_candidate("done", "complete", "")
    tracker.start_candidate(made_up_candidate(1, "cut"))
    tracker.measure("cut", curve("cut", 0, 0.9))
    tracker.close()
    tracker.close()
    (parent,) = runs_of(client, "study").values()
    children = runs_of(client, "candidate")
    assert (parent.info.status, parent.data.tags["status"]) == ("KILLED", "interrupted")
    cut = children["cut"]
    assert (cut.info.status, cut.data.tags["status"]) == ("KILLED", "interrupted")
    assert children["done"].info.status == "FINISHED"

    second = MlflowTracker.in_folder(output)
    second.start_study(study)
    second.start_candidate(made_up_candidate(0, "done"))
    second.start_candidate(made_up_candidate(1, "cut"))
    (parent,) = runs_of(client, "study").values()
    children = runs_of(client, "candidate")
    assert parent.info.status == children["cut"].info.status == "RUNNING"
    assert children["done"].info.status == "FINISHED"
    second.measure("cut", [*curve("cut", 0, 0.9), Measurement("val_accuracy/seed_0", 0.95, 2000)])
    second.end_candidate("cut", "complete", "")
    second.close()
    cut = runs_of(client, "candidate")["cut"]
    assert (cut.info.status, cut.data.tags["status"]) == ("FINISHED", "complete")
    history = client.get_metric_history(cut.info.run_id, "val_accuracy/seed_0")
    assert sorted(metric.step for metric in history) == [*range(94, 941, 94), 2000]


def test_a_process_that_was_killed_leaves_runs_that_the_next_one_ends(
    tracker: MlflowTracker, client: MlflowClient, study: StudyInfo, output: Path
) -> None:
    tracker.start_study(study)
    tracker.start_candidate(made_up_candidate(0, "a"))
    tracker.start_candidate(made_up_candidate(1, "b"))
    # No close: the process is gone.
    second = MlflowTracker.in_folder(output)
    second.start_study(study)
    second.start_candidate(made_up_candidate(0, "a"))
    second.end_candidate("a", "complete", "")
    second.close()
    children = runs_of(client, "candidate")
    assert {name: run.info.status for name, run in children.items()} == {
        "a": "FINISHED",
        "b": "KILLED",
    }


def test_one_step_can_hold_several_values_and_none_of_them_twice(
    tracker: MlflowTracker, client: MlflowClient, study: StudyInfo, output: Path
) -> None:
    values = (0.95, 0.95, 0.96, math.nan, math.nan)
    for teller in (tracker, MlflowTracker.in_folder(output)):
        teller.start_study(study)
        teller.start_candidate(made_up_candidate(0, "one"))
        for value in values:
            teller.measure("one", [Measurement("race/val_accuracy", value, 940)])
        teller.end_candidate("one", "complete", "")
        teller.close()
    run = runs_of(client, "candidate")["one"]
    history = client.get_metric_history(run.info.run_id, "race/val_accuracy")
    assert Counter(str(metric.value) for metric in history) == {"0.95": 1, "0.96": 1, "nan": 1}


def test_settings_that_change_on_resuming_are_told_not_refused(
    tracker: MlflowTracker, client: MlflowClient, study: StudyInfo, output: Path
) -> None:
    tell(tracker, study, made_up_verdict(FEW), extra=0)
    more = replace(study, settings={**study.settings, "n_trials": 40, "workers": 2}, n_trials=40)
    second = MlflowTracker.in_folder(output)
    second.start_study(more)
    second.close()
    (parent,) = runs_of(client, "study").values()
    assert parent.data.params["n_trials"] == "12"
    assert parent.data.params["workers"] == "2"
    assert parent.data.tags["n_trials"] == "40"
    assert json.loads(parent.data.tags["resumed_with"]) == {"n_trials": "40"}


def test_long_values_and_strange_keys_fit(
    tracker: MlflowTracker, client: MlflowClient, study: StudyInfo
) -> None:
    odd = {
        "space": {"choices": ["x" * 100] * 100},
        "a=b, (c)": 1,
        "k" * 400: "long key",
        "../up": "path",
        **{f"many_{i}": i for i in range(250)},
    }
    tracker.start_study(replace(study, settings=odd))
    tracker.start_candidate(made_up_candidate(0, "name " * 80))
    tracker.close()
    (parent,) = runs_of(client, "study").values()
    params = parent.data.params
    assert len(params["space.choices"]) == 6000
    assert params["space.choices"].endswith("…")
    assert params["a_b_ _c_"] == "1"
    assert params["k" * 250] == "long key"
    assert params["many_249"] == "249"


def test_a_deleted_experiment_comes_back(
    tracker: MlflowTracker, client: MlflowClient, study: StudyInfo, output: Path
) -> None:
    tell(tracker, study, made_up_verdict(FEW), extra=0)
    client.delete_experiment(client.get_experiment_by_name("mnist").experiment_id)
    tell(MlflowTracker.in_folder(output), study, made_up_verdict(FEW), extra=0)
    experiment = client.get_experiment_by_name("mnist")
    assert experiment.lifecycle_stage == "active"


def test_each_data_set_has_its_experiment(
    tracker: MlflowTracker, client: MlflowClient, study: StudyInfo
) -> None:
    tell(tracker, study, made_up_verdict(FEW), extra=0)
    digits = made_up_study(study.folder, dataset="digits", name="convnet-3c4d")
    verdict = made_up_verdict(FEW, dataset="digits")
    tell(tracker, digits, verdict, extra=0)
    (parent,) = runs_of(client, "study", "digits").values()
    assert parent.data.tags["dataset"] == "digits"
    assert parent.data.tags["requested_dataset"] == "mnist"
    assert "mnist was requested" in parent.data.tags["mlflow.note.content"]


def test_studies_side_by_side_make_the_table_of_winners(
    tracker: MlflowTracker, client: MlflowClient, study: StudyInfo
) -> None:
    tell(tracker, study, made_up_verdict(FEW), extra=0)
    tied = replace(made_up_verdict(FEW, status="tie"), architecture="mlp-30")
    tell(tracker, replace(study, name="mlp-30-9f", architecture="mlp-30"), tied, extra=0)
    found = client.search_runs(
        [client.get_experiment_by_name("mnist").experiment_id], filter_string="tags.level = 'study'"
    )
    table = {run.data.tags["architecture"]: run.data.tags["winner"] for run in found}
    assert table == {"convnet": "he_normal", "mlp-30": "none"}
    experiment = client.get_experiment_by_name("mnist").experiment_id
    filtered = client.search_runs([experiment], filter_string="tags.verdict != ''")
    assert {run.info.run_id for run in filtered} == {run.info.run_id for run in found}


def test_only_the_verdict_s_baseline_is_marked_as_the_baseline(
    tracker: MlflowTracker, client: MlflowClient, study: StudyInfo
) -> None:
    class Enqueuing(MlflowTracker):
        """Every candidate is one that was enqueued as a known baseline."""

        def start_candidate(self, candidate: Candidate) -> None:
            super().start_candidate(replace(candidate, baseline=True))

    tracker.__class__ = Enqueuing
    tell(tracker, study, made_up_verdict(FEW), extra=1)
    children = runs_of(client, "candidate")
    assert {run.data.tags["enqueued"] for run in children.values()} == {"true"}
    marked = [name for name, run in children.items() if run.data.tags["baseline"] == "true"]
    assert marked == ["torch_default"]


class Clock:
    """Stands in for the time of day, in seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000_000.0
        monkeypatch.setattr(runs, "_now", lambda: round(1000 * self.now))

    def wait(self, seconds: float) -> None:
        self.now += seconds


def durations(client: MlflowClient, level: str) -> dict[str, float]:
    return {
        name: (run.info.end_time - run.info.start_time) / 1000
        for name, run in runs_of(client, level).items()
    }


def test_each_candidate_has_its_own_start_and_end(
    tracker: MlflowTracker,
    client: MlflowClient,
    study: StudyInfo,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)
    tracker.start_study(study)
    tracker.start_candidate(made_up_candidate(0, "he_normal"))
    clock.wait(1)
    tracker.start_candidate(made_up_candidate(1, "zeros"))
    clock.wait(4)
    tracker.measure("zeros", [Measurement("val_accuracy", 0.1, 10)])
    tracker.end_candidate("zeros", "pruned", "behind")
    clock.wait(15)
    tracker.measure("he_normal", [Measurement("val_accuracy", 0.9, 10)])
    clock.wait(30)
    # The study reports complete candidates when it ends.
    tracker.end_candidate("zeros", "pruned", "behind")
    tracker.end_candidate("he_normal", "complete", "")
    tracker.end_study(made_up_verdict(FEW))
    tracker.close()
    assert durations(client, "candidate") == {"he_normal": 20, "zeros": 4}
    assert durations(client, "study") == {"convnet on mnist": 50}
    started = {name: run.info.start_time for name, run in runs_of(client, "candidate").items()}
    assert started["zeros"] - started["he_normal"] == 1000


@pytest.mark.parametrize("killed", [False, True])
def test_a_duration_leaves_the_pause_before_a_resumption_out(
    client: MlflowClient,
    study: StudyInfo,
    output: Path,
    monkeypatch: pytest.MonkeyPatch,
    killed: bool,
) -> None:
    clock = Clock(monkeypatch)
    for run, (work, pause) in enumerate([(10, 1000), (20, 5000), (30, 0)]):
        tracker = MlflowTracker.in_folder(output)
        tracker.start_study(study)
        tracker.start_candidate(made_up_candidate(0, "one"))
        clock.wait(work)
        tracker.measure("one", [Measurement("val_accuracy", 0.1, run)])
        if run == 2:
            tracker.end_candidate("one", "complete", "")
            tracker.end_study(made_up_verdict(FEW))
        if not killed or run == 2:
            tracker.close()
        clock.wait(pause)
    assert durations(client, "candidate") == {"one": 60}
    assert durations(client, "study") == {"convnet on mnist": 60}
    (parent,) = runs_of(client, "study").values()
    assert float(parent.data.tags["paused_seconds"]) == 6000


def test_names_cannot_fake_lines_or_move_the_cursor(
    tracker: MlflowTracker, client: MlflowClient, study: StudyInfo, output: Path
) -> None:
    odd = "he\x1b[2J_normal\n\u202e"
    for teller in (tracker, MlflowTracker.in_folder(output)):
        teller.start_study(replace(study, dataset="image_folder:a\x07b"))
        teller.start_candidate(made_up_candidate(0, odd))
        teller.measure(odd, [Measurement("val_accuracy", 0.5, 1)])
        teller.end_candidate(odd, "pruned", f"behind {odd}")
        teller.close()
    (run,) = runs_of(client, "candidate", r"image_folder:a\x07b").values()
    assert run.info.run_name == run.data.tags["candidate"] == r"he\x1b[2J_normal\n\u202e"
    assert all(value.replace("\n", "").isprintable() for value in run.data.tags.values())


def test_nothing_global_is_touched(tracker: MlflowTracker, study: StudyInfo) -> None:
    before = mlflow.get_tracking_uri()
    tell(tracker, study, made_up_verdict(FEW), extra=0)
    assert mlflow.get_tracking_uri() == before
    assert mlflow.active_run() is None


def test_misuse_is_named(tracker: MlflowTracker, study: StudyInfo) -> None:
    with pytest.raises(InitSearchError, match="start_study first"):
        tracker.start_candidate(made_up_candidate(0, "one"))
    tracker.start_study(study)
    tracker.start_candidate(made_up_candidate(0, "he_normal"))
    with pytest.raises(
        ConfigError, match=r"unknown candidate 'he_normall': did you mean he_normal"
    ):
        tracker.measure("he_normall", [])
    tracker.close()
