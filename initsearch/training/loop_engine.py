"""The loop engine: a cohort's members step one after another on a batch that is prepared once."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from initsearch.errors import ConfigError
from initsearch.tasks.base import Batch, CohortTask, Ranks
from initsearch.tasks.streams import derive_seed
from initsearch.training.engine_protocol import bf16_autocast, reseed


class LoopEngine:
    """One member after another on the same batch, each with its own optimizer.

    A member's trajectory is bit for bit that of a plain PyTorch loop over it alone.

    Args:
        members: The models, in training mode, on their device.
        optimizers: One per member.
        task: Gives the loss and the gradient clipping.
        seed: The block's seed; dropout's stream is a function of it and the step.
        bf16: Whether the forward pass runs in bfloat16.
        ranks: The processes that share each batch; `backward` averages gradients over them.
        backward: Runs the backward pass of a loss.
    """

    name = "loop"

    def __init__(
        self,
        members: Sequence[nn.Module],
        optimizers: Sequence[torch.optim.Optimizer],
        task: CohortTask,
        *,
        seed: int,
        bf16: bool = False,
        ranks: Ranks | None = None,
        backward: Callable[[Tensor], None] = Tensor.backward,
    ) -> None:
        self.members = members
        self.optimizers = optimizers
        self.task = task
        self.seed = seed
        self.bf16 = bf16
        self.ranks = ranks or Ranks()
        self.backward = backward
        self.living = list(range(len(members)))
        self._device = next(members[0].parameters()).device
        self._clip_norm = task.optimizer.clip_norm

    def step(self, batch: Batch, step: int) -> Tensor:
        """Train every living member on this process's share of a batch."""
        noise = derive_seed("dropout", self.seed, step, self.ranks.rank)
        weight = self._weight(batch) if self.ranks.world > 1 else None
        losses = [self._step(member, batch, noise, weight) for member in self.living]
        return self.ranks.total(torch.stack(losses)) / self.ranks.world

    def _weight(self, batch: Batch) -> Tensor:
        """By what to multiply a share's mean loss: the average over processes is then the batch's mean."""
        count = self.task.count(batch)
        if count == 0:
            raise ConfigError(
                f"optimizer.batch_size must be at least {self.ranks.world}, an example for each process, "
                "but a process got none: raise optimizer.batch_size, or lower trainer.devices"
            )
        total = self.ranks.total(torch.tensor(count, device=self._device))
        return count * self.ranks.world / total

    def _step(self, member: int, batch: Batch, noise: int, weight: Tensor | None) -> Tensor:
        model, optimizer = self.members[member], self.optimizers[member]

        def closure() -> Tensor:
            reseed(self._device, noise)
            optimizer.zero_grad()
            with bf16_autocast(self._device, self.bf16):
                loss = self.task.loss(model, batch)
            if weight is not None:
                loss = loss * weight
            self.backward(loss)
            if self._clip_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), self._clip_norm)
            return loss.detach()

        # Optimizers that ask for the loss more than once (LBFGS) also return the one before the update.
        # torch types a closure's loss as float, but returns whatever the closure returned.
        loss: Any = optimizer.step(closure)  # type: ignore[arg-type]
        return torch.as_tensor(loss, device=self._device).detach()

    def groups(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """The groups of each living member's optimizer."""
        for member in self.living:
            for group in self.optimizers[member].param_groups:
                yield member, group

    def drop(self, members: Sequence[int]) -> None:
        """Stop training these members."""
        self.living = [member for member in self.living if member not in members]

    def module(self, member: int) -> nn.Module:
        """The member itself."""
        return self.members[member]

    def optimizer_state(self, member: int) -> dict[str, Any]:
        """The `state_dict` of its optimizer."""
        return self.optimizers[member].state_dict()
