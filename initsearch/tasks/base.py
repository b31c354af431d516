"""The protocols of what is trained: `Task`, in its two kinds, and `Block`, one seed of a task.

Training and search know data, models and losses through these only. The search needs a `Task`. Candidates of
a `CohortTask` are trained side by side by an engine, on the batches of a `Block`, which all candidates of a
seed share. A `StandaloneTask` trains one candidate at a time by its own means and returns scores.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor, nn

from initsearch.layers import Slot
from initsearch.plan import InitPlan
from initsearch.tasks.optimizer import OptimizerSettings

#: What a task calls a batch: tensors, or nested tuples and mappings of them. Only the task looks inside.
Batch: TypeAlias = Any
#: The data that models are measured on.
EvaluationSet = Literal["validation", "test"]


@dataclass(frozen=True)
class Ranks:
    """The processes that share one training; by default a single one.

    Attributes:
        rank: This process's number, from 0.
        world: How many there are.
        total: Sums a tensor over all of them.
    """

    rank: int = 0
    world: int = 1
    total: Callable[[Tensor], Tensor] = lambda values: values

    def share(self, values: Tensor) -> Tensor:
        """This process's part of a tensor that all of them split along its first dimension."""
        return values.tensor_split(self.world)[self.rank] if self.world > 1 else values


@dataclass(frozen=True)
class BatchFormat:
    """How models take their batches; by default float32, contiguous, whole and on the CPU.

    Attributes:
        dtype: Floating type of the inputs, that of the models.
        channels_last: Whether images are in channels-last order.
        device: Where the batch goes.
        ranks: The processes that share the batch.
    """

    dtype: torch.dtype = torch.float32
    channels_last: bool = False
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    ranks: Ranks = field(default_factory=Ranks)


@dataclass(frozen=True)
class TaskInfo:
    """What is known of a task before anything is trained.

    Attributes:
        dataset: What records call the data that were found.
        requested: What they call the data that were asked for; differs where a fallback is used.
        contents: Identifies the data that were found: other data of the same name have another text here.
        sizes: Number of examples by part: `train`, `validation`, `test`; empty if unknown.
        guess: Scores of a model that has learned nothing, by name, with its `train_loss`; only those that
            are known.
        steps_per_epoch: Steps of a unit of the budget, at least 1. Budgets that round up to the same step are
            one budget.
        test_score: The name of the score that a verdict reports for the test set; None: there is no test set.
        test_higher_is_better: The direction of the score for the test set.
        messages: What the user should know about the data, a line each.
        scores: The names of all scores on the validation set; empty if they are not known.
    """

    dataset: str
    requested: str
    contents: str
    sizes: Mapping[str, int]
    guess: Mapping[str, float]
    steps_per_epoch: int
    test_score: str | None
    messages: tuple[str, ...] = ()
    test_higher_is_better: bool = True
    scores: tuple[str, ...] = ()


class Block(Protocol):
    """One seed of a task on one device: its training batches in their order, and what to validate on.

    A batch is raw when it is drawn (indices, say, or what a data loader gives) and ready when a model can
    take it: `ready` makes it so once for all members of a cohort.
    """

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of one epoch, at least 1."""

    def batches(self, first: int, last: int) -> Iterator[Batch]:
        """The raw training batches of steps `first` to `last - 1`: a function of seed and step alone."""

    def ready(self, batch: Batch, form: BatchFormat) -> Batch:
        """A raw batch as models take it."""

    def example(self, size: int) -> Batch:
        """The first `size` training examples (all, if there are fewer), as one raw batch."""

    def examples(self, size: int) -> Iterator[Batch]:
        """All training examples once, in raw batches of `size` or a few more examples."""

    def measure(
        self, models: Sequence[nn.Module], part: EvaluationSet, form: BatchFormat
    ) -> list[dict[str, float]]:
        """The named scores of each model (`val_accuracy`, `test_loss`, ...), over all of `form.ranks`.

        Args:
            models: In evaluation mode; called without gradients and under the trainer's autocast.
            part: What to measure on.
            form: How the models take their batches.
        """


@runtime_checkable
class LabelledBlock(Protocol):
    """A `Block` whose targets are known, for plans that need them (`class_prior`)."""

    def targets(self) -> Tensor:
        """The targets of all training examples: classes, rows of labels, or numbers."""


@runtime_checkable
class Task(Protocol):
    """What is trained: a frozen description. To train in several processes, it must be picklable."""

    @property
    def lr(self) -> float | None:
        """Learning rate of candidates whose space has none; None: the task does not take one."""

    def key(self) -> dict[str, Any]:
        """Plain data that determine every result of the task, given a candidate and a seed."""

    def info(self) -> TaskInfo:
        """What is known before anything is trained; finds the data, and downloads them if allowed.

        Raises:
            ConfigError: A setting does not fit the data.
            DataError: The data are missing or damaged.
        """

    def pinned(self) -> "Task":
        """The task for workers: the data that were found here, without any download."""

    def slots(self) -> list[Slot]:
        """The parameters that a plan can fill; empty if they are not known.

        Raises:
            ModelError: The model cannot be built, or does not fit the data.
        """


@runtime_checkable
class StandaloneTask(Task, Protocol):
    """A task that trains a candidate by its own means."""

    def train(self, plan: InitPlan, seed: int, budgets: Sequence[float]) -> list["Measured"]:
        """Train one candidate on one seed from the start, and measure it.

        Args:
            plan: The candidate.
            seed: The block: all that is random and not the plan must be a function of it.
            budgets: Where scores are wanted, ascending; the training stops at the last one.

        Returns:
            The measurements, ascending. Only the one at the last budget is required. A score that is not
            finite says that the candidate diverged.

        Raises:
            Exception: The candidate cannot be trained. It counts as failed, and the search continues.
        """


@runtime_checkable
class TogetherTask(StandaloneTask, Protocol):
    """A standalone task that trains several candidates of one seed in one call, at rates of their own."""

    def train_together(
        self, entries: Sequence["Entry"], seed: int, budgets: Sequence[float]
    ) -> "Trained":
        """Train candidates as `train` trains each alone, and measure them.

        Args:
            entries: The candidates, at least one.
            seed: As in `train`.
            budgets: As in `train`.

        Raises:
            Exception: One of the candidates cannot be trained. Each is then trained alone.
        """

    def test(self, entry: "Entry", seed: int, budget: float) -> Mapping[str, float]:
        """The scores of a trained candidate on the test set, by name; `TaskInfo.test_score` is among them.

        Args:
            entry: The candidate; it is trained again if nothing of it was kept.
            seed: The seed that it was trained on.
            budget: How long it was trained.

        Raises:
            Exception: It cannot be tested.
        """


@dataclass(frozen=True)
class Entry:
    """A candidate, as a `TogetherTask` is asked to train or to test it.

    Attributes:
        plan: Its plan.
        lr: Its learning rate; None: that of the task.
        kept: The file for what a later test needs; None: nothing is kept.
    """

    plan: InitPlan
    lr: float | None = None
    kept: str | None = None


@dataclass(frozen=True)
class Measured:
    """What a `StandaloneTask` measured at one point of the budget.

    Attributes:
        budget: The point.
        scores: By name; the metric of the study is among them.
        train_loss: Mean training loss since the point before; NaN if unknown.
    """

    budget: float
    scores: Mapping[str, float]
    train_loss: float = math.nan


@dataclass(frozen=True)
class Trained:
    """What a `TogetherTask` has trained.

    Attributes:
        measured: What `train` would return for each candidate.
        engine: How they were trained, in the task's own words.
        reason: Why so.
    """

    measured: Sequence[list[Measured]]
    engine: str
    reason: str


class CohortTask(Task, Protocol):
    """A task whose candidates are trained side by side, by an engine."""

    @property
    def optimizer(self) -> OptimizerSettings:
        """The optimizer of every candidate; each has its own learning rate."""

    def build_model(self) -> nn.Module:
        """A new model on the CPU, its weights drawn by its framework from the global generator.

        Raises:
            ModelError: It cannot be built, or does not fit the data.
        """

    def open(self, seed: int, device: torch.device) -> Block:
        """The batches of one seed; opening it again in the same process is cheap.

        Args:
            seed: The block's seed, at least 0.
            device: Where the training runs.
        """

    def example_inputs(self) -> Any:
        """Inputs of two examples, ready for the model on the CPU: enough to trace it."""

    def inputs(self, batch: Batch) -> Any:
        """What the model's `forward` takes of a ready batch."""

    def count(self, batch: Batch) -> int:
        """Number of examples in a ready batch."""

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """The mean training loss of a model over a ready batch, with gradients.

        It is called under the trainer's autocast, and by the stacked engine under `torch.func.vmap` over the
        model's parameters and buffers.

        Raises:
            ModelError: The model returns something the loss cannot take.
        """
