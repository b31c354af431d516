"""MLflow's runs of one experiment: opened, resumed, added to, ended; nothing is written twice."""

import getpass
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mlflow.entities import Experiment, Metric, Param, Run, RunTag, ViewType
from mlflow.tracking import MlflowClient

from initsearch.errors import visible
from initsearch.tracking.store.labels import param_value, tag_value, valid_key

#: The tag for the time that a run's duration leaves out, in seconds.
_PAUSED = "paused_seconds"


@dataclass
class OpenRun:
    """A run as this process knows it. Times are in milliseconds, dates since 1970.

    Attributes:
        run_id: MLflow's id.
        status: MLflow's status: RUNNING, FINISHED, FAILED or KILLED.
        tags: Its tags.
        params: Its params.
        started: When it was created.
        last: When something was last measured, or else when it ended or began.
        paused: How long nothing ran, between an interruption and the resumption.
        unread: Whether it existed before and its metrics have not been read yet.
        logged: The metrics that it has: key, step and value (None for NaN).
    """

    run_id: str
    status: str
    tags: dict[str, str]
    params: dict[str, str]
    started: int
    last: int
    paused: int
    unread: bool
    logged: set[tuple[str, int, float | None]] = field(default_factory=set)


class Runs:
    """The runs of one experiment.

    Args:
        client: Of the store.
        name: The experiment's name. It is created if it does not exist, restored if it was deleted.
        location: URI of the folder for its runs' files; None leaves it to the store.
    """

    def __init__(self, client: MlflowClient, name: str, location: str | None) -> None:
        self._client = client
        name = visible(name)
        found: Experiment | None = client.get_experiment_by_name(name)
        if found is None:
            kind = {"mlflow.experimentKind": "custom_model_development"}
            self._id = str(client.create_experiment(name, artifact_location=location, tags=kind))
            return
        self._id = str(found.experiment_id)
        if found.lifecycle_stage == "deleted":  # it keeps its name: only restoring gives that back
            client.restore_experiment(self._id)

    def create(self, name: str, tags: Mapping[str, str]) -> OpenRun:
        """Begin a run."""
        clean = {valid_key(key): tag_value(value) for key, value in tags.items()}
        source = {
            "mlflow.user": _user(),
            "mlflow.source.name": "initsearch",
            "mlflow.source.type": "LOCAL",
        }
        now = _now()
        run = self._client.create_run(
            self._id, start_time=now, run_name=visible(name), tags=clean | source
        )
        return OpenRun(run.info.run_id, "RUNNING", clean, {}, now, now, 0, unread=False)

    def find(self, **tags: str) -> list[OpenRun]:
        """The runs with these tags, oldest first, without deleted ones."""
        condition = " and ".join(f"tags.`{key}` = {_quoted(value)}" for key, value in tags.items())
        runs: list[Run] = []
        token: str | None = None
        while True:
            page = self._client.search_runs(
                [self._id],
                filter_string=condition,
                run_view_type=ViewType.ACTIVE_ONLY,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            runs += page
            token = page.token
            if not token:
                return [_known(run) for run in runs]

    def label(
        self,
        run: OpenRun,
        tags: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> None:
        """Add what the run lacks, in one batch: tags that are new or changed, params that are new.

        MLflow's params cannot change: one that the run has stays.
        """
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
        run.params |= new_params

    def measure(
        self, run: OpenRun, points: Sequence[tuple[str, float, int]], *, resume: bool = False
    ) -> None:
        """Add the values (key, value, step) that the run lacks, in one batch.

        SQLite has no infinity (MLflow would store the largest float): an infinite value is logged as NaN, and
        the run's tag `infinite` says what it was.

        Args:
            run: The run.
            points: What was measured.
            resume: Whether a run that had ended is resumed if there is anything to add.
        """
        if run.unread:
            self._read_metrics(run)
        now = _now()
        new, infinite = [], [run.tags["infinite"]] if "infinite" in run.tags else []
        for name, measured, step in points:
            key, value = valid_key(name), math.nan if math.isinf(measured) else float(measured)
            entry = (key, step, None if math.isnan(value) else value)
            if entry in run.logged:
                continue
            run.logged.add(entry)
            new.append(Metric(key, value, now, step))
            if math.isinf(measured):
                infinite.append(f"{name} = {measured} at step {step}")
        if new:
            if resume:
                self.reopen(run)
            self._client.log_batch(run.run_id, metrics=new)
            run.last = now
        if infinite:
            self.label(run, tags={"infinite": "; ".join(infinite)})

    def reopen(self, run: OpenRun) -> None:
        """Resume an ended run."""
        if run.status != "RUNNING":
            self._client.update_run(run.run_id, status="RUNNING")
            run.status = "RUNNING"
            self._pause(run)
            self.label(
                run, tags={"status": "running"} | ({"reason": ""} if "reason" in run.tags else {})
            )

    def pick_up(self, run: OpenRun, seen: int = 0) -> int:
        """Resume a run that is still marked as running, since its process was killed.

        Args:
            run: The run; its last measurement is its last sign of life.
            seen: A later one, in milliseconds since 1970.

        Returns:
            The last sign of life, in milliseconds since 1970.
        """
        last = run.last = max(run.last, self._read_metrics(run), seen)
        self._pause(run)
        return last

    def end(self, run: OpenRun, status: str, at: int | None = None) -> None:
        """End a run as FINISHED, FAILED or KILLED; one that already ended so keeps its end time.

        MLflow shows the time from start to end as the duration. It is to be the time for which something ran:
        the end that is recorded lies earlier than the true one by the pauses, which are in a tag.

        Args:
            run: The run.
            status: MLflow's status.
            at: When it ended, in milliseconds since 1970; None: now.
        """
        if run.status != status:
            run.last = _now() if at is None else at
            end = max(run.started, run.last - run.paused)
            self._client.set_terminated(run.run_id, status=status, end_time=end)
            run.status = status

    def _pause(self, run: OpenRun) -> None:
        """Count the time since the last sign of life as a pause."""
        now = _now()
        run.paused += now - run.last
        run.last = now
        self.label(run, tags={_PAUSED: f"{run.paused / 1000:.3f}"})

    def _read_metrics(self, run: OpenRun) -> int:
        """Read what a run has been measured before; returns the time of the last one, 0 if there is none."""
        last = 0
        for key in self._client.get_run(run.run_id).data.metrics:
            for metric in self._client.get_metric_history(run.run_id, key):
                value = None if math.isnan(metric.value) else metric.value
                run.logged.add((key, metric.step, value))
                last = max(last, metric.timestamp)
        run.unread = False
        return last


def _known(run: Run) -> OpenRun:
    started, tags = run.info.start_time, dict(run.data.tags)
    paused = round(1000 * float(tags.get(_PAUSED, "0")))
    # An end time that was recorded before the run was resumed says nothing any more.
    ended = None if run.info.status == "RUNNING" else run.info.end_time
    last = started if ended is None else ended + paused
    params = dict(run.data.params)
    return OpenRun(
        run.info.run_id, run.info.status, tags, params, started, last, paused, unread=True
    )


def _now() -> int:
    return int(time.time() * 1000)


def _quoted(text: str) -> str:
    return f'"{text}"' if "'" in text else f"'{text}'"


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user without a name
        return "unknown"
