"""Metrics: the number of a learning curve by which candidates are compared."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from initsearch.errors import ConfigError, unknown_name
from initsearch.race import BITS, DECIBELS, PLAIN, POINTS, STEPS, Unit
from initsearch.training.job import Point

#: The share of a guess's score that counts as equivalent where no margin is set: a hundredth of a loss.
EQUIVALENT_SHARE = 0.01


@dataclass(frozen=True)
class Metric:
    """A score of a learning curve.

    Attributes:
        name: As the configuration and the verdict name it.
        higher_is_better: Its direction.
        of: The score of a curve's points so far.
        floor: The score of a diverged run: that of a run that learned nothing, from the scores of a guess (see
            `TaskInfo`) and the number of steps; None if it is not known.
        unit: The unit of its differences; margins of shares are in percentage points.
        whole_curve: Whether points between the rungs matter.
        has_bounds: Whether a score of all steps or more is only a bound.
        remedy: What to change if all scores are bounds.
        widest: The largest sensible margin, in the metric's unit, from the scores of a guess.
        usual: The margin where none is set, as the configuration has it (points of a share); None:
            `EQUIVALENT_SHARE` of what a guess scores.
        needs: The score of the task that it is computed from.
    """

    name: str
    higher_is_better: bool
    of: Callable[[Sequence[Point]], float]
    floor: Callable[[Mapping[str, float], int], float | None]
    unit: Unit = PLAIN
    whole_curve: bool = False
    has_bounds: bool = False
    remedy: str = ""
    widest: Callable[[Mapping[str, float]], float] = lambda guess: math.inf
    usual: float | None = 0.1
    needs: str = "val_accuracy"

    def score(self, points: Sequence[Point], diverged: bool) -> float:
        """The score, NaN for a candidate that diverged or was never measured."""
        if diverged or not points:
            return math.nan
        return self.of(points)

    @property
    def limits(self) -> tuple[float, float]:
        """The smallest and the largest value that it can have."""
        if self.unit is POINTS:
            return 0.0, 1.0
        return (0.0 if self.unit is STEPS else -math.inf), math.inf

    def clipped(self, value: float) -> float:
        """A value, or the limit that it is beyond: Student's interval of a mean knows no limits."""
        low, high = self.limits
        return value if math.isnan(value) else min(max(value, low), high)

    def check_scores(self, given: Sequence[str]) -> None:
        """Refuse a metric of a score that the task does not give.

        Args:
            given: The names of the task's scores on validation; empty: not known.

        Raises:
            ConfigError: The score is not among them.
        """
        if given and self.needs not in given:
            fitting = [m.name for m in METRICS.values() if m.needs in given]
            raise ConfigError(
                f"metric must be a score of the task, but {self.name} needs {self.needs}: choose one of "
                f"{', '.join(fitting or given)}"
            )

    def margin(self, configured: float) -> float:
        """A configured margin in the metric's own unit."""
        return configured / self.unit.scale

    def equivalent(self, guess: Callable[[], Mapping[str, float]]) -> float:
        """The margin where none is set, as the configuration has it.

        Args:
            guess: Gives the scores of a model that has learned nothing; called only where they decide.
        """
        return EQUIVALENT_SHARE * guess().get(self.name, 0.0) if self.usual is None else self.usual

    def check_margin(self, configured: float, guess: Mapping[str, float]) -> None:
        """Refuse a margin that was meant for another metric: 1.5 points are little, 1.5 nats are a lot.

        Args:
            configured: The margin, as configured.
            guess: Scores of a model that has learned nothing; see `TaskInfo`.

        Raises:
            ConfigError: It is wider than is sensible.
        """
        widest = self.widest(guess) * self.unit.scale
        if configured > widest:
            raise ConfigError(
                f"race.margin must be at most {widest:.2g} for {self.name}, a tenth of the score of a guess, "
                f"but got {configured:g}: give it in the metric's own unit, race.margin=0.02"
            )


def _accuracy(point: Point) -> float:
    return point.scores["val_accuracy"]


def _area(points: Sequence[Point]) -> float:
    """Mean validation accuracy over the budget so far: the area under the learning curve by trapezoids."""
    if len(points) == 1:
        return _accuracy(points[0])
    area = sum(
        (b.epoch - a.epoch) * (_accuracy(a) + _accuracy(b)) / 2
        for a, b in itertools.pairwise(points)
    )
    return area / (points[-1].epoch - points[0].epoch)


def steps_to(target: float, points: Sequence[Point]) -> float:
    """Optimizer steps until the validation accuracy is at the target, linear between two points.

    A run that has not reached the target scores all its steps, which is a lower bound, plus what its best
    accuracy lacks: less than a step, but enough to order such runs at a rung.
    """
    before: Point | None = None
    for point in points:
        if _accuracy(point) >= target:
            if before is None:
                return float(point.step)
            way = (target - _accuracy(before)) / (_accuracy(point) - _accuracy(before))
            return before.step + way * (point.step - before.step)
        before = point
    return points[-1].step + target - max(map(_accuracy, points))


def _guess(guess: Mapping[str, float], steps: int) -> float | None:
    return guess.get("val_accuracy")


def _last_share(name: str) -> Metric:
    """A share of right answers at the end of the budget, in percentage points."""
    return replace(task_metric(name, "max"), unit=POINTS, usual=0.1)


def _last_error(name: str, unit: Unit = PLAIN) -> Metric:
    """An error at the end of the budget: margins are shares of what a guess scores."""
    return replace(
        task_metric(name, "min"),
        unit=unit,
        widest=lambda guess: guess.get(name, math.inf) / 10,
        usual=None,
    )


def task_metric(name: str, mode: str) -> Metric:
    """A score that a task gives by this name, as it is at the end of the budget.

    Args:
        name: The score's name, such as `val/acc`.
        mode: `max` if higher is better, `min` if lower is.
    """
    return Metric(
        name,
        mode == "max",
        lambda points: points[-1].scores[name],
        # What a guess scores is rarely known: the race then has a rule of its own, see `RaceRules`.
        lambda guess, steps: guess.get(name),
        usual=0.0,
        needs=name,
    )


MODES = ("max", "min")
#: What stands for a value that suits the metric.
AUTO = "auto"
METRICS = {
    metric.name: metric
    for metric in (
        _last_share("val_accuracy"),
        _last_share("val_balanced_accuracy"),
        _last_error("val_loss"),
        _last_error("val_mse"),
        _last_error("val_rmse"),
        _last_error("val_bits_per_token", BITS),
        replace(task_metric("val_psnr", "max"), unit=DECIBELS, usual=0.1),
        Metric("learning_curve_area", True, _area, _guess, POINTS, whole_curve=True),
        Metric(
            "steps_to_target",
            False,
            partial(steps_to, 0.9),
            lambda guess, steps: steps + 1.0,
            STEPS,
            whole_curve=True,
            has_bounds=True,
            remedy="raise max_epochs, or lower target_accuracy",
        ),
    )
}


def make_metric(name: str, target_accuracy: float = 0.9, mode: str | None = None) -> Metric:
    """A metric by its name.

    Args:
        name: A key of `METRICS`, or with `mode` a score of the task.
        target_accuracy: The validation accuracy to which `steps_to_target` counts steps, in (0, 1].
        mode: See `task_metric`; None for a metric of `METRICS`.

    Raises:
        ConfigError: An unknown metric, or a target outside its range.
    """
    if mode is not None:
        return task_metric(name, mode)
    if name not in METRICS:
        raise unknown_name("metric", name, METRICS)
    if not 0 < target_accuracy <= 1:
        raise ConfigError(
            f"target_accuracy must lie in (0, 1], but got {target_accuracy}: try 0.9 for 90 %"
        )
    metric = METRICS[name]
    if name == "steps_to_target":
        return replace(metric, of=partial(steps_to, target_accuracy))
    return metric


def with_margin(
    race: Mapping[str, Any], metric: Metric, guess: Callable[[], Mapping[str, float]]
) -> dict[str, Any]:
    """The settings of a race, where a margin that is missing or `auto` is the one that suits the metric.

    Args:
        race: The settings, as given.
        metric: What candidates are compared by.
        guess: As `Metric.equivalent` takes it.
    """
    if race.get("margin", AUTO) != AUTO:
        return dict(race)
    return {**race, "margin": metric.equivalent(guess)}
