"""Kill small studies at random moments, resume them, and compare with studies that ran in one go.

    python scripts/random_kills.py --kills 300
    python scripts/random_kills.py --seconds 600 --seed 7

A study of the digits (a tiny MLP, two workers, Optuna's journal and MLflow's store on disk) is run by a group
of processes that gets SIGKILL at a random moment, again and again, until it comes to its verdict; then the next
study is run in the same output folder. Reported are the kills, and

- lost: results of trainings that were on disk before a kill and are missing or different after it;
- doubled: trainings of what had a result on disk, and trials or MLflow runs that exist twice or are missing;
- wrong: studies whose verdict is not that of the same study in one go.

All three must be 0; otherwise the exit status is 1. Needs Linux or macOS: processes are forked, since loading
torch takes longer than the study.
"""

import argparse
import itertools
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch
import mlflow
import optuna
import sklearn.datasets
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

from initsearch.execution import ProcessExecutor, fork_server, processes
from initsearch.search import SearchSettings, Study, StudySettings, Verdict
from initsearch.search.jobs.job_book import result_key
from initsearch.search.settings import RaceSettings
from initsearch.space import Space
from initsearch.study_run import Quiet
from initsearch.tasks import DataSettings, ImageClassification, ModelSettings, OptimizerSettings
from initsearch.tracking import MlflowTracker, TrackerGroup, prepare_store
from initsearch.training import CohortResult, Job, TrainerSettings
from initsearch.training.run import run_test_job, run_train_job  # loads what workers need
from initsearch.training.worker import run_job

N_TRIALS = 6
#: Seconds after which Optuna takes over the lock of a journal whose owner was killed; its default is 30.
GRACE = 1
#: Loaded before the first fork, by these imports.
PRELOADED = (lightning.pytorch, sklearn.datasets, run_test_job, run_train_job)
#: A file of this name in the output folder has a line for each training of what had a result.
DOUBLED = "doubled.txt"


@dataclass
class Count:
    """What was found so far."""

    kills: int = 0
    studies: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"kills {self.kills}, studies {self.studies}, lost {len(self.lost)}, "
            f"doubled {len(self.doubled)}, wrong {len(self.wrong)}"
        )


def settings_of(seed: int, output_dir: Path) -> StudySettings:
    """A study of a second."""
    groups = {"relu": {"where": {"activation": "relu"}, "weight": ["orthogonal", "lecun_normal"]}}
    return StudySettings(
        name="kills",
        architecture="mlp-1x16-relu",
        task=ImageClassification(
            data=DataSettings.parse("data", {"name": "digits", "train_size": 64, "val_size": 64}),
            model=ModelSettings.parse("model", {"name": "mlp", "depth": 1, "width": 16}),
            optimizer=OptimizerSettings.parse(
                "optimizer", {"name": "sgd", "lr": 0.1, "batch_size": 16}
            ),
        ),
        trainer=TrainerSettings(engine="loop", autocast="none", channels_last=False),
        space=Space.from_spec({"lr": [0.05, 0.1], "groups": groups}),
        output_dir=output_dir,
        n_trials=N_TRIALS,
        max_epochs=2,
        seed=seed,
        workers=2,
        search=SearchSettings(seeds=1, cohort_size=3, probe_steps=2),
        race=RaceSettings(max_seeds=4, looks=(2, 3, 4), margin=1.0),
    )


def train(folder: Path, job: Job) -> CohortResult:
    """Run a job, and note which of its candidates had a result before."""
    for candidate in job.candidates:
        if (folder / "jobs" / f"{result_key(job, candidate)}.json").exists():
            with (folder.parent / DOUBLED).open("a") as file:
                file.write(f"{folder.name}: {candidate.name} seed {job.seed}\n")
    return run_job(job)


def run(settings: StudySettings, *, records: bool) -> None:
    """Run or resume a study, with or without MLflow's records."""
    progress = Quiet()
    output_dir = settings.output_dir
    output_dir.mkdir(parents=True, exist_ok=True)
    if records:
        prepare_store(output_dir)
    with ProcessExecutor([None, None]) as executor:
        tracker = TrackerGroup(
            lambda: [MlflowTracker.in_folder(output_dir, progress.message)] if records else []
        )
        folder = Study(settings, tracker, progress).folder
        study = Study(settings, tracker, progress, partial(train, folder))
        if study.finished is None:
            study.run(executor)
        tracker.close()
        executor.terminate()


def in_group(action: Callable[[], None]) -> int:
    """Run an action in a forked process that leads a group of its own; the process id."""
    pid = os.fork()
    # In both processes, whichever is first: a kill may follow at once.
    with suppress(PermissionError, ProcessLookupError):
        os.setpgid(pid, pid)
    if pid:
        return pid
    status = 0
    try:
        action()
    except BaseException:  # noqa: BLE001  # the parent sees the status
        traceback.print_exc()
        status = 1
    sys.stderr.flush()
    os._exit(status)


def ended(pid: int, within: float) -> int | None:
    """The exit status of a child that ends within some seconds; None if it still runs."""
    deadline = time.monotonic() + within
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= deadline:
            return None
        time.sleep(0.005)


def results(folder: Path) -> dict[str, bytes]:
    """The results of trainings that are on disk."""
    return {path.name: path.read_bytes() for path in (folder / "jobs").glob("*.json")}


def killed(settings: StudySettings, luck: random.Random, longest: float, count: Count) -> None:
    """Run a study, killing its processes at random moments, until it has its verdict."""
    folder = Study(settings, TrackerGroup(list), Quiet()).folder
    before: dict[str, bytes] = {}
    for attempt in itertools.count(1):
        pid = in_group(partial(run, settings, records=True))
        # Ever longer: MLflow's tables, for one, are made in one piece or not at all.
        status = ended(pid, luck.uniform(0.0, longest * (1 + attempt / 10)))
        if status is None:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            count.kills += 1
        now = results(folder)
        count.lost += [name for name, content in before.items() if now.get(name) != content]
        before = now
        if status == 0:
            return
        if status is not None:
            count.wrong.append(f"{folder.name}: exit status {status}")
            return


def twice_or_missing(settings: StudySettings, folder: Path) -> list[str]:
    """Trials and MLflow runs of a finished study that exist twice or are missing."""
    storage = JournalStorage(JournalFileBackend(str(settings.output_dir / "optuna.journal")))
    trials = optuna.load_study(study_name=folder.name, storage=storage).trials
    client = mlflow.MlflowClient(f"sqlite:///{settings.output_dir / 'mlflow.db'}")
    experiments = [e.experiment_id for e in client.search_experiments()]
    runs = client.search_runs(experiments, max_results=50_000)
    parents = {r.data.tags.get("mlflow.parentRunId") for r in runs} - {None}
    mine = [r for r in runs if folder.name in {r.info.run_name, *r.data.tags.values()}]
    parent = [r.info.run_id for r in mine if r.info.run_id in parents]
    children = [r for r in runs if r.data.tags.get("mlflow.parentRunId") in parent]
    found = {"trials": len(trials), "studies in MLflow": len(parent), "runs": len(children)}
    due = {"trials": N_TRIALS, "studies in MLflow": 1, "runs": N_TRIALS}
    problems = [f"{folder.name}: {found[k]} {k}, not {due[k]}" for k in due if found[k] != due[k]]
    open_runs = [r.info.run_name for r in (*mine, *children) if r.info.status == "RUNNING"]
    return problems + [f"{folder.name}: {name} is still open" for name in open_runs]


def numbers(folder: Path) -> dict[str, Any]:
    """A verdict without the time that it took."""
    plain = Verdict.load(folder / "verdict.json").to_json()
    del plain["wall_seconds"], plain["cpu_seconds"]
    return plain


def one_study(seed: int, output_dir: Path, luck: random.Random, count: Count) -> None:
    """Run a study in one go and with kills, and compare."""
    whole = settings_of(seed, output_dir / "whole")
    start = time.monotonic()
    pid = in_group(partial(run, whole, records=False))
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0:
        raise RuntimeError("the study fails without any kill")
    settings = settings_of(seed, output_dir / "killed")
    killed(settings, luck, (time.monotonic() - start) / 2, count)
    folder = Study(settings, TrackerGroup(list), Quiet()).folder
    if numbers(folder) != numbers(whole.output_dir / folder.name):
        count.wrong.append(folder.name)
    count.doubled += twice_or_missing(settings, folder)
    doubled = output_dir / "killed" / DOUBLED
    if doubled.exists():
        count.doubled += doubled.read_text().splitlines()
        doubled.unlink()
    count.studies += 1


def main() -> int:
    """Run studies until there were enough kills; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--kills", type=int, default=10**9, help="end after so many kills")
    parser.add_argument("--seconds", type=float, default=600.0, help="or after so much time")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and of the studies")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    # All is loaded here: workers are forked from the coordinator, which is forked from this process.
    fork = multiprocessing.get_context("fork")
    for module in (fork_server, processes):
        module.worker_context = lambda device=None: fork  # type: ignore[attr-defined]
    JournalFileSymlinkLock.__init__.__defaults__ = (GRACE,)
    warnings.filterwarnings("ignore", message="The value of `grace_period`")
    luck, count, start = random.Random(arguments.seed), Count(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="initsearch-kills-") as folder:
        while count.kills < arguments.kills and time.monotonic() - start < arguments.seconds:
            one_study(arguments.seed * 1000 + count.studies, Path(folder), luck, count)
            print(count, flush=True)
    print(count)
    for problem in (*count.lost, *count.doubled, *count.wrong):
        print(problem)
    return int(bool(count.lost or count.doubled or count.wrong))


if __name__ == "__main__":
    sys.exit(main())
