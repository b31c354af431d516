"""A decision in one sentence that can be quoted."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from initsearch.race.failures import failure_bound
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

    def amount(self, value: float, at_least: bool = False, at_most: bool = False) -> str:
        """A difference with its unit: `0.28 points`.

        Args:
            value: The difference, in units of the metric.
            at_least: Round down, for a number that is a lower bound.
            at_most: Round up, for a number that is an upper bound.
        """
        number = self.number(value, at_least, at_most)
        name = self.singular if number == "1" else self.plural
        return f"{number} {name}".rstrip()

    def number(self, value: float, at_least: bool = False, at_most: bool = False) -> str:
        """The same without the unit: two significant digits, at most six decimals, no exponent."""
        value *= self.scale
        if value == 0.0:
            return "0"
        digits = min(6, max(0, 1 - math.floor(math.log10(abs(value)))))
        if at_least:
            # The billionth of a step keeps 0.3 from becoming 0.29 by its last binary digit.
            value = math.floor(value * 10.0**digits + 1e-9) / 10.0**digits
        if at_most:
            value = math.ceil(value * 10.0**digits - 1e-9) / 10.0**digits
        text = f"{value:.{digits}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text


POINTS = Unit("point", "points", 100.0)
PLAIN = Unit()
STEPS = Unit("step", "steps")
BITS = Unit("bit", "bits")
DECIBELS = Unit("dB", "dB")


@dataclass(frozen=True)
class SearchCounts:
    """What came before the race, for a claim about what was raced.

    Attributes:
        candidates: Number of candidates in the search.
        dropped: How many of them the search dropped.
        named: Number of plans or schemes that the space names.
        untried: How many of them were never tried.
        untried_names: Their names, as far as known.
    """

    candidates: int
    dropped: int
    named: int = 0
    untried: int = 0
    untried_names: tuple[str, ...] = ()


def sentence(
    decision: Decision,
    subject: str = "",
    unit: Unit = POINTS,
    remedy: str = "",
    search: SearchCounts | None = None,
) -> str:
    """Put a decision into one sentence: is the baseline beaten, who is best, what to take.

    Args:
        decision: A decision of a race. Without a status, the sentence says that the race continues.
        subject: What the race was about: `relu_convnet/MNIST`.
        unit: The unit of differences.
        remedy: What to change if all scores are only bounds.
        search: What came before the race.

    Returns:
        One line; it calls the field `max_seeds` of `RaceRules` `race.max_seeds`, as the configuration does.
    """
    on_subject = f" on {subject}" if subject else ""
    seeds = f"{decision.look} paired seeds"
    if decision.all_diverged:
        return (
            f"undecided: every candidate diverged on all {seeds}{on_subject}; "
            f"lower the learning rate"
        )
    if decision.all_bounds:
        text = f"undecided: no candidate reached the target on any of {seeds}{on_subject}"
        return f"{text}; {remedy}" if remedy else text
    text = _baseline(decision, unit) + _ranking(decision, seeds, on_subject, unit)
    if decision.status:
        text += _before_the_race(search) + _what_to_take(decision, unit)
    if decision.status == "undecided":
        text += _futile(decision) + _next_race(decision, unit)
    return text + _failures(decision)


def _baseline(decision: Decision, unit: Unit) -> str:
    """Whether the baseline is beaten, by which candidates and by how much."""
    if not decision.baseline_gaps:
        return ""
    baseline, seeds = decision.baseline, f"{decision.look} paired seeds"
    if decision.baseline_status == "kept":
        return f"{baseline} is not beaten; "
    # The recommended candidate first: its lead is the one that matters.
    gaps = sorted(decision.baseline_gaps, key=lambda gap: gap.name != decision.recommended)
    beating = [gap for gap in gaps if gap.beats]
    if not beating:
        nearest = decision.baseline_gaps[0]
        return (
            f"not shown whether {baseline} is beaten ({nearest.name} leads it by "
            f"{unit.amount(nearest.gap)}, interval {unit.number(nearest.low)} to "
            f"{unit.number(nearest.high)}; {seeds}); "
        )
    first, *rest = beating
    by = f"{first.name} (at least {unit.amount(first.low, at_least=True)}; {seeds})"
    return f"{baseline} is beaten by {_join([by, *(gap.name for gap in rest)])}; "


def _ranking(decision: Decision, seeds: str, on_subject: str, unit: Unit) -> str:
    """Winner, tie or undecided among all that were raced."""
    if decision.status == "winner":
        others = decision.comparisons
        beaten = f"the {len(others)} others that were raced" if len(others) > 1 else others[0].name
        return (
            f"{decision.leader} beats {beaten}{on_subject} "
            f"by at least {unit.amount(decision.lead, at_least=True)}; {seeds}, "
            f"{_p(decision.p_value)}{_beaten_on_fewer(decision)}"
        )
    if decision.status == "tie":
        return (
            f"{_join(decision.tie_set)} are equivalent{on_subject} "
            f"(within {unit.amount(decision.margin)}; {seeds})"
        )
    return _undecided(decision, f"{seeds} cannot show whether", on_subject, unit)


def _before_the_race(search: SearchCounts | None) -> str:
    """What the race says nothing about: dropped by the search, or never tried."""
    if search is None:
        return ""
    parts = []
    if search.dropped:
        were = "was" if search.dropped == 1 else "were"
        parts.append(
            f"{search.dropped} of {search.candidates} candidates {were} dropped in the search"
        )
    if search.untried:
        were = "was" if search.untried == 1 else "were"
        names = f" ({_join(search.untried_names)})" if search.untried_names else ""
        parts.append(
            f"{search.untried} of {search.named} named in the space {were} never tried{names}"
        )
    return "".join(f"; {part}" for part in parts)


def _what_to_take(decision: Decision, unit: Unit) -> str:
    """The recommendation, and how far it may be from the truly best of the race."""
    name, regret = decision.recommended, decision.regret
    take = f"; take {name}" if decision.baseline or decision.status == "tie" else ""
    if name is None or regret is None or decision.status == "winner":
        return take
    confidence = f"{100 * (1 - decision.alpha):g} %"
    if regret == 0.0:
        return f"{take}; {name} is the best of the {decision.raced} raced ({confidence})"
    return (
        f"{take}; whatever is truly the best of the {decision.raced} raced, {name} is within "
        f"{unit.amount(regret, at_most=True)} of it ({confidence})"
    )


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


def _next_race(decision: Decision, unit: Unit) -> str:
    """What would decide it, and what a second race does to the error rate."""
    text = ""
    if (seeds := decision.seeds_to_decide) is not None:
        text = (
            f"; raise race.max_seeds to about {seeds} to run a second race: "
            f"the probability that one of the two names a false winner is at most {2 * decision.alpha:g}"
        )
    elif math.isfinite(decision.detectable_gap):
        gap = unit.amount(decision.detectable_gap)
        text = (
            f"; more seeds would hardly decide it: {decision.power_blocks} detect a lead of {gap}"
        )
        if decision.tie_margin is not None and math.isfinite(decision.tie_margin):
            text += f", and show a tie with race.margin={unit.number(decision.tie_margin, at_most=True)}"
    return text


def _beaten_on_fewer(decision: Decision) -> str:
    """Which candidates were stopped early: the winner's comparison with them has fewer seeds."""
    fewer = [
        f"{comparison.name} on {comparison.blocks}"
        for comparison in decision.comparisons
        if comparison.blocks < decision.look
    ]
    return f"; beaten on fewer seeds: {_join(fewer)}" if fewer else ""


def _failures(decision: Decision) -> str:
    """Which candidates diverged or missed the target, on how many seeds, and what rates that allows."""
    seeds = {decision.leader: decision.look} | {c.name: c.blocks for c in decision.comparisons}
    named = {name for name in seeds if name in decision.tie_set or name in decision.less_reliable}
    diverged = {name: count for name, count in decision.diverged.items() if name in named}
    if diverged and decision.recommended is not None:
        # The rate of the one to take matters even if none of its runs diverged.
        diverged.setdefault(decision.recommended, 0)
    failures = [
        f"{name} diverged on {count} of {seeds[name]} (a rate of up to "
        f"{100 * failure_bound(count, seeds[name]):.0f} % is compatible)"
        for name, count in diverged.items()
    ]
    failures += [
        f"{name} missed the target on {count} of {seeds[name]}"
        for name, count in decision.bounds.items()
        if name in decision.tie_set
    ]
    text = f"; {_join(failures)}" if failures else ""
    if decision.less_reliable:
        less = _join(list(decision.less_reliable))
        verb = "diverges" if len(decision.less_reliable) == 1 else "diverge"
        text += f"; {less} {verb} more often than {decision.recommended} (exact test)"
    return text


def _p(p_value: float) -> str:
    """`p = 0.0012`, two significant digits; `p < 0.0001` below."""
    return f"p = {p_value:.2g}" if p_value >= 1e-4 else "p < 0.0001"


def _join(names: Sequence[str], most: int = 3) -> str:
    """`a and b`, `a, b and c`, `a, b, c and 4 more`."""
    shown = list(names[:most])
    if len(names) > most:
        shown.append(f"{len(names) - most} more")
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else shown[0]
