"""What is written into a study's own folder: the leaderboard and the figures."""

from collections.abc import Sequence

from initsearch.errors import InitSearchError
from initsearch.search.tracker import Candidate, CandidateStatus, Measurement, StudyInfo
from initsearch.search.verdict import Verdict
from initsearch.tracking.figures import write_figures
from initsearch.tracking.history import HistoryRecorder
from initsearch.tracking.words.leaderboard import leaderboard_rows, write_csv


class ReportTracker:
    """Writes `leaderboard.csv` and `figures/*.png` into the study's folder when the verdict is known.

    Implements `initsearch.search.tracker.Tracker`. In a group it comes before the MLflow tracker, which uploads
    the files of the folder. Of `end_study`'s facts it uses `steps_per_epoch`, to draw learning curves over
    epochs instead of steps.
    """

    def __init__(self) -> None:
        self._recorder: HistoryRecorder | None = None

    def start_study(self, study: StudyInfo) -> None:
        """Begin an empty history: a resumed study reports everything again."""
        self._recorder = HistoryRecorder(study)

    def start_candidate(self, candidate: Candidate) -> None:
        """See `Tracker`."""
        self._open().start_candidate(candidate)

    def measure(self, candidate: str, measurements: Sequence[Measurement]) -> None:
        """See `Tracker`."""
        self._open().measure(candidate, measurements)

    def end_candidate(self, candidate: str, status: CandidateStatus, reason: str) -> None:
        """See `Tracker`."""
        self._open().end_candidate(candidate, status, reason)

    def end_study(self, verdict: Verdict) -> None:
        """Write the leaderboard and the figures."""
        history = self._open().history()
        folder = history.study.folder
        write_csv(leaderboard_rows(verdict), folder / "leaderboard.csv")
        write_figures(folder / "figures", verdict, history, history.study.steps_per_epoch)

    def close(self) -> None:
        """Nothing is left open."""

    def _open(self) -> HistoryRecorder:
        if self._recorder is None:
            raise InitSearchError("the tracker has no study: call start_study first")
        return self._recorder
