"""How often runs fail: bounds of a failure rate, and which candidates fail more often than another one."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaincinv

CONFIDENCE = 0.95


def failure_bound(failed: int, runs: int) -> float:
    """Upper bound of a failure rate with one-sided confidence of 95 %.

    The exact one of Clopper and Pearson (Biometrika 26, 1934).

    Args:
        failed: Number of runs that failed.
        runs: Number of runs.
    """
    return 1.0 if failed >= runs else float(betaincinv(failed + 1, runs - failed, CONFIDENCE))


def fails_more_often(mine: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """One-sided p-value that the other candidate fails more often: McNemar's exact test.

    It counts the blocks on which a single one of the two failed: without a difference, half of them are the
    other's (McNemar, Psychometrika 12, 1947).

    Args:
        mine: (n,) on which blocks the candidate failed.
        other: (n,) on which of the same blocks the other one failed.
    """
    worse, better = int((other & ~mine).sum()), int((mine & ~other).sum())
    # The tail of the binomial distribution, as an incomplete beta function.
    return float(betainc(worse, better + 1, 0.5)) if worse else 1.0
