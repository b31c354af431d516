"""What every executor does alike, whatever process runs a call."""

import os
import pickle
import sys
import traceback
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from executor_calls import (
    fail,
    fail_in_two_parts,
    fail_with_a_lambda,
    join,
    leave,
    process_id,
    refuse,
    square,
    unpicklable,
    variable,
)

from initsearch.errors import ConfigError, InitSearchError, JobEndedError
from initsearch.execution import (
    JobExecutor,
    ProcessExecutor,
    ProgramExecutor,
    SerialExecutor,
    make_executor,
)

pytestmark = pytest.mark.slow

ARGUMENTS: dict[str, dict[str, Any]] = {
    "serial": {"workers": 0},
    "one process": {"workers": 1},
    "processes": {"workers": 2},
    "programs": {"distributed": True},
}
KINDS = {
    "serial": SerialExecutor,
    "one process": ProcessExecutor,
    "processes": ProcessExecutor,
    "programs": ProgramExecutor,
}


@pytest.fixture(scope="module", params=ARGUMENTS)
def executor(request: pytest.FixtureRequest) -> Iterator[JobExecutor]:
    with make_executor("local", **ARGUMENTS[request.param]) as made:
        assert type(made) is KINDS[request.param]
        yield made


def test_results_come_back_in_the_order_of_the_calls(executor: JobExecutor) -> None:
    assert list(executor.map(square, range(4))) == [0, 1, 4, 9]
    assert executor.submit(join, "a", "b", between="-").result() == "a-b"


def test_an_exception_keeps_its_class_and_its_message(executor: JobExecutor) -> None:
    error = executor.submit(refuse, "lr must be above 0").exception()
    assert type(error) is ConfigError
    assert str(error) == "lr must be above 0"


def test_an_exception_shows_where_it_was_raised(executor: JobExecutor) -> None:
    error = executor.submit(fail, "no").exception()
    assert type(error) is ValueError
    text = "".join(traceback.format_exception(error))
    assert "executor_calls.py" in text
    assert "raise ValueError(message)" in text


def test_sys_exit_is_the_error_of_its_call_and_ends_nothing(executor: JobExecutor) -> None:
    error = executor.submit(leave, 3).exception()
    assert type(error) is JobEndedError
    assert "leave called sys.exit(3)" in str(error)
    assert "executor_calls.py, line" in str(error)
    assert "raise an exception" in str(error)
    assert executor.submit(square, 3).result() == 9


def test_a_call_sees_the_environment_of_now(
    executor: JobExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INITSEARCH_TEST_VALUE", "now")
    if isinstance(executor, ProcessExecutor):  # a worker has the environment of its start
        with make_executor("local", workers=2) as later:
            assert later.submit(variable, "INITSEARCH_TEST_VALUE").result() == "now"
    else:
        assert executor.submit(variable, "INITSEARCH_TEST_VALUE").result() == "now"


def test_a_call_runs_where_the_executor_is_named_after(executor: JobExecutor) -> None:
    here = executor.submit(process_id).result() == os.getpid()
    assert here is isinstance(executor, SerialExecutor)


@pytest.fixture(scope="module", params=["processes", "programs"])
def boundary(request: pytest.FixtureRequest) -> Iterator[JobExecutor]:
    """Executors whose calls cross a process boundary."""
    with make_executor("local", **ARGUMENTS[request.param]) as made:
        yield made


@pytest.mark.parametrize(
    ("function", "summary"),
    [
        (fail_with_a_lambda, "LambdaError: disk on fire"),
        (fail_in_two_parts, "TwoPartsError: disk on fire"),
    ],
)
def test_an_exception_that_does_not_pickle_is_reported_by_type_and_text(
    boundary: JobExecutor, function: Callable[[], None], summary: str
) -> None:
    error = boundary.submit(function).exception()
    assert type(error) is RuntimeError
    assert str(error) == summary
    assert f"in {function.__name__}" in "".join(traceback.format_exception(error))
    assert boundary.submit(square, 3).result() == 9


def test_what_does_not_pickle_fails_its_own_call_alone(boundary: JobExecutor) -> None:
    for future in (boundary.submit(unpicklable), boundary.submit(lambda: None)):
        with pytest.raises((AttributeError, pickle.PicklingError), match="lambda"):
            future.result()
    assert boundary.submit(square, 3).result() == 9


def test_a_call_that_cannot_be_imported_there_says_what_to_do(boundary: JobExecutor) -> None:
    module = ModuleType("only_here")
    exec("class Setting: pass", module.__dict__)
    sys.modules["only_here"] = module
    try:
        error = boundary.submit(square, module.Setting()).exception()
    finally:
        del sys.modules["only_here"]
    assert type(error) is InitSearchError
    assert "only_here" in str(error)
    assert "must be importable" in str(error)
