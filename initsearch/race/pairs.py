"""Paired comparisons of all candidates at once: t-tests, intervals, equivalence, Holm, power.

All arrays over pairs have shape (K, K) for K candidates; entry [i, j] compares i with j on the
blocks that both have, and positive means that i is better. Scores come in "more is better" form.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtr, chdtri, nctdtr, nctdtrinc, stdtr, stdtrit

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_SAME = 1e-6  # scores closer than this, relative to their typical size, count as the same number
#: The power with which a gap counts as one that a test sees.
CHANCE = 0.8
_FAR = 1000.0  # a t beyond this is one of few blocks at a tiny level


@dataclass(frozen=True)
class Pairs:
    """What the paired differences of every two candidates say.

    Attributes:
        blocks: (K, K) number of blocks that both have.
        gap: (K, K) mean difference, in units of the metric; antisymmetric.
        spread: (K, K) standard deviation of the difference (see `compare`), same units.
    """

    blocks: Ints
    gap: Floats
    spread: Floats

    @cached_property
    def error(self) -> Floats:
        """(K, K) standard error of the gap."""
        error: Floats = self.spread / np.sqrt(np.maximum(self.blocks, 1))
        return error

    def p_values(self) -> Floats:
        """(K, K) two-sided paired t-test of a zero difference; 1 where all differences are zero.

        The same as `scipy.stats.ttest_rel`, except for all-zero differences (NaN there) and for
        repeated values, see `compare`.
        """
        p: Floats = np.minimum(1.0, 2.0 * stdtr(self._freedom, -np.abs(self._statistic(0.0))))
        return p

    def low(self, level: Floats | float) -> Floats:
        """(K, K) lower end of the two-sided (1 - level) confidence interval of the gap."""
        half: Floats = -stdtrit(self._freedom, np.asarray(level) / 2.0) * self.error
        return self.gap - half

    def equivalence(self, margin: float) -> Floats:
        """(K, K) p-value of the two one-sided tests of a gap within +-margin (TOST).

        The same as `statsmodels.stats.weightstats.ttost_paired`; Schuirmann, J. Pharmacokinetics
        and Biopharmaceutics 15, 1987. 0 where all differences are zero: the same on every block.
        """
        p = np.maximum(
            stdtr(self._freedom, -self._statistic(-margin)),
            stdtr(self._freedom, self._statistic(margin)),
        )
        same = (self.spread == 0.0) & (self.gap == 0.0)
        equivalent: Floats = np.where(same, 0.0, p)
        return equivalent

    @cached_property
    def _freedom(self) -> Ints:
        return np.maximum(self.blocks - 1, 1)

    def _statistic(self, shift: float) -> Floats:
        """(K, K) t statistic against a gap of `shift`; 0 for no difference in the mean at all."""
        difference = self.gap - shift
        with np.errstate(divide="ignore", invalid="ignore"):
            statistic: Floats = difference / self.error
        return np.where(difference == 0.0, 0.0, statistic)


def compare(scores: Floats) -> Pairs:
    """Compare every two candidates on the blocks that both have.

    Scores are often counts in disguise (an accuracy over 360 images), so that a few differences can
    come out exactly equal by chance; their standard deviation of zero would make anything
    significant. So the spread of a pair is never taken as less than the smallest step that is seen
    between its differences (zero among them): n equal differences give t = sqrt(n), of a size with
    the sign test, instead of infinity. Three or more different values always spread more than their
    smallest step, so the plain t-test stands wherever no values repeat.

    Args:
        scores: (K, N) scores, more is better, NaN where a candidate was not trained on a block.

    Returns:
        The comparisons; a pair with fewer than two common blocks has an infinite spread.
    """
    seen = np.isfinite(scores)
    typical = float(np.median(np.abs(scores[seen]))) if seen.any() else 0.0
    difference = scores[:, None, :] - scores[None, :, :]
    difference = np.where(np.abs(difference) <= _SAME * typical, 0.0, difference)
    both = np.isfinite(difference)
    blocks = both.sum(axis=-1)
    filled = np.where(both, difference, 0.0)
    gap = filled.sum(axis=-1) / np.maximum(blocks, 1)
    squares = (np.where(both, difference - gap[..., None], 0.0) ** 2).sum(axis=-1)
    spread = np.sqrt(squares / np.maximum(blocks - 1, 1))
    steps = np.diff(np.sort(np.concatenate([filled, np.zeros_like(gap)[..., None]], axis=-1)))
    smallest = np.where(steps > _SAME * typical, steps, np.inf).min(axis=-1)
    spread = np.maximum(spread, np.where(np.isfinite(smallest), smallest, 0.0))
    return Pairs(blocks, gap, np.where(blocks < 2, np.inf, spread))


def holm(p_values: Floats) -> Floats:
    """(K, K) p-values adjusted over all K (K - 1) / 2 pairs (Holm, Scand. J. Stat. 6, 1979)."""
    upper = _upper(len(p_values))
    plain = p_values[upper]
    order = plain.argsort(kind="stable")
    factors = np.arange(len(order), 0, -1)
    adjusted = np.minimum(1.0, np.maximum.accumulate(plain[order] * factors))
    result = np.ones_like(p_values)
    result[upper[0][order], upper[1][order]] = adjusted
    return np.minimum(result, result.T)


def power(gap: float, spread: float, blocks: int, level: float) -> float:
    """Chance that a two-sided paired t-test at `level` sees a true `gap` (noncentral t).

    Args:
        gap: True mean difference, in units of the metric.
        spread: Standard deviation of the difference, same units; 0 gives a power of 1.
        blocks: Number of paired blocks, at least 2.
        level: Two-sided level of the test.
    """
    if gap == 0.0:
        return level
    if spread == 0.0:
        return 1.0
    freedom, shift = blocks - 1, abs(gap) / spread * blocks**0.5
    bound = -stdtrit(freedom, level / 2.0)
    found = float(1.0 - nctdtr(freedom, shift, bound) + nctdtr(freedom, shift, -bound))
    if np.isnan(found):  # the series gives up far out, where the shift drowns the normal noise
        found = float(chdtr(freedom, freedom * (shift / bound) ** 2))
    return found


def win_power(gap: float, margin: float, spread: float, blocks: int, level: float) -> float:
    """Chance that the interval of a true `gap` is found to lie above the margin (noncentral t).

    Args:
        gap: True mean difference, in units of the metric; below the margin it is less than `level` / 2.
        margin: What the lower end has to exceed, same units.
        spread: Standard deviation of the difference, same units.
        blocks: Number of paired blocks, at least 2.
        level: Two-sided level of the interval.
    """
    if spread == 0.0:
        return float(gap > margin)
    freedom, shift = blocks - 1, (gap - margin) / spread * blocks**0.5
    bound = -stdtrit(freedom, level / 2.0)
    found = 1.0 - float(nctdtr(freedom, shift, bound))
    # The series gives up far out, where the shift drowns the normal noise, or nothing can be found.
    return power(gap - margin, spread, blocks, level) if np.isnan(found) and shift > 0 else found


def detectable_gap(spread: float, blocks: int, level: float, chance: float = CHANCE) -> float:
    """The true gap that a two-sided paired t-test at `level` sees with this chance."""
    freedom = blocks - 1
    bound = -stdtrit(freedom, level / 2.0)
    if bound < _FAR:
        shift = nctdtrinc(freedom, 1.0 - chance, bound)
    else:  # so far out the inversion does not end, and the normal noise is drowned by the shift
        shift = bound * (chdtri(freedom, 1.0 - chance) / freedom) ** 0.5
    return float(shift * spread / blocks**0.5)


def correlation(scores: Floats) -> tuple[float, float] | None:
    """How much the blocks are shared: what pairing the candidates by block has gained.

    Args:
        scores: (K, N) scores of K candidates on the same N blocks, without NaN.

    Returns:
        The mean correlation over blocks of every two candidates, and the share of the variance of a
        difference that pairing has removed (negative if it has added some); None where that is not
        defined (fewer than 2 candidates or 3 blocks, or no more than one candidate that varies).
    """
    scores = scores[np.ptp(scores, axis=1) > 0.0] if scores.size else scores
    count, blocks = scores.shape
    if count < 2 or blocks < 3:
        return None
    centred = scores - scores.mean(axis=1, keepdims=True)
    covariance = centred @ centred.T / (blocks - 1)
    variance = covariance.diagonal()
    upper = _upper(count)
    mean = (covariance / np.sqrt(np.outer(variance, variance)))[upper].mean()
    apart = (variance[:, None] + variance[None, :])[upper]
    return float(mean), float(2.0 * covariance[upper].sum() / apart.sum())


@lru_cache(maxsize=64)
def _upper(count: int) -> tuple[Ints, Ints]:
    """Indices of the pairs i < j."""
    rows, columns = np.triu_indices(count, k=1)
    return rows, columns
