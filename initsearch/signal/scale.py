"""One axis scale for the histograms of layers whose pre-activations may be decades apart."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from initsearch.signal.measure import Histogram

# The largest ratio of widths that a linear scale can show.
_LINEAR = 30.0
# The limit of a linear scale, in largest standard deviations.
_REACH = 5.0
_CELLS = 240
_MOST_TICKS = 9


@dataclass(frozen=True)
class HistogramScale:
    """The positions of values on the axis.

    Attributes:
        limit: The largest value, on either side of zero.
        unit: The scale is linear below it and logarithmic above; None: linear throughout.
    """

    limit: float
    unit: float | None

    @property
    def linear(self) -> bool:
        """Whether the scale is linear throughout."""
        return self.unit is None

    def position(self, value: float) -> float:
        """The position of a value."""
        return value if self.unit is None else math.asinh(value / self.unit)

    def value(self, position: float) -> float:
        """The value at a position."""
        return position if self.unit is None else math.sinh(position) * self.unit

    def ticks(self) -> list[float]:
        """Round values for the axis, symmetric about zero."""
        if self.unit is None:
            step = 10.0 ** math.floor(math.log10(self.limit))
            step = next(s for s in (step / 5, step / 2, step, 2 * step) if self.limit / s < 5)
            count = int(self.limit / step)
            return [number * step for number in range(-count, count + 1)]
        first = math.ceil(math.log10(self.unit) + 0.3)
        last = math.floor(math.log10(self.limit))
        every = max(1, math.ceil((last - first + 1) / (_MOST_TICKS // 2)))
        powers = [10.0**power for power in range(last, first - 1, -every)]
        return [*(-power for power in powers), 0.0, *reversed(powers)]

    def label(self, tick: float) -> str:
        """The text of a tick."""
        if self.unit is None or abs(tick) in (0.0, 1.0):
            return f"{tick:g}"
        sign = "-" if tick < 0 else ""
        return f"${sign}10^{{{round(math.log10(abs(tick)))}}}$"


def common_scale(histograms: Sequence[Histogram], stds: Sequence[float | None]) -> HistogramScale:
    """The scale on which all histograms can be seen.

    Args:
        histograms: Any number of them.
        stds: Their standard deviations.
    """
    ends = [max(abs(h.edges[0]), abs(h.edges[-1])) for h in histograms]
    sizes = [std for std in stds if std is not None and math.isfinite(std) and std > 0]
    if not sizes:
        return HistogramScale(max(ends, default=0.0) * 1.2 or 1.0, None)
    widest = max(ends)
    if max(sizes) <= _LINEAR * min(sizes):
        return HistogramScale(min(widest, _REACH * max(sizes)), None)
    return HistogramScale(widest, min(sizes))


def outline(histogram: Histogram, scale: HistogramScale) -> tuple[list[float], list[float]]:
    """A histogram's outline on a scale: positions, and heights of which the largest is 1.

    The entries of a bin are assumed to be evenly distributed within it.
    """
    ends = [scale.position(edge) for edge in (histogram.edges[0], histogram.edges[-1])]
    width = 2 * scale.position(scale.limit) / _CELLS
    low, high = (
        max(ends[0], -scale.position(scale.limit)),
        min(ends[1], scale.position(scale.limit)),
    )
    cells = max(8, math.ceil((high - low) / width))
    places = [low + (high - low) * number / cells for number in range(cells + 1)]
    below = [0, *accumulate(histogram.counts)]
    shares = [_below(histogram.edges, below, scale.value(place)) for place in places]
    heights = [after - before for before, after in pairwise(shares)]
    top = max(heights) or 1.0
    middles = [(a + b) / 2 for a, b in pairwise(places)]
    return [low, *middles, high], [0.0, *(height / top for height in heights), 0.0]


def _below(edges: Sequence[float], below: Sequence[int], value: float) -> float:
    """The number of entries below a value."""
    if value <= edges[0]:
        return 0.0
    if value >= edges[-1]:
        return float(below[-1])
    place = bisect_right(edges, value) - 1
    share = (value - edges[place]) / (edges[place + 1] - edges[place])
    return below[place] + share * (below[place + 1] - below[place])
