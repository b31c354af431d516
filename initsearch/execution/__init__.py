"""Where work runs: in this process, in worker processes, or in a program of its own, behind one interface.

An executor is a `concurrent.futures.Executor` that can also be ended at once; `make_executor` finds one by
name, so that an installed package can add its own. Begin reading at `base` and `local`; `processes` and
`programs` are the two that start something.
"""

from initsearch.execution.base import JobExecutor as JobExecutor
from initsearch.execution.base import TimeLimit as TimeLimit
from initsearch.execution.base import submit_limited as submit_limited
from initsearch.execution.call import run_call as run_call
from initsearch.execution.fork_server import start_preloading as start_preloading
from initsearch.execution.memory import keep_freed_memory as keep_freed_memory
from initsearch.execution.processes import ProcessExecutor as ProcessExecutor
from initsearch.execution.programs import ProgramExecutor as ProgramExecutor
from initsearch.execution.registry import list_executors as list_executors
from initsearch.execution.registry import make_executor as make_executor
from initsearch.execution.serial import SerialExecutor as SerialExecutor
from initsearch.execution.worker import own_device as own_device
