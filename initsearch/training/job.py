"""What a worker is asked (`TrainJob`, `TestJob`) and what it answers (`CohortResult`), as plain data."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self, cast

from initsearch.errors import ConfigError
from initsearch.tasks.base import CohortTask, Task
from initsearch.training.trainer_settings import TrainerSettings


@dataclass(frozen=True)
class Candidate:
    """A plan with the learning rate it is trained with, as a study or a user asks for it.

    A result depends on name, plan and learning rate alone; the rest says where the candidate came from.

    Attributes:
        name: Readable, and unique in its study.
        plan: The plan's specification, as `InitPlan.from_spec` reads it.
        lr: Learning rate, above 0; None: the task does not take one.
        number: Its number in the study, from 0.
        scheme: Its scheme family.
        params: What Optuna sampled (`relu.scheme`, `relu.variance_scaling.factor`, ...).
        baseline: Whether it is one of the study's known baselines.
        label: Its name without the learning rate.
        arm: The same for candidates that start from the same weights, whatever their names and learning rates.
        twin_of: The number of an earlier candidate of the same arm and learning rate, whose result it takes.
    """

    name: str
    plan: Mapping[str, Any]
    lr: float | None
    number: int = 0
    scheme: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    baseline: bool = False
    label: str = ""
    arm: str = ""
    twin_of: int | None = None

    def __post_init__(self) -> None:
        if self.lr is None:
            return
        if not (isinstance(self.lr, int | float) and math.isfinite(self.lr) and self.lr > 0):
            raise ConfigError(f"lr of candidate {self.name!r} must be above 0, but got {self.lr!r}")

    @property
    def rate(self) -> float:
        """The learning rate, where the task takes one.

        Raises:
            ConfigError: The candidate has none.
        """
        if self.lr is None:
            raise ConfigError(f"candidate {self.name!r} must have a learning rate: set lr")
        return self.lr

    def key(self) -> dict[str, Any]:
        """Plain data on which the candidate's results depend: the rest says where it came from."""
        return {"name": self.name, "plan": self.plan, "lr": self.lr}


@dataclass(frozen=True, kw_only=True)
class Job:
    """What every job has: a cohort, that is candidates of one block, and how they are trained.

    Attributes:
        task: What is trained.
        trainer: Where and how: Lightning's settings and the engine's.
        candidates: The cohort; their names differ.
        seed: The block: an integer, at least 0.
        states: By candidate's name, the checkpoint that an earlier job left.

    Raises:
        ConfigError: No candidate, one twice, or a state of a candidate that is not in the job.
    """

    task: Task
    trainer: TrainerSettings
    candidates: tuple[Candidate, ...]
    seed: int
    states: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [candidate.name for candidate in self.candidates]
        if not names or len(set(names)) < len(names):
            raise ConfigError(f"a job must have candidates with distinct names, but got {names}")
        unknown = sorted(set(self.states) - set(names))
        if unknown:
            raise ConfigError(f"states must name candidates of the job, but got {unknown}")

    @property
    def cohort_task(self) -> CohortTask:
        """The task for an engine; `worker.run_job` runs the other kind, a `StandaloneTask`, without one."""
        return cast("CohortTask", self.task)

    @property
    def stacked(self) -> bool:
        """Whether the stacked engine is asked for, which rounds a cohort as a whole."""
        return self.trainer.engine == "stacked"

    def part(self, candidates: Sequence[Candidate]) -> Self:
        """The same job for some of its candidates."""
        states = {c.name: self.states[c.name] for c in candidates if c.name in self.states}
        return replace(self, candidates=tuple(candidates), states=states)

    def key(self, candidate: Candidate) -> dict[str, Any]:
        """Plain data on which a candidate's result depends.

        States are not among them: resuming from one gives what training from the start gives. Nor is the
        rest of the cohort, except where the stacked engine rounds it as a whole.
        """
        key = {
            "task": self.task.key(),
            "trainer": self.trainer.model_dump(mode="json"),
            "candidate": candidate.key(),
            "seed": self.seed,
        }
        if self.stacked:
            key["cohort"] = [member.key() for member in self.candidates]
        return key


@dataclass(frozen=True, kw_only=True)
class TrainJob(Job):
    """A cohort, trained between two points of the budget.

    Attributes:
        start_epoch: Where the training resumes; 0: it starts. May be fractional. Above 0, `states` has a
            checkpoint of every candidate at that epoch.
        stop_epoch: Where it stops.
        eval_epochs: Where candidates are validated, between start and stop; None: at `stop_epoch`. Without
            any, curves have losses but no points.
        state_dir: The folder for checkpoints of the candidates that reach `stop_epoch`; None: none are kept.
        screen: Whether candidates that cannot learn (see `screening`) are reported instead of trained; only
            where the training starts.
        losses_from: Training losses count from this epoch on: the last point of an earlier job, where this
            one repeats a stretch because a checkpoint is gone.

    Raises:
        ConfigError: Also: epochs that do not ascend from start to stop, or a missing state.
    """

    start_epoch: float = 0.0
    stop_epoch: float = 1.0
    eval_epochs: tuple[float, ...] | None = None
    state_dir: str | None = None
    screen: bool = False
    losses_from: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.start_epoch < self.stop_epoch < math.inf:
            raise ConfigError(
                f"stop_epoch must be finite and above start_epoch={self.start_epoch}, "
                f"but got {self.stop_epoch}"
            )
        outside = [e for e in self.points if not self.start_epoch < e <= self.stop_epoch]
        if outside:
            raise ConfigError(
                f"eval_epochs must be above {self.start_epoch} and at most {self.stop_epoch}, "
                f"but got {outside}"
            )
        missing = sorted({candidate.name for candidate in self.candidates} - set(self.states))
        if self.start_epoch > 0 and missing:
            raise ConfigError(
                f"a job that resumes at epoch {self.start_epoch} needs every candidate's state, "
                f"but states lacks {missing}"
            )

    @property
    def points(self) -> tuple[float, ...]:
        """The epochs at which candidates are validated, ascending."""
        asked = (self.stop_epoch,) if self.eval_epochs is None else self.eval_epochs
        return tuple(sorted({float(epoch) for epoch in asked}))

    def key(self, candidate: Candidate) -> dict[str, Any]:
        """Plain data on which a candidate's result depends; see `Job.key`."""
        own = {"stop_epoch": self.stop_epoch, "points": self.points, "screen": self.screen}
        return {"kind": "train", **super().key(candidate), **own}


@dataclass(frozen=True, kw_only=True)
class TestJob(Job):
    """Trained candidates, scored on the test set.

    A candidate whose checkpoint is not given, or is gone, is trained again from the start.

    Attributes:
        epochs: How long the candidates were trained.
    """

    __test__ = False  # pytest would collect it by its name

    epochs: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.epochs < math.inf:
            raise ConfigError(f"epochs must be finite and above 0, but got {self.epochs}")

    def key(self, candidate: Candidate) -> dict[str, Any]:
        """Plain data on which a candidate's result depends; see `Job.key`."""
        return {"kind": "test", **super().key(candidate), "epochs": self.epochs}


@dataclass(frozen=True)
class Point:
    """A candidate measured at one point of the budget.

    Attributes:
        epoch: As the job asked for it.
        step: Optimizer steps done.
        train_loss: Mean over the steps since the point before (or the job's start); NaN if unknown.
        scores: On the validation set, by the names that the task gives them (`val_accuracy`, `val_loss`).
    """

    epoch: float
    step: int
    train_loss: float
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Curve:
    """What became of one candidate in one block.

    Attributes:
        candidate: Its name.
        seed: The block.
        points: Its measurements in this job, ascending, all finite; none after a divergence.
        initial_loss: Training loss on the block's first batch, before any update; NaN if unknown.
        diverged: Whether its loss or its parameters ceased to be finite. That ends the training; it is a
            result.
        diverged_at: The step (from 0) whose loss was not finite, or after which the parameters were not; None
            if it did not diverge, or the step is not known.
        test: Scores on the test set, by name; None unless a `TestJob` measured them.
        state: The checkpoint from which a later job can resume; None where none was kept.
        stopped: Why it was not trained at all; empty for all others.
        last_loss: Training loss on the last batch, before its update; None where nothing was trained.
    """

    candidate: str
    seed: int
    points: tuple[Point, ...]
    initial_loss: float
    diverged: bool = False
    diverged_at: int | None = None
    test: Mapping[str, float] | None = None
    state: str | None = None
    stopped: str = ""
    last_loss: float | None = None


@dataclass(frozen=True)
class CohortResult:
    """What came of a job.

    Attributes:
        curves: One per candidate, in the job's order.
        wall_seconds: From the call to the answer, data and models included.
        cpu_seconds: Processor time over all processes that trained.
        engine: `loop` or `stacked`; `own` for a standalone task; `none` where nothing was trained.
        reason: Why this engine.
        device: Where it ran (`cpu`, `cuda:0`).
    """

    curves: tuple[Curve, ...]
    wall_seconds: float
    cpu_seconds: float
    engine: str
    reason: str
    device: str

    def to_json(self) -> dict[str, Any]:
        """The result as Python's JSON has it (NaN and infinities included)."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "CohortResult":
        """The result that `to_json` wrote."""
        curves = tuple(
            Curve(**{**entry, "points": tuple(Point(**point) for point in entry["points"])})
            for entry in values["curves"]
        )
        return cls(**{**values, "curves": curves})
