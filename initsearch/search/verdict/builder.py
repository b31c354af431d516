"""The verdict of a study, built from what its search, race and test found."""

import importlib.metadata
import math
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import stdev

from scipy.special import stdtrit
from scipy.stats import kendalltau

from initsearch.race import Decision, Result, after_races, sentence
from initsearch.search.candidates import TrainedCandidate
from initsearch.search.metric import Metric
from initsearch.search.racing.race_runner import RaceResult
from initsearch.search.settings import StudySettings
from initsearch.search.verdict import (
    BaselineAnswer,
    Evidence,
    HeldOutScore,
    SearchRow,
    Speed,
    Standing,
    Verdict,
)
from initsearch.search.verdict.rates import best_rates, rate_gaps
from initsearch.search.verdict.search_counts import count_search
from initsearch.search.verdict.speed import speeds
from initsearch.search.verdict.study_fields import evidence_fields, study_fields
from initsearch.tasks import TaskInfo

PACKAGES = (
    "initsearch",
    "torch",
    "torchvision",
    "lightning",
    "optuna",
    "mlflow",
    "scipy",
    "statsmodels",
)


@dataclass(frozen=True, kw_only=True)
class Findings:
    """All that a study found.

    Attributes:
        candidates: The candidates of the search.
        entrants: Those of the short list.
        baseline: The name of the framework's default among the entrants, or of what stands in its place.
        race: The race's scores, decisions and learning curves.
        rungs: The budgets at which candidates were compared, in epochs, the full one last.
        test: The task's score on the test set by candidate and seed.
        wall_seconds: Time from start to now, over all runs.
        cpu_seconds: Processor time of all jobs.
        data: What was known of the data before anything was trained.
        earlier_races: Alpha by race (see `StudySettings.race_key`) of the other races that this study has
            decided before.
        engines: How candidates were trained, with the reason.
        missing_baseline: Why the default is not among the entrants; empty if it is.
    """

    candidates: Sequence[TrainedCandidate]
    entrants: Sequence[TrainedCandidate]
    baseline: str
    race: RaceResult
    rungs: Sequence[float]
    test: Mapping[str, Mapping[int, float]]
    wall_seconds: float
    cpu_seconds: float
    data: TaskInfo
    earlier_races: Mapping[str, float] = field(default_factory=dict)
    engines: Mapping[str, str] = field(default_factory=dict)
    missing_baseline: str = ""


def build_verdict(found: Findings, *, settings: StudySettings, metric: Metric) -> Verdict:
    """The verdict of a study.

    Args:
        found: What it found.
        settings: What was searched.
        metric: What candidates are compared by.
    """
    race = found.race.race
    decision = race.decisions[-1]
    status = decision.status or "undecided"
    text = sentence(
        decision,
        f"{settings.architecture}/{found.data.dataset}",
        metric.unit,
        metric.remedy,
        count_search(found.candidates, found.entrants, settings.space),
    )
    if found.missing_baseline:
        text = f"{found.missing_baseline}; {text}"
    return Verdict(
        status=status,
        winner=decision.leader if status == "winner" else None,
        baseline=found.baseline,
        **study_fields(settings, metric, found.data),
        n_seeds=len(race.seeds),
        candidates=_standings(
            race.results(),
            found.entrants,
            found.candidates,
            speeds(found.race.curves, found.baseline, metric, settings.race.alpha),
            metric,
        ),
        tie_set=decision.tie_set,
        sentence=text + after_races(list(found.earlier_races.values()), settings.race.alpha),
        test=_test_scores(found, decision, settings.race.alpha),
        evidence=_evidence(found, settings, metric),
        wall_seconds=found.wall_seconds,
        cpu_seconds=found.cpu_seconds,
        versions=versions(),
        recommended=decision.recommended,
        against_baseline=_baseline_answer(decision),
        regret=decision.regret,
    )


def _baseline_answer(decision: Decision) -> BaselineAnswer | None:
    status = decision.baseline_status
    if status is None:
        return None
    return BaselineAnswer(status, decision.baseline_beaten_by, decision.baseline_gaps)


def _evidence(found: Findings, settings: StudySettings, metric: Metric) -> Evidence:
    by_name = found.race.curves.items()
    rates = best_rates(found.candidates, metric)
    schemes = {entrant.name: entrant.candidate.scheme for entrant in found.entrants}
    leader = schemes[found.race.leader]
    race = settings.race_key(found.data.contents, (entrant.name for entrant in found.entrants))
    races = {**found.earlier_races, race: settings.race.alpha}
    return Evidence(
        **evidence_fields(settings, found.data),
        alphas=tuple(races.values()),
        races=races,
        looks=tuple(found.race.race.decisions),
        rank_agreement=rank_agreement(found.race, metric, found.rungs),
        initial_loss={
            name: tuple(curve.initial_loss for curve in curves.values()) for name, curves in by_name
        },
        final_val_loss={
            name: _mean(
                curve.points[-1].scores.get("val_loss", math.nan)
                for curve in curves.values()
                if curve.points
            )
            for name, curves in by_name
        },
        search=tuple(search_row(c, c in found.entrants) for c in found.candidates),
        engines=found.engines,
        rates=rates,
        rate_gaps=rate_gaps(rates, leader, list(schemes.values()), metric),
    )


def _standings(
    results: Sequence[Result],
    entrants: Sequence[TrainedCandidate],
    candidates: Sequence[TrainedCandidate],
    speed: Mapping[str, Speed],
    metric: Metric,
) -> tuple[Standing, ...]:
    """The race's results with what the study knows of each candidate: scheme, names, plan, rate and speed."""
    by_name = {entrant.name: entrant for entrant in entrants}
    return tuple(
        Standing(
            **vars(result)
            | {"ci_low": metric.clipped(result.ci_low), "ci_high": metric.clipped(result.ci_high)},
            failure_bound=result.failure_bound,
            scheme=by_name[result.name].candidate.scheme,
            plan=by_name[result.name].candidate.plan,
            lr=by_name[result.name].candidate.lr,
            also_named=other_names(by_name[result.name], candidates),
            speed=speed.get(result.name),
        )
        for result in results
    )


def other_names(
    entrant: TrainedCandidate, candidates: Sequence[TrainedCandidate]
) -> tuple[str, ...]:
    """The other labels under which the search has tried the weights that an entrant starts from."""
    labels = [c.candidate.label for c in candidates if c.candidate.arm == entrant.candidate.arm]
    return tuple(dict.fromkeys(label for label in labels if label != entrant.candidate.label))


def rank_agreement(
    result: RaceResult, metric: Metric, rungs: Sequence[float]
) -> dict[float, float | None]:
    """Kendall's tau between the candidates' ranking at each rung and at full budget, by epoch.

    Both rankings are of mean scores over the race's blocks; `None` where a ranking has no order.
    """
    points = [p for curves in result.curves.values() for c in curves.values() for p in c.points]
    epochs = sorted({point.epoch for point in points} & set(rungs))
    means = {
        epoch: {
            name: _mean(
                metric.score([p for p in curve.points if p.epoch <= epoch], curve.diverged)
                for curve in curves.values()
            )
            for name, curves in result.curves.items()
        }
        for epoch in epochs
    }
    return {
        epoch: kendall(means[epoch], means[epochs[-1]], metric.higher_is_better)
        for epoch in epochs[:-1]
    }


def kendall(
    rung_scores: Mapping[str, float],
    full_scores: Mapping[str, float],
    higher_is_better: bool = True,
) -> float | None:
    """How well a rung ranks the candidates as the full budget does: Kendall's tau-b.

    Args:
        rung_scores: Score by name at the rung; NaN (diverged) ranks last.
        full_scores: Score by name at the full budget; names in only one of both are left out.
        higher_is_better: The score's direction, which decides where NaN goes.

    Returns:
        From -1 (reversed) over 0 (unrelated) to 1 (the same order); None if fewer than two candidates are in
        both, or one side ranks them all equal.
    """
    last = -math.inf if higher_is_better else math.inf
    names = [name for name in rung_scores if name in full_scores]
    rung, full = (
        [last if math.isnan(scores[name]) else scores[name] for name in names]
        for scores in (rung_scores, full_scores)
    )
    if len(set(rung)) < 2 or len(set(full)) < 2:
        return None
    return float(kendalltau(rung, full).statistic)


def _test_scores(found: Findings, decision: Decision, alpha: float) -> dict[str, HeldOutScore]:
    """The scores on the test set by the role of a candidate, each with its lead over the baseline."""
    roles = {"winner" if decision.status == "winner" else "leader": decision.leader}
    roles["baseline"] = found.baseline
    if decision.recommended is not None and decision.recommended not in roles.values():
        roles["recommended"] = decision.recommended
    if not found.test:  # the task has no test set
        return {}
    baseline = found.test[found.baseline]
    data = found.data
    return {
        role: held_out(
            name,
            found.test[name],
            baseline,
            alpha,
            data.test_score or "",
            higher_is_better=data.test_higher_is_better,
        )
        for role, name in roles.items()
    }


def held_out(
    name: str,
    by_seed: Mapping[int, float],
    baseline: Mapping[int, float],
    alpha: float,
    metric: str = "test_accuracy",
    *,
    higher_is_better: bool = True,
) -> HeldOutScore:
    """A candidate's score on the test set, with its paired lead over the baseline.

    Args:
        name: The candidate.
        by_seed: Its score by seed.
        baseline: The baseline's; the same mapping for the baseline itself.
        alpha: The lead's interval has level 1 - alpha.
        metric: The name of the score.
        higher_is_better: Its direction.
    """
    sign = 1.0 if higher_is_better else -1.0
    gap = half = math.nan
    leads = [sign * (score - baseline[seed]) for seed, score in by_seed.items() if seed in baseline]
    if by_seed is not baseline and leads:
        gap = _mean(leads)
        if len(leads) > 1:
            quantile = -float(stdtrit(len(leads) - 1, alpha / 2))
            half = quantile * stdev(leads) / math.sqrt(len(leads))
    mean = _mean(by_seed.values())
    return HeldOutScore(name, mean, dict(by_seed), gap, gap - half, gap + half, metric)


def search_row(candidate: TrainedCandidate, raced: bool) -> SearchRow:
    """A candidate of the search as the verdict lists it.

    Args:
        candidate: One that has ended.
        raced: Whether it entered the race.
    """
    if candidate.status is None:
        raise ValueError(f"candidate {candidate.name!r} is still in the search")
    return SearchRow(
        number=candidate.candidate.number,
        name=candidate.name,
        scheme=candidate.candidate.scheme,
        lr=candidate.candidate.lr,
        twin_of=candidate.candidate.twin_of,
        status=candidate.status,
        reason=candidate.reason,
        epoch=candidate.epoch,
        score=candidate.score,
        scores=dict(candidate.scores),
        raced=raced,
        probe_loss=candidate.probe_loss,
        sign=candidate.sign,
    )


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed) if listed else float("nan")


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
