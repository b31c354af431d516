"""The verdict of a study whose candidates are all one scheme: there is nothing to race, which is the answer."""

import math
import statistics
from collections.abc import Mapping, Sequence

from scipy.stats import ttest_1samp

from initsearch.search.candidates import TrainedCandidate
from initsearch.search.metric import Metric
from initsearch.search.settings import StudySettings
from initsearch.search.verdict import Evidence, Standing, Verdict
from initsearch.search.verdict.builder import other_names, search_row, versions
from initsearch.search.verdict.rates import best_rates
from initsearch.search.verdict.study_fields import evidence_fields, study_fields
from initsearch.tasks import TaskInfo


def is_one_scheme(candidates: Sequence[TrainedCandidate]) -> bool:
    """Whether all candidates of a search are one arm, and one of them completed the search."""
    same = len({candidate.candidate.arm for candidate in candidates}) == 1
    return same and any(candidate.status == "complete" for candidate in candidates)


def one_scheme_verdict(
    candidates: Sequence[TrainedCandidate],
    best: TrainedCandidate,
    *,
    settings: StudySettings,
    metric: Metric,
    data: TaskInfo,
    seconds: tuple[float, float],
    earlier_races: Mapping[str, float],
) -> Verdict:
    """A tie of one: all names of the scheme, with the scores of the search.

    Args:
        candidates: The candidates of the search, all of one arm.
        best: The one with the best score, at whose learning rate the scheme is listed.
        settings: What was searched.
        metric: What candidates are compared by.
        data: What was known of the data before anything was trained.
        seconds: Wall time, and processor time of all jobs.
        earlier_races: Alpha by race (see `StudySettings.race_key`) of the races that this study has decided.
    """
    return Verdict(
        status="tie",
        winner=None,
        baseline=best.name,
        **study_fields(settings, metric, data),
        n_seeds=0,
        candidates=(_standing(best, candidates, metric, settings.race.alpha),),
        tie_set=(best.name,),
        sentence=_sentence(candidates, f"{settings.architecture}/{data.dataset}"),
        test={},
        evidence=Evidence(
            **evidence_fields(settings, data),
            alphas=tuple(earlier_races.values()),
            races=earlier_races,
            search=tuple(search_row(candidate, candidate is best) for candidate in candidates),
            rates=best_rates(candidates, metric),
        ),
        wall_seconds=seconds[0],
        cpu_seconds=seconds[1],
        versions=versions(),
        recommended=best.name,
    )


def _sentence(candidates: Sequence[TrainedCandidate], subject: str) -> str:
    names = list(dict.fromkeys(candidate.candidate.label for candidate in candidates))
    if len(names) == 1:
        same = f"{names[0]} is the only scheme that was tried on {subject}"
    else:
        same = (
            f"{', '.join(names[:-1])} and {names[-1]} are one scheme on {subject}: they initialize every "
            "parameter in the same way"
        )
    return (
        f"{same}; to have something to compare, widen the space, raise n_trials, or add a baseline"
    )


def _standing(
    best: TrainedCandidate, candidates: Sequence[TrainedCandidate], metric: Metric, alpha: float
) -> Standing:
    """The scheme with its scores on the seeds of the search, at its best learning rate."""
    scores = {
        seed: metric.score(curve.points, curve.diverged) for seed, curve in best.curves.items()
    }
    values = list(scores.values())
    several = len(values) > 1
    interval = ttest_1samp(values, 0.0).confidence_interval(1.0 - alpha) if several else None
    return Standing(
        name=best.name,
        scheme=best.candidate.scheme,
        plan=best.candidate.plan,
        lr=best.candidate.lr,
        mean=statistics.fmean(values),
        std=statistics.stdev(values) if several else math.nan,
        ci_low=metric.clipped(float(interval.low)) if interval else math.nan,
        ci_high=metric.clipped(float(interval.high)) if interval else math.nan,
        scores=scores,
        gap_to_leader=0.0,
        p_value=None,
        diverged=0,
        n_seeds=len(values),
        dropped_at=None,
        also_named=other_names(best, candidates),
    )
