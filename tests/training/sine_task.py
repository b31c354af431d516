"""A task that is no image classification: a sine, by mean squared error, on batches that are mappings."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from initsearch.layers import Slot, describe
from initsearch.tasks import (
    BatchFormat,
    EvaluationSet,
    OptimizerSettings,
    TaskInfo,
    derive_seed,
)
from initsearch.tasks.streams import batch_order

Sines = Mapping[str, Tensor]
SIZE, BATCH_SIZE, PARTS = 96, 16, ("train", "validation", "test")


def sines(part: str, seed: int) -> Sines:
    generator = torch.Generator().manual_seed(derive_seed(part, seed))
    x = torch.rand(SIZE, 1, generator=generator, dtype=torch.float32) * 6 - 3
    return {"x": x, "y": torch.sin(x)}


SGD = OptimizerSettings(name="sgd", batch_size=BATCH_SIZE)


@dataclass(frozen=True)
class SineTask:
    optimizer: OptimizerSettings = SGD
    width: int = 8

    @property
    def lr(self) -> float:
        return self.optimizer.lr

    def key(self) -> dict[str, Any]:
        return {"sine": self.width, "optimizer": self.optimizer.key()}

    def info(self) -> TaskInfo:
        return TaskInfo(
            dataset="sine",
            requested="sine",
            contents="sine",
            sizes=dict.fromkeys(PARTS, SIZE),
            guess={},
            steps_per_epoch=SIZE // self.optimizer.batch_size,
            test_score="test_mse",
        )

    def pinned(self) -> "SineTask":
        return self

    def slots(self) -> list[Slot]:
        return describe(self.build_model(), self.example_inputs())

    def build_model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(1, self.width), nn.Tanh(), nn.Linear(self.width, 1))

    def open(self, seed: int, device: torch.device) -> "SineBlock":
        return SineBlock(seed, self.optimizer.batch_size)

    def example_inputs(self) -> Tensor:
        return sines("train", 0)["x"][:2]

    def inputs(self, batch: Sines) -> Tensor:
        return batch["x"]

    def count(self, batch: Sines) -> int:
        return len(batch["x"])

    def loss(self, model: nn.Module, batch: Sines) -> Tensor:
        return F.mse_loss(model(batch["x"]), batch["y"])


@dataclass(frozen=True)
class SineBlock:
    seed: int
    batch_size: int

    @property
    def steps_per_epoch(self) -> int:
        return SIZE // self.batch_size

    def batches(self, first: int, last: int) -> Iterator[Sines]:
        for index in batch_order(torch.arange(SIZE), self.seed, self.batch_size, first, last):
            yield {key: values[index] for key, values in sines("train", self.seed).items()}

    def ready(self, batch: Sines, form: BatchFormat) -> Sines:
        return {key: values.to(form.device, form.dtype) for key, values in batch.items()}

    def example(self, size: int) -> Sines:
        return {key: values[:size] for key, values in sines("train", self.seed).items()}

    def examples(self, size: int) -> Iterator[Sines]:
        yield sines("train", self.seed)

    def measure(
        self, models: Sequence[nn.Module], part: EvaluationSet, form: BatchFormat
    ) -> list[dict[str, float]]:
        batch = self.ready(sines(part, self.seed), form)
        return [
            {f"{part}_mse": float((model(batch["x"]) - batch["y"]).square().mean())}
            for model in models
        ]
