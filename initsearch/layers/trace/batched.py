"""Tensors inside `torch.vmap` and `torch.func.grad`, which wrap the tensor that has the memory."""

import torch
from torch import Tensor
from torch._C import _functorch

from initsearch.layers.trace.paths import Path, Step


def is_wrapped(tensor: Tensor) -> bool:
    """Whether a tensor has no memory of its own, as it stands for another one in a transform."""
    return bool(_functorch.is_functorch_wrapped_tensor(tensor))


def wrapped(tensor: Tensor) -> tuple[Tensor, int]:
    """The tensor inside, and its axis over which `vmap` runs; -1 for another transform."""
    return _functorch.get_unwrapped(tensor), int(_functorch.maybe_get_bdim(tensor))


def one_of(inside: Tensor, axis: int, path: Path) -> Path:
    """The path to one entry along the axis over which `vmap` runs: all are used alike."""
    if axis < 0:
        return path
    shape = inside.select(axis, 0).shape
    step = Step(
        "select", torch.select, (inside, axis, 0), {}, 0, shape, None, ((inside, path),), ()
    )
    return Path(path.parameter, step, path.known)
