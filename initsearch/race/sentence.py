"""A decision in one sentence that a person can quote."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from initsearch.race.rules import Decision


@dataclass(frozen=True)
class Unit:
    """How differences of a metric are spoken of.

    Attributes:
        singular: What one of it is called; empty for a metric without a unit (a loss).
        plural: What several are called.
        scale: What a difference is multiplied by first: 100 turns shares into percentage points.
    """

    singular: str = ""
    plural: str = ""
    scale: float = 1.0

    def amount(self, value: float, at_least: bool = False) -> str:
        """A difference with its unit: `0.28 points`.

        Args:
            value: The difference, in units of the metric.
            at_least: Round towards minus infinity, for a number that must not promise too much.
        """
        number = _number(value * self.scale, at_least)
        name = self.singular if number == "1" else self.plural
        return f"{number} {name}".rstrip()


POINTS = Unit("point", "points", 100.0)
PLAIN = Unit()
STEPS = Unit("step", "steps")


def sentence(decision: Decision, subject: str, unit: Unit = POINTS, remedy: str = "") -> str:
    """What the decision says, in one sentence.

    Args:
        decision: A decision of the race; one without a status says that the race goes on.
        subject: Where it holds: `relu_convnet/MNIST`.
        unit: How differences of the metric are spoken of.
        remedy: What to do where all scores are bounds.
    """
    blocks = f"{decision.look} paired seeds"
    if decision.status == "winner":
        return (
            (
                f"{decision.leader} beats every other scheme on {subject} by at least "
                f"{unit.amount(decision.lead, at_least=True)}; {blocks}, {_p(decision.p_value)}"
            )
            + _on_fewer(decision)
            + _shortcomings(decision)
        )
    if decision.status == "tie":
        return (
            f"{_names(decision.tie_set)} are as good as equal on {subject} "
            f"(within {unit.amount(decision.margin)}; {blocks})"
        ) + _shortcomings(decision)
    if decision.all_diverged:
        return (
            f"undecided: every candidate diverged on each of {blocks} on {subject}; "
            f"lower the learning rate"
        )
    if decision.all_bounds:
        return (
            f"undecided: no candidate got to the target on any of {blocks} on {subject}; {remedy}"
        )
    prefix = "undecided" if decision.status else "not decided yet"
    nearest = next(c for c in decision.comparisons if c.name in decision.tie_set)
    differ = f" by more than {unit.amount(decision.margin)}" if decision.margin else ""
    text = (
        f"{prefix}: {blocks} cannot tell whether {_names(decision.tie_set)} differ{differ} on "
        f"{subject} (gap of {decision.leader} to {nearest.name}: {unit.amount(nearest.gap)}, "
        f"interval {_number(nearest.low * unit.scale)} to {_number(nearest.high * unit.scale)})"
    )
    if decision.status:
        text += _futile(decision)
        text += (
            f"; raise race.max_seeds above {decision.max_seeds}, which is a second chance: the two races "
            f"together name a false winner with a chance of up to {2 * decision.alpha:g}"
        )
    return text + _shortcomings(decision)


def after_races(earlier: Sequence[float], alpha: float) -> str:
    """What a verdict has to say of earlier races on the same blocks: each had a chance of its own to err.

    Args:
        earlier: Their alphas.
        alpha: That of this race.
    """
    if not earlier:
        return ""
    races = "an earlier race" if len(earlier) == 1 else f"{len(earlier)} earlier races"
    return f"; after {races} of this study, so that alpha is {sum(earlier) + alpha:g} in all"


def _names(names: Sequence[str], most: int = 3) -> str:
    """`a and b`, `a, b and c`, `a, b, c and 4 more`."""
    shown = list(names[:most])
    if len(names) > most:
        shown.append(f"{len(names) - most} more")
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else shown[0]


def _p(p_value: float) -> str:
    return f"p = {p_value:.2g}" if p_value >= 1e-4 else "p < 0.0001"


def _futile(decision: Decision) -> str:
    """Why a race ends before its seeds are spent."""
    if decision.prospect is None:
        return ""
    percent = 100 * decision.prospect
    chance = f"a chance of {percent:.0f} %" if percent >= 1 else "a chance below 1 %"
    left = decision.max_seeds - decision.look
    seeds = "seed" if left == 1 else f"{left} seeds"
    return f"; the {seeds} left would decide it with {chance} (race.futility)"


def _on_fewer(decision: Decision) -> str:
    """Who was stopped before the end: the winner's comparison with them rests on fewer seeds."""
    fewer = [
        f"{comparison.name} on {comparison.blocks}"
        for comparison in decision.comparisons
        if comparison.blocks < decision.look
    ]
    return f"; beaten on fewer seeds: {_names(fewer)}" if fewer else ""


def _shortcomings(decision: Decision) -> str:
    """Which of the candidates still in question diverged, or missed the target, on how many of their seeds."""
    blocks = {decision.leader: decision.look} | {c.name: c.blocks for c in decision.comparisons}
    told = [
        f"{name} {what} on {count} of {blocks[name]}"
        for what, counts in (
            ("diverged", decision.diverged),
            ("missed the target", decision.bounds),
        )
        for name, count in counts.items()
        if name in decision.tie_set
    ]
    return f"; {_names(told)}" if told else ""


def _number(value: float, at_least: bool = False) -> str:
    """Two significant digits without an exponent, down to a millionth."""
    if value == 0.0:
        return "0"
    digits = max(0, 1 - math.floor(math.log10(abs(value))))
    step = 10.0 ** -min(digits, 6)
    if at_least:
        # A billionth of a step: 0.3 must not become 0.29 for the sake of its last binary digit.
        value = math.floor(value / step + 1e-9) * step
    text = f"{value:.{min(digits, 6)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
