"""What all candidates of a block share: its random streams and the order of its batches.

Everything here is a function of the block's seed and a position. A result therefore depends neither on which
candidates train together, nor on the number of processes, nor on where a training was interrupted.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from initsearch.digests import seed_of
from initsearch.errors import ConfigError


def derive_seed(purpose: str, *numbers: int) -> int:
    """A 63-bit seed for one purpose: distinct purposes and numbers give unrelated streams."""
    return seed_of(":".join([purpose, *map(str, numbers)])) >> 1


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """Optimizer steps of one epoch; examples that do not fill a batch are left out of that epoch.

    Raises:
        ConfigError: A batch is larger than the training set.
    """
    if batch_size > examples:
        raise ConfigError(
            f"optimizer.batch_size must be at most the {examples} training examples, "
            f"but got {batch_size}: lower optimizer.batch_size, or raise data.train_size"
        )
    return examples // batch_size


def step_at(epoch: float, per_epoch: int) -> int:
    """Optimizer steps done at a (fractional) epoch, rounded up: any budget above zero is a step."""
    return math.ceil(epoch * per_epoch - 1e-6)


def epoch_order(pool: Tensor, seed: int, epoch: int) -> Tensor:
    """The training examples in the order of an epoch: a function of the seed and the epoch.

    Args:
        pool: int64 (N,), the block's training examples as indices into the data set.
        seed: The block's seed.
        epoch: From 0.
    """
    # Drawn on the CPU whatever the device: a GPU sees the same batches.
    generator = torch.Generator().manual_seed(derive_seed("order", seed, epoch))
    return pool[torch.randperm(len(pool), generator=generator).to(pool.device)]


def batch_order(
    pool: Tensor, seed: int, batch_size: int, first: int, last: int
) -> Iterator[Tensor]:
    """The batches of optimizer steps `first` to `last - 1` of a block, as indices, int64 (batch_size,).

    Args:
        pool: int64 (N,), the block's training examples, on the device of the data.
        seed: The block's seed.
        batch_size: Examples per batch.
        first: The first step; the block's first is 0.
        last: The step before which to stop.
    """
    per_epoch = steps_per_epoch(len(pool), batch_size)
    epoch, order = -1, pool
    for step in range(first, last):
        if step // per_epoch != epoch:
            epoch = step // per_epoch
            order = epoch_order(pool, seed, epoch)
        start = step % per_epoch * batch_size
        yield order[start : start + batch_size]


@dataclass(frozen=True, eq=False, kw_only=True)
class IndexedBlock:
    """The part of a `Block` whose raw batches are indices into examples in memory, int64 (N,).

    Attributes:
        train: int64, which examples are trained on, on the device that trains.
        validation: int64, which are validated on, on the same device.
        seed: The block's seed.
        batch_size: Examples per step.
    """

    train: Tensor
    validation: Tensor
    seed: int
    batch_size: int

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of one epoch."""
        return steps_per_epoch(len(self.train), self.batch_size)

    def batches(self, first: int, last: int) -> Iterator[Tensor]:
        """The training batches of steps `first` to `last - 1`."""
        return batch_order(self.train, self.seed, self.batch_size, first, last)

    def example(self, size: int) -> Tensor:
        """The first `size` training examples."""
        return self.train[:size]

    def examples(self, size: int) -> Iterator[Tensor]:
        """All training examples once, in batches of `size` or a few more."""
        return iter(self.train.tensor_split(max(1, len(self.train) // size)))
