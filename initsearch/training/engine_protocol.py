"""`Engine`, the protocol of what trains a cohort step by step, and what all engines share."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from initsearch.tasks.base import Batch


class Engine(Protocol):
    """Steps the living members of a cohort; a member is known by its index in the cohort."""

    name: str
    living: list[int]

    def step(self, batch: Batch, step: int) -> Tensor:
        """Train the living on one ready batch; returns their losses before the update, (living,)."""

    def groups(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """The groups of parameters that the optimizers of the living have, each with a member that it trains.

        Members that share a group have one learning rate. What is set in a group holds from the next step on.
        """

    def drop(self, members: Sequence[int]) -> None:
        """Stop training these members."""

    def module(self, member: int) -> nn.Module:
        """A living member as a module, with its current weights and buffers."""

    def optimizer_state(self, member: int) -> dict[str, Any]:
        """The `state_dict` of a living member's optimizer, as an optimizer for it alone would have it."""


def bf16_autocast(device: torch.device, enabled: bool) -> AbstractContextManager[Any]:
    """bfloat16 autocast on a device, or nothing."""
    return torch.autocast(device.type, torch.bfloat16) if enabled else nullcontext()


def reseed(device: torch.device, seed: int) -> None:
    """Set the generators from which dropout and the like draw on a device."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
