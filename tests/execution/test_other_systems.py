"""macOS and Windows, simulated: what they lack is taken away."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from executor_calls import nap_in_two
from observed import is_running, wait_for

from initsearch.execution import ProgramExecutor, fork_server

HERE = Path(__file__).resolve().parent

#: macOS has fork servers and signals, but workers start from scratch there.
MACOS = """
import sys
sys.platform = "darwin"
"""
#: Windows lacks these. The standard library, loaded before `sys.platform` changes, keeps what it needs here.
WINDOWS = """
import os, signal, sys
for module, name in [(signal, "pthread_sigmask"), (os, "killpg"), (os, "sysconf"),
                     (os, "sched_getaffinity"), (os, "fork")]:
    delattr(module, name)
import concurrent.futures.thread, multiprocessing.connection, multiprocessing.popen_spawn_posix
import multiprocessing.resource_tracker, subprocess, tempfile
sys.modules["multiprocessing.forkserver"] = None
sys.platform = "win32"
"""
CALLS = """
from executor_calls import join, square
from initsearch.execution import make_executor
with make_executor("local") as executor:
    print(executor.submit(square, 2).result())
with make_executor("local", workers=2, preload=["colorsys"]) as executor:
    print(*[future.result() for future in [executor.submit(square, x) for x in (3, 4)]])
with make_executor("local", distributed=True) as executor:
    print(executor.submit(join, "a", "b").result())
"""


@pytest.mark.slow
@pytest.mark.parametrize("system", [MACOS, WINDOWS], ids=["macos", "windows"])
def test_all_executors_run_on_other_systems(system: str) -> None:
    path = os.pathsep.join([str(HERE), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", system + CALLS],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("4\n9 16\na b\n", "")


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_workers_start_from_scratch_there(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    assert fork_server.worker_context().get_start_method() == "spawn"
    monkeypatch.setitem(sys.modules, "multiprocessing.forkserver", None)
    fork_server.start_preloading(["colorsys"])  # needs none, and starts none


def test_ctrl_c_is_not_blocked_where_signals_have_no_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    with fork_server.sigint_blocked():
        assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    monkeypatch.delattr(signal, "pthread_sigmask")
    with contextlib.ExitStack() as stack:
        stack.enter_context(fork_server.sigint_blocked())


def test_ranks_end_with_their_program_where_there_are_no_process_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "killpg")
    executor = ProgramExecutor()
    executor.submit(nap_in_two, str(tmp_path), 600.0)
    wait_for(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
    executor.terminate()
    executor.shutdown()
    ranks = [int(path.stem) for path in tmp_path.glob("*.pid")]
    assert len(ranks) == 2
    wait_for(lambda: not any(is_running(pid) for pid in ranks), 20)
