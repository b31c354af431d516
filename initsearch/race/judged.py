"""All comparisons of a race at one look, by its rules: who beats whom, and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from initsearch.race import sign_flips
from initsearch.race.critical import EXCESS_OVER_DEAD, STRICTER, Floats, is_doubtful
from initsearch.race.moderation import moderated
from initsearch.race.pairs import Pairs, compare, holm
from initsearch.race.rules import Comparison, RaceRules

#: A candidate has learned nothing if it stays this near to the score of a guess, as a share of a lead over it.
DEAD = 0.1


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
    if rules.correct_skew:
        dead = _over_dead(scores, better, table.gap, rules)
        table = replace(table, excess=np.where(dead, EXCESS_OVER_DEAD, table.excess))
    else:
        none = np.zeros_like(table.skew)
        table = replace(table, skew=none, own_skew=none, excess=none)
    if rules.boundary == "moderated":
        table = moderated(table)
    p_values = table.p_values()
    level_of = _by_blocks(rules.schedule, rules.levels)
    family = rules.family_levels(scores.shape[-2])
    family_of = _by_blocks(rules.schedule, [2 * level for level in family])
    levels, family_levels = level_of[table.blocks], family_of[table.blocks]
    low, family_low = table.low(levels), table.low(family_levels)
    if rules.sign_flips:
        strict = np.where(is_doubtful(table.blocks, table.doubts), 1.0 / STRICTER, 1.0) / 2.0
        for pair in _unseen_by_t(table, strict * levels, rules.margin):
            seen = table.differences[pair]
            seen = seen[np.isfinite(seen)]
            for bound, level in ((low, levels), (family_low, family_levels)):
                by_signs = sign_flips.lower_bound(seen, float(strict[pair] * level[pair]))
                bound[pair] = max(bound[pair], by_signs)
            *race, i, j = pair
            p_value = min(float(p_values[pair]), sign_flips.p_value(seen))
            p_values[pair] = p_values[(*race, j, i)] = p_value
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


def _unseen_by_t(table: Pairs, levels: Floats, margin: float) -> list[tuple[int, ...]]:
    """The pairs of a leading and another candidate whose t-test no signs of their differences would pass."""
    few = (table.blocks >= 2) & (table.blocks <= sign_flips.MOST_BLOCKS)
    leads = few & (table.gap > margin) & (table.spread > 0.0)
    blind = sign_flips.t_is_blind(table.differences[leads] - margin, levels[leads])
    return [tuple(pair) for pair in np.argwhere(leads)[blind].tolist()]


def _over_dead(scores: Floats, better: Floats, gap: Floats, rules: RaceRules) -> NDArray[np.bool_]:
    """(K, K) whether i leads over a candidate j that has learned nothing, on any of its blocks.

    It diverged, or stayed near the score of a guess if no score of the race is clearly worse than a guess.
    """
    near = DEAD * gap[..., None]
    failed = ~np.isfinite(scores)  # or not trained
    at_guess = np.zeros_like(near, dtype=bool)
    if rules.diverged_score is not None:
        guess = rules.diverged_score if rules.higher_is_better else -rules.diverged_score
        worst = np.where(np.isfinite(better), better, np.inf).min(axis=(-2, -1))[
            ..., None, None, None
        ]
        at_guess = (np.abs(better - guess)[..., None, :, :] <= near) & (worst >= guess - near)
    dead = np.all(at_guess | failed[..., None, :, :], axis=-1)
    return np.asarray(dead & (gap > 0.0))


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
    finite = np.isfinite(better)
    worst = np.where(finite, better, np.inf).min(axis=(-2, -1), keepdims=True)
    worst = np.where(np.isfinite(worst), worst, 0.0)
    given = rules.diverged_score
    bad = worst - np.abs(worst) if given is None else np.minimum(worst, sign * given)
    return np.where(np.isinf(better), bad, better)
