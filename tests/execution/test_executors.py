"""Jobs in this process, in worker processes and as programs: same results, whatever happens to a process."""

import mmap
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor
from dataclasses import replace
from pathlib import Path

import pytest
from executor_calls import die_times, fail, ignores_interrupts, nap, process_id, square, variable
from page_faults import TAKE, page_faults

from initsearch.errors import ConfigError, InitSearchError
from initsearch.execution import JobExecutor, ProgramExecutor, SerialExecutor, make_executor
from initsearch.execution.call import Answer, answer, pack
from initsearch.execution.processes import ATTEMPTS
from initsearch.training.job import Candidate, Job
from initsearch.training.worker import run_job

HERE = Path(__file__).resolve().parent
CANDIDATES = (
    Candidate("he", {"name": "he_normal"}, 0.1),
    Candidate("small", {"name": "normal", "std": 0.01}, 0.02),
)
JOB = Job(
    data={"name": "digits", "train_size": 320, "val_size": 100},
    model={"name": "mlp", "width": 24},
    optimizer={"name": "sgd", "momentum": 0.9, "batch_size": 32},
    trainer={"engine": "loop"},
    candidates=CANDIDATES,
    seed=0,
    stop_epoch=2.0,
    test=True,
)
DDP = {"accelerator": "cpu", "strategy": "ddp", "devices": 2}


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    """Whether a process is there; one that has ended but was not waited for is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture(scope="module")
def pool() -> Iterator[JobExecutor]:
    """Two workers for the tests that leave them whole."""
    with make_executor("local", workers=2) as executor:
        yield executor


def test_serial_runs_at_once_in_this_process() -> None:
    with make_executor("local") as executor:
        assert isinstance(executor, SerialExecutor)
        future = executor.submit(process_id)
        assert future.done()
        assert future.result() == os.getpid()
        with pytest.raises(ValueError, match="no"):
            executor.submit(fail, "no").result()


def test_serial_lets_ctrl_c_out() -> None:
    with pytest.raises(KeyboardInterrupt), make_executor("local") as executor:
        executor.submit(ignores_interrupts)


def test_results_and_errors_come_back_from_workers(pool: Executor) -> None:
    assert [f.result() for f in [pool.submit(square, x) for x in range(6)]] == [0, 1, 4, 9, 16, 25]
    with pytest.raises(ValueError, match="no"):
        pool.submit(fail, "no").result()
    assert pool.submit(process_id).result() != os.getpid()


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


@pytest.mark.usefixtures("glibc_235")
def test_workers_keep_the_memory_that_they_free(pool: Executor) -> None:
    assert pool.submit(page_faults).result() < TAKE / mmap.PAGESIZE / 10


def test_results_do_not_depend_on_the_number_of_workers(pool: Executor) -> None:
    jobs = [replace(JOB, seed=seed) for seed in range(3)]
    futures = [pool.submit(run_job, job) for job in jobs]
    for job, future in zip(jobs, futures, strict=True):
        assert future.result().curves == run_job(job).curves


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
    with pytest.raises(InitSearchError, match=r"SIGKILL.*out of memory, 3 times"):
        future.result()
    assert [other.result() for other in others] == [0, 1, 4, 9]


def test_an_exception_ends_the_workers_at_once(tmp_path: Path) -> None:
    def interrupted() -> None:
        with make_executor("local", workers=2) as executor:
            futures.extend(executor.submit(nap, str(tmp_path), 600.0) for _ in range(3))
            wait_for(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
            raise KeyboardInterrupt

    futures: list[object] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    for path in tmp_path.glob("*.pid"):
        assert not is_running(int(path.stem))
    for future in futures:
        with pytest.raises(CancelledError):
            future.result()  # type: ignore[attr-defined]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "killed"])
def test_workers_die_with_their_coordinator(how: signal.Signals, tmp_path: Path) -> None:
    path = os.pathsep.join([str(HERE), *sys.path])
    coordinator = subprocess.Popen(
        [sys.executable, str(HERE / "coordinator.py"), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    with coordinator:
        wait_for(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
        workers = [int(path.stem) for path in tmp_path.glob("*.pid")]
        if how is signal.SIGINT:  # a terminal sends it to all of them
            os.killpg(coordinator.pid, how)
        else:
            coordinator.send_signal(how)
        _, said = coordinator.communicate(timeout=60)
    wait_for(lambda: not any(is_running(pid) for pid in workers), 20)
    assert said.count(b"KeyboardInterrupt") == (1 if how is signal.SIGINT else 0)


def test_ddp_gives_what_a_single_process_gives() -> None:
    """Two processes of Lightning's own launcher, each with its share of every batch."""
    one = replace(JOB, candidates=CANDIDATES[:1], optimizer={**JOB.optimizer, "clip_norm": 1.0})
    alone = run_job(one).curves[0]
    with make_executor("local", distributed=True) as executor:
        assert isinstance(executor, ProgramExecutor)
        result = executor.submit(run_job, replace(one, trainer=DDP)).result()
    (spread,) = result.curves
    assert spread.initial_loss == pytest.approx(alone.initial_loss, rel=1e-5)
    for point, other in zip(spread.points, alone.points, strict=True):
        assert point.train_loss == pytest.approx(other.train_loss, rel=1e-4)
        assert point.val_loss == pytest.approx(other.val_loss, rel=1e-4)
        assert point.val_accuracy == pytest.approx(other.val_accuracy, abs=0.011)
    assert spread.test_loss == pytest.approx(alone.test_loss, rel=1e-4)


class Scripted(ProgramExecutor):
    """Programs that end as a test says, one after another."""

    def __init__(self, *ends: tuple[int, Answer | None]) -> None:
        super().__init__()
        self.ends = list(ends)

    def _attempt(self, question: bytes, folder: Path) -> tuple[int, str, Answer | None]:
        status, reply = self.ends.pop(0)
        return status, "Traceback: boom", reply


KILLED = (-signal.SIGKILL, None)


def test_a_killed_program_is_repeated_and_a_failed_one_is_not() -> None:
    nine = answer(pack(square, (3,), {}))
    with Scripted(KILLED, KILLED, (0, nine)) as executor:
        assert executor.submit(square, 3).result() == 9
    with (
        Scripted((1, None)) as executor,
        pytest.raises(RuntimeError, match="status 1:\nTraceback: boom"),
    ):
        executor.submit(square, 3).result()
    with (
        Scripted(KILLED, KILLED, KILLED) as executor,
        pytest.raises(InitSearchError, match=r"SIGKILL.*3 times.*batch_size"),
    ):
        executor.submit(square, 3).result()


def test_a_program_is_ended_at_once(tmp_path: Path) -> None:
    long = replace(JOB, candidates=CANDIDATES[:1], trainer=DDP, stop_epoch=1e6)
    executor = ProgramExecutor()
    future = executor.submit(run_job, long)
    wait_for(lambda: executor.process_id is not None)
    pid = executor.process_id
    executor.terminate()
    executor.shutdown()
    assert pid is not None
    assert not is_running(pid)
    with pytest.raises(CancelledError):
        future.result()


@pytest.mark.parametrize("workers", [0, -1, 1.5, True, "two"])
def test_workers_must_be_a_number_from_one(workers: int) -> None:
    with pytest.raises(ConfigError, match="workers must be an integer >= 1"):
        make_executor("local", workers=workers)


def test_one_training_over_all_devices_leaves_room_for_no_other() -> None:
    with pytest.raises(
        ConfigError, match="workers must be 1 where one training spreads over several"
    ):
        make_executor("local", workers=2, distributed=True)
