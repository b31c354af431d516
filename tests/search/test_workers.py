"""How a study uses its workers: they do not wait for each other, and how many there are changes no number."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from simulated_jobs import simulate
from study_runs import Listener, Trained, numbers, run, settings
from virtual_workers import Stopwatch, VirtualWorkers

from initsearch.digests import short_hash
from initsearch.search.settings import FIRST_RACE_BLOCK, StudySettings
from initsearch.training import CohortResult, Job, Point

pytestmark = pytest.mark.slow

#: A race that goes to its end: nothing is significant at this level.
TO_THE_END = {"max_seeds": 12, "looks": (4, 6, 8, 12), "margin": 0.0, "alpha": 1e-6}
#: One in which candidates are dropped at the looks.
THINNING = {"max_seeds": 12, "looks": (3, 5, 8, 12), "margin": 0.0, "alpha": 0.2}


def rounded_by_cohort(job: Job) -> CohortResult:
    """A stacked cohort's last digits depend on who is in it, a loop's do not."""
    result = simulate(job)
    if not job.stacked:
        return result
    digits = int(short_hash([candidate.name for candidate in job.candidates]), 16) * 1e-18

    def rounded(point: Point) -> Point:
        accuracy = point.scores["val_accuracy"] + digits
        return replace(point, scores={**point.scores, "val_accuracy": accuracy})

    curves = (replace(c, points=tuple(map(rounded, c.points))) for c in result.curves)
    return replace(result, curves=tuple(curves), engine="stacked")


def asked_of(folder: Path, workers: int, engine: str, **changes: Any) -> StudySettings:
    return settings(folder, workers=workers, trainer={"engine": engine}, **changes)


@pytest.mark.parametrize(
    ("workers", "engine", "open_cohorts", "least"),
    [
        (2, "loop", 3, {"search": 0.9, "race": 0.95}),
        (2, "stacked", 3, {"search": 0.9, "race": 0.95}),
        (8, "loop", 8, {"search": 0.9, "race": 0.8}),
        (8, "stacked", 16, {"search": 0.85, "race": 0.7}),
    ],
)
def test_workers_are_busy(monkeypatch, tmp_path, workers, engine, open_cohorts, least) -> None:
    """What is left is the end of a phase, when there is less to train than there are workers."""
    pool = VirtualWorkers(workers, monkeypatch)
    watch = Stopwatch(pool)
    search = {"sampler": "random", "cohort_size": 8, "open_cohorts": open_cohorts}
    many = {"n_trials": 40 * workers, "search": search, "race": TO_THE_END}
    run(asked_of(tmp_path, workers, engine, **many), watch, pool, simulate)
    phases = watch.phases
    shares = {
        "search": pool.busy_share(phases["search"], phases["race"]),
        "race": pool.busy_share(phases["race"], phases["test"]),
    }
    assert all(shares[phase] > least[phase] for phase in least), shares


@pytest.mark.parametrize("engine", ["loop", "stacked"])
@pytest.mark.parametrize("race", [TO_THE_END, THINNING], ids=["to_the_end", "thinning"])
def test_their_number_changes_nothing(tmp_path, engine, race) -> None:
    """Though stacked cohorts' last digits depend on who is in them, and blocks begin before they are due."""
    many = {"n_trials": 24, "search": {"sampler": "tpe"}, "race": race}
    trained = Trained(rounded_by_cohort)
    alone = numbers(trained.run(asked_of(tmp_path / "1", 1, engine, **many)))
    assert bool(alone["evidence"]["looks"][0]["dropped"]) is (race is THINNING)
    for workers in (2, 3, 8):
        with pytest.MonkeyPatch.context() as patch:
            pool = VirtualWorkers(workers, patch)
            found = trained.run(
                asked_of(tmp_path / str(workers), workers, engine, **many), executor=pool
            )
        assert numbers(found) == alone


@pytest.mark.parametrize("engine", ["loop", "stacked"])
def test_a_block_is_begun_early_only_where_a_worker_would_wait(
    monkeypatch, tmp_path, engine
) -> None:
    """One worker never trains a block that is not due; of several, all but one may."""
    race = {"max_seeds": 12, "looks": (4, 12), "margin": 100.0}  # a tie at the first look
    for workers in (1, 2, 4):
        pool = VirtualWorkers(workers, monkeypatch)
        verdict = run(
            asked_of(tmp_path / str(workers), workers, engine, race=race), None, pool, simulate
        )
        assert verdict.n_seeds == 4
        blocks = {job.seed for _, _, job in pool.begun if job.seed >= FIRST_RACE_BLOCK}
        assert 4 <= len(blocks) <= 4 + workers - 1


def test_workers_without_jobs_are_reported(tmp_path) -> None:
    trained = Trained(simulate)
    many = {"n_trials": 16, "race": {"max_seeds": 2}}
    reported = {}
    for workers, open_cohorts in ((6, 3), (7, 3), (7, 4)):
        listener = Listener()
        search = {"open_cohorts": open_cohorts}
        folder = tmp_path / f"{workers}-{open_cohorts}"
        trained.run(asked_of(folder, workers, "stacked", search=search, **many), listener)
        reported[workers, open_cohorts] = [
            text for (text,) in listener.heard("message") if " workers, but" in text
        ]
    assert reported[6, 3] == reported[7, 4] == []
    assert reported[7, 3] == [
        "7 workers, but the search trains at most 6 jobs at a time: search.open_cohorts=4 keeps all of them "
        "busy"
    ]
