"""Whether the remaining blocks can still decide a race, or show that its baseline is beaten.

The probability is predictive: it covers what the blocks so far leave uncertain about a gap and its spread, and
what the remaining blocks may add (Spiegelhalter, Freedman and Blackburn, Monitoring clinical trials:
conditional or predictive power?, Controlled Clinical Trials 7, 1986). A race that ends because it is small ends
without a winner, so false winners can only become rarer.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from initsearch.race import sign_flips
from initsearch.race.judged import JudgedPairs
from initsearch.race.rules import RaceRules

DRAWS = 2000  # a probability of 5 % has a standard error of half a percentage point


def chance_of_decision(
    evidence: JudgedPairs, trained: NDArray[np.bool_], look: int, rules: RaceRules
) -> float:
    """Predict the probability that the last look names a winner or a tie; an upper bound of it.

    Each pair is predicted separately, for normally distributed differences with a flat prior on the mean and
    on the logarithm of the spread. A decision needs a final leader that is ahead of every other candidate and
    has beaten it or is equivalent to it. For one candidate, the least likely of these conditions is an upper
    bound; the sum over candidates is an upper bound for any decision.

    Args:
        evidence: The evidence so far.
        trained: (K,) which candidates are still in training; the evidence on the others does not change.
        look: Number of blocks so far, less than `rules.max_seeds`.
        rules: The rules of the race.

    Returns:
        A number in [0, 1]; the same one for the same evidence.
    """
    at_end, error = _predict(evidence, trained, look, rules)
    beats_by, ties_by = (
        -float(stdtrit(rules.max_seeds - 1, level))
        for level in (rules.levels[-1] / 2.0, rules.tie_levels[-1])
    )
    beats = at_end - beats_by * error > rules.margin
    ties = np.abs(at_end) + ties_by * error <= rules.margin
    same = (at_end == 0.0) & (error == 0.0)  # equal on every block: a tie for any margin
    settled = ((beats | ties) & (at_end > 0.0) | same).mean(axis=-1)
    stands = evidence.beats | (evidence.p_equivalence <= rules.alpha)
    settled = np.maximum(settled, _chance_by_signs(evidence, look, rules, rules.levels[-1] / 2.0))
    leads = np.where(trained[:, None] & trained[None, :], settled, stands)
    np.fill_diagonal(leads, 1.0)
    return float(min(1.0, leads.min(axis=1)[trained].sum()))


def chance_of_beating(
    evidence: JudgedPairs, trained: NDArray[np.bool_], baseline: int, look: int, rules: RaceRules
) -> float:
    """Predict the probability that some candidate beats the baseline at the last look.

    Each candidate is predicted separately. Their leads over the same baseline are positively correlated, so the
    result is rather too large, and the race rather continues.

    Args:
        evidence: The evidence so far.
        trained: (K,) which candidates are still in training; the others cannot beat the baseline any more.
        baseline: Index of the baseline, which is in training.
        look: Number of blocks so far, less than `rules.max_seeds`.
        rules: The rules of the race.

    Returns:
        A number in [0, 1]; the same one for the same evidence.
    """
    at_end, error = _predict(evidence, trained, look, rules)
    level = rules.family_levels(len(trained))[-1]
    beats = at_end + float(stdtrit(rules.max_seeds - 1, level)) * error > rules.margin
    rivals = trained & (np.arange(len(trained)) != baseline)
    by_signs = _chance_by_signs(evidence, look, rules, level)[rivals, baseline]
    return float(max(beats[rivals, baseline].any(axis=0).mean(), by_signs.max(initial=0.0)))


def _chance_by_signs(
    evidence: JudgedPairs, look: int, rules: RaceRules, level: float
) -> NDArray[np.float64]:
    """(K, K) the probability that i is ahead of j on all blocks to come, if it was on all so far, else 0.

    A candidate that is ahead on all blocks of the last look beats the other one there, by t or by signs. The
    probability is Laplace's rule of succession. The normal distribution does not predict this where runs
    collapse.
    """
    ahead = (evidence.table.differences > rules.margin) | np.isnan(evidence.table.differences)
    usable = rules.sign_flips and rules.max_seeds <= sign_flips.MOST_BLOCKS
    shows = usable and sign_flips.rank(level, rules.max_seeds) >= 1
    chance = (look + 1.0) / (rules.max_seeds + 1.0) if shows else 0.0
    return np.where(ahead.all(axis=-1), chance, 0.0)


def _predict(
    evidence: JudgedPairs, trained: NDArray[np.bool_], look: int, rules: RaceRules
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draws of each pair's gap at the last look and of its standard error, (K, K, DRAWS)."""
    draw, blocks = np.random.default_rng(0), rules.max_seeds
    new, shape = blocks - look, (*evidence.table.gap.shape, DRAWS)
    both = trained[:, None] & trained[None, :]
    gap = evidence.table.gap[..., None]
    # Pairs with a stopped candidate are not predicted; their spread may be infinite.
    squares = np.where(both, evidence.table.spread, 0.0)[..., None] ** 2 * (look - 1)

    variance = squares / draw.chisquare(look - 1, shape)
    truth = gap + np.sqrt(variance / look) * draw.standard_normal(shape)
    gap_of_new = truth + np.sqrt(variance / new) * draw.standard_normal(shape)
    squares_of_new = variance * draw.chisquare(new - 1, shape) if new > 1 else 0.0

    at_end = (look * gap + new * gap_of_new) / blocks
    squares_at_end = squares + squares_of_new + look * new / blocks * (gap_of_new - gap) ** 2
    return at_end, np.sqrt(squares_at_end / (blocks - 1) / blocks)
