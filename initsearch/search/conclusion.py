"""From what search, race and test found to the verdict."""

import importlib.metadata
import math
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from initsearch.race.rules import Result
from initsearch.race.sentence import after_races, sentence
from initsearch.search.confirmation import RaceResult
from initsearch.search.metric import Metric
from initsearch.search.records import Record
from initsearch.search.rungs import kendall
from initsearch.search.settings import StudySettings
from initsearch.search.tracker import CandidateInfo
from initsearch.search.verdict import (
    Evidence,
    HeldOutScore,
    ImageCounts,
    SearchRow,
    Standing,
    Verdict,
)

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


@dataclass(frozen=True)
class Findings:
    """All that a study found.

    Attributes:
        records: What the search found out about each candidate.
        entrants: Those of the short list.
        baseline: The name of the framework's default among the entrants.
        race: The race's scores, decisions and learning curves.
        rungs: The budgets at which candidates were compared, in epochs, the full one last.
        test: Accuracy on the test set by candidate and block seed.
        wall_seconds: Time from start to now, over all runs.
        cpu_seconds: Processor time of all jobs.
        images: How many images a block trained on and validated on, and how many the test set has.
        earlier: Alphas of the races that this study has decided before, with other limits.
    """

    records: Sequence[Record]
    entrants: Sequence[Record]
    baseline: str
    race: RaceResult
    rungs: Sequence[float]
    test: Mapping[str, Mapping[int, float]]
    wall_seconds: float
    cpu_seconds: float
    images: ImageCounts
    earlier: Sequence[float] = ()


def conclude(
    settings: StudySettings, dataset: str, requested: str, metric: Metric, found: Findings
) -> Verdict:
    """The verdict of a study.

    Args:
        settings: What was searched.
        dataset: What was trained on.
        requested: What was asked for.
        metric: What candidates are compared by.
        found: What came of it.
    """
    race = found.race.race
    decision = race.decisions[-1]
    status = decision.status or "undecided"
    first = "winner" if status == "winner" else "leader"
    return Verdict(
        status=status,
        winner=decision.leader if status == "winner" else None,
        baseline=found.baseline,
        architecture=settings.architecture,
        dataset=dataset,
        requested_dataset=requested,
        metric=metric.name,
        higher_is_better=metric.higher_is_better,
        alpha=settings.race.alpha,
        margin=settings.race.margin,
        n_seeds=len(race.seeds),
        candidates=standings(
            race.results(), {r.proposal.name: r.proposal.info for r in found.entrants}
        ),
        tie_set=decision.tie_set,
        sentence=sentence(
            decision, f"{settings.architecture}/{dataset}", metric.unit, metric.remedy
        )
        + after_races(found.earlier, settings.race.alpha),
        test={
            first: _held_out(decision.leader, found.test),
            "baseline": _held_out(found.baseline, found.test),
        },
        evidence=Evidence(
            request=settings.request(),
            race_request=settings.race_request(),
            images=found.images,
            alphas=(*found.earlier, settings.race.alpha),
            looks=tuple(race.decisions),
            rank_agreement=rank_agreement(found.race, metric, found.rungs),
            initial_loss={
                name: tuple(curve.initial_loss for curve in curves.values())
                for name, curves in found.race.curves.items()
            },
            final_val_loss={
                name: _mean(
                    curve.points[-1].scores.get("val_loss", math.nan)
                    for curve in curves.values()
                    if curve.points
                )
                for name, curves in found.race.curves.items()
            },
            search=tuple(_search_row(record, found.entrants) for record in found.records),
        ),
        wall_seconds=found.wall_seconds,
        cpu_seconds=found.cpu_seconds,
        versions=_versions(),
    )


def standings(
    results: Sequence[Result], candidates: Mapping[str, CandidateInfo]
) -> tuple[Standing, ...]:
    """What the race says of each candidate, with what the study knows of it: scheme, plan and rate."""
    return tuple(
        Standing(
            **vars(result),
            scheme=candidates[result.name].scheme,
            plan=candidates[result.name].plan,
            lr=candidates[result.name].lr,
        )
        for result in results
    )


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


def _held_out(name: str, test: Mapping[str, Mapping[int, float]]) -> HeldOutScore:
    by_seed = test[name]
    return HeldOutScore(name, _mean(by_seed.values()), dict(by_seed))


def _search_row(record: Record, entrants: Sequence[Record]) -> SearchRow:
    """What the search found out about a candidate, for the verdict's evidence."""
    return SearchRow(
        number=record.proposal.number,
        name=record.proposal.name,
        scheme=record.proposal.info.scheme,
        status=record.status or "failed",
        reason=record.reason,
        epoch=record.epoch,
        score=record.score,
        scores=dict(record.scores),
        raced=record in entrants,
        probe_loss=record.probe_loss,
        sign=record.sign,
    )


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed) if listed else float("nan")


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
