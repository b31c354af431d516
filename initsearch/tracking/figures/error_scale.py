"""Accuracies on a scale where 90, 99 and 99.9 % are distinguishable."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

# Half a point more than the error keeps 100 % on the scale.
_TOP = 100.5


def error_scale(axes: Axes, which: str) -> None:
    """Scale an axis (`x` or `y`) of accuracies in percent by the logarithm of their error."""
    ticks = (0, 20, 40, 60, 80, 90, 95, 97, 98, 99, 99.5, 99.9)
    axis = axes.yaxis if which == "y" else axes.xaxis
    setter = axes.set_yscale if which == "y" else axes.set_xscale
    setter("function", functions=(forward, backward))
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def forward(accuracy: Any) -> Any:
    """From percent to the scale: minus the logarithm of the error."""
    return -np.log10(np.maximum(_TOP - np.asarray(accuracy, dtype=float), 0.01))


def backward(scaled: Any) -> Any:
    """From the scale back to percent."""
    return _TOP - 10.0 ** -np.asarray(scaled, dtype=float)
