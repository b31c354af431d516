"""What took too long is trained again with a larger time limit, and only then; a model may not hang either."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from simulated_jobs import simulate
from study_runs import Listener, Trained, folder, numbers, run, settings

from initsearch.errors import JobEndedError
from initsearch.execution import make_executor
from initsearch.search.jobs.time_limits import LEAST, TimeLimits
from initsearch.search.study import Study
from initsearch.search.verdict import Verdict
from initsearch.training import CohortResult, Job

pytestmark = pytest.mark.slow

#: The seconds that each training of the slow baseline takes.
NEEDED = 100.0
SLOW = "he_normal"


def within(limit: float | None) -> Callable[[Job], CohortResult]:
    """Training that ends a job of the slow candidate at a limit."""

    def train(job: Job) -> CohortResult:
        slow = any(candidate.name == SLOW for candidate in job.candidates)
        if slow and limit is not None and limit < NEEDED:
            raise JobEndedError(f"a job was ended after {limit:g} s, its time limit", limit)
        return simulate(job)

    return train


def asked(output_dir: Path, limit: float | None, **changes: Any) -> Any:
    return settings(output_dir, job_timeout=limit, **{"search": {"pruner": "none"}, **changes})


def status_of(verdict: Verdict) -> str:
    (row,) = (row for row in verdict.evidence.search if row.name == SLOW)
    return row.status


def test_what_took_too_long_is_trained_again_with_more_time_and_only_then(tmp_path: Path) -> None:
    late = Trained(within(4.0)).run(asked(tmp_path, 4.0))
    assert status_of(late) == "failed"

    for limit in (4.0, 3.0):
        study = Study(asked(tmp_path, limit), Listener(), Listener())
        assert study.finished is not None
        again = Trained(within(limit))
        assert numbers(again.run(asked(tmp_path, limit))) == numbers(late)
        assert again.jobs == []

    for limit in (50.0, NEEDED):
        assert Study(asked(tmp_path, limit), Listener(), Listener()).finished is None
        trained = Trained(within(limit))
        verdict = trained.run(asked(tmp_path, limit))
        assert SLOW in {piece[0] for piece in trained.pieces}
        assert status_of(verdict) == ("failed" if limit < NEEDED else "complete")
        assert Study(asked(tmp_path, limit), Listener(), Listener()).finished is not None

    fast = Trained(within(None)).run(asked(tmp_path / "fast", None))
    rows = {row.name: row.scores for row in verdict.evidence.search}
    assert rows[SLOW] == {row.name: row.scores for row in fast.evidence.search}[SLOW]
    # What was trained is trained, whatever the limit.
    kept = Trained(within(4.0))
    assert numbers(kept.run(asked(tmp_path, 4.0))) == numbers(verdict)
    assert kept.jobs == []


def test_an_interrupted_study_goes_back_to_what_took_too_long(tmp_path: Path) -> None:
    limited = {"n_trials": 6}

    def in_the_race(call: tuple[str, tuple[Any, ...]]) -> bool:
        return call[0] == "phase" and call[1][0] == "race"

    with pytest.raises(KeyboardInterrupt):
        Trained(within(4.0)).run(asked(tmp_path, 4.0, **limited), Listener(in_the_race))
    same = Trained(within(4.0)).run(asked(tmp_path, 4.0, **limited))
    assert status_of(same) == "failed"
    listener = Listener()
    longer = Trained(within(None)).run(asked(tmp_path, None, **limited), listener)
    assert status_of(longer) == "complete"
    assert (SLOW, "complete", "") in listener.heard("end_candidate")


def test_another_failure_stands_whatever_the_limit(tmp_path: Path) -> None:
    def broken(job: Job) -> CohortResult:
        if any(candidate.name == SLOW for candidate in job.candidates):
            raise RuntimeError("no weights today")
        return simulate(job)

    Trained(broken).run(asked(tmp_path, 4.0))
    assert Study(asked(tmp_path, None), Listener(), Listener()).finished is not None


@pytest.mark.parametrize("content", [b"", b"{}", b"\0\0\0"])
def test_a_damaged_note_of_it_costs_time(tmp_path: Path, content: bytes) -> None:
    late = Trained(within(4.0)).run(asked(tmp_path, 4.0))
    for file in (folder(asked(tmp_path, 4.0)) / "jobs").glob("*.overrun"):
        file.write_bytes(content)
    (folder(asked(tmp_path, 4.0)) / "verdict.json").unlink()
    assert numbers(Trained(within(4.0)).run(asked(tmp_path, 4.0))) == numbers(late)


@pytest.mark.parametrize(
    ("now", "then", "seconds", "longer"),
    [
        (5.0, 4.0, 4.0, True),
        (4.0, 4.0, 4.0, False),
        (4.0, 5.0, 5.0, False),
        (None, 4.0, 4.0, True),
        (None, "auto", 900.0, True),
        ("auto", 4.0, 4.0, True),
        ("auto", 2 * LEAST, 2 * LEAST, False),
        ("auto", "auto", LEAST, False),
        (900.0, "auto", LEAST, True),
        (500.0, "auto", LEAST, False),
    ],
)
def test_whether_a_limit_is_longer_than_the_one_before(
    now: Any, then: Any, seconds: float, longer: bool
) -> None:
    assert TimeLimits(now).is_longer_than(then, seconds) is longer


@pytest.mark.parametrize(
    ("name", "limit", "reason"),
    [
        ("HangsWhenBuilt", 4.0, r"ended after 4 s.*job_timeout=.*workers=0"),
        ("HangsWhenCalled", 4.0, r"ended after 4 s.*job_timeout=.*workers=0"),
        ("ExitsWhenBuilt", "auto", "exited with status 3"),
    ],
)
def test_a_model_that_hangs_or_ends_its_process_is_an_error_before_anything_is_trained(
    tmp_path: Path, name: str, limit: Any, reason: str
) -> None:
    wrong = settings(tmp_path, model={"_target_": f"odd_models.{name}"}, job_timeout=limit)
    with (
        make_executor("local", workers=1, preload=["initsearch.tasks"]) as executor,
        pytest.raises(JobEndedError, match=f"model cannot be built and run once.*{reason}"),
    ):
        run(wrong, executor=executor)
    assert not list(tmp_path.glob("*/jobs"))
