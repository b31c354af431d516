"""`SupervisedTask`: examples in memory, a model, a loss and scores: tables, text, sequences, functions."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from initsearch.errors import ConfigError, ModelError
from initsearch.layers import Slot, describe
from initsearch.tasks.base import BatchFormat, EvaluationSet, TaskInfo
from initsearch.tasks.data.examples import (
    Examples,
    ExampleSettings,
    example_counts,
    split_examples,
)
from initsearch.tasks.measuring import PREFIXES, score_name, whole_outputs
from initsearch.tasks.models import ModelSettings, build_model
from initsearch.tasks.objective import Objective, TargetScale
from initsearch.tasks.optimizer import OptimizerSettings
from initsearch.tasks.streams import IndexedBlock, steps_per_epoch

#: Scores of which less is better.
ERRORS = ("bits_per_token", "loss", "mse", "rmse")

#: Inputs and targets.
Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class SupervisedTask:
    """Learn targets from inputs; a `CohortTask`.

    What a target is, a class, a class at each position (tokens) or numbers, follows from the data, and the
    loss and the scores follow from that; see `Objective`. Scores are named `val_rmse`, `test_accuracy`, ...

    Attributes:
        data: Which examples.
        model: Which architecture.
        optimizer: The optimizer, with the batch size.
        loss_name: The training loss; see `Objective`.
        extra_score: The dotted path of a further score; see `Objective`.
    """

    data: ExampleSettings
    model: ModelSettings
    optimizer: OptimizerSettings
    loss_name: str = "auto"
    extra_score: str | None = None

    @property
    def lr(self) -> float:
        """The optimizer's learning rate."""
        return self.optimizer.lr

    @property
    def main_metric(self) -> str:
        """The metric for candidates of this task, where none is asked for."""
        return f"val_{self.examples.main}"

    @property
    def examples(self) -> Examples:
        """The data set."""
        return _load(self.data)

    @cached_property
    def objective(self) -> Objective:
        """The loss and the scores."""
        return Objective(self.examples.kind, self.loss_name, self.extra_score)

    def key(self) -> dict[str, Any]:
        """Plain data that determine every result of the task, given a candidate and a seed."""
        return {
            "data": self.data.key(),
            "model": self.model.key(),
            "optimizer": self.optimizer.key(),
            "objective": [self.loss_name, self.extra_score],
        }

    def info(self) -> TaskInfo:
        """The data set, its sizes, and what an answer that ignores the input scores."""
        data, objective = self.examples, self.objective
        train, val = example_counts(data, self.data)
        guess = objective.guess(data.y, data.outputs)
        named = {f"val_{name}": value for name, value in guess.items()}
        return TaskInfo(
            dataset=data.name,
            requested=data.name,
            contents=data.contents,
            sizes={"train": train, "validation": val, "test": len(data.test_y)},
            guess=named | ({"train_loss": guess["loss"]} if "loss" in guess else {}),
            steps_per_epoch=steps_per_epoch(train, self.optimizer.batch_size),
            test_score=f"test_{data.main}",
            test_higher_is_better=data.main not in ERRORS,
            scores=tuple(score_name("val", name) for name in objective.names),
        )

    def pinned(self) -> "SupervisedTask":
        """The task itself: nothing of it is downloaded."""
        return self

    def build_model(self) -> nn.Module:
        """A new model for examples of this shape."""
        data = self.examples
        places = tuple(data.y.shape[1:]) if data.kind == "tokens" else ()
        return build_model(self.model, data.input_shape, data.outputs, data.x.dtype, places)

    def slots(self) -> list[Slot]:
        """The parameters of the model."""
        return describe(self.build_model(), self.example_inputs())

    def open(self, seed: int, device: torch.device) -> "SupervisedBlock":
        """The examples on a device, with the split that a seed draws, standardised by its training part."""
        if seed < 0:
            raise ConfigError(f"seed must be an integer >= 0, but got {seed}: give seed=0 or more")
        return _open(self.data, self.objective, seed, self.optimizer.batch_size, device)

    def example_inputs(self) -> Tensor:
        """The inputs of two examples."""
        block = self.open(0, torch.device("cpu"))
        return block.ready(block.example(2), BatchFormat())[0]

    def inputs(self, batch: Pair) -> Tensor:
        """The inputs."""
        return batch[0]

    def count(self, batch: Pair) -> int:
        """Number of examples."""
        return len(batch[1])

    def loss(self, model: nn.Module, batch: Pair) -> Tensor:
        """The mean loss of a batch."""
        x, y = batch
        return self.objective.loss_of(outputs_of(model, x), y)


@dataclass(frozen=True, eq=False, kw_only=True)
class SupervisedBlock(IndexedBlock):
    """One seed's examples; a `Block`. A raw batch is indices into the examples, int64 (N,).

    Attributes:
        x: All inputs but the test set's, standardised if the data ask for it, on the device that trains.
        y: Their targets; numbers are standardised.
        test_x: The test set's inputs, treated alike.
        test_y: Its targets.
        scale: How targets were standardised.
        objective: Gives the scores.
    """

    x: Tensor
    y: Tensor
    test_x: Tensor
    test_y: Tensor
    scale: TargetScale
    objective: Objective

    def ready(self, batch: Tensor, form: BatchFormat) -> Pair:
        """Inputs with their targets, this process's share of a batch."""
        index = form.ranks.share(batch)
        return _as(self.x[index], form), _as(self.y[index], form)

    def targets(self) -> Tensor:
        """The target of each training example, as in `y`."""
        return self.y[self.train]

    def measure(
        self, models: Sequence[nn.Module], part: EvaluationSet, form: BatchFormat
    ) -> list[dict[str, float]]:
        """The named scores of each model over a whole part of the data."""
        x, y = (self.x, self.y) if part == "validation" else (self.test_x, self.test_y)
        pool = self.validation if part == "validation" else torch.arange(len(x), device=x.device)
        target = _as(y[pool], form)
        outputs = whole_outputs(models, pool, lambda i: _as(x[i], form), outputs_of, form.ranks)
        scores = []
        for output in outputs:
            found = self.objective.scores(output, target, self.scale)
            scores.append({score_name(PREFIXES[part], key): v for key, v in found.items()})
        return scores


def outputs_of(model: nn.Module, x: Tensor) -> Tensor:
    """What a model returns, in float32 at least.

    Raises:
        ModelError: It is no tensor.
    """
    output = model(x)
    if not isinstance(output, Tensor):
        raise ModelError(
            f"the model must return a tensor, but returned {type(output).__name__}: wrap the model in one "
            "that does"
        )
    return output.to(torch.promote_types(output.dtype, torch.float32))


def _as(values: Tensor, form: BatchFormat) -> Tensor:
    """Numbers in the models' type; classes and tokens as they are."""
    dtype = form.dtype if values.is_floating_point() else values.dtype
    order = torch.contiguous_format
    if form.channels_last and values.ndim == 4:
        order = torch.channels_last
    return values.to(form.device, dtype).contiguous(memory_format=order)


# A process trains many jobs on one data set, and several candidates on the same block.
@lru_cache(maxsize=2)
def _load(settings: ExampleSettings) -> Examples:
    return settings.load()


@lru_cache(maxsize=8)
def _open(
    settings: ExampleSettings,
    objective: Objective,
    seed: int,
    batch_size: int,
    device: torch.device,
) -> SupervisedBlock:
    data = _load(settings)
    parts = split_examples(data, settings, seed)
    x, test_x, y, test_y = data.x, data.test_x, data.y, data.test_y
    if data.standardize:
        mean, std = _moments(x[parts.train])
        x, test_x = ((values.double() - mean) / std for values in (x, test_x))
    scale = TargetScale(torch.ones(1, dtype=torch.float64), 1.0)
    if data.kind == "numbers":
        mean, std = _moments(y[parts.train])
        y, test_y = ((values.double() - mean) / std for values in (y, test_y))
        scale = TargetScale(std, float(data.y.max() - data.y.min()))
    return SupervisedBlock(
        x=x.to(device),
        y=y.to(device),
        test_x=test_x.to(device),
        test_y=test_y.to(device),
        scale=scale,
        train=parts.train.to(device),
        validation=parts.val.to(device),
        objective=objective,
        seed=seed,
        batch_size=batch_size,
    )


def _moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each column, float64; a constant column is only shifted."""
    values = values.double()
    std = values.std(dim=0, correction=0)
    return values.mean(dim=0), torch.where(std > 0, std, 1.0)
