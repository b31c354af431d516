"""What a study reports while it runs: the `Tracker` and `Progress` protocols and their messages."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from initsearch.search.verdict import CandidateStatus as CandidateStatus
from initsearch.search.verdict import Verdict
from initsearch.training.job import Candidate as Candidate
from initsearch.training.job import Point


@dataclass(frozen=True)
class StudyInfo:
    """What is searched: known before the first candidate trains.

    Attributes:
        name: The study's folder and its name in Optuna; contains a hash of everything that defines it.
        folder: Where the study's own files are written.
        architecture: The model's short name with what sets it apart (`convnet`, `mlp-30`).
        dataset: The data set that is trained on.
        requested_dataset: The data set that was requested (a different one if the fallback is used).
        metric: What candidates are compared by (`val_accuracy`).
        higher_is_better: Its direction.
        settings: The whole composed configuration, nested.
        n_trials: Candidates in total.
        steps_per_epoch: Optimizer steps of an epoch; None if unknown.
    """

    name: str
    folder: Path
    architecture: str
    dataset: str
    requested_dataset: str
    metric: str
    higher_is_better: bool
    settings: Mapping[str, Any]
    n_trials: int
    steps_per_epoch: int | None = None


@dataclass(frozen=True)
class Measurement:
    """One number of one candidate: a metric at a point of the budget, on one seed or their mean.

    Attributes:
        key: `val_accuracy`, `val_loss`, `train_loss`; followed by `/seed_3` for one seed.
        value: The number; NaN or infinite if the run diverged.
        step: Optimizer steps done.
    """

    key: str
    value: float
    step: int


def curve_measurements(points: Sequence[Point], suffix: str) -> list[Measurement]:
    """A learning curve as measurements; `suffix` says of which seed (`/seed_3`)."""
    return [
        Measurement(f"{key}{suffix}", value, point.step)
        for point in points
        for key, value in (*point.scores.items(), ("train_loss", point.train_loss))
        if key != "train_loss" or not math.isnan(value)  # NaN: unknown
    ]


class Tracker(Protocol):
    """Keeps the records of a study. Every call is made by the coordinator process alone.

    Calls for one study come in this order: `start_study`, then for each candidate `start_candidate`, any number
    of `measure`, `end_candidate`; in the end `end_study`. A resumed study makes the calls again from the start,
    with the same names: a tracker updates its records and repeats nothing.
    """

    def start_study(self, study: StudyInfo) -> None:
        """A study starts or resumes."""

    def start_candidate(self, candidate: Candidate) -> None:
        """A candidate starts to train."""

    def measure(self, candidate: str, measurements: Sequence[Measurement]) -> None:
        """A candidate was measured at a rung or on a seed of the race; `candidate` is its name."""

    def end_candidate(self, candidate: str, status: CandidateStatus, reason: str) -> None:
        """A candidate has ended; `reason` says why (empty for `complete`)."""

    def end_study(self, verdict: Verdict) -> None:
        """The verdict is known."""

    def close(self) -> None:
        """The coordinator stops (at the end, on Ctrl-C or on an error): leave nothing half-written."""


class BufferedTracker:
    """Passes the calls of a study on to a tracker; candidates that start before `start_study` wait for it.

    With several workers the first trainings start while the tracker still opens its records, which can take
    seconds.
    """

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._waiting: list[Candidate] | None = []

    def start_study(self, study: StudyInfo) -> None:
        """See `Tracker`."""
        self._tracker.start_study(study)
        waiting, self._waiting = self._waiting or [], None
        for candidate in waiting:
            self._tracker.start_candidate(candidate)

    def start_candidate(self, candidate: Candidate) -> None:
        """See `Tracker`."""
        if self._waiting is None:
            self._tracker.start_candidate(candidate)
        else:
            self._waiting.append(candidate)

    def measure(self, candidate: str, measurements: Sequence[Measurement]) -> None:
        """See `Tracker`."""
        self._tracker.measure(candidate, measurements)

    def end_candidate(self, candidate: str, status: CandidateStatus, reason: str) -> None:
        """See `Tracker`."""
        self._tracker.end_candidate(candidate, status, reason)

    def end_study(self, verdict: Verdict) -> None:
        """See `Tracker`."""
        self._tracker.end_study(verdict)

    def close(self) -> None:
        """See `Tracker`."""
        self._tracker.close()


class Progress(Protocol):
    """Shows the work of a study while it runs. Calls come from any thread of the coordinator process.

    Work is counted in candidate-epochs: one candidate trained for one epoch on one seed.
    """

    def plan(self, work: Mapping[str, float]) -> None:
        """The phases to come, in order, each with its work at most; called once, before the first."""

    def phase(self, name: str, total: float) -> None:
        """A phase begins: its name (`search`, `race`, `test`), and its work at most, as known by now."""

    def training(self, what: str) -> None:
        """What is being trained now, in a few words."""

    def advance(self, amount: float) -> None:
        """This much was trained."""

    def skip(self, amount: float) -> None:
        """This much needs no training in this run: its result is kept, or its candidate was dropped."""

    def message(self, text: str) -> None:
        """Something that the user should read."""
