"""What the search and the race of a study share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from initsearch.layers import Slot
from initsearch.search.jobs.job_book import JobBook
from initsearch.search.jobs.job_maker import JobMaker
from initsearch.search.metric import Metric
from initsearch.search.rungs import Budgets
from initsearch.search.settings import StudySettings
from initsearch.search.tracker import Progress, Tracker


@dataclass(frozen=True, kw_only=True)
class StudyContext:
    """What the search and the race of a study share.

    Attributes:
        settings: What is searched.
        jobs: Runs jobs and keeps their results.
        maker: Makes the jobs.
        metric: What candidates are compared by.
        budgets: How far they are trained.
        guess: Scores of a model that has learned nothing; see `TaskInfo`.
        test_score: The name of the score on the test set that the verdict reports; None: there is no test set.
        slots: The parameters of the model; empty if they are not known.
        tracker: Keeps the records.
        progress: Shows how far the study is.
    """

    settings: StudySettings
    jobs: JobBook
    maker: JobMaker
    metric: Metric
    budgets: Budgets
    guess: Mapping[str, float]
    test_score: str | None
    slots: Sequence[Slot]
    tracker: Tracker
    progress: Progress
