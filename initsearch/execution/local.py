"""The executor `local`: runs calls on this machine."""

from collections.abc import Sequence

from initsearch.errors import ConfigError
from initsearch.execution.base import JobExecutor
from initsearch.execution.processes import ProcessExecutor
from initsearch.execution.programs import ProgramExecutor
from initsearch.execution.serial import SerialExecutor


def make(
    *, workers: int, devices: Sequence[int], distributed: bool, preload: Sequence[str]
) -> JobExecutor:
    """Runs calls in worker processes, in this process (no worker), or, distributed, in a program of their own.

    Also one worker is a process of its own: code that hangs or ends its process costs its own job, not the
    search. In this process, a debugger works as usual.

    Args:
        workers: Worker processes; 0: calls run in this process, inside `submit`.
        devices: The GPUs that workers use, in turn; empty: the CPU.
        distributed: Calls run in a program of their own, one after another; see `ProgramExecutor`.
        preload: Modules that worker processes import before their first call.

    Raises:
        ConfigError: Several workers where one call takes all devices.
    """
    if distributed:
        if workers > 1:
            raise ConfigError(
                f"workers must be 1 where one training spreads over several devices, but got {workers}: set "
                "workers=1, or trainer.devices=1"
            )
        return ProgramExecutor()
    if workers == 0:
        return SerialExecutor()
    turns = [devices[i % len(devices)] if devices else None for i in range(workers)]
    return ProcessExecutor(turns, preload)
