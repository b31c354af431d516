"""Where an activation is flat: saturated units, and units that pass no gradient on."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

#: A slope of at most this share of the activation's steepest is flat. tanh is flat from |z| = 2.2
#: on (|tanh z| > .975), a sigmoid from |z| = 4.4 on: what people call its saturated ends.
FLAT = 0.05
#: A slope of at most this share passes nothing on: ReLU's zero side, and GELU's and SiLU's so far
#: to the left that float32 keeps next to nothing.
CLOSED = 1e-4
# Their zero end is saturation; with others (ReLU6) it is the side on which a unit is off.
_SATURATED_AT_ZERO = frozenset({"sigmoid", "hardsigmoid"})
_PROBE = 1201


@dataclass(frozen=True)
class Flatness:
    """How much of a layer's activation is flat, over a batch.

    Attributes:
        saturated: Share of activations (units of samples) at a flat end of a bounded activation:
            their slope is at most 5% of the steepest. 0 for unbounded ones.
        blocked: Share of units whose slope is zero (at most 1e-4 of the steepest) for every sample
            and position: no gradient passes them, whatever comes from above.
    """

    saturated: float
    blocked: float


def flatness(
    name: str, function: Callable[[Tensor], Tensor], values: Tensor, axis: int
) -> Flatness | None:
    """The flatness of an activation at these pre-activations; None if its slope cannot be had.

    Args:
        name: What the activation is called.
        function: The activation, working entry by entry.
        values: The pre-activations, detached.
        axis: The axis of the units.
    """
    if not values.numel() or not values.is_floating_point():
        return None
    # A module may be made for one shape; a function of torch's takes any.
    size = values.numel() if isinstance(function, nn.Module) else _PROBE
    grid = torch.linspace(-6.0, 6.0, size, device=values.device).to(values.dtype)
    grid = grid.view(values.shape) if isinstance(function, nn.Module) else grid
    steepest = float(_slope(function, grid)[1].abs().max())
    output, slope = _slope(function, values)
    if not 0.0 < steepest < float("inf"):
        return None
    slope = slope.abs() / steepest
    closed = slope <= CLOSED
    others = [dim for dim in range(values.ndim) if dim != axis % values.ndim]
    blocked = closed.all(dim=others) if others else closed
    flat = slope <= FLAT
    if name not in _SATURATED_AT_ZERO:
        flat &= output != 0
    bounded = _levels_off(function, grid, steepest)
    return Flatness(
        saturated=float(flat.double().mean()) if bounded else 0.0,
        blocked=float(blocked.double().mean()),
    )


def _levels_off(function: Callable[[Tensor], Tensor], like: Tensor, steepest: float) -> bool:
    """Whether the activation is flat at both ends, as tanh is and ReLU and sin are not."""
    return all(
        float(_slope(function, torch.full_like(like, end))[1].abs().max()) <= FLAT * steepest
        for end in (-1e4, -300.0, -30.0, 30.0, 300.0, 1e4)
    )


def _slope(function: Callable[[Tensor], Tensor], values: Tensor) -> tuple[Tensor, Tensor]:
    """An activation's result and its derivative; the module's hooks are not called."""
    apply = function.forward if isinstance(function, nn.Module) else function
    with torch.enable_grad():
        z = values.detach().clone().requires_grad_()
        output = apply(z)
        if not output.requires_grad:  # a step: flat everywhere
            return output.detach(), torch.zeros_like(values)
        (slope,) = torch.autograd.grad(output.sum(), z)
    return output.detach(), slope
