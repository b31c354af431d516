"""Closed forms for the truncated standard normal; bounds are in standard deviations."""

import functools
import math

# Standard deviation of a standard normal truncated to +-2, scipy.stats.truncnorm.std(a=-2, b=2). Keras,
# JAX and timm divide by this constant.
TWO_SIGMA_STD = 0.87962566103423978


def upper_tail(x: float) -> float:
    """P(Z > x), with full relative precision for large x."""
    return math.erfc(x / math.sqrt(2.0)) / 2.0


def interval_mass(low: float, high: float) -> float:
    """P(low <= Z <= high)."""
    if low > 0:  # mirrored: only the lower tail keeps its digits
        low, high = -high, -low
    return upper_tail(-high) - upper_tail(-low)


def truncated_moments(low: float, high: float) -> tuple[float, float]:
    """Mean and standard deviation of Z given low <= Z <= high.

    mean = (phi(low) - phi(high)) / P and var = 1 + (low phi(low) - high phi(high)) / P - mean^2
    (Johnson, Kotz, Balakrishnan 1994, section 10.1). NaN if the mass P underflows.
    """
    mass = interval_mass(low, high)
    if mass <= 0:
        return math.nan, math.nan
    if high - low < 1e-4:  # cancellation; an interval this narrow is uniform to 1e-6
        return (low + high) / 2, (high - low) / math.sqrt(12.0)
    at_low, at_high = _density(low), _density(high)
    mean = (at_low - at_high) / mass
    variance = 1 + (low * at_low - high * at_high) / mass - mean**2
    return mean, math.sqrt(max(variance, 0.0))


@functools.lru_cache(maxsize=256)
def parent_std(std: float, mean: float, low: float, high: float) -> float:
    """The sigma for which N(mean, sigma^2), truncated to the absolute bounds [low, high], has this `std`.

    Solved by bisection: the truncated std grows with sigma up to that of the uniform distribution. NaN
    if `std` >= (high - low) / sqrt(12), which no sigma reaches.
    """
    if std >= (high - low) / math.sqrt(12.0):
        return math.nan
    below, above = std, std
    while not _std_within(above, mean, low, high) >= std:
        below, above = above, above * 2
        if above > 1e8 * (high - low):
            return math.nan
    for _ in range(200):
        middle = (below + above) / 2
        if _std_within(middle, mean, low, high) < std:
            below = middle
        else:
            above = middle
    return (below + above) / 2


def _std_within(sigma: float, mean: float, low: float, high: float) -> float:
    return sigma * truncated_moments((low - mean) / sigma, (high - mean) / sigma)[1]


def _density(x: float) -> float:
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)
