"""Calls in this process."""

import pytest
from executor_calls import ignores_interrupts, square

from initsearch.execution import SerialExecutor


def test_a_call_is_done_when_submit_returns() -> None:
    with SerialExecutor() as executor:
        assert executor.submit(square, 3).done()


def test_ctrl_c_ends_the_program_not_the_call() -> None:
    with SerialExecutor() as executor, pytest.raises(KeyboardInterrupt):
        executor.submit(ignores_interrupts)
