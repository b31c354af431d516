"""The stacked engine: a cohort's members side by side in one tensor per parameter (`torch.func`)."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from initsearch.random_state import isolated_random_state
from initsearch.tasks.base import Batch, CohortTask
from initsearch.tasks.streams import derive_seed
from initsearch.training.engine_protocol import bf16_autocast, reseed

# Entries of an optimizer's state that are one number for the whole parameter; all others have the parameter's
# shape and belong to its elements.
SCALARS = ("step", "mu_product")


class _TrainingLoss(nn.Module):
    """The training loss as a module: `functional_call` gives the model inside it a member's tensors."""

    def __init__(self, model: nn.Module, task: CohortTask) -> None:
        super().__init__()
        self.model = model
        self.task = task

    def forward(self, batch: Batch) -> Tensor:
        return self.task.loss(self.model, batch)


def _stack(models: Sequence[nn.Module]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The parameters and buffers of some models, stacked, by their names in `_TrainingLoss`."""
    parameters, buffers = stack_module_state(list(models))
    return (
        {f"model.{name}": stacked for name, stacked in parameters.items()},
        {f"model.{name}": stacked for name, stacked in buffers.items()},
    )


class StackedEngine:
    """All members in one forward and backward pass, batched over parameters and buffers.

    Every operation of the pass, and of the optimizer, treats each member by itself. Trajectories are
    those of the loop except for the rounding of batched kernels: equal to 1e-10 in float64 over tens of
    steps.

    Members are in the order of their learning rates; those that share one form a slice, which is a
    parameter group of the optimizer.

    Args:
        members: The models, in training mode, on their device, all of one architecture.
        rates: Each one's learning rate.
        task: Gives the loss and the optimizer, which must be elementwise.
        states: For each member, the `state_dict` of the optimizer from which it resumes, or None.
        seed: The block's seed; dropout's stream is a function of it and the step.
        bf16: Whether the forward pass runs in bfloat16.
    """

    name = "stacked"

    def __init__(
        self,
        members: Sequence[nn.Module],
        rates: Sequence[float],
        task: CohortTask,
        states: Sequence[Mapping[str, Any] | None],
        *,
        seed: int,
        bf16: bool = False,
    ) -> None:
        self.members = members
        self.rates = rates
        self.task = task
        self.seed = seed
        self.bf16 = bf16
        self._device = next(members[0].parameters()).device
        self._loss = _TrainingLoss(members[0], task)
        self.living = sorted(range(len(members)), key=lambda member: rates[member])
        self._lay_out([states[member] for member in self.living])

    def _lay_out(self, states: Sequence[Mapping[str, Any] | None]) -> None:
        """Stack the tensors of the living, from their modules and these optimizer states."""
        self._parameters, self._buffers = _stack([self.members[member] for member in self.living])
        self._leaves = [leaf for leaf in self._parameters.values() if leaf.requires_grad]
        self._slices: list[slice] = []
        groups: list[dict[str, Any]] = []
        start = 0
        for rate, sharing in groupby(self.living, key=lambda member: self.rates[member]):
            stop = start + len(list(sharing))
            self._slices.append(slice(start, stop))
            # Views: the optimizer updates the stacked tensors in place.
            groups.append(
                {"params": [leaf.detach()[start:stop] for leaf in self._leaves], "lr": rate}
            )
            start = stop
        self.optimizer = self.task.optimizer.build(groups, self.rates[self.living[0]])
        numbers = self._numbers()
        for filled, rows in zip(self.optimizer.param_groups, self._slices, strict=True):
            for number, view in zip(numbers, filled["params"], strict=True):
                entries = [
                    state["state"].get(number) for state in states[rows] if state is not None
                ]
                if entries and entries[0] is not None:
                    self.optimizer.state[view] = {
                        key: torch.stack([entry[key] for entry in entries]).to(view)
                        if isinstance(value, Tensor) and key not in SCALARS
                        else value
                        for key, value in entries[0].items()
                    }

    def _numbers(self) -> list[int]:
        """The number that an optimizer of one member gives to each trained parameter."""
        parameters = self.members[0].parameters()
        return [number for number, p in enumerate(parameters) if p.requires_grad]

    def step(self, batch: Batch, step: int) -> Tensor:
        """Train every living member on one batch."""

        def loss_of(parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
            with bf16_autocast(self._device, self.bf16):
                loss: Tensor = functional_call(self._loss, (parameters, buffers), (batch,))
            return loss

        reseed(self._device, derive_seed("dropout", self.seed, step, 0))
        losses = vmap(loss_of, randomness="same")(self._parameters, self._buffers)
        # The sum: each member's gradient is that of its own loss. A parameter on which no loss depends
        # has no gradient, and the optimizer leaves it alone, as in a plain loop.
        gradients: Sequence[Tensor | None] = torch.autograd.grad(
            losses.sum(), self._leaves, allow_unused=True
        )
        clip_norm = self.task.optimizer.clip_norm
        if clip_norm is not None:
            gradients = _clip(gradients, clip_norm)
        for group, rows in zip(self.optimizer.param_groups, self._slices, strict=True):
            for view, gradient in zip(group["params"], gradients, strict=True):
                view.grad = None if gradient is None else gradient[rows]
        self.optimizer.step()
        return losses.detach()

    def groups(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """The optimizer's groups, one for each learning rate, with the first member of each."""
        for group, rows in zip(self.optimizer.param_groups, self._slices, strict=True):
            yield self.living[rows.start], group

    def drop(self, members: Sequence[int]) -> None:
        """Stop training these members; the others are stacked again."""
        rest = [member for member in self.living if member not in members]
        states = [self.optimizer_state(member) for member in rest]
        for member in rest:
            self.module(member)
        self.living = rest
        if rest:
            self._lay_out(states)

    @torch.no_grad()
    def module(self, member: int) -> nn.Module:
        """The member's own module, with its current weights and buffers copied into it."""
        row, model = self.living.index(member), self.members[member]
        for name, stacked in self._parameters.items():
            model.get_parameter(name.removeprefix("model.")).copy_(stacked[row])
        for name, stacked in self._buffers.items():
            model.get_buffer(name.removeprefix("model.")).copy_(stacked[row])
        return model

    def optimizer_state(self, member: int) -> dict[str, Any]:
        """The `state_dict` that an optimizer for this member alone would have."""
        row = self.living.index(member)
        place = next(i for i, rows in enumerate(self._slices) if rows.start <= row < rows.stop)
        views = self.optimizer.param_groups[place]["params"]
        row -= self._slices[place].start
        alone = self.task.optimizer.build(self.members[member].parameters(), self.rates[member])
        state = alone.state_dict()
        for number, view in zip(self._numbers(), views, strict=True):
            if view in self.optimizer.state:
                state["state"][number] = {
                    key: value[row].clone()
                    if isinstance(value, Tensor) and key not in SCALARS
                    else value
                    for key, value in self.optimizer.state[view].items()
                }
        return state


def _clip(gradients: Sequence[Tensor | None], norm: float) -> tuple[Tensor | None, ...]:
    """Scale each member's gradient to a Euclidean norm of at most `norm`, as torch does for one model."""
    norms = [g.reshape(len(g), -1).norm(dim=1) for g in gradients if g is not None]
    factor = (norm / (torch.stack(norms).norm(dim=0) + 1e-6)).clamp(max=1.0)
    return tuple(None if g is None else g * factor.view(-1, *[1] * (g.ndim - 1)) for g in gradients)


def why_not_stacked(members: Sequence[nn.Module], task: CohortTask, batch: Batch) -> str | None:
    """Why these members cannot be stacked, in words; None if they can.

    Args:
        members: Models of one architecture, in training mode; left as they are.
        task: Gives the loss and the optimizer.
        batch: A few examples, ready for the models.

    Raises:
        ModelError: The model returns something the loss cannot take.
    """
    if not task.optimizer.elementwise:
        return f"the optimizer {task.optimizer.name} is not known to be elementwise"
    device = next(members[0].parameters()).device
    loss = _TrainingLoss(members[0], task)
    try:
        parameters, buffers = _stack(members[:2])
        with torch.no_grad(), isolated_random_state(devices=[device]):
            vmap(lambda p, b: functional_call(loss, (p, b), (batch,)), randomness="same")(
                parameters, buffers
            )
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:200]
        return f"torch.func cannot batch {type(members[0]).__name__} over members ({reason})"
    return None
