"""A pass that follows shapes alone, with tensors of the meta device in place of a model's own.

It costs neither the arithmetic of a forward pass nor a copy of the model's tensors. What the model computes is
not known, so whatever needs a value stops it (`ValuesNeededError`, or torch's own error), and the caller runs a
real pass instead.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from initsearch.layers.model.kinds import nature_of
from initsearch.layers.model.tensors import tensors
from initsearch.layers.model.walk import NamedParameter

#: Entries per parameter. A model of fewer is run as it is: that takes about as long, and shows values too.
_LARGE = 100_000


class ValuesNeededError(Exception):
    """Something in a pass of shapes needs the values of a tensor."""


def shapes_suffice(named: Sequence[NamedParameter], batch: Any) -> bool:
    """Whether a pass of shapes can show of a model what a real pass shows.

    Its weights must be those of layers of a known kind, none of which reads indices, and stored as they are.
    The batch must have the type of the weights: a real pass may refuse others, and a pass of shapes may not.

    Args:
        named: The model's parameters.
        batch: A batch of the user, or None.
    """
    types: set[torch.dtype] = set()
    size = 0
    for parameter in named:
        for site in parameter.sites:
            stored = site.stored
            if stored.by != "plain" or nature_of(site).kind in ("other", "embedding"):
                return False
            tensor = stored.originals[0][1]
            if type(tensor) is not nn.Parameter or tensor.layout != torch.strided:
                return False
            types.add(tensor.dtype)
        size += parameter.sites[0].stored.originals[0][1].numel()
    types.update(each.dtype for each in tensors(batch) if each.is_floating_point())
    return size >= _LARGE * len(named) and len(types) == 1


@contextmanager
def on_meta(model: nn.Module) -> Iterator[Mapping[int, Tensor]]:
    """Put tensors of the meta device in the place of all parameters and buffers of a model.

    Yields:
        The tensor that stands for each parameter, by the parameter's id.
    """
    made: dict[int, Tensor] = {}
    tables: list[dict[str, Any]] = []
    for module in model.modules():
        tables += [vars(module)["_parameters"], vars(module)["_buffers"]]
    held = [(registered, dict(registered)) for registered in tables if registered]
    try:
        for registered, own in held:
            for key, tensor in own.items():
                if tensor is not None:
                    registered[key] = made.setdefault(id(tensor), _without_values(tensor))
        yield made
    finally:
        for registered, own in held:
            registered.clear()
            registered.update(own)


def require_meta(read: Iterable[Tensor]) -> None:
    """Refuse tensors that are not on the meta device.

    Raises:
        ValuesNeededError: There is one.
    """
    for tensor in read:
        if not tensor.is_meta:
            raise ValuesNeededError("a tensor with values takes part")


def refuse_meta(tensor: Tensor) -> None:
    """Refuse a tensor of the meta device where its values are needed.

    Raises:
        ValuesNeededError: It is one.
    """
    if tensor.is_meta:
        raise ValuesNeededError("the values of a tensor are needed")


def normalized_shape(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *settings: Any,
    **named_settings: Any,
) -> Tensor:
    """In place of `F.batch_norm`: torch's own function of shapes takes longer than a small batch norm."""
    for each in (running_mean, running_var, weight, bias):
        if each is not None and each.shape != input.shape[1:2]:
            raise ValuesNeededError("the error of a batch norm on an input of the wrong size")
    # `empty_like` takes ten times as long on the meta device.
    return torch.empty(input.shape, dtype=input.dtype, device="meta")


def _without_values(tensor: Tensor) -> Tensor:
    empty = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
    if isinstance(tensor, nn.Parameter):
        empty = nn.Parameter(empty, requires_grad=tensor.requires_grad)
    empty.__dict__.update(tensor.__dict__)
    return empty
