"""What all candidates of a block share: the order of its batches and its random streams.

Everything here is a function of the block's seed and a position alone, so that a result depends
neither on which candidates train together, nor on how many processes work, nor on where a job was
cut in two.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from initsearch.digests import seed_of
from initsearch.errors import ConfigError


def derive_seed(purpose: str, *numbers: int) -> int:
    """A 63-bit seed for one purpose: distinct purposes and numbers give unrelated streams."""
    return seed_of(":".join([purpose, *map(str, numbers)])) >> 1


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Optimizer steps of one epoch; images that do not fill a batch wait for another epoch.

    Raises:
        ConfigError: A batch is larger than the training set.
    """
    if batch_size > images:
        raise ConfigError(
            f"optimizer.batch_size must be at most the {images} training images, "
            f"but got {batch_size}: lower optimizer.batch_size, or raise data.train_size"
        )
    return images // batch_size


def step_at(epoch: float, per_epoch: int) -> int:
    """Optimizer steps done at a (fractional) epoch, rounded up: any budget above zero is a step."""
    return math.ceil(epoch * per_epoch - 1e-6)


class BatchStream:
    """The batches of a stretch of a block's training, as indices into the data set.

    Iterating gives `(step, index)`: the number of the optimizer step, from 0 for the block's first,
    and the batch's images as int64 (batch_size,).

    Args:
        pool: int64 (N,), the block's training images, on the device where the images are.
        seed: The block's seed.
        batch_size: Images per batch.
        first: The first step.
        last: The step before which the stretch ends.
    """

    def __init__(self, pool: Tensor, seed: int, batch_size: int, first: int, last: int) -> None:
        self.pool = pool
        self.seed = seed
        self.batch_size = batch_size
        self.first = first
        self.last = last
        self.per_epoch = steps_per_epoch(len(pool), batch_size)

    def __len__(self) -> int:
        return self.last - self.first

    def __iter__(self) -> Iterator[tuple[int, Tensor]]:
        epoch, order = -1, self.pool
        for step in range(self.first, self.last):
            if step // self.per_epoch != epoch:
                epoch = step // self.per_epoch
                order = self.order(epoch)
            start = step % self.per_epoch * self.batch_size
            yield step, order[start : start + self.batch_size]

    def order(self, epoch: int) -> Tensor:
        """The training images in the order of an epoch: a function of the seed and the epoch."""
        # Drawn on the CPU whatever the device, so that a GPU sees the same batches.
        generator = torch.Generator().manual_seed(derive_seed("order", self.seed, epoch))
        return self.pool[torch.randperm(len(self.pool), generator=generator).to(self.pool.device)]
