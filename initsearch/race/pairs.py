"""Paired comparisons of all candidates at once: t-tests, intervals, equivalence, Holm, power.

All arrays over pairs have shape (K, K) for K candidates. Entry [i, j] compares i with j on the blocks of both;
positive means that i is better. Scores are oriented so that more is better. Arrays may have further dimensions
in front, such as one over simulated races. `judged.weigh` combines all of it into the evidence of one look.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtr, chdtri, nctdtr, nctdtrinc, stdtr, stdtrit

from initsearch.race.critical import (
    Floats,
    Ints,
    critical_values,
    doubt,
    excess_variability,
    skewness,
    student_values,
)

#: Power at which a gap counts as detectable.
TARGET_POWER = 0.8
_SAME = 1e-6  # scores that differ by less, relative to their typical size, count as equal
_FAR = 1000.0  # critical t values beyond this occur with few blocks at a tiny level


@dataclass(frozen=True)
class Pairs:
    """The paired differences of every two candidates.

    Attributes:
        blocks: (K, K) number of blocks of both.
        gap: (K, K) mean difference, in units of the metric; antisymmetric.
        spread: (K, K) standard deviation of the difference (see `compare`), same units.
        skew: (K, K) skewness of the difference; antisymmetric.
        own_skew: (K, K) skewness of the scores of i on these blocks.
        excess: (K, K) how much more i varies than j, see `critical.excess_variability`; antisymmetric.
        differences: (K, K, N) the differences; NaN where one of the two was not trained.
        prior: (K, K) variance that counts beside that of the difference, see `moderation`.
        prior_freedom: (K, K) its degrees of freedom; 0 for none.
    """

    blocks: Ints
    gap: Floats
    spread: Floats
    skew: Floats
    own_skew: Floats
    excess: Floats
    differences: Floats
    prior: Floats
    prior_freedom: Floats

    @cached_property
    def error(self) -> Floats:
        """(K, K) standard error of the gap."""
        error: Floats = self.spread / np.sqrt(np.maximum(self.blocks, 1))
        return error

    @cached_property
    def doubts(self) -> Floats:
        """(K, K) how much a lead of i over j is to be doubted, see `critical.doubt`."""
        return doubt(self.excess, self.own_skew, self.skew)

    def p_values(self) -> Floats:
        """(K, K) two-sided paired t-test of no difference; 1 where all differences are zero.

        Equal to `scipy.stats.ttest_rel`, except for all-zero differences (NaN in SciPy) and for repeated
        values, see `compare`. The smaller one of two tests where variances are moderated.
        """
        tail = stdtr(self._freedom, -np.abs(self._statistic(0.0)))
        if self.prior_freedom.any():
            freedom, error = self._moderated
            size = np.abs(self.gap) / np.where(error > 0.0, error, np.inf)
            tail = np.minimum(tail, stdtr(freedom, -size))
        p: Floats = np.minimum(1.0, 2.0 * tail)
        return p

    def low(self, level: Floats | float) -> Floats:
        """(K, K) lower end of the two-sided (1 - level) confidence interval of the gap.

        Equal to that of `scipy.stats.ttest_rel`, or below it where rare low values may still be to come, see
        `critical`.
        """
        levels = np.asarray(level)
        half: Floats = critical_values(self.blocks, levels, self.skew, self.doubts) * self.error
        if self.prior_freedom.any():
            freedom, error = self._moderated
            many = np.maximum(self.blocks, 2)
            half = np.minimum(half, student_values(many, levels, self.doubts, freedom) * error)
        return self.gap - half

    def equivalence(self, margin: float) -> Floats:
        """(K, K) p-value of the two one-sided tests of a gap within +-margin (TOST).

        Equal to `statsmodels.stats.weightstats.ttost_paired`; Schuirmann, J. Pharmacokinetics and
        Biopharmaceutics 15, 1987. 0 where all differences are zero.
        """
        p = np.maximum(
            stdtr(self._freedom, -self._statistic(-margin)),
            stdtr(self._freedom, self._statistic(margin)),
        )
        same = (self.spread == 0.0) & (self.gap == 0.0)
        equivalent: Floats = np.where(same, 0.0, p)
        return equivalent

    def equivalence_half(self, level: float) -> Floats:
        """(K, K) half width of the gap's interval with two ends at this one-sided level.

        The interval lies within +-margin exactly if `equivalence` is at most `level`.
        """
        half: Floats = -stdtrit(self._freedom, level) * self.error
        return half

    @cached_property
    def _moderated(self) -> tuple[Floats, Floats]:
        """(K, K) degrees of freedom of the moderated variance, and the standard error by it."""
        freedom = self._freedom + self.prior_freedom
        pooled = (self.prior_freedom * self.prior + self._freedom * self.spread**2) / freedom
        error: Floats = np.sqrt(pooled / np.maximum(self.blocks, 1))
        return freedom, error

    @cached_property
    def _freedom(self) -> Ints:
        return np.maximum(self.blocks - 1, 1)

    def _statistic(self, shift: float) -> Floats:
        """(K, K) t statistic of a gap of `shift`; 0 where the mean gap is exactly `shift`."""
        difference = self.gap - shift
        with np.errstate(divide="ignore", invalid="ignore"):
            statistic: Floats = difference / self.error
        return np.where(difference == 0.0, 0.0, statistic)


def compare(scores: Floats) -> Pairs:
    """Compare every two candidates on their common blocks.

    Scores are often counts (an accuracy over 360 images), so a few differences can be exactly equal by
    chance. Their standard deviation of zero would make any gap significant. The spread of a pair is
    therefore at least the smallest step between its differences (with zero as one of them): n equal
    differences give t = sqrt(n), close to the sign test, instead of infinity. Three or more different values
    always spread more than their smallest step, so the plain t-test applies wherever no values repeat.

    Args:
        scores: (K, N) scores, more is better, NaN where a candidate was not trained on a block.

    Returns:
        The comparisons; a pair with fewer than two common blocks has an infinite spread.
    """
    same = _SAME * _typical_size(scores)[..., None, None]
    difference = scores[..., :, None, :] - scores[..., None, :, :]
    difference = np.where(np.abs(difference) <= same[..., None], 0.0, difference)
    both = np.isfinite(difference)
    blocks = both.sum(axis=-1)
    gap, centred = _around_mean(difference, both)
    squares = (centred**2).sum(axis=-1)
    spread = np.sqrt(squares / np.maximum(blocks - 1, 1))
    skew = skewness((centred**3).sum(axis=-1), squares, blocks)
    filled = np.where(both, difference, 0.0)
    steps = np.diff(np.sort(np.concatenate([filled, np.zeros_like(gap)[..., None]], axis=-1)))
    smallest = np.where(steps > same[..., None], steps, np.inf).min(axis=-1)
    spread = np.maximum(spread, np.where(np.isfinite(smallest), smallest, 0.0))
    _, sums = _around_mean(scores[..., :, None, :] + scores[..., None, :, :], both)
    excess = excess_variability((centred * sums).sum(axis=-1), squares, (sums**2).sum(axis=-1))
    own = (centred + sums) / 2.0  # the scores of i on the blocks of both, less their mean
    own_skew = skewness((own**3).sum(axis=-1), (own**2).sum(axis=-1), blocks)
    spread = np.where(blocks < 2, np.inf, spread)
    none = np.zeros_like(gap)
    return Pairs(blocks, gap, spread, skew, own_skew, excess, difference, none, none)


def _typical_size(scores: Floats) -> Floats:
    """The median of the absolute scores of each race; 0 where there are none."""
    sizes = np.sort(np.abs(scores).reshape(*scores.shape[:-2], -1), axis=-1)  # NaN come last
    seen = np.isfinite(sizes).sum(axis=-1)[..., None]
    middle = (
        np.take_along_axis(sizes, np.maximum(i, 0), axis=-1) for i in ((seen - 1) // 2, seen // 2)
    )
    median: Floats = np.where(seen > 0, sum(middle) / 2.0, 0.0)[..., 0]
    return median


def _around_mean(values: Floats, seen: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """The mean over the blocks that are seen, and the deviations from it; 0 elsewhere."""
    filled = np.where(seen, values, 0.0)
    mean = filled.sum(axis=-1) / np.maximum(seen.sum(axis=-1), 1)
    return mean, np.where(seen, filled - mean[..., None], 0.0)


def holm(p_values: Floats) -> Floats:
    """(K, K) p-values adjusted over all K (K - 1) / 2 pairs (Holm, Scand. J. Stat. 6, 1979)."""
    rows, columns = _upper(p_values.shape[-1])
    plain = p_values[..., rows, columns]
    order = plain.argsort(axis=-1, kind="stable")
    factors = np.arange(len(rows), 0, -1)
    ranked = np.take_along_axis(plain, order, axis=-1) * factors
    adjusted = np.empty_like(plain)
    rising = np.minimum(1.0, np.maximum.accumulate(ranked, axis=-1))
    np.put_along_axis(adjusted, order, rising, axis=-1)
    result = np.ones_like(p_values)
    result[..., rows, columns] = result[..., columns, rows] = adjusted
    return result


def power(gap: float, spread: float, blocks: int, level: float) -> float:
    """Probability that a two-sided paired t-test at `level` detects a true `gap` (noncentral t).

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
    if np.isnan(found):  # the series fails for a large shift, which dominates the normal noise
        found = float(chdtr(freedom, freedom * (shift / bound) ** 2))
    return found


def win_power(gap: float, margin: float, spread: float, blocks: int, level: float) -> float:
    """Probability that the confidence interval of a true `gap` lies above the margin (noncentral t).

    Args:
        gap: True mean difference, in units of the metric. Below the margin the result is less than
            `level` / 2.
        margin: What the lower end of the interval has to exceed, same units.
        spread: Standard deviation of the difference, same units.
        blocks: Number of paired blocks, at least 2.
        level: Two-sided level of the interval.
    """
    if spread == 0.0:
        return float(gap > margin)
    freedom, shift = blocks - 1, (gap - margin) / spread * blocks**0.5
    bound = -stdtrit(freedom, level / 2.0)
    found = 1.0 - float(nctdtr(freedom, shift, bound))
    if np.isnan(found):  # the series fails for a large shift of either sign, see `power`
        found = power(gap - margin, spread, blocks, level) if shift > 0 else 0.0
    return found


def detectable_gap(spread: float, blocks: int, level: float, chance: float = TARGET_POWER) -> float:
    """The true gap that a two-sided paired t-test at `level` detects with probability `chance`."""
    freedom = blocks - 1
    bound = -stdtrit(freedom, level / 2.0)
    if bound < _FAR:
        shift = nctdtrinc(freedom, 1.0 - chance, bound)
    else:  # the inversion does not end for such values, and the shift dominates the normal noise
        shift = bound * (chdtri(freedom, 1.0 - chance) / freedom) ** 0.5
    return float(shift * spread / blocks**0.5)


def correlation(scores: Floats) -> tuple[float, float] | None:
    """How much the candidates share their blocks' noise, and what pairing gains by it.

    Args:
        scores: (K, N) scores of K candidates on the same N blocks, without NaN.

    Returns:
        The mean correlation over the blocks of every two candidates, and the share of a difference's
        variance that pairing removed (negative if it added some). None where these are undefined: fewer
        than 2 candidates whose scores vary, or fewer than 3 blocks.
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
