"""A decision in one sentence that can be quoted."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from initsearch.race.rules import Decision


@dataclass(frozen=True)
class Unit:
    """The unit in which differences of a metric are shown.

    Attributes:
        singular: Its name after 1; empty for a metric without a unit (a loss).
        plural: Its name after any other number.
        scale: Factor from the metric to the unit: 100 turns shares into percentage points.
    """

    singular: str = ""
    plural: str = ""
    scale: float = 1.0

    def amount(self, value: float, at_least: bool = False) -> str:
        """A difference with its unit: `0.28 points`.

        Args:
            value: The difference, in units of the metric.
            at_least: Round down, for a number that is a lower bound.
        """
        number = self.number(value, at_least)
        name = self.singular if number == "1" else self.plural
        return f"{number} {name}".rstrip()

    def number(self, value: float, at_least: bool = False) -> str:
        """The same without the unit: two significant digits, at most six decimals, no exponent."""
        value *= self.scale
        if value == 0.0:
            return "0"
        digits = min(6, max(0, 1 - math.floor(math.log10(abs(value)))))
        if at_least:
            # The billionth of a step keeps 0.3 from becoming 0.29 by its last binary digit.
            value = math.floor(value * 10.0**digits + 1e-9) / 10.0**digits
        text = f"{value:.{digits}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text


POINTS = Unit("point", "points", 100.0)
PLAIN = Unit()
STEPS = Unit("step", "steps")


def sentence(decision: Decision, subject: str = "", unit: Unit = POINTS, remedy: str = "") -> str:
    """Put a decision into one sentence.

    Args:
        decision: A decision of a race. Without a status, the sentence says that the race continues.
        subject: What the race was about: `relu_convnet/MNIST`.
        unit: The unit of differences.
        remedy: What to change if all scores are only bounds.

    Returns:
        One line; it calls the field `max_seeds` of `RaceRules` `race.max_seeds`, as the configuration does.
    """
    on_subject = f" on {subject}" if subject else ""
    seeds = f"{decision.look} paired seeds"
    if decision.status == "winner":
        text = (
            f"{decision.leader} beats every other candidate{on_subject} by at least "
            f"{unit.amount(decision.lead, at_least=True)}; {seeds}, {_p(decision.p_value)}"
            f"{_beaten_on_fewer(decision)}"
        )
    elif decision.status == "tie":
        text = (
            f"{_join(decision.tie_set)} are equivalent{on_subject} "
            f"(within {unit.amount(decision.margin)}; {seeds})"
        )
    elif decision.all_diverged:
        return (
            f"undecided: every candidate diverged on all {seeds}{on_subject}; "
            f"lower the learning rate"
        )
    elif decision.all_bounds:
        text = f"undecided: no candidate reached the target on any of {seeds}{on_subject}"
        return f"{text}; {remedy}" if remedy else text
    else:
        text = _undecided(decision, f"{seeds} cannot show whether", on_subject, unit)
        if decision.status:
            text += _futile(decision) + _next_race(decision)
    return text + _failures(decision)


def after_races(earlier: Sequence[float], alpha: float) -> str:
    """The part of a verdict about earlier races on the same blocks, each of which could name a false winner.

    Args:
        earlier: Alpha of each earlier race.
        alpha: Alpha of this race.
    """
    if not earlier:
        return ""
    races = "an earlier race" if len(earlier) == 1 else f"{len(earlier)} earlier races"
    return f"; after {races} of this study (total alpha over all races: {sum(earlier) + alpha:g})"


def _undecided(decision: Decision, cannot: str, on_subject: str, unit: Unit) -> str:
    """Between whom it is undecided, with the gap to the nearest rival."""
    nearest = next(c for c in decision.comparisons if c.name in decision.tie_set)
    by_more = f" by more than {unit.amount(decision.margin)}" if decision.margin else ""
    return (
        f"{'undecided' if decision.status else 'not decided yet'}: {cannot} "
        f"{_join(decision.tie_set)} differ{by_more}{on_subject} "
        f"(gap of {decision.leader} to {nearest.name}: {unit.amount(nearest.gap)}, "
        f"interval {unit.number(nearest.low)} to {unit.number(nearest.high)})"
    )


def _futile(decision: Decision) -> str:
    """Why a race ends before all its seeds are used."""
    if decision.prospect is None:
        return ""
    percent = 100 * decision.prospect
    probability = f"of {percent:.0f} %" if percent >= 1 else "below 1 %"
    left = decision.max_seeds - decision.look
    seeds = "seed" if left == 1 else f"{left} seeds"
    return (
        f"; the remaining {seeds} would decide it with a probability {probability} (race.futility)"
    )


def _next_race(decision: Decision) -> str:
    """How to continue, and what that does to the error rate."""
    return (
        f"; raise race.max_seeds above {decision.max_seeds} to run a second race: "
        f"the probability that one of the two names a false winner is at most {2 * decision.alpha:g}"
    )


def _beaten_on_fewer(decision: Decision) -> str:
    """Which candidates were stopped early: the winner's comparison with them has fewer seeds."""
    fewer = [
        f"{comparison.name} on {comparison.blocks}"
        for comparison in decision.comparisons
        if comparison.blocks < decision.look
    ]
    return f"; beaten on fewer seeds: {_join(fewer)}" if fewer else ""


def _failures(decision: Decision) -> str:
    """Which candidates of the tie set diverged or missed the target, and on how many of their seeds."""
    seeds = {decision.leader: decision.look} | {c.name: c.blocks for c in decision.comparisons}
    failures = [
        f"{name} {failed} on {count} of {seeds[name]}"
        for failed, counts in (
            ("diverged", decision.diverged),
            ("missed the target", decision.bounds),
        )
        for name, count in counts.items()
        if name in decision.tie_set
    ]
    return f"; {_join(failures)}" if failures else ""


def _p(p_value: float) -> str:
    """`p = 0.0012`, two significant digits; `p < 0.0001` below."""
    return f"p = {p_value:.2g}" if p_value >= 1e-4 else "p < 0.0001"


def _join(names: Sequence[str], most: int = 3) -> str:
    """`a and b`, `a, b and c`, `a, b, c and 4 more`."""
    shown = list(names[:most])
    if len(names) > most:
        shown.append(f"{len(names) - most} more")
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else shown[0]
