"""What the search knows of each candidate: its curves, its scores, and what became of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from initsearch.search.proposals import Proposal
from initsearch.search.tracker import CandidateStatus, Measurement
from initsearch.training.job import Curve, Point


@dataclass
class Record:
    """What the search found out about one candidate.

    Attributes:
        proposal: The candidate.
        curves: By block seed its learning curve so far.
        scores: By rung (epochs) its score: the mean over the blocks; NaN where it diverged on one.
        probe_loss: Training loss at the end of the probe; NaN where there was none, or it diverged.
        sign: What the probe showed, in plain words; empty where there was none.
        status: `complete` when it had the full budget, `pruned`, `diverged` or `failed`; `None` before.
        reason: Why it ended early, in plain words.
    """

    proposal: Proposal
    curves: dict[int, Curve] = field(default_factory=dict)
    scores: dict[float, float] = field(default_factory=dict)
    probe_loss: float = math.nan
    sign: str = ""
    status: CandidateStatus | None = None
    reason: str = ""

    @property
    def score(self) -> float:
        """Its last score; NaN if it has none."""
        return next(reversed(self.scores.values()), math.nan)

    @property
    def epoch(self) -> float:
        """How far it was trained."""
        return next(reversed(self.scores.keys()), 0.0)

    @property
    def step(self) -> int:
        """The optimizer step of its last measurement."""
        return max((c.points[-1].step for c in self.curves.values() if c.points), default=0)

    def add(self, curve: Curve) -> None:
        """Take note of a curve, or of a curve's continuation."""
        before = self.curves.get(curve.seed)
        if before is not None:
            points = before.points + curve.points
            curve = replace(curve, points=points, initial_loss=before.initial_loss)
        self.curves[curve.seed] = curve

    def report(self) -> None:
        """Tell Optuna the last score, unless a run that was interrupted has told it."""
        stored, step = self.proposal.stored, self.step
        if self.proposal.trial is not None and (
            stored is None or step not in stored.intermediate_values
        ):
            self.proposal.trial.report(self.score, step)


def curve_measurements(points: Sequence[Point], suffix: str) -> list[Measurement]:
    """A learning curve as the tracker takes it."""
    return [
        Measurement(f"{key}{suffix}", value, point.step)
        for point in points
        for key, value in (*point.scores.items(), ("train_loss", point.train_loss))
    ]
