"""Expectations of an activation over a Gaussian, for any function that works entry by entry.

Gauss-Hermite nodes converge slowly at kinks (ReLU's at 0, Hardtanh's at +-1). This integrates panels of
1/128 standard deviation with five Gauss-Legendre nodes each: a kink between two panels causes no error,
any other an error of about 1e-7.
"""

import copy
import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from initsearch.errors import ConfigError, quoted, shortened
from initsearch.random_state import isolated_random_state

Activation = Callable[[Tensor], Tensor]

_REACH = 12  # standard deviations to either side: the density is 2e-32 there
_PANELS_PER_SIGMA = 128
# Gauss-Legendre of order 5 on [-1, 1] (Abramowitz and Stegun 25.4.30).
_NEAR = math.sqrt(5 - 2 * math.sqrt(10 / 7)) / 3
_FAR = math.sqrt(5 + 2 * math.sqrt(10 / 7)) / 3
_NODES = (-_FAR, -_NEAR, 0.0, _NEAR, _FAR)
_OUTER, _INNER = (322 - 13 * math.sqrt(70)) / 900, (322 + 13 * math.sqrt(70)) / 900
_WEIGHTS = (_OUTER, _INNER, 128 / 225, _INNER, _OUTER)


def second_moment(activation: Activation, variance: float = 1.0) -> float:
    """E[phi(z)^2] for z ~ N(0, variance).

    Args:
        activation: A function or module that works entry by entry.
        variance: Of z, > 0.

    Raises:
        ConfigError: Not entry by entry, or not finite.
    """
    points, weights = _rule()
    with torch.no_grad():
        values = _evaluate(activation, points * math.sqrt(variance))
    return float((weights * values.square()).sum())


def slope_moment(activation: Activation, variance: float = 1.0) -> float:
    """E[phi'(z)^2] for z ~ N(0, variance), with torch's own derivative.

    Args:
        activation: A differentiable function or module that works entry by entry.
        variance: Of z, > 0.

    Raises:
        ConfigError: Not entry by entry, not differentiable, or not finite.
    """
    points, weights = _rule()
    with torch.inference_mode(False), torch.enable_grad():
        leaf = (points * math.sqrt(variance)).requires_grad_()
        values = _evaluate(activation, leaf)
        if not values.requires_grad:
            raise ConfigError(
                f"activation: must be differentiable, but the output of {quoted(activation)} has no "
                "gradient: use the gain from the second moment"
            )
        (slopes,) = torch.autograd.grad(values.sum(), leaf)
    if not bool(torch.isfinite(slopes).all()):
        raise ConfigError(
            f"activation: its derivative must be finite, but got NaN or infinity from "
            f"{quoted(activation)}: use the gain from the second moment"
        )
    return float((weights * slopes.square()).sum())


@functools.cache
def _rule() -> tuple[Tensor, Tensor]:
    """Points and weights of E[f(z)], z ~ N(0, 1), float64."""
    width = 1 / _PANELS_PER_SIGMA
    with torch.inference_mode(False):
        panels = torch.arange(
            -_REACH * _PANELS_PER_SIGMA,
            _REACH * _PANELS_PER_SIGMA,
            dtype=torch.float64,
            device="cpu",
        )
        nodes = torch.tensor(_NODES, dtype=torch.float64, device="cpu")
        heights = torch.tensor(_WEIGHTS, dtype=torch.float64, device="cpu")
        points = ((panels[:, None] + 0.5 + nodes / 2) * width).flatten()
        density = torch.exp(-points.square() / 2) / math.sqrt(2 * math.pi)
        return points, density * heights.repeat(len(panels)) * (width / 2)


def _evaluate(activation: Activation, points: Tensor) -> Tensor:
    """phi at `points`, in float64 on the CPU; modules are copied and set to evaluation mode first."""
    function = activation
    if isinstance(activation, nn.Module):
        function = copy.deepcopy(activation).to(device="cpu", dtype=torch.float64).eval()
    sample = slice(None, None, 7)
    with isolated_random_state():
        try:
            # On copies, since an activation may work in place.
            values = function(points.clone())
            by_entry = isinstance(values, Tensor) and values.shape == points.shape
            if by_entry:
                part = function(points[sample].clone())
                by_entry = torch.allclose(
                    values[sample], part, rtol=1e-5, atol=1e-9, equal_nan=True
                )
        except (Exception, SystemExit) as error:  # a user's activation may raise anything
            reason = shortened(" ".join(str(error).split()))
            raise ConfigError(
                f"activation: must take a float64 vector, but {quoted(activation)} fails ({reason}): "
                "give the scale as variance_scaling(factor=...) instead"
            ) from error
    if not by_entry:
        raise ConfigError(
            f"activation: must work entry by entry, but {quoted(activation)} does not: give the scale as "
            "variance_scaling(factor=...) instead"
        )
    if not bool(torch.isfinite(values).all()):
        raise ConfigError(
            f"activation: must be finite on the real line, but got NaN or infinity from "
            f"{quoted(activation)}: give the scale as variance_scaling(factor=...) instead"
        )
    return values
