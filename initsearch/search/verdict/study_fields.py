"""The fields of a verdict that follow from its study alone, whatever was found."""

from typing import TypedDict

from initsearch.search.metric import Metric
from initsearch.search.settings import StudySettings
from initsearch.search.verdict import ImageCounts
from initsearch.tasks import TaskInfo


class StudyFields(TypedDict):
    """Fields of a `Verdict`; see there."""

    architecture: str
    dataset: str
    requested_dataset: str
    metric: str
    higher_is_better: bool
    alpha: float
    margin: float


class EvidenceFields(TypedDict):
    """Fields of its `Evidence`; see there."""

    request: str
    race_request: str
    images: ImageCounts | None


def study_fields(settings: StudySettings, metric: Metric, data: TaskInfo) -> StudyFields:
    """What was searched, on which data, and by which rule it was decided."""
    return StudyFields(
        architecture=settings.architecture,
        dataset=data.dataset,
        requested_dataset=data.requested,
        metric=metric.name,
        higher_is_better=metric.higher_is_better,
        alpha=settings.race.alpha,
        margin=settings.race.margin,
    )


def evidence_fields(settings: StudySettings, data: TaskInfo) -> EvidenceFields:
    """By what a later run recognizes the study and its race, and the sizes of the data."""
    return EvidenceFields(
        request=settings.request(data.contents),
        race_request=settings.race_request(data.contents),
        images=ImageCounts(**data.sizes) if data.sizes else None,
    )
