"""Paired comparisons of all candidates at once: t-tests, intervals, equivalence, Holm, power.

All arrays over pairs have shape (K, K) for K candidates. Entry [i, j] compares i with j on the blocks of both;
positive means that i is better. Scores are oriented so that more is better. `weigh` combines all of it into
the evidence of one look.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtr, chdtri, nctdtr, nctdtrinc, stdtr, stdtrit

from initsearch.race import sign_flips
from initsearch.race.critical import (
    STRICTER,
    Floats,
    Ints,
    critical_values,
    excess_variability,
    is_doubtful,
    skewness,
)
from initsearch.race.rules import Comparison, RaceRules

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
        excess: (K, K) how much more i varies than j, see `critical.excess_variability`; antisymmetric.
        differences: (K, K, N) the differences; NaN where one of the two was not trained.
    """

    blocks: Ints
    gap: Floats
    spread: Floats
    skew: Floats
    excess: Floats
    differences: Floats

    @cached_property
    def error(self) -> Floats:
        """(K, K) standard error of the gap."""
        error: Floats = self.spread / np.sqrt(np.maximum(self.blocks, 1))
        return error

    def p_values(self) -> Floats:
        """(K, K) two-sided paired t-test of no difference; 1 where all differences are zero.

        Equal to `scipy.stats.ttest_rel`, except for all-zero differences (NaN in SciPy) and for repeated
        values, see `compare`.
        """
        p: Floats = np.minimum(1.0, 2.0 * stdtr(self._freedom, -np.abs(self._statistic(0.0))))
        return p

    def low(self, level: Floats | float) -> Floats:
        """(K, K) lower end of the two-sided (1 - level) confidence interval of the gap.

        Equal to that of `scipy.stats.ttest_rel`, or below it where rare low values may still be to come, see
        `critical`.
        """
        levels = np.asarray(level)
        half: Floats = critical_values(self.blocks, levels, self.skew, self.excess) * self.error
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
    seen = np.isfinite(scores)
    typical = float(np.median(np.abs(scores[seen]))) if seen.any() else 0.0
    difference = scores[:, None, :] - scores[None, :, :]
    difference = np.where(np.abs(difference) <= _SAME * typical, 0.0, difference)
    both = np.isfinite(difference)
    blocks = both.sum(axis=-1)
    filled = np.where(both, difference, 0.0)
    gap = filled.sum(axis=-1) / np.maximum(blocks, 1)
    centred = np.where(both, difference - gap[..., None], 0.0)
    squares = (centred**2).sum(axis=-1)
    spread = np.sqrt(squares / np.maximum(blocks - 1, 1))
    skew = skewness((centred**3).sum(axis=-1), squares, blocks)
    steps = np.diff(np.sort(np.concatenate([filled, np.zeros_like(gap)[..., None]], axis=-1)))
    smallest = np.where(steps > _SAME * typical, steps, np.inf).min(axis=-1)
    spread = np.maximum(spread, np.where(np.isfinite(smallest), smallest, 0.0))
    sums = np.where(both, scores[:, None, :] + scores[None, :, :], 0.0)
    sums = np.where(both, sums - (sums.sum(axis=-1) / np.maximum(blocks, 1))[..., None], 0.0)
    excess = excess_variability((centred * sums).sum(axis=-1), squares, (sums**2).sum(axis=-1))
    return Pairs(blocks, gap, np.where(blocks < 2, np.inf, spread), skew, excess, difference)


@dataclass(frozen=True)
class JudgedPairs:
    """All comparisons at one look; arrays over pairs are (K, K).

    Attributes:
        level: Two-sided level of the tests at this look.
        tie_level: Level of each one-sided equivalence test at this look.
        margin: Smallest gap that matters, in units of the metric.
        scores: (K, N) scores as `oriented` returns them.
        table: The paired comparisons.
        low: Lower ends of the gaps' confidence intervals, each at the level of the pair's last look.
        family_low: The same at the level of a comparison of one candidate with all others, see
            `RaceRules.family_levels`.
        beats: Whether i beats j: `low` is above the margin.
        p_values: Two-sided paired t-tests, or sign-flip tests where t is blind (`sign_flips`).
        p_holm: The same after Holm's correction over all pairs.
        p_equivalence: Two one-sided tests (TOST) of a gap within the margin.
    """

    level: float
    tie_level: float
    margin: float
    scores: Floats
    table: Pairs
    low: Floats
    family_low: Floats
    beats: NDArray[np.bool_]
    p_values: Floats
    p_holm: Floats
    p_equivalence: Floats

    def compare(self, leader: int, other: int, name: str) -> Comparison:
        """The leader against one other candidate, called `name`, as plain data."""
        gap = float(self.table.gap[leader, other])
        half = float(self.table.equivalence_half(self.tie_level)[leader, other])
        return Comparison(
            name=name,
            blocks=int(self.table.blocks[leader, other]),
            gap=gap,
            low=float(self.low[leader, other]),
            high=float(-self.low[other, leader]),
            spread=float(self.table.spread[leader, other]),
            p_value=float(self.p_values[leader, other]),
            p_holm=float(self.p_holm[leader, other]),
            p_equivalence=float(self.p_equivalence[leader, other]),
            tie_low=gap - half,
            tie_high=gap + half,
            beaten=bool(self.beats[leader, other]),
            equivalent=bool(self.p_equivalence[leader, other] <= self.tie_level),
        )


def weigh(scores: Floats, look: int, rules: RaceRules) -> JudgedPairs:
    """Compare all candidates after `look` blocks.

    Args:
        scores: (K, N) scores, see `oriented`. A stopped candidate has scores up to an earlier look.
        look: Number of blocks so far, one of the schedule.
        rules: The rules of the race.
    """
    better = oriented(scores, rules)
    table = compare(better)
    if not rules.correct_skew:
        none = np.zeros_like(table.skew)
        table = replace(table, skew=none, excess=none)
    p_values = table.p_values()
    level_of = _by_blocks(rules.schedule, rules.levels)
    family_of = _by_blocks(rules.schedule, [2 * x for x in rules.family_levels(len(scores))])
    levels, family_levels = level_of[table.blocks], family_of[table.blocks]
    low, family_low = table.low(levels), table.low(family_levels)
    if rules.sign_flips:
        for i, j in _unseen_by_t(table, levels, rules.margin):
            low[i, j] = max(low[i, j], _flip_bound(table, i, j, levels))
            family_low[i, j] = max(family_low[i, j], _flip_bound(table, i, j, family_levels))
            p_value = sign_flips.p_value(_seen(table, i, j))
            p_values[[i, j], [j, i]] = min(float(p_values[i, j]), p_value)
    return JudgedPairs(
        level=float(level_of[look]),
        tie_level=rules.tie_levels[rules.schedule.index(look)],
        margin=rules.margin,
        scores=better,
        table=table,
        low=low,
        family_low=family_low,
        beats=low > rules.margin,
        p_values=p_values,
        p_holm=holm(p_values),
        p_equivalence=table.equivalence(rules.margin),
    )


def _unseen_by_t(table: Pairs, levels: Floats, margin: float) -> list[tuple[int, int]]:
    """The pairs of a leading and another candidate whose t-test no signs of their differences would pass."""
    few = (table.blocks >= 2) & (table.blocks <= sign_flips.MOST_BLOCKS)
    return [
        (i, j)
        for i, j in np.argwhere(few & (table.gap > margin) & (table.spread > 0.0)).tolist()
        if sign_flips.t_is_blind(_seen(table, i, j) - margin, _strict(table, i, j, levels))
    ]


def _flip_bound(table: Pairs, i: int, j: int, levels: Floats) -> float:
    return sign_flips.lower_bound(_seen(table, i, j), _strict(table, i, j, levels))


def _strict(table: Pairs, i: int, j: int, levels: Floats) -> float:
    """The one-sided level of a lead of i over j."""
    doubtful = is_doubtful(table.blocks[i, j], table.excess[i, j])
    return float(levels[i, j]) / (2.0 * STRICTER if doubtful else 2.0)


def _seen(table: Pairs, i: int, j: int) -> Floats:
    """(n,) the differences on the blocks of both."""
    differences: Floats = table.differences[i, j]
    seen: Floats = differences[np.isfinite(differences)]
    return seen


def _by_blocks(schedule: Sequence[int], levels: Sequence[float]) -> Floats:
    """The two-sided level of a look by its number of blocks; 1 where there is no look."""
    level_of = np.ones(schedule[-1] + 1)
    level_of[list(schedule)] = levels
    return level_of


def oriented(scores: Floats, rules: RaceRules) -> Floats:
    """The scores in "more is better" form, with a finite score for diverged runs.

    Args:
        scores: (K, N) scores in the metric's own direction; NaN where a candidate was not trained on a
            block, infinite where it diverged.
        rules: Give the direction and the score of a diverged run.

    Returns:
        (K, N) scores; still NaN where a candidate was not trained.
    """
    sign = 1.0 if rules.higher_is_better else -1.0
    better = sign * scores
    finite = better[np.isfinite(better)]
    worst = float(finite.min()) if finite.size else 0.0
    given = rules.diverged_score
    bad = worst - abs(worst) if given is None else min(worst, sign * given)
    return np.where(np.isinf(better), bad, better)


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
