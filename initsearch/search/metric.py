"""What candidates are compared by: one number of a learning curve."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from initsearch.training.job import Point


@dataclass(frozen=True)
class Metric:
    """A score of a learning curve.

    Attributes:
        name: As the configuration and the verdict name it.
        higher_is_better: Its direction.
        of: The score of the points up to now; the last point is the present.
        guess: The score of guessing among so many classes, which is what a diverged run is worth.
        percent: Whether it is a share, shown in percent, with margins in percentage points.
    """

    name: str
    higher_is_better: bool
    of: Callable[[Sequence[Point]], float]
    guess: Callable[[int], float]
    percent: bool = False

    def score(self, points: Sequence[Point], diverged: bool) -> float:
        """The score, NaN for a candidate that diverged or was never measured."""
        if diverged or not points:
            return math.nan
        return self.of(points)

    def margin(self, configured: float) -> float:
        """A configured margin in the metric's own unit."""
        return configured / 100 if self.percent else configured


def _area(points: Sequence[Point]) -> float:
    """Mean validation accuracy over the budget so far: the area under the learning curve by trapezoids."""
    if len(points) == 1:
        return points[0].val_accuracy
    area = sum(
        (b.epoch - a.epoch) * (a.val_accuracy + b.val_accuracy) / 2
        for a, b in itertools.pairwise(points)
    )
    return area / (points[-1].epoch - points[0].epoch)


def _last_accuracy(points: Sequence[Point]) -> float:
    return points[-1].val_accuracy


def _last_loss(points: Sequence[Point]) -> float:
    return points[-1].val_loss


def _share(classes: int) -> float:
    return 1 / classes


METRICS = {
    metric.name: metric
    for metric in (
        Metric("val_accuracy", True, _last_accuracy, _share, percent=True),
        Metric("val_loss", False, _last_loss, math.log),
        Metric("learning_curve_area", True, _area, _share, percent=True),
    )
}
