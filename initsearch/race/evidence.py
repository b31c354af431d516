"""What the scores of a race say at a look: all pairs, each at the level that it has reached."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from initsearch.race import pairs
from initsearch.race.decision import Comparison
from initsearch.race.pairs import Floats, Pairs
from initsearch.race.rules import RaceRules


@dataclass(frozen=True)
class Evidence:
    """What a look weighs; arrays over pairs are (K, K), see `pairs`.

    Attributes:
        level: Two-sided level of the tests at this look.
        tie_level: Level of each one-sided test of equivalence at this look.
        scores: (K, N) scores as `judged` makes them.
        table: The paired comparisons.
        low: Lower ends of the gaps' confidence intervals, at the level of each pair's last look.
        beats: Whether i beats j: `low` above the margin.
        p_values: Two-sided paired t-tests.
        p_holm: The same after Holm's correction over all pairs.
        p_equivalence: TOST within the margin.
    """

    level: float
    tie_level: float
    scores: Floats
    table: Pairs
    low: Floats
    beats: NDArray[np.bool_]
    p_values: Floats
    p_holm: Floats
    p_equivalence: Floats

    def compare(self, leader: int, other: int, name: str) -> Comparison:
        """The leader against one other candidate, whose name is given, as plain data."""
        return Comparison(
            name=name,
            blocks=int(self.table.blocks[leader, other]),
            gap=float(self.table.gap[leader, other]),
            low=float(self.low[leader, other]),
            high=float(-self.low[other, leader]),
            spread=float(self.table.spread[leader, other]),
            p_value=float(self.p_values[leader, other]),
            p_holm=float(self.p_holm[leader, other]),
            p_equivalence=float(self.p_equivalence[leader, other]),
            beaten=bool(self.beats[leader, other]),
            equivalent=bool(self.p_equivalence[leader, other] <= self.tie_level),
        )


def judged(scores: Floats, rules: RaceRules) -> Floats:
    """The scores that a race judges by.

    Args:
        scores: (K, N) scores in the metric's own direction; NaN where a candidate was not trained
            on a block, infinite where it diverged.
        rules: Give the direction and the score of a diverged run.

    Returns:
        (K, N) scores in "more is better" form; NaN still where a candidate was not trained.
    """
    sign = 1.0 if rules.higher_is_better else -1.0
    better = sign * scores
    finite = better[np.isfinite(better)]
    worst = float(finite.min()) if finite.size else 0.0
    given = rules.diverged_score
    bad = worst - abs(worst) if given is None else min(worst, sign * given)
    return np.where(np.isinf(better), bad, better)


def weigh(scores: Floats, look: int, rules: RaceRules) -> Evidence:
    """Compare all candidates after `look` blocks.

    Args:
        scores: (K, N) scores, see `judged`. A stopped candidate was trained up to a former look.
        look: Blocks told so far, one of the schedule.
        rules: What the race is decided by.
    """
    schedule = rules.schedule
    levels = np.ones(look + 1)
    for at, level in zip(schedule, rules.levels, strict=True):
        levels[at : at + 1] = level
    judged_scores = judged(scores, rules)
    table = pairs.compare(judged_scores)
    p_values = table.p_values()
    low = table.low(levels[table.blocks])
    return Evidence(
        level=float(levels[look]),
        tie_level=rules.tie_levels[schedule.index(look)],
        scores=judged_scores,
        table=table,
        low=low,
        beats=low > rules.margin,
        p_values=p_values,
        p_holm=pairs.holm(p_values),
        p_equivalence=table.equivalence(rules.margin),
    )
