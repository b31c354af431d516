"""Whether the blocks that are left can still decide a race, or would be trained for nothing.

The chance is a predictive one: what the blocks so far leave open of a gap and its spread, and what the blocks
to come may add (Spiegelhalter, Freedman and Blackburn, Monitoring clinical trials: conditional or predictive
power?, Controlled Clinical Trials 7, 1986). A race that ends for its being small ends without a winner: false
winners become rarer, never more frequent.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from initsearch.race.pairs import Evidence
from initsearch.race.rules import RaceRules

DRAWS = 2000  # a chance of 5 % is known to half a percentage point (one standard error)


def chance_of_decision(
    evidence: Evidence, trained: NDArray[np.bool_], look: int, rules: RaceRules
) -> float:
    """The chance that the last look names a winner or a tie, as the blocks so far predict it; or a bit more.

    Each pair is predicted by itself, from a normal law of its differences and with no opinion beforehand (a
    flat prior of the mean and of the logarithm of the spread). Whoever leads at the end must be ahead of every
    other, and have beaten it or be equivalent to it: the least likely of these bounds the chance that a
    candidate leads to a decision, and the sum over candidates bounds the chance of any.

    Args:
        evidence: Of now.
        trained: (K,) which candidates are still trained; what is known of the others stays as it is.
        look: Blocks so far, fewer than the race may have.
        rules: What the race is decided by.

    Returns:
        A number in [0, 1]; the same one for the same evidence.
    """
    draw, blocks = np.random.default_rng(0), rules.max_seeds
    new, shape = blocks - look, (*evidence.table.gap.shape, DRAWS)
    both = trained[:, None] & trained[None, :]
    gap = evidence.table.gap[..., None]
    # Pairs with a candidate that was stopped are not predicted; theirs may have no spread.
    squares = np.where(both, evidence.table.spread, 0.0)[..., None] ** 2 * (look - 1)

    variance = squares / draw.chisquare(look - 1, shape)
    truth = gap + np.sqrt(variance / look) * draw.standard_normal(shape)
    gap_of_new = truth + np.sqrt(variance / new) * draw.standard_normal(shape)
    squares_of_new = variance * draw.chisquare(new - 1, shape) if new > 1 else 0.0

    at_end = (look * gap + new * gap_of_new) / blocks
    squares_at_end = squares + squares_of_new + look * new / blocks * (gap_of_new - gap) ** 2
    error = np.sqrt(squares_at_end / (blocks - 1) / blocks)
    beats_by, ties_by = (
        -float(stdtrit(blocks - 1, level))
        for level in (rules.levels[-1] / 2.0, rules.tie_levels[-1])
    )
    beats = at_end - beats_by * error > rules.margin
    ties = np.abs(at_end) + ties_by * error <= rules.margin
    same = (at_end == 0.0) & (error == 0.0)  # on every block: a tie, whatever the margin
    settled = ((beats | ties) & (at_end > 0.0) | same).mean(axis=-1)
    stands = evidence.beats | (evidence.p_equivalence <= rules.alpha)
    leads = np.where(both, settled, stands)
    np.fill_diagonal(leads, 1.0)
    return float(min(1.0, leads.min(axis=1)[trained].sum()))
