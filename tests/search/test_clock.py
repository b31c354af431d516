"""The time of a study counts all its runs, also those that were killed."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from simulated_jobs import simulate
from study_runs import Listener, Trained, folder, settings

from initsearch.search.jobs import clock
from initsearch.search.jobs.clock import StudyClock
from initsearch.training import CohortResult, Job


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that study clocks see."""
    time = [1000.0]
    monkeypatch.setattr(clock, "time", SimpleNamespace(perf_counter=lambda: time[0]))
    return time


def test_a_killed_run_loses_the_job_in_flight_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, now: list[float]
) -> None:
    monkeypatch.setattr(StudyClock, "__exit__", lambda *_: None)  # kill -9 leaves no time for it

    def train(job: Job) -> CohortResult:
        now[0] += 10.0
        if len(trained.jobs) == 6:
            now[0] += 500.0
            raise KeyboardInterrupt
        return simulate(job)

    trained = Trained(train)
    with pytest.raises(KeyboardInterrupt):
        trained.run(settings(tmp_path))
    verdict = trained.run(settings(tmp_path))
    assert len(trained.jobs) > 10
    assert verdict.wall_seconds == 10.0 * (len(trained.jobs) - 1)


def test_the_time_is_written_once_a_second_at_most(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, now: list[float]
) -> None:
    written: list[str] = []
    monkeypatch.setattr(clock, "write_whole", lambda _, text: written.append(text))
    watch = StudyClock(tmp_path / "elapsed.json", print)
    for _ in range(100):
        now[0] += 0.1
        watch.save()
    assert len(written) == pytest.approx(10, abs=1)


def test_the_file_has_the_time_of_all_runs(tmp_path: Path, now: list[float]) -> None:
    file = folder(settings(tmp_path)) / "elapsed.json"
    for run in (1, 2):
        with StudyClock(file, Listener().message) as watch:
            now[0] += 7.0
        assert watch.seconds == 7.0 * run
