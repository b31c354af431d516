"""In what units people read a metric: accuracies in percent, everything else as it is."""

import math
from dataclasses import dataclass

from initsearch.race.sentence import PLAIN, POINTS
from initsearch.search.metric import METRICS


@dataclass(frozen=True)
class Scale:
    """How the values of one metric are shown.

    Attributes:
        label: The metric in plain words, with its unit (`validation accuracy (%)`).
        factor: Multiplies a value in units of the metric into what is shown.
        unit: Stands behind a value (` %` or nothing).
        gap_unit: Stands behind a difference (` points` or nothing).
        digits: Decimals of a percentage; None for four significant digits.
    """

    label: str
    factor: float
    unit: str
    gap_unit: str
    digits: int | None

    def text(self, value: float) -> str:
        """`value` (in units of the metric) as it is read, without its unit; `–` for NaN."""
        return "–" if not math.isfinite(value) else self._digits(value * self.factor)

    def gap(self, value: float) -> str:
        """A difference of two values, signed, without its unit; `0` for none, `–` for NaN."""
        if not math.isfinite(value):
            return "–"
        shown = self._digits(abs(value) * self.factor)
        if float(shown) == 0.0:
            return shown
        return f"{'+' if value > 0 else '−'}{shown}"

    def width(self, value: float) -> str:
        """Half an interval's width, without its unit: two significant digits; `–` for NaN."""
        if not math.isfinite(value):
            return "–"
        return f"{value:.2g}" if self.digits is None else self._digits(value * self.factor)

    def _digits(self, shown: float) -> str:
        return f"{shown:.4g}" if self.digits is None else f"{shown:.{self.digits}f}"


def scale_of(metric: str) -> Scale:
    """The scale that a metric is read in.

    Args:
        metric: The metric's name, such as `val_accuracy` or `val_loss`. A metric that is a share is
            shown in percent, so that its margin, in percentage points, fits the shown values; a
            margin of any other metric is in units of the metric.
    """
    words = metric.replace("val_", "validation_", 1) if metric.startswith("val_") else metric
    words = words.replace("_", " ")
    unit = METRICS[metric].unit if metric in METRICS else PLAIN
    if unit is POINTS:
        return Scale(f"{words} (%)", unit.scale, " %", " points", 2)
    return Scale(words, unit.scale, "", f" {unit.plural}".rstrip(), None)


def p_text(p_value: float | None) -> str:
    """A p-value as it is read: three decimals, `<0.001` below, nothing where there is none."""
    if p_value is None or not math.isfinite(p_value):
        return ""
    return "<0.001" if p_value < 0.001 else f"{p_value:.3f}"


def duration_text(seconds: float) -> str:
    """A time as it is read: `42 s`, `2:03 min`, `1:30 h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"
