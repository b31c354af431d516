"""A race as text: a table of its candidates, and a drawing of their gaps to the leader."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from initsearch.race.rules import Comparison, Decision, Result
from initsearch.race.sentences import Unit


@dataclass(frozen=True)
class Glyphs:
    """The characters of a drawing, each a single column wide, and the separator of an interval's ends."""

    to: str
    margin: str
    zero: str
    line: str
    low: str
    high: str
    gap: str
    below: str
    above: str


UNICODE = Glyphs("…", "░", "│", "─", "├", "┤", "●", "◂", "▸")
ASCII = Glyphs("..", ".", "|", "-", "[", "]", "*", "<", ">")


def table(
    decision: Decision, results: Sequence[Result], unit: Unit, baseline: str | None, glyphs: Glyphs
) -> str:
    """A row per candidate: mean, standard deviation and interval, gap to the leader, Holm's p-value, seeds.

    Args:
        decision: The last decision of the race.
        results: The candidates, as `Race.results` returns them.
        unit: Values are multiplied by its scale.
        baseline: The candidate to mark as such.
        glyphs: Give the separator of an interval's ends.
    """
    against = {comparison.name: comparison for comparison in decision.comparisons}
    digits = _digits([unit.scale * result.std for result in results])

    def number(value: float) -> str:
        return _number(unit.scale * value, digits)

    def interval(low: float, high: float) -> str:
        return f"{number(low)}{glyphs.to}{number(high)}"

    confidence = f"{100 * (1 - decision.alpha):g} % interval"
    rows = [["candidate", "mean", "std", confidence, "gap", "gap interval", "adjusted p", "seeds"]]
    for result in results:
        mark = " (baseline)" if result.name == baseline else ""
        diverged = f" ({result.diverged} diverged)" if result.diverged else ""
        gap = against.get(result.name)
        rows.append(
            [
                result.name + mark,
                number(result.mean),
                number(result.std),
                interval(result.ci_low, result.ci_high),
                number(gap.gap) if gap else "",
                interval(*decision.deciding_interval(gap)) if gap else "",
                _p(gap.p_holm) if gap else "",
                f"{result.n_seeds}{diverged}",
            ]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if 0 < column < 7 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def drawing(decision: Decision, unit: Unit, glyphs: Glyphs, columns: int = 80) -> str:
    """The gaps to the leader with their intervals and the margin on both sides of zero, on one scale.

    Intervals that are much wider than the gaps and the margin end in an arrow at the border.

    Args:
        decision: The decision.
        unit: The unit of the scale.
        glyphs: The characters to draw with.
        columns: Total width; bars have at least 30 columns of it.
    """
    label = max(len(comparison.name) for comparison in decision.comparisons)
    # The interval of a comparison is the one that decides.
    comparisons = [
        replace(one, low=low, high=high)
        for one in decision.comparisons
        for low, high in [decision.deciding_interval(one)]
    ]
    axis = _Axis.around(comparisons, decision.margin, max(30, min(columns - label - 1, 72)))
    lines = [f"gap to {decision.leader}" + (f" ({unit.plural})" if unit.plural else "")]
    lines += [
        f"{comparison.name.ljust(label)} {_bar(comparison, decision.margin, axis, glyphs)}".rstrip()
        for comparison in comparisons
    ]
    left, right = unit.number(axis.low), unit.number(axis.high)
    scale = list(left.ljust(axis.width - len(right)) + right)
    zero = axis.column(0.0)
    if len(left) < zero < axis.width - len(right) - 1:
        scale[zero] = "0"
    lines.append(" " * (label + 1) + "".join(scale))
    margin = (
        f"; {glyphs.margin} margin of {unit.amount(decision.margin)}" if decision.margin else ""
    )
    lines.append(
        f"{glyphs.gap} gap; {glyphs.low}{glyphs.line}{glyphs.high} its {_levels(decision)} confidence "
        f"interval over all looks{margin}"
    )
    return "\n".join(lines)


def _levels(decision: Decision) -> str:
    """The level of the intervals, `95 %`; those of a tie are of two one-sided tests."""
    level = f"{100 * (1 - decision.alpha):g} %"
    if decision.status != "tie":
        return level
    return f"{level} (for the tied: {100 * (1 - 2 * decision.alpha):g} %)"


@dataclass(frozen=True)
class _Axis:
    """A scale of `width` columns from `low` to `high`, in units of the metric."""

    low: float
    high: float
    width: int

    @classmethod
    def around(cls, comparisons: Iterable[Comparison], margin: float, width: int) -> "_Axis":
        """The scale that shows all gaps, the margin, and the intervals as far as they are comparable."""
        gaps = [comparison.gap for comparison in comparisons]
        low, high = min(-margin, *gaps, 0.0), max(margin, *gaps, 0.0)
        reach = high - low
        low, high = (
            max(low - reach, min(low, *(comparison.low for comparison in comparisons))),
            min(high + reach, max(high, *(comparison.high for comparison in comparisons))),
        )
        return cls(low, high, width) if high > low else cls(-1.0, 1.0, width)

    def column(self, value: float) -> int:
        """The column of a value, clipped to the scale."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(share * (self.width - 1))


def _bar(comparison: Comparison, margin: float, axis: _Axis, glyphs: Glyphs) -> str:
    """One line of the drawing; later marks cover earlier ones."""
    cells = [" "] * axis.width
    if margin:
        for column in range(axis.column(-margin), axis.column(margin) + 1):
            cells[column] = glyphs.margin
    low, high = axis.column(comparison.low), axis.column(comparison.high)
    for column in range(low, high + 1):
        cells[column] = glyphs.line
    cells[axis.column(0.0)] = glyphs.zero
    cells[low] = glyphs.below if comparison.low < axis.low else glyphs.low
    cells[high] = glyphs.above if comparison.high > axis.high else glyphs.high
    cells[axis.column(comparison.gap)] = glyphs.gap
    return "".join(cells)


def _digits(spreads: Iterable[float]) -> int:
    """Decimals that show two significant digits of a typical standard deviation."""
    positive = sorted(spread for spread in spreads if spread > 0.0 and math.isfinite(spread))
    if not positive:
        return 4
    return min(6, max(0, 1 - math.floor(math.log10(positive[len(positive) // 2]))))


def _number(value: float, digits: int) -> str:
    # The first of many looks has a tiny level, and intervals of any width.
    return f"{value:.{digits}f}" if abs(value) < 1e6 else f"{value:.1e}"


def _p(p_value: float) -> str:
    return f"{p_value:.2g}" if p_value >= 1e-4 else "<0.0001"
