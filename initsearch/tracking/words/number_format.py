"""Numbers as people read them: accuracies in percent, other metrics as they are, times, p-values."""

import math
from dataclasses import dataclass

from initsearch.race.sentences import PLAIN, POINTS, Unit
from initsearch.search.metric import METRICS

#: Words of metrics that are written in capitals, and what a score is measured in if its name does not say so.
ACRONYMS = {"mse": "MSE", "rmse": "RMSE", "psnr": "PSNR (dB)"}


@dataclass(frozen=True)
class NumberFormat:
    """How the values of one metric are shown.

    Attributes:
        label: The metric in plain words, with its unit (`validation accuracy (%)`).
        factor: Multiplies a value in units of the metric into what is shown.
        unit: Follows a value (` %` or nothing).
        gap_unit: Follows a difference (` points` or nothing).
        digits: Decimals of a percentage; None for four significant digits.
        limits: The smallest and the largest value that the metric can have, in its own units.
    """

    label: str
    factor: float
    unit: str
    gap_unit: str
    digits: int | None
    limits: tuple[float, float] = (-math.inf, math.inf)

    def text(self, value: float) -> str:
        """`value` (in units of the metric) as it is read, without its unit; `–` for NaN."""
        return "–" if not math.isfinite(value) else self._digits(value * self.factor)

    def gap(self, value: float) -> str:
        """A difference of two values, signed, without its unit; `0` for zero, `–` for NaN."""
        if not math.isfinite(value):
            return "–"
        shown = self._digits(abs(value) * self.factor)
        if float(shown) == 0.0:
            return shown
        return f"{'+' if value > 0 else '−'}{shown}"

    def interval(self, low: float, high: float) -> str:
        """A mean's confidence interval, `96.52…97.01`, within what the metric can be; `–` for NaN."""
        if math.isnan(low) and math.isnan(high):
            return "–"
        return f"{self.text(self.clipped(low))}…{self.text(self.clipped(high))}"

    def gap_interval(self, low: float, high: float) -> str:
        """The interval of a difference, `−0.31…0.52`, within what a difference can be; `–` for NaN."""
        if math.isnan(low) and math.isnan(high):
            return "–"
        ends = (self.gap(self.clipped_gap(end)).removeprefix("+") for end in (low, high))
        return "…".join(ends)

    def at_most(self, value: float) -> str:
        """An upper bound of a difference, rounded up as in the verdict's sentence, without its unit."""
        return Unit(scale=self.factor).number(value, at_most=True)

    def clipped_gap(self, value: float) -> float:
        """The difference, or the largest one that two values of the metric can have."""
        most = self.limits[1] - self.limits[0]
        return value if math.isnan(value) else min(max(value, -most), most)

    def clipped(self, value: float) -> float:
        """The value, or the limit that it is beyond: Student's interval of a mean knows no limits."""
        return value if math.isnan(value) else min(max(value, self.limits[0]), self.limits[1])

    def _digits(self, shown: float) -> str:
        return f"{shown:.4g}" if self.digits is None else f"{shown:.{self.digits}f}"


def format_of(metric: str) -> NumberFormat:
    """The format of a metric's values.

    Args:
        metric: The metric's name, such as `val_accuracy`, `val_loss` or `test_rmse`. A share is shown in
            percent, and its margin is in percentage points; the margin of any other metric is in the metric's
            own units.
    """
    words = metric.replace("val_", "validation_", 1) if metric.startswith("val_") else metric
    words = " ".join(ACRONYMS.get(word, word) for word in words.replace("_", " ").split(" "))
    known = METRICS.get(
        metric.replace("test_", "val_", 1) if metric.startswith("test_") else metric
    )
    unit = known.unit if known else PLAIN
    limits = known.limits if known else (-math.inf, math.inf)
    if unit is POINTS:
        return NumberFormat(f"{words} (%)", unit.scale, " %", " points", 2, limits)
    return NumberFormat(words, unit.scale, "", f" {unit.plural}".rstrip(), None, limits)


def level_text(alpha: float) -> str:
    """The level of a confidence interval: `95 %`."""
    return f"{100 * (1 - alpha):g} %"


def p_text(p_value: float | None) -> str:
    """A p-value with three decimals, `<0.001` below that; empty if there is no p-value."""
    if p_value is None or not math.isfinite(p_value):
        return ""
    return "<0.001" if p_value < 0.001 else f"{p_value:.3f}"


def duration_text(seconds: float) -> str:
    """A time: `42 s`, `2:03 min`, `1:30 h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"
