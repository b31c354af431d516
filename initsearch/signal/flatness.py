"""Where an activation is flat: saturated activations, and units that pass no gradient."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

#: A slope up to this share of the activation's steepest is flat. tanh is flat for |z| > 2.2
#: (|tanh z| > .975), a sigmoid for |z| > 4.4: their saturated ends.
FLAT = 0.05
#: A slope up to this share passes no gradient: the zero side of ReLU, and the far left of GELU and SiLU,
#: where float32 keeps almost nothing.
CLOSED = 1e-4
# The zero end of these is saturation; with others (ReLU6) a unit is off there.
_SATURATED_AT_ZERO = frozenset({"sigmoid", "hardsigmoid"})
_PROBE = 1201


@dataclass(frozen=True)
class Flatness:
    """How much of a layer's activation is flat, over a batch.

    Attributes:
        saturated: Share of activations (one per unit and sample) at a flat end of a bounded activation, with
            a slope of at most 5% of the steepest. 0 for unbounded activations.
        blocked: Share of units whose slope is zero (at most 1e-4 of the steepest) for every sample and
            position: they pass no gradient.
    """

    saturated: float
    blocked: float


def flatness(
    name: str, function: Callable[[Tensor], Tensor], values: Tensor, axis: int
) -> Flatness | None:
    """The flatness of an activation at these pre-activations; None if its slope cannot be computed.

    Args:
        name: The activation's name.
        function: The activation, working entry by entry.
        values: The pre-activations, detached.
        axis: The axis of the units.
    """
    if not values.numel() or not values.is_floating_point():
        return None
    # A module may accept one shape only; torch's functions accept any.
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
    """Whether the activation is flat at both ends, as tanh is, but not ReLU and sin."""
    return all(
        float(_slope(function, torch.full_like(like, end))[1].abs().max()) <= FLAT * steepest
        for end in (-1e4, -300.0, -30.0, 30.0, 300.0, 1e4)
    )


def _slope(function: Callable[[Tensor], Tensor], values: Tensor) -> tuple[Tensor, Tensor]:
    """An activation's output and its derivative; a module's hooks are not called."""
    apply = function.forward if isinstance(function, nn.Module) else function
    with torch.enable_grad():
        z = values.detach().clone().requires_grad_()
        output = apply(z)
        if not output.requires_grad:  # a step: flat everywhere
            return output.detach(), torch.zeros_like(values)
        (slope,) = torch.autograd.grad(output.sum(), z)
    return output.detach(), slope
