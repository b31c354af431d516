"""The sign-flip test, for differences to which a t-test is blind.

Where a candidate collapses on some seeds, a few differences are so much larger than the others that no t-test
can find a lead, however their signs fall: with leads of 84, 84, 1, 2, 1 and 2 points, t is 1.6. Signs still
show it: without a true lead, differences are symmetric about zero, and all of six are positive with a
probability of 1 in 64. Whether t is blind depends on the sizes of the differences alone, not on their signs, so
to change the test for this reason leaves the sign-flip test exact.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from initsearch.race.critical import Floats

#: Beyond this number of blocks there are too many sign patterns to list them.
MOST_BLOCKS = 16
#: The share of a look's level that is used: where runs collapse, earlier looks may still decide by t.
SHARE = 0.9


def t_is_blind(differences: Floats, levels: Floats | float) -> NDArray[np.bool_]:
    """Whether no signs of these differences would give a t value that is significant.

    The largest t is that of signs that are all the same.

    Args:
        differences: (..., n) differences of pairs, less the gap that is tested; NaN where a block has none.
            Each pair has at least 2.
        levels: (...) one-sided levels of the t-tests.
    """
    seen = np.isfinite(differences)
    blocks = seen.sum(axis=-1)
    sizes = np.where(seen, np.abs(differences), 0.0)
    mean = sizes.sum(axis=-1) / blocks
    squares = (np.where(seen, sizes - mean[..., None], 0.0) ** 2).sum(axis=-1)
    error = np.sqrt(squares / (blocks - 1) / blocks)
    blind: NDArray[np.bool_] = mean < -stdtrit(blocks - 1, levels) * error
    return blind


def rank(level: float, blocks: int) -> int:
    """Which of the ordered means of subsets is the bound at a one-sided level; 0: too few blocks for any."""
    return int(SHARE * level * 2.0**blocks)


def lower_bound(differences: Floats, level: float) -> float:
    """Lower bound of the mean difference by the sign-flip test: the k-th smallest mean of a subset of them.

    Each of the 2 ** n subsets is as likely as any other to be the last one whose mean is below the true mean
    (Hartigan, Using subsample values as typical values, JASA 64, 1969). The empty subset counts as the first.

    Args:
        differences: (n,) differences, symmetric about the true mean, n at most `MOST_BLOCKS`.
        level: One-sided level.

    Returns:
        Minus infinity if n is too small for the level.
    """
    k = rank(level, len(differences))
    if k < 1:
        return -np.inf
    return float(np.partition(_subset_means(differences), k - 1)[k - 1])


def p_value(differences: Floats) -> float:
    """Two-sided p-value of a mean of zero: twice the share of signs that give the same mean or a larger one.

    Equal to that of `scipy.stats.permutation_test(permutation_type="samples")` with all permutations.

    Args:
        differences: (n,) differences, n at most `MOST_BLOCKS`.
    """
    away = differences if differences.mean() > 0.0 else -differences
    # Signs that give a mean as large are those that turn a subset whose mean is 0 or less.
    turned = 1 + int((_subset_means(away) <= 0.0).sum())
    return float(min(1.0, 2.0 * turned / 2.0 ** len(away)))


def _subset_means(values: Floats) -> Floats:
    """The means of all subsets but the empty one, (2 ** n - 1,)."""
    member = _members(len(values))
    means: Floats = member @ values / member.sum(axis=1)
    return means


@lru_cache(maxsize=4)
def _members(count: int) -> Floats:
    """(2 ** count - 1, count) which values belong to a subset, as 0 and 1."""
    subsets = np.arange(1, 2**count)
    return ((subsets[:, None] >> np.arange(count)) & 1).astype(np.float64)
