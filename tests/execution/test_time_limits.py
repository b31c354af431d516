"""A call that takes too long is ended, alone, wherever it runs."""

import time
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import pytest
from executor_calls import nap, nap_alone, square
from observed import is_running, wait_for

from initsearch.errors import JobEndedError
from initsearch.execution import SerialExecutor, make_executor, submit_limited, time_limit
from initsearch.execution.time_limit import CallTime

KINDS: dict[str, dict[str, Any]] = {
    "one process": {"workers": 1},
    "two processes": {"workers": 2},
    "programs": {"distributed": True},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_call_that_takes_too_long_is_ended_and_harms_no_other(kind: str, tmp_path: Path) -> None:
    with make_executor("local", **KINDS[kind]) as executor:
        future = executor.submit_limited(lambda: 1.0, nap, str(tmp_path), 600.0)
        others = [executor.submit_limited(lambda: 60.0, square, x) for x in range(3)]
        with pytest.raises(JobEndedError) as caught:
            future.result()
        for part in ("1 s", "job_timeout=", "workers=0"):
            assert part in str(caught.value)
        assert [other.result() for other in others] == [0, 1, 4]
        (file,) = tmp_path.glob("*.pid")
        assert not is_running(int(file.stem))


@pytest.mark.parametrize("stop", ["limit", "terminate"])
def test_code_that_lets_no_thread_run_is_ended_as_well(stop: str, tmp_path: Path) -> None:
    with make_executor("local", workers=1) as executor:
        limit = 1.0 if stop == "limit" else None
        future = executor.submit_limited(lambda: limit, nap_alone, str(tmp_path), 600)
        wait_for(lambda: bool(list(tmp_path.glob("*.pid"))))
        if stop == "terminate":
            executor.terminate()
        with pytest.raises(JobEndedError if stop == "limit" else BaseException):
            future.result()
    (file,) = tmp_path.glob("*.pid")
    assert not is_running(int(file.stem))


def test_the_limit_of_a_call_that_runs_may_change(tmp_path: Path) -> None:
    limit: list[float | None] = [None]
    with make_executor("local", workers=1) as executor:
        future = executor.submit_limited(lambda: limit[0], nap, str(tmp_path), 600.0)
        wait_for(lambda: bool(list(tmp_path.glob("*.pid"))))
        assert not future.done()
        limit[0] = 0.1
        with pytest.raises(JobEndedError):
            future.result()


def test_an_executor_that_cannot_end_a_call_runs_it_without_a_limit() -> None:
    class Inline(Executor):
        submit: Callable[..., Any] = SerialExecutor.submit

    for executor in (SerialExecutor(), Inline()):
        assert submit_limited(executor, lambda: 0.0, square, 3).result() == 9


def test_time_in_which_the_program_was_stopped_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After Ctrl-Z, or while the machine was suspended, workers have not hung."""
    now = [0.0]
    monkeypatch.setattr(time_limit.time, "monotonic", lambda: now[0])
    taken = CallTime(lambda: 100.0)
    for second in (1.0, 2.0, 5000.0, 5001.0):
        now[0] = second
        assert taken.overrun() is None
    for second in range(5002, 5100, 5):
        now[0] = float(second)
        error = taken.overrun()
    assert error is not None


def test_a_worker_gets_ready_before_its_time_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow_to_load.py").write_text("import time; time.sleep(1.5)")
    monkeypatch.syspath_prepend(tmp_path)
    start = time.monotonic()
    with make_executor("local", workers=1, devices=[0], preload=["slow_to_load"]) as executor:
        assert executor.submit_limited(lambda: 1.0, square, 3).result() == 9
    assert time.monotonic() - start > 1.5
