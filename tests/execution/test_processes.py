"""Worker processes: what happens to a call when its process, or the one that asked, dies."""

import mmap
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import CancelledError, Executor, Future
from pathlib import Path

import pytest
from executor_calls import (
    die_times,
    exit_at_once,
    ignores_interrupts,
    loaded,
    nap,
    parent_id,
    process_id,
    segfault,
    square,
    variable,
)
from observed import is_running, wait_for
from page_faults import TAKE, page_faults

from initsearch.errors import InitSearchError
from initsearch.execution import JobExecutor, make_executor, own_device
from initsearch.execution.base import ATTEMPTS

HERE = Path(__file__).resolve().parent

#: A module that nothing else imports, so that no earlier test has loaded it where workers are forked from.
UNUSUAL = "pyclbr"


@pytest.fixture(scope="module")
def pool() -> Iterator[JobExecutor]:
    """Two workers for the tests that leave them as they are."""
    with make_executor("local", workers=2) as executor:
        yield executor


def test_each_worker_is_one_process_and_is_used_again(pool: Executor) -> None:
    ids = {future.result() for future in [pool.submit(process_id) for _ in range(8)]}
    assert os.getpid() not in ids
    assert len(ids) <= 2


def test_workers_have_the_environment_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not that of the moment when the process started from which they are forked."""
    for value in ("first", "second"):
        monkeypatch.setenv("INITSEARCH_TEST_VALUE", value)
        with make_executor("local", workers=2) as executor:
            assert executor.submit(variable, "INITSEARCH_TEST_VALUE").result() == value
    monkeypatch.delenv("INITSEARCH_TEST_VALUE")
    with make_executor("local", workers=2) as executor:
        assert executor.submit(variable, "INITSEARCH_TEST_VALUE").result() is None


def test_workers_do_not_see_ctrl_c(pool: Executor) -> None:
    assert pool.submit(ignores_interrupts).result() is True


@pytest.mark.slow
@pytest.mark.usefixtures("glibc_235")
def test_workers_keep_the_memory_that_they_free(pool: Executor) -> None:
    assert pool.submit(page_faults).result() < TAKE / mmap.PAGESIZE / 10


def test_what_is_preloaded_is_there_before_the_first_call() -> None:
    """Also where the process to fork workers from has started without it."""
    with make_executor("local", workers=2) as executor:
        assert executor.submit(loaded, UNUSUAL).result() is False
    with make_executor("local", workers=2, preload=[UNUSUAL]) as executor:
        assert executor.submit(loaded, UNUSUAL).result() is True


def test_a_module_that_cannot_be_preloaded_does_no_harm() -> None:
    with make_executor("local", workers=2, preload=["no_such_module", UNUSUAL]) as executor:
        assert executor.submit(loaded, UNUSUAL).result() is True


def test_a_killed_worker_costs_only_time(pool: Executor, tmp_path: Path) -> None:
    future = pool.submit(die_times, ATTEMPTS - 1, str(tmp_path))
    others = [pool.submit(square, x) for x in range(4)]
    assert future.result() == ATTEMPTS
    assert [other.result() for other in others] == [0, 1, 4, 9]


def test_a_job_that_kills_every_worker_is_given_up_and_harms_no_other(
    pool: Executor, tmp_path: Path
) -> None:
    future = pool.submit(die_times, 10, str(tmp_path))
    others = [pool.submit(square, x) for x in range(4)]
    with pytest.raises(InitSearchError) as caught:
        future.result()
    for part in ("signal 9 (SIGKILL)", "probably out of memory", "3 times", "lower workers="):
        assert part in str(caught.value)
    assert [other.result() for other in others] == [0, 1, 4, 9]


def test_a_worker_that_exits_is_reported_by_its_status(pool: Executor) -> None:
    with pytest.raises(InitSearchError, match="exited with status 3:") as caught:
        pool.submit(exit_at_once, 3).result()
    assert "workers=0" in str(caught.value)
    assert "memory" not in str(caught.value)


def test_a_segmentation_fault_is_called_one(pool: Executor) -> None:
    with pytest.raises(InitSearchError, match=r"segmentation fault \(SIGSEGV\)") as caught:
        pool.submit(segfault).result()
    assert "memory" not in str(caught.value)


def test_the_process_that_workers_are_forked_from_is_replaced_too(pool: Executor) -> None:
    server = pool.submit(parent_id).result()
    assert server != os.getpid()
    os.kill(server, signal.SIGKILL)
    wait_for(lambda: not is_running(server))
    assert [future.result() for future in [pool.submit(square, x) for x in range(4)]] == [
        0,
        1,
        4,
        9,
    ]
    assert pool.submit(parent_id).result() != server


def test_an_exception_ends_the_workers_at_once(tmp_path: Path) -> None:
    def interrupted() -> None:
        with make_executor("local", workers=2) as executor:
            futures.extend(executor.submit(nap, str(tmp_path), 600.0) for _ in range(3))
            wait_for(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
            raise KeyboardInterrupt

    futures: list[Future[int]] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    for path in tmp_path.glob("*.pid"):
        assert not is_running(int(path.stem))
    for future in futures:
        with pytest.raises(CancelledError):
            future.result()


def test_workers_have_the_gpus_in_turn() -> None:
    """They start from scratch: a CUDA context does not survive a fork."""
    with make_executor("local", workers=3, devices=[4, 6]) as executor:
        devices = [future.result() for future in [executor.submit(own_device) for _ in range(12)]]
    assert set(devices) <= {4, 6}
    assert own_device() is None


def test_modules_come_from_where_the_coordinator_imports_them(tmp_path: Path) -> None:
    """A script's own folder, not the current one, also for what is loaded before workers are forked."""
    script, current = tmp_path / "script", tmp_path / "current"
    for folder in (script, current):
        folder.mkdir()
        (folder / "own.py").write_text("""
import os
loaded_by = os.getpid()
def where():
    return __file__, loaded_by != os.getpid()
""")
    (script / "app.py").write_text("""
from initsearch.execution import make_executor
if __name__ == "__main__":
    import own
    for how in ({"workers": 2, "preload": ["own"]}, {"distributed": True}):
        with make_executor("local", **how) as executor:
            print(*executor.submit(own.where).result())
""")
    done = subprocess.run(
        [sys.executable, str(script / "app.py")],
        cwd=current,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines() == [f"{script / 'own.py'} True", f"{script / 'own.py'} False"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["workers", "program"])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "killed"])
def test_work_ends_with_its_coordinator(how: signal.Signals, kind: str, tmp_path: Path) -> None:
    path = os.pathsep.join([str(HERE), *sys.path])
    coordinator = subprocess.Popen(
        [sys.executable, str(HERE / "coordinator.py"), str(tmp_path), kind],
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    with coordinator:
        wait_for(lambda: len(list(tmp_path.glob("*.pid"))) == (2 if kind == "workers" else 1))
        workers = [int(path.stem) for path in tmp_path.glob("*.pid")]
        if how is signal.SIGINT:  # a terminal sends it to all of them
            os.killpg(coordinator.pid, how)
        else:
            coordinator.send_signal(how)
        _, output = coordinator.communicate(timeout=60)
    wait_for(lambda: not any(is_running(pid) for pid in workers), 20)
    assert output.count(b"KeyboardInterrupt") == (1 if how is signal.SIGINT else 0)


def test_a_program_that_forgets_to_shut_down_ends_all_the_same() -> None:
    code = """
from executor_calls import process_id
from initsearch.execution import make_executor
print(make_executor("local", workers=2).submit(process_id).result())
"""
    path = os.pathsep.join([str(HERE), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert not is_running(int(done.stdout))
    assert done.stderr == ""
