"""A study in MLflow: an experiment per data set, a run per study, below it a run per candidate."""

import getpass
import hashlib
import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from mlflow.entities import (
    Dataset,
    DatasetInput,
    Experiment,
    InputTag,
    Metric,
    Param,
    Run,
    RunTag,
    ViewType,
)
from mlflow.tracking import MlflowClient

from initsearch.errors import InitSearchError, unknown_name
from initsearch.search.tracker import CandidateInfo, CandidateStatus, Measurement, StudyInfo
from initsearch.search.verdict import Verdict
from initsearch.tracking.labels import candidate_labels, flatten, param_value, tag_value, valid_key
from initsearch.tracking.store import artifact_root, open_client, tracking_uri
from initsearch.tracking.summary import (
    leaderboard_columns,
    note,
    standing_metrics,
    verdict_metrics,
    verdict_tags,
)
from initsearch.tracking.tables import mark_of

_LEADERBOARD = "leaderboard.json"


@dataclass
class _Open:
    """A run of this study as this process knows it."""

    run_id: str
    status: str  # MLflow's: RUNNING, FINISHED, FAILED, KILLED
    tags: dict[str, str]
    params: set[str]
    stored: bool  # it was there before: its metrics have to be read before any is added
    logged: dict[tuple[str, int], float] = field(default_factory=dict)
    infinite: list[str] = field(default_factory=list)


class MlflowTracker:
    """Keeps the records of a study in MLflow; implements `initsearch.search.tracker.Tracker`.

    Works through `MlflowClient` alone: MLflow's global tracking address, active run and autologging are
    neither used nor changed. A study that goes on finds its runs again by their tags and adds only what they
    lack. Statuses: a candidate that completed, was pruned or diverged is FINISHED (it did what it should; the
    tags `status` and `reason` tell which), one that failed is FAILED, one cut short by the end of the process
    is KILLED with the status `interrupted`.

    Args:
        uri: The store's address, such as `sqlite:////home/me/outputs/mlflow.db`.
        artifacts: The folder for the runs' files; None leaves it to the store (a remote server).

    Raises:
        ConfigError: The store cannot be opened.
    """

    def __init__(self, uri: str, artifacts: str | os.PathLike[str] | None = None) -> None:
        self._client: MlflowClient = open_client(uri)
        self._artifacts = None if artifacts is None else Path(artifacts).absolute()
        self._study: StudyInfo | None = None
        self._parent: _Open | None = None
        self._experiment_id = ""
        self._children: dict[str, _Open] = {}
        self._running: set[str] = set()

    @classmethod
    def in_folder(cls, output_dir: str | os.PathLike[str]) -> Self:
        """A tracker with `mlflow.db` and `mlartifacts/` under an output folder."""
        return cls(tracking_uri(output_dir), artifact_root(output_dir))

    def start_study(self, study: StudyInfo) -> None:
        """Open the study's run, or take it up again; settings that changed since go into a tag."""
        self._study = study
        self._experiment_id = self._experiment(study.dataset)
        found = self._search(f"tags.study = {_quoted(study.name)} and tags.level = 'study'")
        self._children, self._running = {}, set()
        tags = {
            "level": "study",
            "study": study.name,
            "status": "running",
            "architecture": study.architecture,
            "dataset": study.dataset,
            "requested_dataset": study.requested_dataset,
            "metric": study.metric,
            "n_trials": str(study.n_trials),
        }
        if found:
            self._parent = _opened(found[0])
            self._children = self._stored_children(self._parent.run_id)
            self._reopen(self._parent)
            self._log(self._parent, tags=tags | self._changes(found[0], study))
        else:
            name = f"{study.architecture} on {study.dataset}"
            self._parent = self._create(name, tags)
            self._log_data(self._parent.run_id, study)
        self._log(self._parent, params=flatten(study.settings))

    def start_candidate(self, candidate: CandidateInfo) -> None:
        """Open the candidate's run; one that is there is taken up again, one that had ended stays ended."""
        study, parent = self._started()
        labels = candidate_labels(study, candidate)
        child = self._children.get(candidate.name)
        if child is None:
            tags = labels | {
                "level": "candidate",
                "study": study.name,
                "candidate": candidate.name,
                "number": str(candidate.number),
                "baseline": str(candidate.baseline).lower(),
                "status": "running",
                "mlflow.parentRunId": parent.run_id,
            }
            child = self._children[candidate.name] = self._create(candidate.name, tags)
        elif child.tags.get("status") in (None, "running", "interrupted"):
            self._reopen(child)
        self._running.add(candidate.name)
        plan = json.dumps(candidate.plan, sort_keys=True, default=str)
        self._log(child, params=labels | {"plan": plan})

    def measure(self, candidate: str, measurements: Sequence[Measurement]) -> None:
        """Log what the candidate's run does not hold yet, in one batch.

        SQLite knows no infinity (MLflow would store the largest float), so that an infinite value is logged
        as NaN, and the tag `infinite` says what it was.

        Raises:
            ConfigError: No candidate of that name was started.
        """
        child = self._child(candidate)
        points = []
        for one in measurements:
            value = float(one.value)
            if math.isinf(value):
                self._note_infinite(child, one)
                value = math.nan
            points.append((one.key, value, one.step))
        if self._log_metrics(child, points):
            self._reopen(child)

    def end_candidate(self, candidate: str, status: CandidateStatus, reason: str) -> None:
        """End the candidate's run; one that already ended so is left alone.

        Raises:
            ConfigError: No candidate of that name was started.
        """
        child = self._child(candidate)
        self._log(child, tags={"status": status, "reason": reason})
        self._end(child, "FAILED" if status == "failed" else "FINISHED")
        self._running.discard(candidate)

    def end_study(self, verdict: Verdict, study_info: Mapping[str, Any]) -> None:
        """Put the verdict on the study's run: tags, metrics, note, leaderboard and the study's files."""
        study, parent = self._started()
        for rank, standing in enumerate(verdict.candidates, start=1):
            child = self._children.get(standing.name)
            if child is not None:
                tags = {"rank": str(rank), "verdict": mark_of(verdict, standing)}
                self._log(child, tags=tags)
                self._log_metrics(child, [(k, v, 0) for k, v in standing_metrics(standing).items()])
        facts = {f"info.{key}": value for key, value in flatten(study_info).items()}
        text = tag_value(note(verdict, study.name))
        tags = verdict_tags(verdict) | facts | {"mlflow.note.content": text, "status": "complete"}
        self._log(parent, tags=tags)
        self._log_metrics(parent, [(k, v, 0) for k, v in verdict_metrics(verdict).items()])
        self._log_leaderboard(parent.run_id, verdict)
        self._client.log_dict(parent.run_id, verdict.to_json(), "verdict.json")
        self._log_files(parent.run_id, study.folder)
        self._end(parent, "FINISHED")

    def close(self) -> None:
        """End as KILLED whatever still runs; a second call does nothing."""
        running = [self._children[name] for name in sorted(self._running)]
        if self._parent is not None:
            running.append(self._parent)
        for run in running:
            if run.status == "RUNNING":
                self._log(run, tags={"status": "interrupted"})
                self._end(run, "KILLED")
        self._parent, self._study = None, None
        self._running = set()

    # What is there already

    def _experiment(self, name: str) -> str:
        found: Experiment | None = self._client.get_experiment_by_name(name)
        if found is None:
            location = None if self._artifacts is None else (self._artifacts / name).as_uri()
            kind = {"mlflow.experimentKind": "custom_model_development"}
            return str(self._client.create_experiment(name, artifact_location=location, tags=kind))
        if (
            found.lifecycle_stage == "deleted"
        ):  # its name stays taken: only restoring it gives it back
            self._client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def _search(self, condition: str) -> list[Run]:
        runs: list[Run] = []
        token: str | None = None
        while True:
            page = self._client.search_runs(
                [self._experiment_id],
                filter_string=condition,
                run_view_type=ViewType.ACTIVE_ONLY,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            runs += page
            token = page.token
            if not token:
                return runs

    def _stored_children(self, parent_id: str) -> dict[str, _Open]:
        runs = self._search(f"tags.mlflow.parentRunId = '{parent_id}'")
        return {run.data.tags.get("candidate", run.info.run_name): _opened(run) for run in runs}

    def _started(self) -> tuple[StudyInfo, _Open]:
        if self._study is None or self._parent is None:
            raise InitSearchError("the tracker has no study: call start_study first")
        return self._study, self._parent

    def _child(self, candidate: str) -> _Open:
        self._started()
        if candidate not in self._running:
            raise unknown_name("candidate", candidate, self._running)
        return self._children[candidate]

    # What is written

    def _create(self, name: str, tags: Mapping[str, str]) -> _Open:
        clean = {valid_key(key): tag_value(value) for key, value in tags.items()}
        source = {
            "mlflow.user": _user(),
            "mlflow.source.name": "initsearch",
            "mlflow.source.type": "LOCAL",
        }
        run = self._client.create_run(self._experiment_id, run_name=name, tags=clean | source)
        return _Open(run.info.run_id, "RUNNING", clean, set(), stored=False)

    def _log(
        self,
        run: _Open,
        tags: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> None:
        """Log in one batch what the run does not hold yet: a param is written once, a tag when it changed."""
        new_tags = {valid_key(k): tag_value(v) for k, v in (tags or {}).items()}
        new_tags = {k: v for k, v in new_tags.items() if run.tags.get(k) != v}
        new_params = {valid_key(k): param_value(v) for k, v in (params or {}).items()}
        new_params = {k: v for k, v in new_params.items() if k not in run.params}
        if new_tags or new_params:
            self._client.log_batch(
                run.run_id,
                params=[Param(k, v) for k, v in new_params.items()],
                tags=[RunTag(k, v) for k, v in new_tags.items()],
            )
        run.tags |= new_tags
        run.params |= set(new_params)

    def _log_metrics(self, run: _Open, points: Sequence[tuple[str, float, int]]) -> bool:
        """Log in one batch the values (key, value, step) that the run lacks; whether there were any."""
        if run.stored:
            for key in self._client.get_run(run.run_id).data.metrics:
                for metric in self._client.get_metric_history(run.run_id, key):
                    run.logged[key, metric.step] = metric.value
            run.stored = False
        now = int(time.time() * 1000)
        new = []
        for name, value, step in points:
            key = valid_key(name)
            before = run.logged.get((key, step))
            if before is None or not _same(before, value):
                run.logged[key, step] = value
                new.append(Metric(key, value, now, step))
        if new:
            self._client.log_batch(run.run_id, metrics=new)
        return bool(new)

    def _reopen(self, run: _Open) -> None:
        if run.status != "RUNNING":
            self._client.update_run(run.run_id, status="RUNNING")
            run.status = "RUNNING"
            self._log(run, tags={"status": "running", "reason": ""})

    def _end(self, run: _Open, status: str) -> None:
        if run.status != status:
            self._client.set_terminated(run.run_id, status=status)
            run.status = status

    def _note_infinite(self, child: _Open, one: Measurement) -> None:
        child.infinite.append(f"{one.key} = {one.value} at step {one.step}")
        self._log(child, tags={"infinite": "; ".join(child.infinite)})

    def _changes(self, parent: Run, study: StudyInfo) -> dict[str, str]:
        """MLflow's params cannot change: what a resumed study sets otherwise is told by a tag."""
        stored = parent.data.params
        now = {valid_key(k): param_value(v) for k, v in flatten(study.settings).items()}
        changed = {k: v for k, v in now.items() if k in stored and stored[k] != v}
        return {"resumed_with": json.dumps(changed)} if changed else {}

    def _log_data(self, run_id: str, study: StudyInfo) -> None:
        settings = json.dumps(study.settings.get("data", {}), sort_keys=True, default=str)
        digest = hashlib.sha256(f"{study.dataset} {settings}".encode()).hexdigest()[:8]
        data = Dataset(name=study.dataset, digest=digest, source_type="initsearch", source=settings)
        tags = [
            InputTag("mlflow.data.context", "training and validation"),
            InputTag("requested", study.requested_dataset),
        ]
        self._client.log_inputs(run_id, datasets=[DatasetInput(data, tags)])

    def _log_leaderboard(self, run_id: str, verdict: Verdict) -> None:
        table = leaderboard_columns(verdict)
        if any(file.path == _LEADERBOARD for file in self._client.list_artifacts(run_id)):
            # log_table would append to the table that is there: write its layout over it.
            rows = [list(row) for row in zip(*table.values(), strict=True)]
            split = {"columns": list(table), "data": rows}
            self._client.log_dict(run_id, split, _LEADERBOARD)
        else:
            self._client.log_table(run_id, table, _LEADERBOARD)

    def _log_files(self, run_id: str, folder: Path) -> None:
        for name in ("winner.yaml", "leaderboard.csv"):
            if (folder / name).is_file():
                self._client.log_artifact(run_id, str(folder / name))
        for figure in sorted((folder / "figures").glob("*.png")):
            self._client.log_artifact(run_id, str(figure), "figures")


def _opened(run: Run) -> _Open:
    return _Open(
        run.info.run_id, run.info.status, dict(run.data.tags), set(run.data.params), stored=True
    )


def _same(before: float, value: float) -> bool:
    return before == value or (math.isnan(before) and math.isnan(value))


def _quoted(text: str) -> str:
    return f'"{text}"' if "'" in text else f"'{text}'"


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user without a name
        return "unknown"
