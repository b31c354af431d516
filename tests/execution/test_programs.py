"""Calls in programs of their own, which start themselves again."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path

import pytest
from executor_calls import (
    die_times,
    exit_at_once,
    exit_with_words,
    nap_in_two,
    pids_of_joined_ranks,
    rank_of_two,
    segfault,
)
from observed import is_running, wait_for

from initsearch.errors import ConfigError, InitSearchError
from initsearch.execution import ProgramExecutor
from initsearch.execution.base import ATTEMPTS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def programs() -> Iterator[ProgramExecutor]:
    with ProgramExecutor() as executor:
        yield executor


def test_of_several_ranks_the_first_gives_the_result(programs: ProgramExecutor) -> None:
    assert programs.submit(rank_of_two).result() == "rank 0"


@pytest.mark.parametrize("rank", ["0", "1"])
def test_an_error_of_any_rank_is_reported(programs: ProgramExecutor, rank: str) -> None:
    """The first rank is killed, as Lightning does, when another has failed: it is not to blame."""
    with pytest.raises(ConfigError, match=f"rank {rank} has no data"):
        programs.submit(rank_of_two, failing=rank).result()


def test_a_killed_program_is_repeated(programs: ProgramExecutor, tmp_path: Path) -> None:
    assert programs.submit(die_times, ATTEMPTS - 1, str(tmp_path)).result() == ATTEMPTS


def test_a_program_that_is_always_killed_is_given_up(
    programs: ProgramExecutor, tmp_path: Path
) -> None:
    with pytest.raises(InitSearchError, match="3 times") as caught:
        programs.submit(die_times, 10, str(tmp_path)).result()
    for part in ("signal 9 (SIGKILL)", "probably out of memory", "optimizer.batch_size="):
        assert part in str(caught.value)


def test_a_segmentation_fault_is_called_one(programs: ProgramExecutor) -> None:
    with pytest.raises(InitSearchError, match=r"segmentation fault \(SIGSEGV\), 3 times"):
        programs.submit(segfault).result()


@pytest.mark.parametrize("status", [0, 3])
def test_a_program_that_exits_without_an_answer_is_not_repeated(
    programs: ProgramExecutor, status: int
) -> None:
    with pytest.raises(RuntimeError, match=f"exited with status {status}:"):
        programs.submit(exit_at_once, status).result()


def test_the_output_of_a_failed_program_is_quoted(programs: ProgramExecutor) -> None:
    with pytest.raises(RuntimeError, match="exited with status 4:\nno licence found"):
        programs.submit(exit_with_words, 4, "no licence found").result()


def test_a_program_is_ended_at_once_with_all_its_ranks(tmp_path: Path) -> None:
    executor = ProgramExecutor()
    future = executor.submit(nap_in_two, str(tmp_path), 600.0)
    waiting = executor.submit(nap_in_two, str(tmp_path), 600.0)
    wait_for(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
    executor.terminate()
    executor.shutdown()
    ranks = [int(path.stem) for path in tmp_path.glob("*.pid")]
    assert len(ranks) == 2
    wait_for(lambda: not any(is_running(pid) for pid in ranks), 20)
    for unanswered in (future, waiting):
        with pytest.raises(CancelledError):
            unanswered.result()


@pytest.mark.slow
def test_ranks_that_a_call_has_joined_run_the_calls_that_follow(tmp_path: Path) -> None:
    with ProgramExecutor() as executor:
        futures = [executor.submit(pids_of_joined_ranks, str(tmp_path)) for _ in range(3)]
        first, *others = (future.result() for future in futures)
        assert len({*first}) == 2
        assert others == [first, first]
        # A failure ends them; the call after it has new ones.
        with pytest.raises(ConfigError, match="no data"):
            executor.submit(pids_of_joined_ranks, str(tmp_path), failing=True).result()
        after = executor.submit(pids_of_joined_ranks, str(tmp_path)).result()
        assert not {*after} & {*first}
        wait_for(lambda: not any(is_running(pid) for pid in first), 20)
        # So does a death between two calls.
        os.kill(after[0], signal.SIGKILL)
        assert not {*executor.submit(pids_of_joined_ranks, str(tmp_path)).result()} & {*after}
        last = executor.submit(pids_of_joined_ranks, str(tmp_path)).result()
    wait_for(lambda: not any(is_running(pid) for pid in (*after, *last)), 20)
