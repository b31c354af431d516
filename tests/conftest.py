"""What every test stands on: one thread, and the real MNIST where it is found."""

import os
import platform
import signal
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Small tensors run fastest on one thread, and sums add up in one order."""
    torch.set_num_threads(1)


def pytest_configure() -> None:
    """Ctrl-C works in tests of it, though a shell has them ignore it, as it does in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long files first, so that no process waits for another's in the end."""
    items.sort(key=lambda item: "mnist" not in item.keywords)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """State what tests measured: those that say more than that it was enough."""
    told = [
        f"{report.nodeid.rpartition('::')[2]}: {text}"
        for report in terminalreporter.getreports("passed")
        for name, text in report.user_properties
        if name == "figure"
    ]
    if told:
        terminalreporter.section("measured")
        for line in sorted(told):
            terminalreporter.line(line)


@pytest.fixture(scope="session")
def mnist_root() -> Path:
    """The folder that holds `MNIST/raw`: `INITSEARCH_DATA`, or `../shared/data` by the checkout."""
    named = os.environ.get("INITSEARCH_DATA")
    root = Path(named) if named else REPOSITORY.parent / "shared" / "data"
    if not (root / "MNIST" / "raw" / "train-images-idx3-ubyte").is_file():
        pytest.skip(f"no MNIST/raw under {root}: set INITSEARCH_DATA to the folder that has it")
    return root


@pytest.fixture(scope="session")
def glibc_235() -> None:
    """The allocator of which a process can be told to keep tensors of any size."""
    name, version = platform.libc_ver()
    if name != "glibc" or tuple(map(int, version.split("."))) < (2, 35):
        pytest.skip(f"the C library is {name or 'another'} {version}, not glibc 2.35 or later")
