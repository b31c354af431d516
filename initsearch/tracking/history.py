"""The history of a study: its candidates, how they ended, and what was measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from initsearch.errors import unknown_name
from initsearch.search.tracker import Candidate, CandidateStatus, Measurement, StudyInfo


@dataclass(frozen=True)
class CandidateHistory:
    """One candidate: what it is, how it ended and what was measured.

    Attributes:
        info: As the study reported it.
        status: How it ended; None while it is being trained.
        reason: Why it ended early.
        series: Value by step, by the measurement's key (`val_accuracy`, `val_accuracy/seed_3`).
    """

    info: Candidate
    status: CandidateStatus | None = None
    reason: str = ""
    series: Mapping[str, Mapping[int, float]] = field(default_factory=dict)

    def by_seed(self, metric: str) -> dict[int, Mapping[int, float]]:
        """The series of each seed: value by step, by seed."""
        prefix = f"{metric}/seed_"
        return {
            int(key.removeprefix(prefix)): values
            for key, values in self.series.items()
            if key.startswith(prefix) and key.removeprefix(prefix).isdecimal()
        }

    def last(self, metric: str) -> tuple[int, float] | None:
        """Step and value of the last mean that was measured; without one, of the mean over the seeds."""
        if values := self.series.get(metric):
            step = max(values)
            return step, values[step]
        seeds = [values for values in self.by_seed(metric).values() if values]
        if not seeds:
            return None
        step = max(max(values) for values in seeds)
        there = [values[step] for values in seeds if step in values]
        return step, sum(there) / len(there)


@dataclass(frozen=True)
class StudyHistory:
    """A study with its candidates in the order of their numbers."""

    study: StudyInfo
    candidates: tuple[CandidateHistory, ...]

    def find(self, name: str) -> CandidateHistory | None:
        """The candidate of that name, if there is one."""
        return next((c for c in self.candidates if c.info.name == name), None)


class HistoryRecorder:
    """Keeps the history of a study from its reports; the same report twice changes nothing."""

    def __init__(self, study: StudyInfo) -> None:
        self._study = study
        self._candidates: dict[str, CandidateHistory] = {}
        self._series: dict[str, dict[str, dict[int, float]]] = {}

    def start_candidate(self, candidate: Candidate) -> None:
        """Add a candidate; a known one keeps its measurements."""
        known = self._candidates.get(candidate.name)
        self._candidates[candidate.name] = (
            CandidateHistory(candidate) if known is None else replace(known, info=candidate)
        )
        self._series.setdefault(candidate.name, {})

    def measure(self, candidate: str, measurements: Sequence[Measurement]) -> None:
        """Keep the measurements; a later value of the same key and step replaces the earlier.

        Raises:
            ConfigError: No candidate of that name was started.
        """
        if candidate not in self._series:
            raise unknown_name("candidate", candidate, self._series)
        series = self._series[candidate]
        for one in measurements:
            series.setdefault(one.key, {})[one.step] = one.value

    def end_candidate(self, candidate: str, status: CandidateStatus, reason: str) -> None:
        """Keep how the candidate ended.

        Raises:
            ConfigError: No candidate of that name was started.
        """
        if candidate not in self._candidates:
            raise unknown_name("candidate", candidate, self._candidates)
        known = self._candidates[candidate]
        self._candidates[candidate] = replace(known, status=status, reason=reason)

    def history(self) -> StudyHistory:
        """What was reported so far."""
        return StudyHistory(
            self._study,
            tuple(
                replace(candidate, series=self._series[name])
                for name, candidate in sorted(
                    self._candidates.items(), key=lambda item: item[1].info.number
                )
            ),
        )
