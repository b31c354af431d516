"""Executors by name: the built-in one, and those that installed packages declare as entry points."""

from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points

from initsearch.checks import check_choice, check_int
from initsearch.errors import ConfigError
from initsearch.execution.base import ExecutorFactory, JobExecutor

#: The entry-point group in which a package declares `name = "module:factory"`.
GROUP = "initsearch.executors"
#: Known without metadata: a checkout may be installed with older metadata, or not at all.
BUILT_IN = (EntryPoint("local", "initsearch.execution.local:make", GROUP),)


def list_executors() -> list[str]:
    """The names that `make_executor` knows, sorted."""
    return sorted(_known())


def make_executor(
    name: str,
    *,
    workers: int = 1,
    devices: Sequence[int] = (),
    distributed: bool = False,
    preload: Sequence[str] = (),
) -> JobExecutor:
    """An executor by name. A call's result does not depend on which executor runs it.

    Args:
        name: `local`, or a name that an installed package declares in the group `initsearch.executors`.
        workers: Calls that run at the same time, each in a process of its own; 0: one after another, in this
            process.
        devices: Numbers of the GPUs that workers use, in turn; empty: workers use the CPU.
        distributed: Whether one call spreads over several processes of its own, as DDP does.
        preload: Modules that worker processes import before their first call.

    Raises:
        ConfigError: An unknown name, an entry point that cannot be loaded, or a number of workers that the
            executor cannot have.
    """
    check_int("workers", workers, 0)
    factory = _load(name)
    executor = factory(workers=workers, devices=devices, distributed=distributed, preload=preload)
    if not isinstance(executor, JobExecutor):
        raise ConfigError(
            f"executor {name!r} must make a JobExecutor, but made a {type(executor).__name__}: derive it "
            "from initsearch.execution.JobExecutor"
        )
    return executor


def _known() -> dict[str, EntryPoint]:
    """Every entry point by its name; no package replaces a built-in executor."""
    return {point.name: point for point in (*entry_points(group=GROUP), *BUILT_IN)}


def _load(name: str) -> ExecutorFactory:
    known = _known()
    point = known[check_choice("executor", name, known)]
    try:
        factory: ExecutorFactory = point.load()
    except Exception as error:  # the module of another package may raise anything
        raise ConfigError(
            f"executor {name!r}: its entry point {point.value!r} cannot be loaded "
            f"({type(error).__name__}: {error}): install what it needs, or choose another executor"
        ) from error
    return factory
