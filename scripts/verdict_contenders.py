"""The contenders of `benchmark_verdict.py`, each timed in its own process.

    python scripts/verdict_contenders.py '{"name": "B1", "begun": ..., "setting": {...}, ...}'

prints the costs of one candidate on one seed as JSON: cold (from the start of the process, including
imports and loading the data) and warm (each further candidate).
"""

import gc
import itertools
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarking import Cost, cores, now

#: Our contenders by the trainer's settings. The first is the plain loop, which the others are compared with.
TRAINERS: Mapping[str, dict[str, Any]] = {
    "loop": {"engine": "loop", "channels_last": False, "autocast": "none"},
    "stacked": {"engine": "stacked", "channels_last": False, "autocast": "none"},
    "channels_last": {"engine": "loop", "channels_last": True, "autocast": "none"},
    "bf16": {"engine": "loop", "channels_last": True, "autocast": "bf16"},
}
#: Our contenders with the loop's settings: one process that keeps the memory it frees, and one per core.
PROCESSES = ("kept", "processes")
OURS = (*TRAINERS, *PROCESSES)
#: Validations on all images within the full budget: as many as a search has rungs.
VALIDATIONS = 3


@dataclass(frozen=True)
class Order:
    """What a process times.

    Attributes:
        name: `B0`, `B1`, or one of `OURS`.
        setting: The fields of `verdict_baselines.Setting`.
        threads: Threads of the process.
        cohort: Candidates that our contenders train together.
        share: The share of the epochs that our contenders train; the cost is scaled to all epochs.
        begun: `time.time()` at the start of the process.
    """

    name: str
    setting: Mapping[str, Any]
    threads: int = 1
    cohort: int = 8
    share: float = 1.0
    begun: float = 0.0


@dataclass(frozen=True)
class Timed:
    """Costs of one candidate on one seed.

    Attributes:
        cold: The first candidate, including what a process does only once.
        warm: Each further candidate.
    """

    cold: Cost
    warm: Cost


def run_order(order: Order) -> Timed:
    """Time a contender in a new process."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(order.threads)}
    with tempfile.TemporaryDirectory() as folder:
        order = replace(order, begun=time.time())
        done = subprocess.run(
            [sys.executable, str(Path(__file__).resolve()), json.dumps(asdict(order))],
            env=environment,
            cwd=folder,
            capture_output=True,
            text=True,
        )
    if done.returncode:
        sys.exit(f"{order.name} failed:\n{done.stderr[-4000:]}")
    answer = json.loads(done.stdout.splitlines()[-1])
    return Timed(Cost(**answer["cold"]), Cost(**answer["warm"]))


#: Trains; returns the number of candidate-seeds trained and the CPU seconds of other processes.
Unit = Callable[[], tuple[float, float]]


def b0(order: Order, stack: ExitStack) -> Unit:
    """Optuna trials, one after another."""
    from verdict_baselines import Setting, b0_study, b0_trial

    setting, study = Setting(**order.setting), b0_study()

    def unit() -> tuple[float, float]:
        b0_trial(study, setting, Path.cwd())
        return 1.0, 0.0

    return unit


def b1(order: Order, stack: ExitStack) -> Unit:
    """Lightning runs on images in memory, one after another."""
    from verdict_baselines import PLANS, Setting, b1_run

    from initsearch.tasks.data import DataSettings, load_data

    setting = Setting(**order.setting)
    data = load_data(DataSettings(name="mnist", root=setting.root, download=False))
    plans = enumerate(itertools.cycle(PLANS))

    def unit() -> tuple[float, float]:
        seed, plan = next(plans)
        b1_run(data, setting, plan, seed)
        return 1.0, 0.0

    return unit


def ours(order: Order, stack: ExitStack) -> Unit:
    """A cohort per process and seed, by the jobs and the executor of initsearch."""
    from verdict_baselines import PLANS, Setting

    from initsearch.execution import keep_freed_memory, make_executor
    from initsearch.tasks import (
        DataSettings,
        ImageClassification,
        ModelSettings,
        OptimizerSettings,
    )
    from initsearch.training import Candidate, TrainerSettings, TrainJob, run_job

    setting = Setting(**order.setting)
    trainer = TrainerSettings.parse("trainer", TRAINERS.get(order.name, TRAINERS["loop"]))
    parallel = order.name == "processes"
    if order.name == "kept":
        keep_freed_memory()
    workers = cores() if parallel else 1
    executor = stack.enter_context(make_executor("local", workers=workers))
    stop = setting.epochs * order.share
    # A share of the epochs validates on that share of the images, once.
    points = (stop / 4, stop / 2, stop) if order.share == 1.0 else (stop,)
    validated = round(setting.validation * VALIDATIONS * order.share / len(points))
    candidates = tuple(
        Candidate(f"{plan} {index}", {"name": plan}, setting.lr)
        for index, plan in zip(range(order.cohort), itertools.cycle(PLANS))
    )
    seeds = itertools.count()
    sgd = {"name": "sgd", "momentum": 0.9, "batch_size": setting.batch}
    task = ImageClassification(
        data=DataSettings(
            name="mnist",
            root=setting.root,
            train_size=setting.images,
            val_size=validated,
            download=False,
        ),
        model=ModelSettings.parse("model", setting.model),
        optimizer=OptimizerSettings.parse("optimizer", sgd),
    )

    def unit() -> tuple[float, float]:
        jobs = [
            TrainJob(
                task=task,
                trainer=trainer,
                candidates=candidates,
                seed=next(seeds),
                stop_epoch=stop,
                eval_epochs=points,
            )
            for _ in range(workers)
        ]
        results = [future.result() for future in [executor.submit(run_job, job) for job in jobs]]
        elsewhere = sum(result.cpu_seconds for result in results) if parallel else 0.0
        return workers * order.cohort * order.share, elsewhere

    return unit


def time_unit(unit: Unit) -> tuple[Cost, float]:
    """The cost of a unit, and the candidate-seeds that it trained."""
    begun = now()
    trained, elsewhere = unit()
    gc.collect()  # ends the DataLoader's workers, which adds their CPU time
    taken = now().since(begun)
    return Cost(taken.wall, taken.cpu + elsewhere), trained


def main() -> None:
    """Time the contender given on the command line."""
    order = Order(**json.loads(sys.argv[1]))
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)

    import torch

    torch.set_num_threads(order.threads)
    make = {"B0": b0, "B1": b1}.get(order.name, ours)
    with ExitStack() as stack:
        unit = make(order, stack)
        wall, cpu = time.time() - order.begun, now().cpu  # imports and loading: done once
        first, trained = time_unit(unit)
        second, again = time_unit(unit)
    cold = Cost(wall + first.wall / trained, cpu + first.cpu / trained)
    print(json.dumps({"cold": asdict(cold), "warm": asdict(second.times(1 / again))}))


if __name__ == "__main__":
    main()
