"""Whether entries fit a distribution: exact tests, which need no simulation.

If the entries are drawn from the distribution, its distribution function turns them into uniform numbers and
those into standard normal ones (the probability integral transform). Five tests of these have exact or
bounded p-values at every sample size:

- their mean: sqrt(n) times it is standard normal;
- the sum of their squares: chi-squared with n degrees of freedom;
- the Kolmogorov-Smirnov distance: P(D > d) <= 2 exp(-2 n d^2) (Massart 1990);
- the smallest and the largest: the minimum of n uniform numbers exceeds u with probability (1 - u)^n. Beside
  these two, an entry outside the support is impossible.

The reported p-value is five times the smallest of them (Bonferroni), so that it is below any level with at most
that probability.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import special
from torch import Tensor

from initsearch.initializers.distribution import Distribution

Array = npt.NDArray[np.float64]

_TESTS = 5
#: More entries than this are thinned to evenly spaced ones for the tests: they see a scale that is off by .5 %.
_MOST_TESTED = 2**20
# The same for the distance, which must sort them.
_MOST_SORTED = 2**17
# torch draws uniform numbers as multiples of 2^-24, the lower bound included; smaller tails have no meaning.
_SMALLEST_TAIL = 2.0**-26
_HALF = (torch.float16, torch.bfloat16)
# Of the noise that undoes the rounding of half-precision types; any number will do.
_DITHER_SEED = 0


@dataclass(frozen=True)
class Fit:
    """How well entries fit a distribution.

    Attributes:
        p_value: The probability of a fit at least as bad, if the entries were drawn from the distribution.
        worst: What fits worst: `mean`, `scale`, `shape`, `extremes`, `support` or `value`.
    """

    p_value: float
    worst: str = ""


def entries_of(tensor: Tensor) -> Array:
    """The entries as a flat array in double precision.

    Half-precision types round a continuous distribution to few values. Noise of the size of the rounding
    (from a fixed seed) makes it continuous again. Constant tensors stay constant.
    """
    flat = tensor.detach().reshape(-1).to("cpu", torch.float64).numpy()
    if tensor.dtype not in _HALF or not flat.size or (flat == flat[0]).all():
        return flat
    # The distance to the next representable number, from the power of two of each entry.
    _, exponents = np.frexp(flat)
    step = np.ldexp(torch.finfo(tensor.dtype).eps, exponents - 1)
    noise = np.random.default_rng(_DITHER_SEED).random(flat.size) - 0.5
    return np.asarray(np.where(flat == 0, 0.0, flat + noise * step), dtype=np.float64)


@dataclass(frozen=True)
class Sums:
    """What likelihoods need of the entries: their number, mean, mean square, and extremes."""

    n: int
    mean: float
    square: float
    low: float
    high: float


def sums_of(tensor: Tensor) -> Sums:
    """The sums of all entries, in double precision and in chunks: the memory of one chunk is needed."""
    flat = tensor.detach().reshape(-1)
    chunks = [entries_of(chunk) for chunk in torch.split(flat, _MOST_TESTED)]
    n = flat.numel()
    return Sums(
        n,
        float(sum(chunk.sum() for chunk in chunks)) / n,
        float(sum(np.square(chunk).sum() for chunk in chunks)) / n,
        min(float(chunk.min()) for chunk in chunks),
        max(float(chunk.max()) for chunk in chunks),
    )


def pooled(several: Sequence[Sums]) -> Sums:
    """The sums of all entries of several samples together."""
    n = sum(each.n for each in several)
    return Sums(
        n,
        sum(each.n * each.mean for each in several) / n,
        sum(each.n * each.square for each in several) / n,
        min(each.low for each in several),
        max(each.high for each in several),
    )


def thinned(tensor: Tensor) -> Tensor:
    """Evenly spaced entries, at most as many as are tested, as a flat tensor."""
    flat = tensor.detach().reshape(-1)
    return flat[:: max(-(-flat.numel() // _MOST_TESTED), 1)]


def resolution_of(tensor: Tensor) -> float:
    """A bound on the relative error of an entry: of its rounding, and of the noise that undoes it."""
    return float(torch.finfo(tensor.dtype).eps)


def fit(values: Array, law: Distribution, resolution: float) -> Fit:
    """Test whether entries were drawn independently from a distribution.

    Args:
        values: The entries, from `entries_of`.
        law: The distribution.
        resolution: Of the entries, from `resolution_of`.
    """
    if not values.size:
        return Fit(1.0)
    if not np.isfinite(values).all():
        return Fit(0.0, "support")
    if law.kind == "constant":
        (value,) = law.numbers
        close = np.abs(values - value) <= resolution * abs(value)
        return Fit(1.0 if close.all() else 0.0, "value")
    least, greatest = float(values.min()), float(values.max())
    low, high = support(law)
    slack = resolution * max(abs(low), abs(high)) if math.isfinite(high - low) else 0.0
    if least < low - slack or greatest > high + slack:
        return Fit(0.0, "support")
    sample = values[:: -(-values.size // _MOST_TESTED)]
    if slack:
        # The noise that undoes rounding may move an entry over a bound: reflect it.
        sample = low + np.abs(sample - low)
        sample = high - np.abs(high - sample)
    lower, upper = tails(sample, law)
    normal = np.where(lower < upper, special.ndtri(lower), -special.ndtri(upper))
    n = len(sample)
    mean = float(special.erfc(abs(float(normal.sum())) / math.sqrt(2 * n)))
    squares = float((normal**2).sum())
    scale = 2 * min(float(special.chdtr(n, squares)), float(special.chdtrc(n, squares)))
    found = {
        "mean": mean,
        "scale": scale,
        "shape": _kolmogorov(sample, law, resolution),
        "extremes": _extremes(sample, law, resolution),
    }
    worst = min(found, key=lambda name: found[name])
    return Fit(min(1.0, _TESTS * found[worst]), worst)


def support(law: Distribution) -> tuple[float, float]:
    """The smallest interval that holds all entries of a continuous distribution."""
    if law.kind == "uniform":
        return law.numbers[0], law.numbers[1]
    if law.kind == "truncated_normal":
        mean, std, low, high = law.numbers
        return mean + low * std, mean + high * std
    return -math.inf, math.inf


def tails(values: Array, law: Distribution) -> tuple[Array, Array]:
    """P(X <= x) and P(X >= x) of each entry under a continuous distribution."""
    if law.kind == "uniform":
        low, high = law.numbers
        lower = (values - low) / (high - low)
        upper = (high - values) / (high - low)
    else:
        mean, std = law.numbers[:2]
        z = (values - mean) / std
        lower, upper = special.ndtr(z), special.ndtr(-z)
        if law.kind == "truncated_normal":
            first, last = law.numbers[2:]
            # Differences of the smaller tails keep their digits.
            sign = -1.0 if first > 0 else 1.0
            below, above = special.ndtr(sign * first), special.ndtr(sign * last)
            inside = special.ndtr(sign * z)
            mass = abs(above - below)
            lower, upper = abs(inside - below) / mass, abs(above - inside) / mass
    tiny = _SMALLEST_TAIL if law.kind == "uniform" else 1e-300
    return np.clip(lower, tiny, 1.0), np.clip(upper, tiny, 1.0)


def _kolmogorov(values: Array, law: Distribution, resolution: float) -> float:
    """Massart's bound on the p-value of the distance; steps up to the rounding of the entries do not count."""
    ordered = np.sort(values[:: -(-values.size // _MOST_SORTED)])
    n = len(ordered)
    rounding = resolution * np.abs(ordered)
    above, _ = tails(ordered + rounding, law)
    below, _ = tails(ordered - rounding, law)
    count = np.arange(n + 1) / n
    distance = max(float((count[1:] - above).max()), float((below - count[:-1]).max()), 0.0)
    return 2 * math.exp(-2 * n * distance**2)


def _extremes(values: Array, law: Distribution, resolution: float) -> float:
    """The smaller p-value of the smallest and the largest entry, each within its rounding."""
    ends = np.array([values.min(), values.max()])
    rounding = resolution * np.abs(ends)
    (lower, _), (_, upper) = np.transpose(tails(ends - rounding, law))
    (lower_most, _), (_, upper_most) = np.transpose(tails(ends + rounding, law))
    n = len(values)
    return min(_extreme(lower, lower_most, n), _extreme(upper_most, upper, n))


def _extreme(least: float, most: float, n: int) -> float:
    """The p-value of the smallest of n uniform numbers, two-sided; it is between `least` and `most`."""
    further = math.exp(n * math.log1p(-min(least, 1 - 1e-16)))
    nearer = -math.expm1(n * math.log1p(-min(most, 1 - 1e-16)))
    return min(1.0, 2 * min(further, nearer))
