"""The study: proposes candidates, compares them at rungs, races the best on fresh seeds and gives the verdict.

`Study` runs `StudySettings` to a `Verdict`, reports to a `Tracker` and a `Progress`, and resumes where an
earlier run stopped. Begin reading at `study`, then `search_loop` and `pruning` for the search, `racing` for the
race and `verdict` for its end; `jobs` runs what they ask for.
"""

from typing import TYPE_CHECKING

from initsearch.lazy import lazy_exports

if TYPE_CHECKING:
    from initsearch.search.metric import METRICS as METRICS
    from initsearch.search.settings import RaceSettings as RaceSettings
    from initsearch.search.settings import SearchSettings as SearchSettings
    from initsearch.search.settings import StudySettings as StudySettings
    from initsearch.search.study import Study as Study
    from initsearch.search.tracker import Measurement as Measurement
    from initsearch.search.tracker import Progress as Progress
    from initsearch.search.tracker import StudyInfo as StudyInfo
    from initsearch.search.tracker import Tracker as Tracker
    from initsearch.search.verdict import CandidateStatus as CandidateStatus
    from initsearch.search.verdict import Evidence as Evidence
    from initsearch.search.verdict import HeldOutScore as HeldOutScore
    from initsearch.search.verdict import ImageCounts as ImageCounts
    from initsearch.search.verdict import SearchRow as SearchRow
    from initsearch.search.verdict import Standing as Standing
    from initsearch.search.verdict import Verdict as Verdict
    from initsearch.training.job import Candidate as Candidate

# Loaded on first use: reading a verdict needs neither Optuna nor torch.
__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        **dict.fromkeys(("RaceSettings", "SearchSettings", "StudySettings"), "settings"),
        **dict.fromkeys(
            ("Candidate", "Measurement", "Progress", "StudyInfo", "Tracker"), "tracker"
        ),
        **dict.fromkeys(
            (
                *("CandidateStatus", "Evidence", "HeldOutScore", "ImageCounts", "SearchRow"),
                *("Standing", "Verdict"),
            ),
            "verdict",
        ),
        "METRICS": "metric",
        "Study": "study",
    },
)
