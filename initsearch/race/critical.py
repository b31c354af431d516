"""The t value that a lead has to reach: Student's, or more where a few bad blocks are likely still to come.

Differences of zero mean that are skewed to low values look like a lead as long as the rare low values have not
been drawn. It is then the candidate with the rare low values that leads by luck. Two rules, fixed before the
race, make its test stricter; `docs/verdict.md` has the error rates with and without them.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Numbers of blocks from which the spread of a candidate is compared with another's, from which the skewness of
#: differences is corrected for, and from which that suffices.
SHOWS_SPREAD = 6
SHOWS_SKEW = 16
TRUSTS_SKEW = 24
#: A candidate counts as more variable than another from this correlation of difference and sum on. For
#: independent scores it is a ratio of standard deviations of 1.5.
MORE_VARIABLE = 0.4
#: The level of a lead of the more variable candidate is divided by this.
STRICTER = 10.0


def critical_values(blocks: Ints, level: Floats, skew: Floats, excess: Floats) -> Floats:
    """The t value that a lead has to reach; at least Student's.

    With 16 or more blocks, Hall's cubic transformation of t corrects for the skewness (On the removal of
    skewness by transformation, JRSS B 54, 1992). The skewness of a sample is too small on average, so it
    counts twice, and noisy, so the corrected test has 1 - 3 / n of Student's value to reach. With fewer than
    24 blocks, `student_values` doubt a lead of the more variable candidate.

    Args:
        blocks: Number of blocks.
        level: Two-sided level.
        skew: Skewness of the differences; only negative values raise the result.
        excess: How much more the leading candidate varies than the other one, see `excess_variability`.
    """
    n = np.maximum(blocks, 2)
    student: Floats = -stdtrit(n - 1, level / 2.0)
    plain = student_values(n, level, excess)
    negative = np.minimum(2.0 * skew, -1e-9)
    root = np.sqrt(n)
    with np.errstate(invalid="ignore", over="ignore"):
        milder = (1.0 - 3.0 / n) * student
        inner = 1.0 + negative / root * (milder - negative / (6.0 * root))
        corrected = 3.0 * root / negative * (np.cbrt(inner) - 1.0)
    raised: Floats = np.where(n < SHOWS_SKEW, plain, np.fmax(plain, corrected))
    return raised


def student_values(blocks: Ints, level: Floats, excess: Floats) -> Floats:
    """Student's t value, at a tenth of the level for a lead of a more variable candidate in 6 to 23 blocks.

    So few blocks do not show the skewness of differences, but its cause: the candidate with rare low values
    varies more than the other one.

    Args:
        blocks: Number of blocks, at least 2.
        level: Two-sided level.
        excess: See `excess_variability`.
    """
    plain, strict = (-stdtrit(blocks - 1, part * level / 2.0) for part in (1.0, 1.0 / STRICTER))
    values: Floats = np.where(is_doubtful(blocks, excess), strict, plain)
    return values


def is_doubtful(blocks: Ints, excess: Floats) -> NDArray[np.bool_]:
    """Whether the more variable candidate leads, in too few blocks to show its skewness."""
    few = (blocks >= SHOWS_SPREAD) & (blocks < TRUSTS_SKEW)
    return np.asarray(few & (excess > MORE_VARIABLE))


def excess_variability(products: Floats, squares: Floats, squares_of_sums: Floats) -> Floats:
    """Correlation of two candidates' difference and sum over the blocks: above 0 if the first varies more.

    Pitman's and Morgan's test of equal variances of paired values rests on it (Biometrika 31, 1939). Noise that
    both share cancels in the difference, so it hides little.

    Args:
        products: Sums over blocks of (difference - its mean) times (sum - its mean).
        squares: Sums of squared deviations of the difference from its mean.
        squares_of_sums: The same of the sum.

    Returns:
        From -1 to 1; 0 where the difference or the sum is constant.
    """
    scale = np.sqrt(squares * squares_of_sums)
    excess: Floats = np.where(scale > 0.0, products / np.where(scale > 0.0, scale, 1.0), 0.0)
    return excess


def skewness(cubes: Floats, squares: Floats, blocks: Ints) -> Floats:
    """Sample skewness, corrected for bias as by `scipy.stats.skew(bias=False)`; 0 for fewer than 3 blocks.

    Args:
        cubes: Sums of the cubed deviations from the mean.
        squares: Sums of the squared deviations; where they are 0, so is the skewness.
        blocks: Number of blocks.
    """
    n = np.maximum(blocks, 3)
    plain = cubes * np.sqrt(n) / np.where(squares > 0.0, squares, 1.0) ** 1.5
    skew: Floats = np.where(blocks < 3, 0.0, plain * np.sqrt(n * (n - 1.0)) / (n - 2.0))
    return skew
