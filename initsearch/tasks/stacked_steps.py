"""`StackedSteps`: the training steps of fits in lockstep, as one forward and backward pass (`torch.func`).

A fit gets the loss, the gradients, the buffers and the logged values of its own module. Optimizer, schedule,
clipping, accumulation, callbacks and validation are its own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from initsearch.errors import shortened
from initsearch.tasks.lockstep import Lockstep
from initsearch.tasks.recorded_calls import Call, recorded, repeat

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

#: Where `_Step` has the module.
PREFIX = "module."


class NotStackedError(Exception):
    """A training step cannot be made for several modules at once; the message says why, in one line."""


@dataclass(frozen=True)
class _Waiting:
    """A fit that waits for its training step.

    Attributes:
        kind: Which step it is.
        module: Its module.
        args: The arguments of `training_step`.
    """

    kind: object
    module: "LightningModule"
    args: tuple[Any, ...]


class _Step(nn.Module):
    """A training step as a forward pass, to which `functional_call` gives the tensors of any module."""

    def __init__(self, module: "LightningModule") -> None:
        super().__init__()
        self.module: Any = module

    def forward(self, kept: Sequence[str], *args: Any) -> tuple[Any, list[Call], dict[str, Tensor]]:
        """What the step returns, what it logs, and what the tensors `kept` are afterwards."""
        with recorded(self.module) as calls:
            output = self.module.training_step(*args)
        after = {**dict(self.module.named_parameters()), **dict(self.module.named_buffers())}
        return output, calls, {name: after[name] for name in kept}


class _Loss(torch.autograd.Function):
    """A loss whose gradients are known."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, gradients: Sequence[Tensor | None], *_: Tensor) -> Tensor:
        ctx.gradients = gradients
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, factor: Tensor) -> tuple[Tensor | None, ...]:
        scale = factor.reshape(())
        return None, None, *(None if g is None else g * scale for g in ctx.gradients)


@dataclass(frozen=True)
class _Made:
    """The steps of several fits.

    Attributes:
        rows: The row of each fit in the tensors below.
        held: The parameters and buffers of each row's own module.
        gradients: By the names of the parameters that are trained; None where no loss depends on one.
        kept: Buffers and frozen parameters after the step.
        losses: One of each row.
        tensors: Those in what the step returned and logged.
        others: What else is in it, with `Tensor` in the place of each tensor.
        spec: Its structure.
    """

    rows: dict[int, int]
    held: list[dict[str, Tensor]]
    gradients: dict[str, Tensor | None]
    kept: dict[str, Tensor]
    losses: Tensor
    tensors: list[Tensor]
    others: list[Any]
    spec: TreeSpec

    def give(self, member: int, module: "LightningModule") -> Any:
        """Bring a fit's module to the end of its step; returns what `training_step` returns."""
        row = self.rows[member]
        with torch.no_grad():
            for name, value in self.kept.items():
                self.held[row][name].copy_(value[row])
        tensors = iter(self.tensors)
        leaves = [next(tensors)[row] if leaf is Tensor else leaf for leaf in self.others]
        output, calls = tree_unflatten(leaves, self.spec)
        repeat(module, [Call(*call) for call in calls])
        gradients = [None if g is None else g[row] for g in self.gradients.values()]
        parameters = [self.held[row][name] for name in self.gradients]
        loss = _Loss.apply(self.losses[row], gradients, *parameters)
        return loss if isinstance(output, Tensor) else {**output, "loss": loss}


class StackedSteps:
    """Makes the training steps of several fits at once.

    Dropout draws the mask that each fit alone would draw. Each operation treats each module by itself, so that
    losses and gradients are those of the fits alone up to rounding.

    Args:
        lockstep: The fits.
    """

    def __init__(self, lockstep: Callable[[], Lockstep[Any]]) -> None:
        self._lockstep = lockstep
        self._waiting: dict[int, _Waiting] = {}

    def attach(self, trainer: "Trainer") -> None:
        """Take over the training steps of a fit that has not begun."""
        strategy = trainer.strategy
        vars(strategy)["training_step"] = partial(self._step, trainer, strategy.training_step)

    def _step(self, trainer: Any, alone: Callable[..., Any], *args: Any) -> Any:
        steps, module = self._lockstep(), trainer.lightning_module
        if steps.is_aside:
            return alone(*args)
        kind = ("the training step of batch", trainer.fit_loop.total_batch_idx)
        self._waiting[steps.member] = _Waiting(kind, module, args)
        try:
            made = steps.share(kind, partial(self._make, trainer, steps.member))
        finally:
            del self._waiting[steps.member]
        if made is None:
            return alone(*args)
        return made.give(steps.member, module)

    def _make(self, trainer: Any, first: int) -> _Made | None:
        """The steps of all that wait for the same one; None if it is only one."""
        mine = self._waiting[first]
        same = {
            member: one.module for member, one in self._waiting.items() if one.kind == mine.kind
        }
        if len(same) == 1:
            return None
        try:
            _check(trainer, mine.module)
            if not all(_same(self._waiting[member].args, mine.args) for member in same):
                raise NotStackedError("candidates have batches of their own")
            with trainer.strategy.precision_plugin.train_step_context():
                return _stacked(list(same.values()), list(same), mine)
        except NotStackedError:
            raise
        except Exception as error:  # the user's code; in a loop it raises again what is its own
            text = " ".join(str(error).split())
            raise NotStackedError(shortened(f"{type(error).__name__}: {text}")) from error


def _stacked(modules: Sequence["LightningModule"], members: Sequence[int], mine: _Waiting) -> _Made:
    """One pass for all modules."""
    module = mine.module
    held = [dict(one.named_parameters()) | dict(one.named_buffers()) for one in modules]
    modes = [_modes(one) for one in modules]
    if any(one != modes[0] for one in modes):
        raise NotStackedError(
            "candidates train other parameters, or other layers are in evaluation mode"
        )
    trained = [name for name, p in module.named_parameters() if p.requires_grad]
    tensors = {PREFIX + name: torch.stack([one[name].detach() for one in held]) for name in held[0]}
    leaves = [tensors[PREFIX + name].requires_grad_() for name in trained]
    kept = [name for name in held[0] if name not in trained]
    step, found = _Step(module), []

    def one(state: dict[str, Tensor]) -> tuple[Tensor, list[Tensor], dict[str, Tensor]]:
        output, calls, after = functional_call(step, state, (kept, *mine.args))
        flat, spec = tree_flatten((output, [(c.path, c.method, c.inputs) for c in calls]))
        found.append((spec, [Tensor if isinstance(leaf, Tensor) else leaf for leaf in flat]))
        loss = output if isinstance(output, Tensor) else output["loss"]
        return loss, [leaf for leaf in flat if isinstance(leaf, Tensor)], after

    versions = _versions((mine.args, leaves))
    attributes = _attributes(module)
    losses, values, after = vmap(one, randomness="same")(tensors)
    if (changed := _changed(attributes, _attributes(module))) is not None:
        raise NotStackedError(f"training_step changes the attribute {changed}")
    if versions != _versions((mine.args, leaves)):
        raise NotStackedError("training_step changes its batch or parameters that are trained")
    # Of the sum: each module's gradient is that of its own loss.
    gradients = torch.autograd.grad(losses.sum(), leaves, allow_unused=True)
    ((spec, others),) = found
    return _Made(
        {member: row for row, member in enumerate(members)},
        held,
        dict(zip(trained, gradients, strict=True)),
        {name: value.detach() for name, value in after.items()},
        losses.detach(),
        [value.detach() for value in values],
        others,
        spec,
    )


def _check(trainer: Any, module: Any) -> None:
    if not module.automatic_optimization:
        raise NotStackedError("the module optimizes by hand (automatic_optimization is False)")
    if getattr(trainer.precision_plugin, "scaler", None) is not None:
        raise NotStackedError(f"precision {trainer.precision} scales the loss before its gradients")


def _modes(module: nn.Module) -> list[bool]:
    """What is trained, and which layers are in training mode: callbacks freeze and thaw them."""
    return [
        *(p.requires_grad for p in module.parameters()),
        *(m.training for m in module.modules()),
    ]


def _attributes(module: nn.Module) -> dict[tuple[int, str], tuple[Any, int]]:
    """Each attribute and its length."""
    return {
        (number, name): (value, len(value) if isinstance(value, list | dict | set) else 0)
        for number, one in enumerate(module.modules())
        for name, value in vars(one).items()
    }


def _changed(before: Mapping[Any, Any], after: Mapping[Any, Any]) -> str | None:
    """The name of an attribute that is another, or longer: a step of all would change it for one module."""
    for key in [*before, *after]:
        (old, length), (new, now) = before.get(key, (None, 0)), after.get(key, (None, 0))
        if old is not new or length != now:
            return str(key[1])
    return None


def _versions(tree: Any) -> list[int]:
    """A number for each tensor, which another one takes the place of when the tensor is changed."""
    return [leaf._version for leaf in tree_flatten(tree)[0] if isinstance(leaf, Tensor)]


def _same(one: Any, other: Any) -> bool:
    """Whether two structures have equal tensors and equal other values."""
    (ours, spec), (theirs, their_spec) = tree_flatten(one), tree_flatten(other)
    return spec == their_spec and all(
        torch.equal(a, b)
        if isinstance(a, Tensor) and isinstance(b, Tensor)
        else a is b or bool(a == b)
        for a, b in zip(ours, theirs, strict=True)
    )
