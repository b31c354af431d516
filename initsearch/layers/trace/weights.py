"""Which tensors among an operation's arguments are weights of a layer, and how they are read."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from initsearch.layers.model.tables import holds_data
from initsearch.layers.trace.arrival import MIXED, with_arrival
from initsearch.layers.trace.layouts import Layout, layout_of, layout_of_all
from initsearch.layers.trace.lineage import Lineage
from initsearch.layers.trace.paths import Path
from initsearch.layers.trace.products import (
    IN,
    OUT,
    PRODUCTS,
    Product,
    convolution_roles,
    product_of,
)
from initsearch.layers.trace.shapes import refuse_meta

# The places of stride and groups among the arguments of a convolution, plain or transposed: conv2d(input,
# weight, bias, stride, padding, dilation, groups), conv_transpose2d(input, weight, bias, stride, padding,
# output_padding, groups, dilation).
_STRIDE, _GROUPS = 3, 6


def takes_weight(
    name: str, args: Sequence[Any], kwargs: Mapping[str, Any], tensor: Tensor, made: Lineage | None
) -> bool:
    """Whether a product uses a tensor that is made of parameters as a weight.

    It does not if the tensor is data (a table of positions, a token), or if it sums over none of its axes.
    """
    if tensor.ndim < 2 or made is None:
        return False
    if any(path.looks_up for path in made.paths.values()):
        return False
    parameters = [(name, path.parameter) for name, path in made.paths.items()]
    if parameters and all(holds_data(*each) for each in parameters):
        return False
    product = product_of(name, args, kwargs)
    return product is None or IN in product.roles(tensor)


def layouts_in(
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    weight: Tensor,
    paths: Mapping[str, Path],
    product: Product | None = None,
    weights: Sequence[Tensor] = (),
) -> dict[str, Layout]:
    """How an operation reads the parameters that its weight was made from, by their names.

    Args:
        name: The operation.
        args: Its arguments.
        kwargs: Its arguments by name.
        weight: The weight among them.
        paths: How the weight was made from each of its parameters.
        product: What the operation sums over, if that is known already.
        weights: All weights among the arguments.
    """
    found: dict[str, Layout] = {}
    if all(path.known and path.step is None for path in paths.values()):
        return found
    refuse_meta(weight)
    roles, taps, groups = _roles(name, args, kwargs, weight, weights)
    if product is not None:
        roles = product.roles(weight)
    if not roles:
        return found
    for parameter, path in paths.items():
        layout = layout_of(weight, path, roles, groups, taps)
        if layout is None or path.parameter.ndim < 2 or (found and path.is_mixed):
            continue  # the last: an update of a weight, or its gain
        if IN not in {axis.role for axis in layout.axes} and layout.size() < weight.numel():
            continue  # a gain that comes before its weight
        found[parameter] = (
            replace(layout, note=MIXED) if path.is_mixed else with_arrival(layout, path)
        )
    if not found:
        # The largest parameter is the weight; others scale it, or choose what is summed.
        bare = {n: path for n, path in paths.items() if not path.known and path.parameter.ndim > 1}
        largest = max(bare, key=lambda name: bare[name].parameter.numel(), default="")
        if largest:
            found[largest] = with_arrival(layout_of_all(weight, roles), bare[largest])
    return found


def bias_of(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """What an operation adds to the output of its weight; `None` if it adds nothing."""
    if name in ("addmm", "addmv", "addbmm", "baddbmm"):
        return _setting(args, kwargs, 0, "input", kwargs.get("self"))
    if name == "bilinear":
        return _setting(args, kwargs, 3, "bias", None)
    if name == "linear" or name.startswith("conv"):
        return _setting(args, kwargs, 2, "bias", None)
    return None


def _roles(
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    weight: Tensor,
    weights: Sequence[Tensor],
) -> tuple[tuple[str, ...], float, int]:
    """The role of each axis of a weight, the share of its taps that one output reads, and its groups."""
    if name.startswith("conv"):
        transposed = "transpose" in name
        roles = convolution_roles(transposed, weight.ndim - 2)
        groups = int(_setting(args, kwargs, _GROUPS, "groups", 1))
        stride = _setting(args, kwargs, _STRIDE, "stride", 1)
        steps = stride if isinstance(stride, Sequence) else (stride,) * (weight.ndim - 2)
        if len(steps) == 1:
            steps = tuple(steps) * (weight.ndim - 2)
        return roles, 1 / math.prod(steps) if transposed else 1.0, groups
    if name == "bilinear":
        return (OUT, IN, IN), 1.0, 1
    if name == "linear" or name in PRODUCTS:
        product = product_of(name, args, kwargs)
        return (product.roles(weight, weights) if product else ()), 1.0, 1
    return (), 1.0, 1


def _setting(
    args: Sequence[Any], kwargs: Mapping[str, Any], place: int, name: str, default: Any
) -> Any:
    return args[place] if len(args) > place else kwargs.get(name, default)
