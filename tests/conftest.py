"""Set up all tests: one thread, the real MNIST where it is found, slow files first."""

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
    """Let tests receive Ctrl-C, which a shell makes its background jobs ignore."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the slowest files first, so that no worker is left with one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    mnist = {item.path for item in items if item.get_closest_marker("mnist")}
    items.sort(key=lambda item: (item.path not in slow) + (item.path not in mnist))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures that passing tests recorded."""
    figures = [
        f"{report.nodeid.rpartition('::')[2]}: {text}"
        for report in terminalreporter.getreports("passed")
        for name, text in report.user_properties
        if name == "figure"
    ]
    if figures:
        terminalreporter.section("measured")
        for line in sorted(figures):
            terminalreporter.line(line)


@pytest.fixture(scope="session")
def mnist_root() -> Path:
    """The folder that holds `MNIST/raw`: `INITSEARCH_DATA`, else `../shared/data` beside the checkout."""
    named = os.environ.get("INITSEARCH_DATA")
    root = Path(named) if named else REPOSITORY.parent / "shared" / "data"
    if not (root / "MNIST" / "raw" / "train-images-idx3-ubyte").is_file():
        pytest.skip(f"no MNIST/raw under {root}: set INITSEARCH_DATA to the folder that has it")
    return root


@pytest.fixture(scope="session")
def glibc_235() -> None:
    """Skip without glibc 2.35, whose allocator can be set to keep the memory of large tensors."""
    name, version = platform.libc_ver()
    if name != "glibc" or tuple(map(int, version.split("."))) < (2, 35):
        pytest.skip(f"the C library is {name or 'another'} {version}, not glibc 2.35 or later")
