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

#: Numbers of blocks from which a lead may be doubted, from which the skewness of differences is corrected
#: for, and from which that suffices.
SHOWS_SPREAD = 6
SHOWS_SKEW = 16
TRUSTS_SKEW = 24
#: A lead is doubted from this value of `doubt` on. For symmetric, independent scores it is a ratio of standard
#: deviations of 2.2.
DOUBTFUL = 0.65
#: The share of the leader's skewness, towards low values, that adds to the doubt.
SKEWNESS_COUNTS = 0.5
#: What the excess variability over a candidate that learned nothing counts as. It is about 1 for any other
#: candidate, and says nothing about rare low values, which are not below those of that candidate.
EXCESS_OVER_DEAD = 0.3
#: The level of a doubted lead is divided by this.
STRICTER = 10.0


def critical_values(blocks: Ints, level: Floats, skew: Floats, doubts: Floats) -> Floats:
    """The t value that a lead has to reach; at least Student's.

    With 16 or more blocks, Hall's cubic transformation of t corrects for the skewness (On the removal of
    skewness by transformation, JRSS B 54, 1992). The skewness of a sample is too small on average, so it
    counts twice, and noisy, so the corrected test has 1 - 3 / n of Student's value to reach. With fewer than
    24 blocks, `student_values` ask for more of a lead that is to be doubted.

    Args:
        blocks: Number of blocks.
        level: Two-sided level.
        skew: Skewness of the differences; only negative values raise the result.
        doubts: How much the lead is to be doubted, see `doubt`.
    """
    n = np.maximum(blocks, 2)
    student: Floats = -stdtrit(n - 1, level / 2.0)
    plain = student_values(n, level, doubts)
    negative = np.minimum(2.0 * skew, -1e-9)
    root = np.sqrt(n)
    with np.errstate(invalid="ignore", over="ignore"):
        milder = (1.0 - 3.0 / n) * student
        inner = 1.0 + negative / root * (milder - negative / (6.0 * root))
        corrected = 3.0 * root / negative * (np.cbrt(inner) - 1.0)
    raised: Floats = np.where(n < SHOWS_SKEW, plain, np.fmax(plain, corrected))
    return raised


def student_values(
    blocks: Ints, level: Floats, doubts: Floats, freedom: Floats | Ints | None = None
) -> Floats:
    """Student's t value, at a tenth of the level for a lead in 6 to 23 blocks that is to be doubted.

    Args:
        blocks: Number of blocks, at least 2.
        level: Two-sided level.
        doubts: See `doubt`.
        freedom: Degrees of freedom, if not `blocks` - 1.
    """
    freedom = blocks - 1 if freedom is None else freedom
    plain, strict = (-stdtrit(freedom, part * level / 2.0) for part in (1.0, 1.0 / STRICTER))
    values: Floats = np.where(is_doubtful(blocks, doubts), strict, plain)
    return values


def is_doubtful(blocks: Ints, doubts: Floats) -> NDArray[np.bool_]:
    """Whether a lead is to be doubted, in too few blocks to correct for the skewness of the differences."""
    few = (blocks >= SHOWS_SPREAD) & (blocks < TRUSTS_SKEW)
    return np.asarray(few & (doubts > DOUBTFUL))


def doubt(excess: Floats, own_skew: Floats, skew: Floats) -> Floats:
    """How much a lead is to be doubted: more if the leading candidate varies more and is skewed to low values.

    So few blocks do not show the skewness of differences well, but its cause: the candidate with rare low
    values varies more than the other one. Both signs together tell it from equal candidates better than either.

    Args:
        excess: How much more the leading candidate varies, see `excess_variability`.
        own_skew: Skewness of the leading candidate's scores.
        skew: Skewness of its differences to the other one. It shows what noise that both share hides in scores.
    """
    doubts: Floats = excess - SKEWNESS_COUNTS * np.minimum(own_skew, skew)
    return doubts


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
