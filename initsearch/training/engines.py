"""How the members of a cohort take one step on one batch: the protocol and the plain loop."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from initsearch.errors import ModelError
from initsearch.tasks.data import ImageData
from initsearch.training.streams import derive_seed
from initsearch.training.trainer_settings import TrainerSettings


class Engine(Protocol):
    """Steps the living members of a cohort; members are known by their index in the cohort."""

    name: str
    living: list[int]

    def step(self, x: Tensor, y: Tensor, step: int) -> Tensor:
        """Train the living on one batch; returns their losses before the update, (living,)."""

    def drop(self, members: Sequence[int]) -> None:
        """Train these members no more."""

    def module(self, member: int) -> nn.Module:
        """A living member as a module, with its weights and buffers of now."""

    def optimizer_state(self, member: int) -> dict[str, Any]:
        """The `state_dict` of a living member's optimizer, as one of its own would have it."""


@dataclass(frozen=True)
class Ranks:
    """The processes that one training spreads over; as it stands, a single one.

    Attributes:
        rank: This process's number, from 0.
        world: How many there are.
        total: Sums a tensor over all of them.
    """

    rank: int = 0
    world: int = 1
    total: Callable[[Tensor], Tensor] = lambda values: values

    def share(self, index: Tensor) -> Tensor:
        """This process's part of a batch that all of them cut alike."""
        return index.tensor_split(self.world)[self.rank] if self.world > 1 else index


@dataclass(frozen=True)
class InputSettings:
    """How models take their input.

    Attributes:
        dtype: Floating type of the images, the models' own.
        channels_last: Whether images lie in channels-last order.
        bf16: Whether the forward pass runs in bfloat16 autocast.
    """

    dtype: torch.dtype = torch.float32
    channels_last: bool = False
    bf16: bool = False

    @classmethod
    def asked(cls, settings: TrainerSettings, dtype: torch.dtype) -> "InputSettings":
        """As a job's trainer has them, for models of a floating type."""
        return cls(dtype, settings.channels_last is True, settings.autocast == "bf16")

    def lay_out(self, model: nn.Module) -> None:
        """Put a model's convolutions into the order in which its images lie."""
        if self.channels_last:
            model.to(memory_format=torch.channels_last)

    def ready(self, data: ImageData, x: Tensor) -> Tensor:
        """Images (uint8, N, C, H, W), normalised on their device."""
        images = data.normalize(x, self.dtype)
        return (
            images.contiguous(memory_format=torch.channels_last) if self.channels_last else images
        )


def logits(model: Callable[[Tensor], Any], x: Tensor) -> Tensor:
    """A model's class scores, (images, classes), in float32 at least.

    Raises:
        ModelError: The model returns something else.
    """
    output = model(x)
    if not isinstance(output, Tensor) or output.ndim != 2:
        got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ModelError(
            f"the model must return class scores of shape (images, classes), "
            f"but got {got}: wrap the model in one that does"
        )
    return output.to(torch.promote_types(output.dtype, torch.float32))


def bf16_autocast(device: torch.device, enabled: bool) -> AbstractContextManager[Any]:
    """bfloat16 autocast on a device, or nothing."""
    return torch.autocast(device.type, torch.bfloat16) if enabled else nullcontext()


def reseed(device: torch.device, seed: int) -> None:
    """Set the generators from which dropout and the like draw on a device."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


class LoopEngine:
    """One member after another on the batch that is already there, each with its own optimizer.

    A member's trajectory is bit for bit that of a plain PyTorch loop over it alone.

    Args:
        members: The models, in training mode, on their device.
        optimizers: One per member.
        seed: The block's seed; dropout's stream is a function of it and the step.
        clip_norm: Largest Euclidean norm of one member's gradient; None: no clipping.
        bf16: Whether the forward pass runs in bfloat16.
        ranks: The processes over which the batch is spread; gradients are averaged over them by
            `backward`.
        backward: Runs the backward pass of a loss.
    """

    name = "loop"

    def __init__(
        self,
        members: Sequence[nn.Module],
        optimizers: Sequence[torch.optim.Optimizer],
        *,
        seed: int,
        clip_norm: float | None = None,
        bf16: bool = False,
        ranks: Ranks | None = None,
        backward: Callable[[Tensor], None] = Tensor.backward,
    ) -> None:
        self.members = members
        self.optimizers = optimizers
        self.seed = seed
        self.clip_norm = clip_norm
        self.bf16 = bf16
        self.ranks = ranks or Ranks()
        self.backward = backward
        self.living = list(range(len(members)))

    def step(self, x: Tensor, y: Tensor, step: int) -> Tensor:
        """Train every living member on this process's share of a batch."""
        noise = derive_seed("dropout", self.seed, step, self.ranks.rank)
        images = (
            self.ranks.total(torch.tensor(len(y), device=y.device))
            if self.ranks.world > 1
            else None
        )
        losses = [self._step(member, x, y, noise, images) for member in self.living]
        return self.ranks.total(torch.stack(losses)) / self.ranks.world

    def _step(self, member: int, x: Tensor, y: Tensor, noise: int, images: Tensor | None) -> Tensor:
        model, optimizer = self.members[member], self.optimizers[member]

        def closure() -> Tensor:
            reseed(x.device, noise)
            optimizer.zero_grad()
            with bf16_autocast(x.device, self.bf16):
                scores = logits(model, x)
            if images is None:
                loss = F.cross_entropy(scores, y)
            else:  # so that the average over processes is the mean over the whole batch
                loss = F.cross_entropy(scores, y, reduction="sum") * self.ranks.world / images
            self.backward(loss)
            if self.clip_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), self.clip_norm)
            return loss.detach()

        # Optimizers that ask for the loss more than once (LBFGS) return the one before the update
        # as well. torch types a closure's loss as float; it hands through whatever the closure
        # returns.
        loss: Any = optimizer.step(closure)  # type: ignore[arg-type]
        return torch.as_tensor(loss, device=x.device).detach()

    def drop(self, members: Sequence[int]) -> None:
        """Train these members no more."""
        self.living = [member for member in self.living if member not in members]

    def module(self, member: int) -> nn.Module:
        """The member itself."""
        return self.members[member]

    def optimizer_state(self, member: int) -> dict[str, Any]:
        """The `state_dict` of its optimizer."""
        return self.optimizers[member].state_dict()
