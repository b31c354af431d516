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
    """Runs calls in this process (one worker), in worker processes, or, distributed, in a program per call.

    Args:
        workers: 1: calls run in this process, inside `submit`. More: as many worker processes.
        devices: With several workers, the GPUs that they use, in turn; empty: the CPU.
        distributed: Each call runs as a program of its own, one after another.
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
    if workers == 1:
        return SerialExecutor()
    turns = [devices[i % len(devices)] if devices else None for i in range(workers)]
    return ProcessExecutor(turns, preload)
