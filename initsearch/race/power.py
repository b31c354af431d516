"""What a race can find: the power of its last look against all rivals together, and plans before a race.

A winner has to beat every rival in the same blocks, so the power against several tied rivals is less than the
power against one. It follows here from draws of whole blocks with the covariance that was observed.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import ndtr, stdtrit

from initsearch.errors import ConfigError
from initsearch.race.critical import (
    TRUSTS_SKEW,
    Floats,
    Ints,
    critical_values,
    doubt,
    excess_variability,
    skewness,
    student_values,
)
from initsearch.race.pairs import TARGET_POWER
from initsearch.race.rules import RaceRules

DRAWS = 2000  # a probability of 80 % has a standard error of 0.9 percentage points
MOST_SEEDS = 256  # a plan that needs more seeds is not called a remedy


def needed_leads(
    leader: Floats,
    rivals: Floats,
    spread: Floats,
    offsets: Floats,
    margin: float,
    blocks: int,
    level: float,
    correct_skew: bool = True,
) -> Floats:
    """Draws of the true lead over the nearest rival that would make a look's leader the winner.

    The quantile of the result at 0.8 is the lead that the look detects with a probability of 80 %, and the
    share that lies below a lead is the power for it. The size of the noise is as uncertain as n blocks of all
    differences together leave it (a posterior with a flat prior on its logarithm).

    Args:
        leader: (n,) scores of the leader.
        rivals: (R, n) scores of its rivals on the same blocks.
        spread: (R,) standard deviations of the differences, at least the observed ones (see `pairs.compare`).
        offsets: (R,) how much further behind than the nearest rival each is; 0 for tied rivals.
        margin: What the lower end of each interval has to exceed.
        blocks: Number of blocks at the look.
        level: Two-sided level of the look.
        correct_skew: As in the rules of the race.

    Returns:
        (DRAWS,) leads, in units of the metric; the same ones for the same evidence.
    """
    count, seen = rivals.shape
    many = np.array(blocks)
    # Each difference estimates a spread of its own; two of them share half of their variance.
    freedom = (seen - 1) * (count + 1) / 2
    scale = np.sqrt(freedom / np.random.default_rng(1).chisquare(freedom, DRAWS))
    both = np.concatenate([leader - rivals, leader + rivals])
    centred = both - both.mean(axis=1, keepdims=True)
    observed = np.sqrt((centred[:count] ** 2).mean(axis=1) * seen / (seen - 1))
    root = np.linalg.qr(centred.T / (seen - 1) ** 0.5, mode="r")  # root.T @ root is the covariance
    noise = _normal_draws(blocks, len(root)) @ root  # (DRAWS, blocks, 2 R)
    noise, sums = noise[..., :count], noise[..., count:]
    shift = noise.mean(axis=1)
    squares = np.einsum("dbr,dbr->dr", noise, noise) - blocks * shift**2
    deviation = np.sqrt(np.maximum(squares, 0.0) / (blocks - 1))
    varies = observed > 0.0
    # A difference that is constant so far has the least spread that `compare` allows.
    factor = np.where(varies, spread / np.where(varies, observed, 1.0), 1.0)
    deviation = np.where(varies, factor * deviation, spread)
    skew = doubts = np.zeros_like(shift)
    if correct_skew:
        noise, sums = noise - shift[:, None], sums - sums.mean(axis=1, keepdims=True)
        own = (noise + sums) / 2.0  # the leader's scores
        skew, own_skew = (
            skewness((x**3).sum(axis=1), (x**2).sum(axis=1), many) for x in (noise, own)
        )
        products, sums_squared = (np.einsum("dbr,dbr->dr", sums, x) for x in (noise, sums))
        excess = excess_variability(products, np.maximum(squares, 0.0), sums_squared)
        doubts = doubt(excess, own_skew, skew)
    error = critical_values(many, np.array(level), skew, doubts) * deviation / blocks**0.5
    needed: Floats = (margin + scale[:, None] * (error - factor * shift) - offsets).max(axis=1)
    return needed


@lru_cache(maxsize=2)
def _normal_draws(blocks: int, rank: int) -> Floats:
    """(DRAWS, blocks, rank) normal numbers."""
    return np.random.default_rng(0).standard_normal((DRAWS, blocks, rank))


def seeds_to_decide(
    gaps: Floats, spread: Floats, rules: RaceRules, most: int = MOST_SEEDS
) -> int | None:
    """The least `max_seeds` that would probably decide a race, if the true gaps are these; None beyond `most`.

    The probability of a winner, or of a tie, is at least 1 minus the sum over the rivals of the probability
    that the comparison with it fails (Bonferroni). 80 % is asked for.

    Args:
        gaps: (R,) lead of the leader over each rival that it has not beaten.
        spread: (R,) standard deviation of each difference.
        rules: The rules of the race that was not decided.
        most: The largest number of seeds to consider.
    """
    blocks = np.arange(rules.max_seeds + 1, most + 1)[:, None]
    error = np.where(spread > 0.0, spread, np.finfo(float).tiny) / np.sqrt(blocks)
    # The levels of the last look hardly depend on the number of looks before it.
    wins = _passes((gaps - rules.margin) / error, blocks - 1, rules.levels[-1] / 2.0)
    level = rules.tie_levels[-1]
    ties = _passes((rules.margin - gaps) / error, blocks - 1, level)
    ties += _passes((rules.margin + gaps) / error, blocks - 1, level) - 1.0
    enough = len(gaps) - 1 + TARGET_POWER
    decides = (wins.sum(axis=1) >= enough) | (np.maximum(0.0, ties).sum(axis=1) >= enough)
    return int(blocks[decides.argmax(), 0]) if decides.any() else None


def _passes(shift: Floats, freedom: Ints, level: float) -> Floats:
    """Power of one-sided t-tests with noncentrality `shift`, by Johnson and Welch's approximation (1940)."""
    bound = -stdtrit(freedom, level)
    power: Floats = ndtr(
        (shift - bound * (1.0 - 1.0 / (4.0 * freedom))) / np.sqrt(1.0 + bound**2 / (2.0 * freedom))
    )
    return power


@dataclass(frozen=True)
class Plan:
    """What a race can decide with its seeds, each with a probability of 80 %, in units of the metric.

    Attributes:
        seeds: `max_seeds` of the rules.
        lead: The true lead over all other candidates, tied with each other, that makes a winner.
        margin: The smallest margin at which candidates with equal means are shown to be a tie.
        seeds_for_tie: The least `max_seeds` that shows such a tie within the margin of the rules; None if that
            takes more than `MOST_SEEDS`.
    """

    seeds: int
    lead: float
    margin: float
    seeds_for_tie: int | None


def plan(rules: RaceRules, n_arms: int, sd: float) -> Plan:
    """What a race of candidates with similar, normally distributed scores can decide.

    Args:
        rules: The rules of the race.
        n_arms: Number of candidates, at least 2.
        sd: Standard deviation of the difference between two candidates on the same block, in units of the
            metric, above 0.

    Returns:
        The lead and the margin that the seeds suffice for, and how many seeds the margin needs.

    Raises:
        ConfigError: Fewer than two candidates, or a standard deviation that is not positive and finite.
    """
    if n_arms < 2:
        raise ConfigError(f"n_arms must be at least 2: got {n_arms}; a race compares candidates")
    if not 0.0 < sd < float("inf"):
        raise ConfigError(
            f"sd must be positive and finite: got {sd}; pass that of a paired difference"
        )
    lead, margin = _decidable(rules, n_arms, sd, rules.max_seeds)
    return Plan(rules.max_seeds, lead, margin, _seeds_for_tie(rules, n_arms, sd, margin))


def _seeds_for_tie(rules: RaceRules, n_arms: int, sd: float, margin: float) -> int | None:
    """The least number of seeds, by bisection."""
    if margin <= rules.margin:
        low, high = 1, rules.max_seeds
    elif _decidable(rules, n_arms, sd, MOST_SEEDS)[1] > rules.margin:
        return None
    else:
        low, high = rules.max_seeds, MOST_SEEDS
    while high - low > 1:
        middle = (low + high) // 2
        enough = _decidable(rules, n_arms, sd, middle)[1] <= rules.margin
        low, high = (low, middle) if enough else (middle, high)
    return high


def _decidable(rules: RaceRules, n_arms: int, sd: float, blocks: int) -> tuple[float, float]:
    """Lead and margin of `Plan` for this number of blocks, with the levels of the rules' last look."""
    draw = np.random.default_rng(0)
    means = draw.standard_normal((DRAWS, n_arms)) * sd / (2.0 * blocks) ** 0.5
    # The spreads of differences that share a candidate are correlated; apart, they make the plan cautious.
    deviation = (
        sd * np.sqrt(draw.chisquare(blocks - 1, (DRAWS, n_arms)) / (blocks - 1)) / blocks**0.5
    )
    doubts = np.zeros((DRAWS, n_arms - 1))
    if rules.correct_skew and blocks < TRUSTS_SKEW:
        doubts = _doubts_of_equal(DRAWS, n_arms, blocks)
    win = student_values(np.array(blocks), np.array(rules.levels[-1]), doubts)
    tie = -float(stdtrit(blocks - 1, rules.tie_levels[-1]))
    needed = (win * deviation[:, 1:] + means[:, 1:] - means[:, :1]).max(axis=1)
    ranked = -np.sort(-means, axis=1)
    apart = (ranked[:, :1] - ranked[:, 1:] + tie * deviation[:, 1:]).max(axis=1)
    lead, margin = (float(np.quantile(x, TARGET_POWER)) for x in (needed, apart))
    return rules.margin + lead, margin


@lru_cache(maxsize=8)
def _doubts_of_equal(draws: int, n_arms: int, blocks: int) -> Floats:
    """(draws, n_arms - 1) how much a lead over each rival is to be doubted if all vary equally."""
    scores = np.random.default_rng(1).standard_normal((draws, n_arms, blocks))
    many = np.array(blocks)
    first, others = scores[:, :1], scores[:, 1:]
    noise, sums, own = (
        x - x.mean(axis=-1, keepdims=True) for x in (first - others, first + others, first)
    )
    squares, sums_squared, own_squares = ((x**2).sum(axis=-1) for x in (noise, sums, own))
    excess = excess_variability((noise * sums).sum(axis=-1), squares, sums_squared)
    own_skew = skewness((own**3).sum(axis=-1), own_squares, many)
    return doubt(excess, own_skew, skewness((noise**3).sum(axis=-1), squares, many))
