"""How far candidates are trained, and where on the way they are measured and compared."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor

from initsearch.search.metric import Metric
from initsearch.search.rungs import rung_epochs
from initsearch.search.settings import StudySettings
from initsearch.tasks import step_at, steps_per_epoch


@dataclass(frozen=True)
class Budgets:
    """How far candidates are trained, all in epochs.

    Attributes:
        rungs: Where they are compared, ascending; the last is the full budget.
        points: Where they are validated, ascending; the rungs are among them.
        probe: Where the probe ends, before the first rung; 0: there is none.
        steps: Optimizer steps of the full budget.
    """

    rungs: tuple[float, ...]
    points: tuple[float, ...]
    probe: float
    steps: int

    @property
    def full(self) -> float:
        """The full budget."""
        return self.rungs[-1]


def make_budgets(
    settings: StudySettings, metric: Metric, images: int, probe: bool = True
) -> Budgets:
    """The budgets of a study; those that come to the same step are one.

    Args:
        settings: What is searched.
        metric: One that looks at whole curves is measured between the rungs as well.
        images: Training images.
        probe: Whether a job is cheap enough to begin with a few steps.

    Raises:
        ConfigError: A batch is larger than the training set.
    """
    per_epoch = steps_per_epoch(images, settings.task.optimizer.batch_size)
    search, full = settings.search, settings.max_epochs
    rungs = _distinct(
        rung_epochs(full, search.reduction_factor, search.first_rung * full), per_epoch
    )
    often = settings.evaluations_per_epoch if metric.whole_curve else 0
    between = [number / often for number in range(1, floor(full * often) + 1)]
    steps = step_at(full, per_epoch)
    first = rungs[-1] if search.pruner == "none" else rungs[0]
    end = search.probe_steps / per_epoch
    begins = probe and end > 0 and search.probe_steps < step_at(first, per_epoch)
    points = _distinct((*between, *rungs), per_epoch)
    return Budgets(rungs, points, end if begins else 0.0, steps)


def _distinct(epochs: Sequence[float], per_epoch: int) -> tuple[float, ...]:
    """One epoch for each step that they come to, ascending: the last one of those given."""
    return tuple(sorted({step_at(epoch, per_epoch): epoch for epoch in epochs}.values()))
