"""`TrainedCandidate`: a candidate with what its training has shown so far.

A candidate is described by three classes: `training.job.Candidate` is what is trained, this class adds what the
search found, and `verdict.Standing` is its place in the verdict.
"""

import math
from dataclasses import dataclass, field, replace

import optuna
from optuna.trial import FrozenTrial, TrialState

from initsearch.search.verdict import CandidateStatus
from initsearch.training.job import Candidate, Curve

#: User attributes of a trial: how it ended and why, what the probe showed, and the last rung (epochs) that it
#: passed.
STATUS, REASON, SIGN, PASSED = "status", "reason", "sign", "passed"


@dataclass(eq=False)
class TrainedCandidate:
    """A candidate with what its training has shown so far.

    Attributes:
        candidate: What is trained.
        trial: Optuna's trial, to report to; None if an earlier run has finished it.
        stored: The trial as earlier runs left it; None if this run made it.
        curves: Its learning curve so far, by seed.
        scores: Its score, the mean over the seeds, by rung (epochs); NaN where it diverged on a seed.
        probe_loss: Training loss at the end of the probe (nats); NaN where there was none, or it diverged.
        sign: What the probe showed; empty where there was none.
        status: How it ended; None while it is in the search.
        reason: Why it ended early.
    """

    candidate: Candidate
    trial: optuna.Trial | None = None
    stored: FrozenTrial | None = None
    curves: dict[int, Curve] = field(default_factory=dict)
    scores: dict[float, float] = field(default_factory=dict)
    probe_loss: float = math.nan
    sign: str = ""
    status: CandidateStatus | None = None
    reason: str = ""

    @property
    def name(self) -> str:
        """The candidate's unique name."""
        return self.candidate.name

    @property
    def score(self) -> float:
        """Its last score; NaN if it has none."""
        return next(reversed(self.scores.values()), math.nan)

    @property
    def epoch(self) -> float:
        """The epoch of its last score; 0 if it has none."""
        return next(reversed(self.scores.keys()), 0.0)

    @property
    def step(self) -> int:
        """The optimizer step of its last measurement."""
        return max((c.points[-1].step for c in self.curves.values() if c.points), default=0)

    def add(self, curve: Curve) -> None:
        """Add a curve, or the continuation of one."""
        before = self.curves.get(curve.seed)
        if before is not None:
            points = before.points + curve.points
            curve = replace(curve, points=points, initial_loss=before.initial_loss)
        self.curves[curve.seed] = curve

    def report(self) -> None:
        """Report the last score to Optuna, unless an interrupted run has done so."""
        step = self.step
        if self.trial is not None and (
            self.stored is None or step not in self.stored.intermediate_values
        ):
            self.trial.report(self.score, step)

    def passed(self, epoch: float) -> bool:
        """Whether an earlier run let it pass a rung."""
        return self.stored is not None and self.stored.user_attrs.get(PASSED, 0.0) >= epoch

    def note_passed(self, epoch: float) -> None:
        """Note in Optuna's storage that it passed a rung."""
        if self.trial is not None and not self.passed(epoch):
            self.trial.set_user_attr(PASSED, epoch)

    @property
    def failure_before(self) -> str | None:
        """Why it failed in an earlier run; None if it did not. It trains again if it took too long there."""
        if self.stored is None or self.stored.state is not TrialState.FAIL:
            return None
        return str(self.stored.user_attrs.get(REASON, ""))

    def was_pruned_here(self) -> bool:
        """Whether an earlier run pruned it at the step of its last measurement."""
        stored = self.stored
        pruned = stored is not None and stored.user_attrs.get(STATUS) == "pruned"
        return pruned and stored is not None and stored.last_step == self.step
