"""A study in MLflow: an experiment per data set, a run per study, below it a run per candidate."""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from mlflow.entities import Dataset, DatasetInput, InputTag

from initsearch.digests import hex_digest
from initsearch.errors import InitSearchError, unknown_name, visible
from initsearch.files import short_name
from initsearch.search.tracker import Candidate, CandidateStatus, Measurement, StudyInfo
from initsearch.search.verdict import Verdict
from initsearch.tracking.store.condition import prepare_store
from initsearch.tracking.store.database import errors_in_one_line, open_client
from initsearch.tracking.store.labels import (
    CandidateLabels,
    flatten,
    param_value,
    tag_value,
    valid_key,
)
from initsearch.tracking.store.places import artifact_root, tracking_uri
from initsearch.tracking.store.runs import OpenRun, Runs
from initsearch.tracking.words.leaderboard import mark_of
from initsearch.tracking.words.summary import (
    leaderboard_columns,
    note,
    standing_metrics,
    verdict_metrics,
    verdict_tags,
)

_LEADERBOARD = "leaderboard.json"
#: MLflow's status for each end of a candidate; the tags `status` and `reason` say more.
_STATUS: dict[CandidateStatus, str] = {
    "complete": "FINISHED",
    "pruned": "KILLED",  # stopped, though nothing went wrong
    "diverged": "FAILED",
    "failed": "FAILED",
}


class MlflowTracker:
    """Keeps the records of a study in MLflow; implements `initsearch.search.tracker.Tracker`.

    Works through `MlflowClient` alone: MLflow's global tracking address, active run and autologging are
    neither used nor changed. A resumed study finds its runs again by their tags and adds only what they lack.

    A candidate that had the full budget ends as FINISHED, one that was pruned as KILLED, one that diverged or
    failed as FAILED; the tags `status` and `reason` say which. What the end of the process interrupts ends as
    KILLED, with the status `interrupted`. Each run's duration is the time for which it ran, without the
    pauses between an interruption and the resumption.

    Args:
        uri: The store's address, such as `sqlite:////home/me/outputs/mlflow.db`.
        artifacts: The folder for the runs' files; None leaves it to the store (a remote server).
        report: Called with a line for the user, where a damaged store was put aside.

    Raises:
        ConfigError: The store cannot be opened.
    """

    def __init__(
        self,
        uri: str,
        artifacts: str | os.PathLike[str] | None = None,
        report: Callable[[str], None] | None = None,
    ) -> None:
        self._uri = uri
        self._client = open_client(uri, report)
        self._artifacts = None if artifacts is None else Path(artifacts).absolute()
        self._study: StudyInfo | None = None
        self._candidates: dict[str, OpenRun] = {}
        self._started: set[str] = set()

    @classmethod
    def in_folder(
        cls, output_dir: str | os.PathLike[str], report: Callable[[str], None] | None = None
    ) -> Self:
        """A tracker with `mlflow.db` and `mlartifacts/` under an output folder; see `prepare_store`."""
        for line in prepare_store(output_dir):
            if report is not None:
                report(line)
        return cls(tracking_uri(output_dir), artifact_root(output_dir), report)

    def start_study(self, study: StudyInfo) -> None:
        """Open the study's run, or resume it; settings that changed since then go into a tag."""
        with self._writing():
            self._start_study(study)

    def _start_study(self, study: StudyInfo) -> None:
        location = None
        if self._artifacts is not None:
            location = (self._artifacts / short_name(valid_key(study.dataset))).as_uri()
        self._runs = Runs(self._client, study.dataset, location)
        self._study, self._started, self._candidates = study, set(), {}
        self._labels = CandidateLabels(study)
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
            self._resume(children)
            if changed := _changed(self._parent.params, settings):
                tags["resumed_with"] = json.dumps(changed)
        else:
            self._parent = self._runs.create(f"{study.architecture} on {study.dataset}", tags)
            self._log_data(study)
        self._runs.label(self._parent, tags=tags, params=settings)

    def _resume(self, children: Sequence[OpenRun]) -> None:
        seen = [
            self._runs.pick_up(child) if child.status == "RUNNING" else child.last
            for child in children
        ]
        if self._parent.status == "RUNNING":
            self._runs.pick_up(self._parent, max(seen, default=0))
        self._runs.reopen(self._parent)

    def start_candidate(self, candidate: Candidate) -> None:
        """Open the candidate's run, or resume it; one that had ended stays ended."""
        study = self._open_study()
        labels = self._labels.of(candidate)
        name = visible(candidate.name)
        plan = json.dumps(candidate.plan, sort_keys=True, default=str)
        with self._writing():
            run = self._candidates.get(_key(candidate.name))
            if run is None:
                tags = labels | {
                    "level": "candidate",
                    "study": study.name,
                    "candidate": name,
                    "number": str(candidate.number),
                    "enqueued": str(candidate.baseline).lower(),
                    "status": "running",
                    "mlflow.parentRunId": self._parent.run_id,
                }
                run = self._candidates[_key(candidate.name)] = self._runs.create(name, tags)
            elif run.tags.get("status") == "interrupted":
                self._runs.reopen(run)
            self._started.add(candidate.name)
            self._runs.label(run, params=labels | {"plan": plan})

    def measure(self, candidate: str, measurements: Sequence[Measurement]) -> None:
        """Log what the candidate's run does not hold yet, in one batch.

        Raises:
            ConfigError: No candidate of that name was started.
        """
        run = self._run_of(candidate)
        with self._writing():
            points = [(one.key, one.value, one.step) for one in measurements]
            self._runs.measure(run, points, resume=True)

    def end_candidate(self, candidate: str, status: CandidateStatus, reason: str) -> None:
        """End the candidate's run; one that already ended so is left alone.

        Raises:
            ConfigError: No candidate of that name was started.
        """
        run = self._run_of(candidate)
        with self._writing():
            self._runs.label(run, tags={"status": status, "reason": reason})
            # A study reports candidates of the race when it ends: their own end is the last measurement.
            self._runs.end(run, _STATUS[status], None if status == "failed" else run.last)

    def end_study(self, verdict: Verdict) -> None:
        """Put the verdict on the study's run: tags, metrics, note, leaderboard, the study's files."""
        study = self._open_study()
        with self._writing():
            self._label_candidates(verdict)
            steps = study.steps_per_epoch
            facts = {} if steps is None else {"info.steps_per_epoch": str(steps)}
            own = {"mlflow.note.content": note(verdict, study.name), "status": "complete"}
            self._runs.label(self._parent, tags=verdict_tags(verdict) | facts | own)
            points = [(key, value, 0) for key, value in verdict_metrics(verdict).items()]
            self._runs.measure(self._parent, points)
            self._log_leaderboard(verdict)
            self._client.log_dict(self._parent.run_id, verdict.to_json(), "verdict.json")
            self._log_files(study.folder)
            self._runs.end(self._parent, "FINISHED")

    def close(self) -> None:
        """End as KILLED what is still running; a second call does nothing."""
        if self._study is None:
            return
        with self._writing():
            for run in (*self._candidates.values(), self._parent):
                if run.status == "RUNNING":
                    self._runs.label(run, tags={"status": "interrupted"})
                    self._runs.end(run, "KILLED")
        self._study = None

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Report a store that fails in one line, and write nothing to it after that."""
        try:
            with errors_in_one_line(self._uri):
                yield
        except InitSearchError:
            self._study = None
            raise

    def _label_candidates(self, verdict: Verdict) -> None:
        """Say of each candidate's run what the verdict says of it."""
        for name, run in self._candidates.items():
            self._runs.label(run, {"baseline": str(name == _key(verdict.baseline)).lower()})
        for rank, standing in enumerate(verdict.candidates, start=1):
            raced = self._candidates.get(_key(standing.name))
            if raced is not None:
                # Not `verdict`, by which the list of studies is filtered.
                self._runs.label(raced, {"rank": str(rank), "standing": mark_of(verdict, standing)})
                points = [(key, value, 0) for key, value in standing_metrics(standing).items()]
                self._runs.measure(raced, points)

    def _open_study(self) -> StudyInfo:
        if self._study is None:
            raise InitSearchError("the tracker has no open study: call start_study first")
        return self._study

    def _run_of(self, candidate: str) -> OpenRun:
        self._open_study()
        if candidate not in self._started:
            raise unknown_name("candidate", candidate, self._started)
        return self._candidates[_key(candidate)]

    def _log_data(self, study: StudyInfo) -> None:
        settings = json.dumps(study.settings.get("data", {}), sort_keys=True, default=str)
        digest = hex_digest(f"{study.dataset} {settings}", 4)
        data = Dataset(name=study.dataset, digest=digest, source_type="initsearch", source=settings)
        tags = [
            InputTag("mlflow.data.context", "training and validation"),
            InputTag("requested", study.requested_dataset),
        ]
        self._client.log_inputs(self._parent.run_id, datasets=[DatasetInput(data, tags)])

    def _log_leaderboard(self, verdict: Verdict) -> None:
        """Write the table as `MlflowClient.log_table` does, which would append to an existing one."""
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


def _key(candidate: str) -> str:
    """A candidate's name as its run's tag has it."""
    return tag_value(visible(candidate))


def _changed(stored: Mapping[str, str], settings: Mapping[str, str]) -> dict[str, str]:
    """The settings that differ from a stored run's params."""
    now = {valid_key(key): param_value(value) for key, value in settings.items()}
    return {key: value for key, value in now.items() if stored.get(key, value) != value}
