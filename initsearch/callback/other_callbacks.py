"""What other callbacks do at the same moment: the result must not depend on the order of the list.

`WeightAveraging` and others copy the module in `setup`; a copy made before the plan was applied must follow it.
`BackboneFinetuning` and others freeze layers in `setup`; what they freeze is not initialized, also if they come
later.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningModule

#: A copy, and what it is a copy of.
Copy = tuple[nn.Module, nn.Module]


def freeze_as_they_will(callbacks: "Sequence[Callback]", pl_module: "LightningModule") -> None:
    """Freeze now what finetuning callbacks freeze in their own `setup`, which does the same once more."""
    for callback in callbacks:
        freeze = getattr(callback, "freeze_before_training", None)
        if callable(freeze):
            freeze(pl_module)


def copies_in(callbacks: "Sequence[Callback]", pl_module: "LightningModule") -> list[Copy]:
    """The copies that callbacks hold of a module or of its parts, with equal weights (a teacher has others)."""
    originals = [pl_module, *pl_module.children()]
    return [
        (held, original)
        for callback in callbacks
        for held in _modules_of(callback)
        for original in originals
        if held is not original and _are_equal(held, original)
    ]


def follow(copies: Sequence[Copy]) -> None:
    """Give copies the weights that their originals have now."""
    with torch.no_grad():
        for copy, original in copies:
            for mine, theirs in zip(copy.parameters(), original.parameters(), strict=True):
                mine.copy_(theirs)


def _modules_of(callback: "Callback") -> Iterator[nn.Module]:
    for value in vars(callback).values():
        if isinstance(value, nn.Module):
            yield value
            # As `torch.optim.swa_utils.AveragedModel` holds its copy.
            inner = value._modules.get("module")
            if inner is not None:
                yield inner


def _are_equal(one: nn.Module, other: nn.Module) -> bool:
    if type(one) is not type(other):
        return False
    mine, theirs = dict(one.named_parameters()), dict(other.named_parameters())
    return (
        bool(mine)
        and mine.keys() == theirs.keys()
        and all(
            value is not theirs[name]
            and value.shape == theirs[name].shape
            and torch.equal(value.to(theirs[name].device), theirs[name])
            for name, value in mine.items()
        )
    )
