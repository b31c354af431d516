"""A study in MLflow: an experiment per data set, a run per study, below it a run per candidate."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from mlflow.entities import Dataset, DatasetInput, InputTag

from initsearch.errors import InitSearchError, unknown_name
from initsearch.search.tracker import CandidateInfo, CandidateStatus, Measurement, StudyInfo
from initsearch.search.verdict import Verdict
from initsearch.tracking.store.database import open_client
from initsearch.tracking.store.labels import candidate_labels, flatten, param_value, valid_key
from initsearch.tracking.store.places import artifact_root, tracking_uri
from initsearch.tracking.store.runs import OpenRun, Runs
from initsearch.tracking.words.summary import (
    leaderboard_columns,
    note,
    standing_metrics,
    verdict_metrics,
    verdict_tags,
)
from initsearch.tracking.words.tables import mark_of

_LEADERBOARD = "leaderboard.json"


class MlflowTracker:
    """Keeps the records of a study in MLflow; implements `initsearch.search.tracker.Tracker`.

    Works through `MlflowClient` alone: MLflow's global tracking address, active run and autologging
    are neither used nor changed. A study that goes on finds its runs again by their tags and adds
    only what they lack.

    A candidate that completed, was pruned or diverged ends as FINISHED: it did what it should, and its
    tags `status` and `reason` tell which. One that failed ends as FAILED. What the end of the process
    cuts short ends as KILLED, with the status `interrupted`.

    Args:
        uri: The store's address, such as `sqlite:////home/me/outputs/mlflow.db`.
        artifacts: The folder for the runs' files; None leaves it to the store (a remote server).

    Raises:
        ConfigError: The store cannot be opened.
    """

    def __init__(self, uri: str, artifacts: str | os.PathLike[str] | None = None) -> None:
        self._client = open_client(uri)
        self._artifacts = None if artifacts is None else Path(artifacts).absolute()
        self._study: StudyInfo | None = None
        self._candidates: dict[str, OpenRun] = {}
        self._started: set[str] = set()

    @classmethod
    def in_folder(cls, output_dir: str | os.PathLike[str]) -> Self:
        """A tracker with `mlflow.db` and `mlartifacts/` under an output folder."""
        return cls(tracking_uri(output_dir), artifact_root(output_dir))

    def start_study(self, study: StudyInfo) -> None:
        """Open the study's run, or take it up again; settings that changed since go into a tag."""
        folder = None if self._artifacts is None else self._artifacts / valid_key(study.dataset)
        self._runs = Runs(self._client, study.dataset, None if folder is None else folder.as_uri())
        self._study, self._started, self._candidates = study, set(), {}
        settings = flatten(study.settings)
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
        found = self._runs.find(level="study", study=study.name)
        if found:
            self._parent = found[0]
            children = self._runs.find(level="candidate", **{"mlflow.parentRunId": found[0].run_id})
            self._candidates = {child.tags["candidate"]: child for child in children}
            self._runs.reopen(self._parent)
            if changed := _changed(self._parent.params, settings):
                tags["resumed_with"] = json.dumps(changed)
        else:
            self._parent = self._runs.create(f"{study.architecture} on {study.dataset}", tags)
            self._log_data(study)
        self._runs.label(self._parent, tags=tags, params=settings)

    def start_candidate(self, candidate: CandidateInfo) -> None:
        """Open the candidate's run, or take it up again; one that had ended stays ended."""
        study = self._open_study()
        labels = candidate_labels(study, candidate)
        run = self._candidates.get(candidate.name)
        if run is None:
            tags = labels | {
                "level": "candidate",
                "study": study.name,
                "candidate": candidate.name,
                "number": str(candidate.number),
                "baseline": str(candidate.baseline).lower(),
                "status": "running",
                "mlflow.parentRunId": self._parent.run_id,
            }
            run = self._candidates[candidate.name] = self._runs.create(candidate.name, tags)
        elif run.tags.get("status") == "interrupted":
            self._runs.reopen(run)
        self._started.add(candidate.name)
        plan = json.dumps(candidate.plan, sort_keys=True, default=str)
        self._runs.label(run, params=labels | {"plan": plan})

    def measure(self, candidate: str, measurements: Sequence[Measurement]) -> None:
        """Log what the candidate's run does not hold yet, in one batch.

        Raises:
            ConfigError: No candidate of that name was started.
        """
        run = self._run_of(candidate)
        if self._runs.measure(run, [(one.key, one.value, one.step) for one in measurements]):
            self._runs.reopen(run)

    def end_candidate(self, candidate: str, status: CandidateStatus, reason: str) -> None:
        """End the candidate's run; one that already ended so is left alone.

        Raises:
            ConfigError: No candidate of that name was started.
        """
        run = self._run_of(candidate)
        self._runs.label(run, tags={"status": status, "reason": reason})
        self._runs.end(run, "FAILED" if status == "failed" else "FINISHED")

    def end_study(self, verdict: Verdict, study_info: Mapping[str, Any]) -> None:
        """Put the verdict on the study's run: tags, metrics, note, leaderboard, the study's files."""
        study = self._open_study()
        for rank, standing in enumerate(verdict.candidates, start=1):
            if (run := self._candidates.get(standing.name)) is not None:
                self._runs.label(run, {"rank": str(rank), "verdict": mark_of(verdict, standing)})
                self._runs.measure(run, [(k, v, 0) for k, v in standing_metrics(standing).items()])
        facts = {f"info.{key}": value for key, value in flatten(study_info).items()}
        own = {"mlflow.note.content": note(verdict, study.name), "status": "complete"}
        self._runs.label(self._parent, tags=verdict_tags(verdict) | facts | own)
        points = [(key, value, 0) for key, value in verdict_metrics(verdict).items()]
        self._runs.measure(self._parent, points)
        self._log_leaderboard(verdict)
        self._client.log_dict(self._parent.run_id, verdict.to_json(), "verdict.json")
        self._log_files(study.folder)
        self._runs.end(self._parent, "FINISHED")

    def close(self) -> None:
        """End as KILLED whatever still runs; a second call does nothing."""
        if self._study is None:
            return
        for run in (*self._candidates.values(), self._parent):
            if run.status == "RUNNING":
                self._runs.label(run, tags={"status": "interrupted"})
                self._runs.end(run, "KILLED")
        self._study = None

    def _open_study(self) -> StudyInfo:
        if self._study is None:
            raise InitSearchError("the tracker has no open study: call start_study first")
        return self._study

    def _run_of(self, candidate: str) -> OpenRun:
        self._open_study()
        if candidate not in self._started:
            raise unknown_name("candidate", candidate, self._started)
        return self._candidates[candidate]

    def _log_data(self, study: StudyInfo) -> None:
        settings = json.dumps(study.settings.get("data", {}), sort_keys=True, default=str)
        digest = hashlib.sha256(f"{study.dataset} {settings}".encode()).hexdigest()[:8]
        data = Dataset(name=study.dataset, digest=digest, source_type="initsearch", source=settings)
        tags = [
            InputTag("mlflow.data.context", "training and validation"),
            InputTag("requested", study.requested_dataset),
        ]
        self._client.log_inputs(self._parent.run_id, datasets=[DatasetInput(data, tags)])

    def _log_leaderboard(self, verdict: Verdict) -> None:
        """Write the table as `MlflowClient.log_table` does, which would add to a table that is there."""
        table = leaderboard_columns(verdict)
        split = {
            "columns": list(table),
            "data": [list(row) for row in zip(*table.values(), strict=True)],
        }
        self._client.log_dict(self._parent.run_id, split, _LEADERBOARD)
        listed = json.dumps([{"path": _LEADERBOARD, "type": "table"}])
        self._runs.label(self._parent, tags={"mlflow.loggedArtifacts": listed})

    def _log_files(self, folder: Path) -> None:
        for name in ("winner.yaml", "leaderboard.csv"):
            if (folder / name).is_file():
                self._client.log_artifact(self._parent.run_id, str(folder / name))
        for figure in sorted((folder / "figures").glob("*.png")):
            self._client.log_artifact(self._parent.run_id, str(figure), "figures")


def _changed(stored: Mapping[str, str], settings: Mapping[str, str]) -> dict[str, str]:
    """Those settings that a stored run's params hold with another value."""
    now = {valid_key(key): param_value(value) for key, value in settings.items()}
    return {key: value for key, value in now.items() if stored.get(key, value) != value}
