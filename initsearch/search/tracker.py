"""What a search tells whoever keeps its records: the `Tracker` protocol and its messages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from initsearch.search.verdict import CandidateStatus as CandidateStatus
from initsearch.search.verdict import Verdict


@dataclass(frozen=True)
class StudyInfo:
    """What is searched: known before the first candidate trains.

    Attributes:
        name: The study's folder and its name in Optuna; holds a hash of all that defines it.
        folder: Where the study's own files go.
        architecture: The model's short name with what sets it apart (`convnet`, `mlp-30`).
        dataset: The data set that is trained on.
        requested_dataset: The data set that was asked for (another one where a fallback stepped in).
        metric: What candidates are compared by (`val_accuracy`).
        higher_is_better: Its direction.
        settings: The whole composed configuration, nested.
        n_trials: Candidates in total.
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


@dataclass(frozen=True)
class CandidateInfo:
    """One candidate as the tracker shows it.

    Attributes:
        number: Its number in the study, from 0.
        name: Its readable, unique name.
        scheme: The scheme family it stands for.
        plan: The plan's specification.
        lr: The learning rate it is trained with.
        params: What Optuna sampled (`relu.scheme`, `relu.variance_scaling.factor`, ...).
        baseline: Whether it was enqueued as a known baseline.
    """

    number: int
    name: str
    scheme: str
    plan: Mapping[str, Any]
    lr: float
    params: Mapping[str, Any] = field(default_factory=dict)
    baseline: bool = False


@dataclass(frozen=True)
class Measurement:
    """One number of one candidate: a metric at a point of the budget, of one block or their mean.

    Attributes:
        key: `val_accuracy`, `val_loss`, `train_loss`; with `/seed_3` behind it for one block.
        value: The number; may be NaN or infinite (divergence is a result).
        step: Optimizer steps done.
    """

    key: str
    value: float
    step: int


class Tracker(Protocol):
    """Keeps the records of a study. Every call is made by the coordinator process alone.

    Calls for one study come in this order: `start_study`, then for each candidate `start_candidate`, any
    number of `measure`, `end_candidate`; in the end `end_study`. A resumed study makes the calls again from
    the start, with the same names: a tracker updates what it has and repeats nothing.
    """

    def start_study(self, study: StudyInfo) -> None:
        """A study begins, or goes on."""

    def start_candidate(self, candidate: CandidateInfo) -> None:
        """A candidate starts to train."""

    def measure(self, candidate: str, measurements: Sequence[Measurement]) -> None:
        """A rung or a race block of a candidate was measured; `candidate` is its name."""

    def end_candidate(self, candidate: str, status: CandidateStatus, reason: str) -> None:
        """A candidate is done; `reason` says why in plain words (empty for `complete`)."""

    def end_study(self, verdict: Verdict, study_info: Mapping[str, Any]) -> None:
        """The verdict is in; `study_info` holds extra facts for the report (`rank_agreement`, ...)."""

    def close(self) -> None:
        """The coordinator stops (at the end, on Ctrl-C or on an error): leave nothing half-written."""
