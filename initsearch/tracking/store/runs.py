"""MLflow's runs of one experiment: opened, taken up again, added to, ended; nothing is written twice."""

import getpass
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mlflow.entities import Experiment, Metric, Param, Run, RunTag, ViewType
from mlflow.tracking import MlflowClient

from initsearch.tracking.store.labels import param_value, tag_value, valid_key


@dataclass
class OpenRun:
    """A run as this process knows it.

    Attributes:
        run_id: MLflow's.
        status: MLflow's: RUNNING, FINISHED, FAILED or KILLED.
        tags: What it is tagged with.
        params: Its params.
        unread: Whether it was there before and its metrics have not been read yet.
        logged: What it holds of metrics: key, step and value (None for NaN).
    """

    run_id: str
    status: str
    tags: dict[str, str]
    params: dict[str, str]
    unread: bool
    logged: set[tuple[str, int, float | None]] = field(default_factory=set)


class Runs:
    """The runs of one experiment.

    Args:
        client: Of the store.
        name: The experiment's name; it is created where there is none, restored where it was deleted.
        location: URI of the folder for its runs' files; None leaves it to the store.
    """

    def __init__(self, client: MlflowClient, name: str, location: str | None) -> None:
        self._client = client
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
        run = self._client.create_run(self._id, run_name=name, tags=clean | source)
        return OpenRun(run.info.run_id, "RUNNING", clean, {}, unread=False)

    def find(self, **tags: str) -> list[OpenRun]:
        """The runs with these tags, oldest first; deleted ones are not among them."""
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

        MLflow's params cannot change: one that the run holds stays.
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

    def measure(self, run: OpenRun, points: Sequence[tuple[str, float, int]]) -> bool:
        """Add the values (key, value, step) that the run lacks, in one batch.

        SQLite knows no infinity (MLflow would store the largest float): an infinite value is logged as
        NaN, and the run's tag `infinite` says what it was.

        Returns:
            Whether there was anything to add.
        """
        if run.unread:
            self._read_metrics(run)
        now = int(time.time() * 1000)
        new, infinite = [], [run.tags["infinite"]] if "infinite" in run.tags else []
        for name, told, step in points:
            key, value = valid_key(name), math.nan if math.isinf(told) else float(told)
            entry = (key, step, None if math.isnan(value) else value)
            if entry in run.logged:
                continue
            run.logged.add(entry)
            new.append(Metric(key, value, now, step))
            if math.isinf(told):
                infinite.append(f"{name} = {told} at step {step}")
        if new:
            self._client.log_batch(run.run_id, metrics=new)
        if infinite:
            self.label(run, tags={"infinite": "; ".join(infinite)})
        return bool(new)

    def reopen(self, run: OpenRun) -> None:
        """Set an ended run going again."""
        if run.status != "RUNNING":
            self._client.update_run(run.run_id, status="RUNNING")
            run.status = "RUNNING"
            self.label(
                run, tags={"status": "running"} | ({"reason": ""} if "reason" in run.tags else {})
            )

    def end(self, run: OpenRun, status: str) -> None:
        """End a run as FINISHED, FAILED or KILLED; one that ended so already keeps its end time."""
        if run.status != status:
            self._client.set_terminated(run.run_id, status=status)
            run.status = status

    def _read_metrics(self, run: OpenRun) -> None:
        for key in self._client.get_run(run.run_id).data.metrics:
            for metric in self._client.get_metric_history(run.run_id, key):
                value = None if math.isnan(metric.value) else metric.value
                run.logged.add((key, metric.step, value))
        run.unread = False


def _known(run: Run) -> OpenRun:
    return OpenRun(
        run.info.run_id, run.info.status, dict(run.data.tags), dict(run.data.params), unread=True
    )


def _quoted(text: str) -> str:
    return f'"{text}"' if "'" in text else f"'{text}'"


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user without a name
        return "unknown"
