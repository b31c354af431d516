"""Jobs of one study: trained once, kept on disk, and taken from there when a study goes on."""

import json
import traceback
from collections.abc import Iterable
from concurrent.futures import Executor, Future
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from initsearch.errors import InitSearchError
from initsearch.files import write_whole
from initsearch.search.progress import Progress
from initsearch.search.settings import short_hash
from initsearch.training.job import CohortResult, Curve, Job
from initsearch.training.worker import run_job


@dataclass(frozen=True)
class Outcome:
    """What came of a job.

    Attributes:
        curves: By candidate, for those that were trained.
        failed: By candidate the traceback, for those whose training raised an error.
        wall_seconds: Time in the workers.
        cpu_seconds: Processor time of the workers.
    """

    curves: dict[str, Curve]
    failed: dict[str, str]
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0

    @classmethod
    def merged(cls, parts: "Iterable[Outcome]") -> "Outcome":
        """One outcome of several."""
        parts = list(parts)
        return cls(
            {name: curve for part in parts for name, curve in part.curves.items()},
            {name: text for part in parts for name, text in part.failed.items()},
            sum(part.wall_seconds for part in parts),
            sum(part.cpu_seconds for part in parts),
        )


@dataclass(frozen=True)
class Ticket:
    """A job that was handed in, in parts: `JobBook.collect` waits for its outcome.

    A part without a future was trained before.
    """

    parts: "tuple[tuple[Job, Future[CohortResult] | None], ...]"

    def cancel(self) -> None:
        """Give up on what has not started yet."""
        for _, future in self.parts:
            if future is not None:
                future.cancel()


class JobBook:
    """Hands jobs to an executor and keeps each result in a file, named by what the result depends on.

    Args:
        folder: Where results, and tracebacks of failures, are kept.
        executor: Who runs the jobs.
        progress: Told of each job that is done.
        cohort_limit: Candidates that one job may train together; `None`: any number.
    """

    def __init__(
        self,
        folder: Path,
        executor: Executor,
        progress: Progress,
        cohort_limit: int | None = None,
    ) -> None:
        self._folder = folder
        self._executor = executor
        self._progress = progress
        self._limit = cohort_limit
        self.wall_seconds = 0.0
        self.cpu_seconds = 0.0

    def submit(self, job: Job, work: float) -> Ticket:
        """Start a job, unless its result is there.

        Args:
            job: What shall be trained.
            work: What it adds to the progress per candidate, in candidate-epochs.
        """
        limit = self._limit or len(job.candidates)
        cohorts = [job.candidates[at : at + limit] for at in range(0, len(job.candidates), limit)]
        jobs = [_part(job, {candidate.name for candidate in cohort}) for cohort in cohorts]
        return Ticket(tuple((part, self._start(part, work)) for part in jobs))

    def _start(self, job: Job, work: float) -> "Future[CohortResult] | None":
        done = work * len(job.candidates)
        if self._file(job).exists():
            self._progress.advance(done)
            return None
        future = self._executor.submit(run_job, job)
        future.add_done_callback(lambda _: self._progress.advance(done))
        return future

    def collect(self, ticket: Ticket) -> Outcome:
        """Wait for a job; one that fails is tried again candidate by candidate, so that none spoils another.

        Raises:
            InitSearchError: No candidate of the job can be trained, for a reason that initsearch knows.
        """
        outcome = Outcome.merged(self._collect(job, future) for job, future in ticket.parts)
        self.wall_seconds += outcome.wall_seconds
        self.cpu_seconds += outcome.cpu_seconds
        return outcome

    def _collect(self, job: Job, future: "Future[CohortResult] | None") -> Outcome:
        file = self._file(job)
        if future is None:
            result = CohortResult.from_json(json.loads(file.read_text(encoding="utf-8")))
        else:
            try:
                result = future.result()
            except Exception as error:  # noqa: BLE001  # whatever a user's code raises is a result here
                return self._one_by_one(job, error)
            write_whole(file, json.dumps(result.to_json()))
        curves = {curve.candidate: curve for curve in result.curves}
        return Outcome(curves, {}, result.wall_seconds, result.cpu_seconds)

    def _one_by_one(self, job: Job, error: Exception) -> Outcome:
        if len(job.candidates) == 1:
            if isinstance(error, InitSearchError) and self._limit == 1:
                raise error
            name = job.candidates[0].name
            text = "".join(traceback.format_exception(error))
            write_whole(self._folder / f"failed-{short_hash(name)}.txt", f"{name}\n{text}")
            return Outcome({}, {name: text})
        jobs = [_part(job, {candidate.name}) for candidate in job.candidates]
        tickets = [(part, self._executor.submit(run_job, part)) for part in jobs]
        outcome = Outcome.merged(self._collect(part, future) for part, future in tickets)
        if not outcome.curves and isinstance(error, InitSearchError):
            raise error  # Candidates that differ do not all fail alike: it is the configuration.
        return outcome

    def _file(self, job: Job) -> Path:
        return self._folder / f"{job_key(job)}.json"


def job_key(job: Job) -> str:
    """A hash of all that a job's result depends on.

    Where it starts from is left out: going on from a state gives what training from the start gives.
    """
    parts = asdict(job)
    for place in ("start_epoch", "state_in", "state_dir"):
        del parts[place]
    return short_hash(parts) + short_hash(
        [job.seed, [candidate.name for candidate in job.candidates]]
    )


def _part(job: Job, names: set[str]) -> Job:
    """The job of some of its candidates."""
    return replace(
        job,
        candidates=tuple(candidate for candidate in job.candidates if candidate.name in names),
        state_in={name: state for name, state in job.state_in.items() if name in names},
    )
