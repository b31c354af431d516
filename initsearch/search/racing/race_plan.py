"""What a race can decide with its seeds and its margin, reported before it starts.

A tie has to be shown, and a lead has to be beyond the margin: whether the seeds suffice for either depends on
how much a paired difference varies from seed to seed. The search has seen that, if it had two seeds or more.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri

from initsearch.race import POINTS, RaceRules, Unit, plan
from initsearch.race.pairs import TARGET_POWER
from initsearch.race.power import MOST_SEEDS
from initsearch.search.candidates import TrainedCandidate
from initsearch.search.metric import Metric

#: A variance that is so many times that of the median pair is due to runs that collapsed. Of normal differences
#: on two seeds, one pair in 600 varies as much.
COLLAPSED = 10.0


def plan_lines(
    entrants: Sequence[TrainedCandidate], metric: Metric, rules: RaceRules, examples: int | None
) -> list[str]:
    """What the race can decide, and which margin, seeds or number of examples would do if it hardly can.

    Args:
        entrants: The candidates of the race, with their scores in the search.
        metric: What candidates are compared by.
        rules: The rules of the race.
        examples: Number of validation examples; None if unknown.

    Returns:
        A line on the seeds, unless all entrants had equal scores, and one if the margin is below one example.
    """
    lines = []
    spread = spread_of_differences(entrants, metric)
    if math.isnan(spread):
        lines.append(_unknown_line(len(entrants), metric.unit, rules))
    elif spread > 0.0:
        lines.append(_seeds_line(len(entrants), metric.unit, rules, spread))
    if metric.unit is POINTS and examples and 0.0 < rules.margin < 1.0 / examples:
        lines.append(_examples_line(metric.unit, rules.margin, examples))
    return lines


def spread_of_differences(entrants: Sequence[TrainedCandidate], metric: Metric) -> float:
    """Standard deviation of the difference of two entrants on one seed, pooled over all pairs.

    From the scores of the search at full budget. Candidates that diverged, or did not reach the full budget, do
    not count, nor do pairs with a candidate that collapsed on some seeds: their variance is more than ten times
    that of the median pair.

    Args:
        entrants: The candidates of the race.
        metric: What candidates are compared by.

    Returns:
        In units of the metric; NaN for fewer than two candidates or two seeds.
    """
    ended = [one for one in entrants if one.status == "complete"]
    seeds = set.intersection(*(set(one.curves) for one in ended)) if ended else set()
    rows = [
        [metric.score(one.curves[seed].points, one.curves[seed].diverged) for seed in sorted(seeds)]
        for one in ended
    ]
    scores: NDArray[np.float64] = np.array([row for row in rows if np.isfinite(row).all()])
    if scores.ndim < 2 or min(scores.shape) < 2:
        return math.nan
    count, blocks = scores.shape
    first, second = np.triu_indices(count, k=1)
    variances = (scores[first] - scores[second]).var(axis=1, ddof=1)
    # The median of a variance that is estimated from few seeds is below its mean.
    typical = float(np.median(variances)) * (blocks - 1) / float(chdtri(blocks - 1, 0.5))
    usual = variances[variances <= COLLAPSED * typical] if typical > 0.0 else variances
    return math.sqrt(float(usual.mean()))


def _seeds_line(count: int, unit: Unit, rules: RaceRules, spread: float) -> str:
    planned = plan(rules, count, spread)
    line = (
        f"race: {count} candidates on up to {planned.seeds} seeds; as paired differences varied in the search "
        f"(standard deviation {unit.amount(spread)}), these seeds find a lead of {unit.amount(planned.lead)} "
        f"with a probability of {100 * TARGET_POWER:.0f} %"
    )
    if planned.margin <= rules.margin:
        return (
            f"{line}, and show that equal candidates are a tie within {unit.amount(rules.margin)}"
        )
    least = unit.number(planned.margin, at_most=True)
    line += f", but show a tie only with race.margin={least} or more"
    if planned.seeds_for_tie is None:
        return (
            f"{line} (race.margin={unit.number(rules.margin)} takes more than {MOST_SEEDS} seeds)"
        )
    return f"{line} (race.margin={unit.number(rules.margin)} takes race.max_seeds={planned.seeds_for_tie})"


def _unknown_line(count: int, unit: Unit, rules: RaceRules) -> str:
    """Without a known spread: the largest one with which the race shows a tie."""
    # Leads and margins of a plan are in proportion to the spread.
    most = rules.margin / plan(rules, count, 1.0).margin
    return (
        f"race: {count} candidates on up to {rules.max_seeds} seeds, which show a tie within "
        f"{unit.amount(rules.margin)} with a probability of {100 * TARGET_POWER:.0f} % if paired differences "
        f"have a standard deviation of at most {unit.amount(most)} (search.seeds=2 would estimate it)"
    )


def _examples_line(unit: Unit, margin: float, examples: int) -> str:
    least = unit.number(1.0 / examples, at_most=True)
    return (
        f"race.margin={unit.number(margin)} is less than one of {examples} validation examples "
        f"({unit.amount(1.0 / examples)}): set race.margin={least} or more, or data.val_size="
        f"{math.ceil(1.0 / margin)} or more"
    )
