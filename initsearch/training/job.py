"""What a worker is asked (`Job`) and what it answers (`CohortResult`), as plain data."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from initsearch.errors import ConfigError


@dataclass(frozen=True)
class Candidate:
    """A plan and the learning rate it is trained with.

    Attributes:
        name: Unique in its study.
        plan: The plan's specification, as `InitPlan.from_spec` reads it.
        lr: Learning rate, above 0.
    """

    name: str
    plan: Mapping[str, Any]
    lr: float

    def __post_init__(self) -> None:
        if not (isinstance(self.lr, int | float) and math.isfinite(self.lr) and self.lr > 0):
            raise ConfigError(f"lr of candidate {self.name!r} must be above 0, but got {self.lr!r}")


@dataclass(frozen=True)
class Job:
    """A cohort, trained between two points of the budget: candidates x one block.

    Attributes:
        data: Settings of `DataConfig`.
        model: What `build_model` takes.
        optimizer: `name` with the optimizer's own settings, `batch_size` and `clip_norm`.
        trainer: Lightning's `accelerator`, `devices`, `strategy`, `precision`; the project's
            `engine`, `autocast` and `channels_last` (see `TrainerSettings`).
        candidates: Who trains; their names differ.
        seed: The block: an integer >= 0.
        start_epoch: Where the training goes on from; 0 for a fresh one. May be fractional.
        stop_epoch: Where it stops.
        eval_epochs: Where candidates are validated; at `stop_epoch` they are as well.
        state_in: By candidate's name, the file that an earlier job left; not given: a fresh start.
        state_dir: The folder in which survivors' states are left; None: nowhere.
        test: Whether the official test set is scored at the end. Such a job may stop where it starts, to
            score states that an earlier job left.
        screen: Whether candidates that cannot learn (see `screening`) are told instead of trained; only
            where the training starts.
        losses_from: Training losses count from this epoch on: the last point of an earlier job, where this one
            trains the same stretch again because a state is gone.
        measure_stop: Whether `stop_epoch` is a point as well. Where it is not, and there is no other, curves
            have losses, but no points.

    Raises:
        ConfigError: No candidate, one twice, or epochs that do not ascend from start to stop.
    """

    data: Mapping[str, Any]
    model: Mapping[str, Any]
    optimizer: Mapping[str, Any]
    trainer: Mapping[str, Any]
    candidates: tuple[Candidate, ...]
    seed: int
    start_epoch: float = 0.0
    stop_epoch: float = 1.0
    eval_epochs: tuple[float, ...] = ()
    state_in: Mapping[str, str] = field(default_factory=dict)
    state_dir: str | None = None
    test: bool = False
    screen: bool = False
    losses_from: float = 0.0
    measure_stop: bool = True

    def __post_init__(self) -> None:
        names = [candidate.name for candidate in self.candidates]
        if not names or len(set(names)) < len(names):
            raise ConfigError(f"a job must have candidates with distinct names, but got {names}")
        only_tests = self.test and self.start_epoch == self.stop_epoch
        if not (0 <= self.start_epoch < self.stop_epoch < math.inf or only_tests):
            raise ConfigError(
                f"stop_epoch must be finite and above start_epoch={self.start_epoch}, "
                f"but got {self.stop_epoch}"
            )
        outside = [
            epoch
            for epoch in self.eval_epochs
            if not self.start_epoch < epoch <= self.stop_epoch and not only_tests
        ]
        if outside:
            raise ConfigError(
                f"eval_epochs must be above {self.start_epoch} and at most {self.stop_epoch}, "
                f"but got {outside}"
            )
        unknown = sorted(set(self.state_in) - set(names))
        if unknown:
            raise ConfigError(f"state_in must name candidates of the job, but got {unknown}")
        if self.start_epoch > 0 and set(self.state_in) != set(names):
            missing = sorted(set(names) - set(self.state_in))
            raise ConfigError(
                f"a job that goes on from epoch {self.start_epoch} needs every candidate's state, "
                f"but state_in lacks {missing}"
            )

    @property
    def points(self) -> tuple[float, ...]:
        """The epochs at which candidates are validated, ascending."""
        end = (float(self.stop_epoch),) if self.measure_stop else ()
        return tuple(sorted({*map(float, self.eval_epochs), *end}))

    def to_json(self) -> dict[str, Any]:
        """The job as JSON has it; `from_json` reads it back as an equal job."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Job":
        """The job that `to_json` wrote."""
        return cls(
            **{
                **values,
                "candidates": tuple(Candidate(**entry) for entry in values["candidates"]),
                "eval_epochs": tuple(values["eval_epochs"]),
            }
        )


@dataclass(frozen=True)
class Point:
    """A candidate measured at one point of the budget.

    Attributes:
        epoch: As the job asked for it.
        step: Optimizer steps done.
        train_loss: Mean over the steps since the point before (or the job's start).
        val_loss: Mean cross-entropy (nats) over the validation images.
        val_accuracy: Share of them that is right, in [0, 1].
    """

    epoch: float
    step: int
    train_loss: float
    val_loss: float
    val_accuracy: float


@dataclass(frozen=True)
class Curve:
    """What became of one candidate in one block.

    Attributes:
        candidate: Its name.
        seed: The block.
        points: Its measurements in this job, ascending, all finite; none after a divergence.
        initial_loss: Training loss on the block's first batch, before any update.
        diverged: Whether its loss or its parameters ceased to be finite. That ends it; it is a
            result.
        diverged_at: The step (from 0) whose loss was not finite, or after which the parameters were
            not.
        test_accuracy: In [0, 1]; None unless the job asked for it and the candidate got to the end.
        test_loss: Mean cross-entropy (nats) over the test images; None likewise.
        state: The file with which a later job goes on; None where none was left.
        stopped: Why it was not trained at all; empty for all others.
        last_loss: Training loss on the last batch, before its update; None where nothing was trained.
    """

    candidate: str
    seed: int
    points: tuple[Point, ...]
    initial_loss: float
    diverged: bool = False
    diverged_at: int | None = None
    test_accuracy: float | None = None
    test_loss: float | None = None
    state: str | None = None
    stopped: str = ""
    last_loss: float | None = None


@dataclass(frozen=True)
class CohortResult:
    """What a job came to.

    Attributes:
        curves: One per candidate, in the job's order.
        wall_seconds: From the call to the answer, data and models included.
        cpu_seconds: Processor time over all processes that trained.
        engine: `loop` or `stacked`; `none` where nothing was trained.
        reason: Why this engine.
        device: What it ran on (`cpu`, `cuda:0`).
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
