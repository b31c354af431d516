"""The jobs of a study: which candidates are trained on which seed, from where to where, and by which engine."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path

from initsearch.digests import short_hash
from initsearch.execution import submit_limited
from initsearch.files import read_whole, write_whole
from initsearch.plan import InitPlan
from initsearch.search.jobs.time_limits import TimeLimits
from initsearch.search.settings import StudySettings
from initsearch.tasks import StandaloneTask, Task, TogetherTask
from initsearch.training import (
    Candidate,
    Curve,
    EngineChoice,
    TestJob,
    TrainerSettings,
    TrainJob,
    probe_engines,
)
from initsearch.training.checkpoint import Checkpoint

#: Trainer settings that a probe can decide.
PROBED = ("engine", "autocast", "channels_last")


def has_state(curve: Curve) -> bool:
    """Whether training can resume from this curve."""
    return curve.state is not None and Checkpoint.is_whole(curve.state)


@dataclass(frozen=True)
class JobMaker:
    """Makes a study's jobs.

    Attributes:
        settings: What is searched.
        task: What is trained, for workers.
        states: The folder for the weights of candidates between two jobs.
        engine: How cohorts are trained, if a probe decided it.
    """

    settings: StudySettings
    task: Task
    states: Path
    engine: EngineChoice | None = None

    def with_engine(
        self,
        file: Path,
        executor: Executor,
        limits: TimeLimits,
        report: Callable[[str], None],
    ) -> "JobMaker":
        """The same with an engine for its cohorts: probed, if the trainer's settings leave it open.

        A probe measures times, so two probes may differ. A study keeps the choice in a file: all its jobs, also
        those after an interruption, are trained in one way.

        Args:
            file: Where the choice is kept.
            executor: Runs the probe: what counts is the speed of the process that will train.
            limits: How long the probe may take.
            report: Gets one line if the file is damaged.
        """
        settings = self.settings
        decided = "auto" not in [getattr(settings.trainer, key) for key in PROBED]
        if decided or isinstance(self.task, StandaloneTask):
            return self
        kept = read_whole(file, lambda data: EngineChoice.from_json(json.loads(data)), report)
        if kept is not None:
            return replace(self, engine=kept)
        arguments = (self._sample(), settings.search.cohort_size, max(1, settings.workers))
        if settings.trainer.distributed:  # there is one way, known without a step
            engine = probe_engines(*arguments)
        else:
            engine = submit_limited(executor, limits.of_probe, probe_engines, *arguments).result()
        write_whole(file, json.dumps(engine.to_json(), indent=2) + "\n")
        return replace(self, engine=engine)

    def _sample(self) -> TrainJob:
        """Any job of the study: its first baseline at full budget."""
        settings = self.settings
        name, plan = next(iter(settings.baselines.items()))
        candidate = Candidate(name, InitPlan.from_spec(plan).spec(), settings.task.lr)
        return self.make(
            [candidate], settings.search_seeds[0], 0.0, settings.max_epochs, keep=False
        )

    @property
    def stacks(self) -> bool:
        """Whether cohorts are stacked, if model and optimizer allow it."""
        return self._trainer(exact=False).engine == "stacked"

    @property
    def cohort_limit(self) -> int:
        """Number of candidates that one job may train: few enough that the jobs of a cohort use all workers.

        Only the cohorts of a loop are cut for that: its numbers do not depend on the rest of the cohort, not
        even in the last digit.
        """
        settings = self.settings
        alone = isinstance(self.task, StandaloneTask) and not isinstance(self.task, TogetherTask)
        if settings.trainer.distributed or alone:
            return 1
        limit = self.engine.cohort_size if self.engine else settings.search.cohort_size
        if not self.stacks:
            parts = math.ceil(max(1, settings.workers) / settings.search.seeds)
            limit = min(limit, math.ceil(settings.search.cohort_size / parts))
        return limit

    def make(
        self,
        candidates: Sequence[Candidate],
        seed: int,
        start: float,
        stop: float,
        *,
        evaluate: Sequence[float] = (),
        curves: Mapping[str, Curve] | None = None,
        keep: bool = True,
        exact: bool = False,
        screen: bool = False,
        measure_stop: bool = True,
    ) -> TrainJob:
        """The job that trains a cohort.

        Args:
            candidates: The cohort.
            seed: The seed that they share.
            start: Epochs for which they have been trained.
            stop: Epochs for which they will have been trained.
            evaluate: Points in between at which to validate.
            curves: The candidates' curves up to `start`, which name their states.
            keep: Whether the states are kept for a later job.
            exact: Whether to train in full precision, whatever the probe found fast.
            screen: Whether candidates that cannot learn are reported instead of trained.
            measure_stop: Whether to validate at `stop`.
        """
        known = {c.name: curves[c.name] for c in candidates if curves and c.name in curves}
        states = {name: curve.state for name, curve in known.items() if curve.state is not None}
        whole = len(known) == len(candidates) and all(map(has_state, known.values()))
        # Two cohorts may train a candidate on one seed at once; stacked, they differ in the last digits.
        cohort = short_hash([candidate.name for candidate in candidates])
        if isinstance(
            self.task, StandaloneTask
        ):  # it cannot resume: only a test needs what is kept
            keep = keep and exact and self.task.info().test_score is not None
        # A state that is gone (a run was stopped while it cleaned up) costs time, not the result.
        measured = [p.epoch for curve in known.values() for p in curve.points]
        return TrainJob(
            task=self.task,
            trainer=self._trainer(exact),
            candidates=tuple(candidates),
            seed=seed,
            start_epoch=start if whole else 0.0,
            stop_epoch=stop,
            eval_epochs=(*evaluate, stop) if measure_stop else tuple(evaluate),
            states=states if whole else {},
            state_dir=str(self.states / cohort) if keep else None,
            screen=screen,
            losses_from=0.0 if whole else max(measured, default=0.0),
        )

    def make_test(self, candidate: Candidate, seed: int, epochs: float, curve: Curve) -> TestJob:
        """The job that scores a candidate of the race on the test set.

        Args:
            candidate: The candidate.
            seed: The seed.
            epochs: How long the race trained it.
            curve: Its curve on that seed, which names its checkpoint.
        """
        return TestJob(
            task=self.task,
            trainer=self._trainer(exact=True),
            candidates=(candidate,),
            seed=seed,
            states={} if curve.state is None else {candidate.name: curve.state},
            epochs=epochs,
        )

    def _trainer(self, exact: bool) -> TrainerSettings:
        trainer = self.settings.trainer
        return trainer if self.engine is None else self.engine.apply(trainer, exact=exact)
