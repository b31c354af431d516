"""The three random distributions that all families draw from, for real and complex tensors.

Each function fills a contiguous float32/64 or complex64/128 tensor in place. For a complex tensor the
variance is split evenly between the real and imaginary parts, and the mean is real.
"""

import math

import torch
from torch import Tensor

from initsearch.errors import ConfigError
from initsearch.initializers.truncation import interval_mass, upper_tail

_SQRT_HALF = math.sqrt(0.5)


def normal_(out: Tensor, mean: float, std: float, generator: torch.Generator | None) -> None:
    """N(mean, std^2)."""
    _must_fit(out, abs(mean) + 10 * std)
    if not out.is_complex():
        out.normal_(mean, std, generator=generator)
        return
    torch.view_as_real(out).normal_(0.0, std * _SQRT_HALF, generator=generator)
    out.add_(mean)


def uniform_(out: Tensor, low: float, high: float, generator: torch.Generator | None) -> None:
    """U(low, high)."""
    _must_fit(out, 2 * max(abs(low), abs(high)))
    if not out.is_complex():
        out.uniform_(low, high, generator=generator)
        return
    half = _SQRT_HALF * (high - low) / 2
    torch.view_as_real(out).uniform_(-half, half, generator=generator)
    out.add_((low + high) / 2)


def truncated_normal_(
    out: Tensor,
    mean: float,
    std: float,
    low: float,
    high: float,
    generator: torch.Generator | None,
) -> None:
    """N(mean, std^2) kept within [mean + low * std, mean + high * std].

    If the interval has half of the mass or more, only the entries outside it are drawn again
    (`torch.nn.init.trunc_normal_` draws the whole tensor again). Otherwise the distribution
    function is inverted in float64, from the side of the tail, which is exact far out.

    Raises:
        ConfigError: The interval has no mass in float64.
    """
    _must_fit(out, abs(mean) + std * max(abs(low), abs(high), 10.0))
    real = torch.view_as_real(out) if out.is_complex() else out
    if interval_mass(low, high) >= 0.5:
        _reject(real.view(-1), low, high, generator)
    else:
        _invert(real, low, high, generator)
    real.mul_(std * _SQRT_HALF if out.is_complex() else std)
    if mean != 0:
        out.add_(mean)


def _reject(flat: Tensor, low: float, high: float, generator: torch.Generator | None) -> None:
    """Fill a vector with N(0, 1), drawing entries outside [low, high] again."""
    flat.normal_(0.0, 1.0, generator=generator)
    least, greatest = torch.aminmax(flat)
    if bool(least >= low) and bool(greatest <= high):
        return
    outside = ((flat < low) | (flat > high)).nonzero().squeeze(1)
    while outside.numel():
        again = torch.empty(outside.numel(), dtype=flat.dtype, device=flat.device)
        again.normal_(0.0, 1.0, generator=generator)
        flat[outside] = again
        outside = outside[(again < low) | (again > high)]


def _invert(real: Tensor, low: float, high: float, generator: torch.Generator | None) -> None:
    """Fill with N(0, 1) within [low, high] by inverting the distribution function."""
    # Only the lower tail keeps its digits (1e-20 is a float, 1 - 1e-20 is not): mirror the upper one.
    mirrored = low + high > 0
    if mirrored:
        low, high = -high, -low
    first, last = upper_tail(-low), upper_tail(-high)
    if not last > first:
        raise ConfigError(
            f"truncation: the bounds must hold some of the normal's mass, but got {low:g} to {high:g} "
            "standard deviations from the mean: move them towards it"
        )
    drawn = torch.empty(real.shape, dtype=torch.float64, device=real.device)
    drawn.uniform_(first, last, generator=generator)
    torch.special.ndtri(drawn, out=drawn)
    drawn.clamp_(low, high)  # the inverse may round to an ulp outside a bound
    real.copy_(drawn.neg_() if mirrored else drawn)


def _must_fit(out: Tensor, largest: float) -> None:
    """Raise ConfigError if values as large as `largest` overflow the type of `out`."""
    limit = torch.finfo(out.dtype).max
    if not largest < limit:
        raise ConfigError(
            f"scale: values must fit in {out.dtype} (below {limit:.2g}), but got up to {largest:.2g}: "
            "choose a smaller scale"
        )
