"""The first look at a user's model: in a worker, where code that hangs or ends its process does no harm."""

from concurrent.futures import Executor

from initsearch.errors import JobEndedError
from initsearch.execution import JobExecutor, SerialExecutor, run_call, submit_limited
from initsearch.layers import Slot
from initsearch.search.jobs.time_limits import JobTimeout, TimeLimits
from initsearch.tasks import StandaloneTask, Task


def look_at_model(task: Task, executor: Executor, job_timeout: JobTimeout) -> list[Slot]:
    """The parameters of a task's model, which is built and run once by a worker and then here.

    Here as well, since what a forward pass shows of a model (its activations) need not be picklable. Only here,
    if the executor cannot end a call, or the task trains by itself: then it has built its model before.

    Args:
        task: What is trained.
        executor: Runs the trial, if it can.
        job_timeout: How long that may take; see `TimeLimits.of_check`.

    Raises:
        ModelError: The model cannot be built, or does not fit the data.
        JobEndedError: Its code hangs, or ends its process.
    """
    elsewhere = isinstance(executor, JobExecutor) and not isinstance(executor, SerialExecutor)
    if elsewhere and not isinstance(task, StandaloneTask):
        limit = TimeLimits(job_timeout).of_check
        try:
            submit_limited(executor, limit, _try_model, task.pinned()).result()
        except JobEndedError as error:
            raise JobEndedError(
                f"the model cannot be built and run once, before anything is trained: {error}"
            ) from error
    return run_call(task.slots)


def _try_model(task: Task) -> None:
    task.slots()
