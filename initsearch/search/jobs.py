"""Jobs of one study: trained once, kept on disk, and taken from there when a study goes on."""

import json
import traceback
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from initsearch.errors import InitSearchError
from initsearch.files import write_whole
from initsearch.search.progress import Progress
from initsearch.search.settings import short_hash
from initsearch.training.job import Candidate, CohortResult, Curve, Job
from initsearch.training.worker import run_job


@dataclass(frozen=True)
class Outcome:
    """What came of a job.

    Attributes:
        curves: By candidate, for those that were trained.
        failed: By candidate the error in one line, for those whose training raised one.
    """

    curves: dict[str, Curve]
    failed: dict[str, str]


@dataclass(frozen=True)
class Ticket:
    """A job that was handed in: `JobBook.collect` waits for its outcome.

    Attributes:
        kept: Jobs of one candidate each that were trained before.
        training: Jobs of the other candidates, with their results to come.
    """

    kept: tuple[Job, ...]
    training: "tuple[tuple[Job, Future[CohortResult]], ...]"


class JobBook:
    """Hands jobs to an executor and keeps each candidate's result in a file.

    A file is named by all that the result depends on. The others of its cohort are not among that: where
    some results are there, a loop trains the missing candidates alone. The stacked engine rounds a cohort as
    a whole, in its last digits, so that it trains the whole cohort again for those that are missing.

    Args:
        folder: Where results, and tracebacks of failures, are kept.
        executor: Who runs the jobs.
        progress: Told of each job that is done.
        cohort_limit: Candidates that one job may train together; `None`: any number.

    Attributes:
        cpu_seconds: Processor time of all results that were collected, in this run or an earlier one.
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
        self._unwritable: OSError | None = None
        self._told: set[str] = set()
        self.cpu_seconds = 0.0

    def submit(self, job: Job, work: float) -> Ticket:
        """Start a job for those of its candidates whose results are not there.

        Args:
            job: What shall be trained.
            work: What it adds to the progress per candidate, in candidate-epochs.
        """
        alone = [_part(job, [candidate]) for candidate in job.candidates]
        kept = tuple(part for part in alone if self._file(part).exists())
        self._progress.advance(work * len(kept))
        missing = [part.candidates[0] for part in alone if part not in kept]
        # What lies stacked is rounded as a whole: whoever is missing is trained in the cohort it belongs to.
        stacked = job.trainer.get("engine") == "stacked"
        pool = job.candidates if stacked and missing else missing
        limit = self._limit or max(1, len(pool))
        chunks = [pool[at : at + limit] for at in range(0, len(pool), limit)]
        parts = [_part(job, chunk) for chunk in chunks if any(c in missing for c in chunk)]
        return Ticket(kept, tuple((part, self._start(part, work)) for part in parts))

    def _start(self, job: Job, work: float) -> "Future[CohortResult]":
        """Start a job whose result is kept as soon as it is there, whether or not anybody waits for it."""
        kept: Future[CohortResult] = Future()

        def keep(done: "Future[CohortResult]") -> None:
            if done.cancelled():
                kept.cancel()
            elif (error := done.exception()) is not None:
                kept.set_exception(error)
            else:
                self._keep(job, done.result())
                kept.set_result(done.result())
            self._progress.advance(work * len(job.candidates))

        self._executor.submit(run_job, job).add_done_callback(keep)
        return kept

    def _keep(self, job: Job, result: CohortResult) -> None:
        """Write each candidate's part of a result."""
        share = len(result.curves)
        curves = {curve.candidate: curve for curve in result.curves}
        for candidate in job.candidates:
            own = replace(
                result,
                curves=(curves[candidate.name],),
                wall_seconds=result.wall_seconds / share,
                cpu_seconds=result.cpu_seconds / share,
            )
            file = self._file(_part(job, [candidate]))
            if file.exists():  # a stacked cohort was trained again for the sake of another
                continue
            try:
                write_whole(file, json.dumps(own.to_json()))
            except OSError as error:
                # This may be a thread of the executor, where nobody would hear of it: `collect` tells it.
                self._unwritable = error

    def collect(self, ticket: Ticket) -> Outcome:
        """Wait for a job; one that fails is tried again candidate by candidate, so that none spoils another.

        Raises:
            InitSearchError: All candidates fail alike, for a reason that initsearch knows; or a result
                cannot be written.
        """
        results: list[CohortResult] = []
        errors: dict[str, Exception] = {}
        for job, future in ticket.training:
            try:
                results.append(future.result())
                self._tell_engine(job, results[-1])
            except Exception as error:  # noqa: BLE001  # whatever a user's code raises is a result here
                results += self._one_by_one(job, error, errors)
        results += [self._read(job) for job in ticket.kept]  # last: what is kept stands
        if self._unwritable is not None:
            raise InitSearchError(
                f"results cannot be written to {str(self._folder)!r} ({self._unwritable.strerror}): make "
                "room there, then give the same command again"
            ) from self._unwritable
        if len(errors) > 1 and not results and len({str(error) for error in errors.values()}) == 1:
            # Candidates that differ do not all fail alike: it is the configuration.
            common = next(iter(errors.values()))
            if isinstance(common, InitSearchError):
                raise common
        self.cpu_seconds += sum(result.cpu_seconds for result in results)
        return Outcome(
            {curve.candidate: curve for result in results for curve in result.curves},
            {name: _in_one_line(error) for name, error in errors.items()},
        )

    def _tell_engine(self, job: Job, result: CohortResult) -> None:
        """Say once why cohorts are not stacked, where that was asked for."""
        asked = job.trainer.get("engine", result.engine)
        as_asked = asked in ("auto", result.engine) or result.engine == "none"
        if not as_asked and result.reason not in self._told:
            self._told.add(result.reason)
            self._progress.message(f"cohorts are trained by {result.engine}: {result.reason}")

    def _one_by_one(
        self, job: Job, error: Exception, errors: dict[str, Exception]
    ) -> list[CohortResult]:
        """Train the candidates of a job that failed each alone, and note those that fail again."""
        if len(job.candidates) == 1:
            self._note(job.candidates[0], error)
            errors[job.candidates[0].name] = error
            return []
        parts = [_part(job, [candidate]) for candidate in job.candidates]
        results = []
        for part, future in [(part, self._start(part, 0.0)) for part in parts]:
            try:
                results.append(future.result())
            except Exception as own:  # noqa: BLE001  # as above
                self._one_by_one(part, own, errors)
        return results

    def _note(self, candidate: Candidate, error: Exception) -> None:
        text = "".join(traceback.format_exception(error))
        file = self._folder / f"failed-{short_hash(candidate.name)}.txt"
        write_whole(file, f"{candidate.name}\n{text}")

    def _read(self, job: Job) -> CohortResult:
        return CohortResult.from_json(json.loads(self._file(job).read_text(encoding="utf-8")))

    def _file(self, job: Job) -> Path:
        return self._folder / f"{job_key(job)}.json"


def job_key(job: Job) -> str:
    """A hash of all that a job's result depends on.

    Where it starts from is left out: going on from a state gives what training from the start gives.
    """
    parts = asdict(job)
    for place in ("start_epoch", "state_in", "state_dir", "losses_from"):
        del parts[place]
    return short_hash(parts) + short_hash(
        [job.seed, [candidate.name for candidate in job.candidates]]
    )


def _part(job: Job, candidates: Sequence[Candidate]) -> Job:
    """The job of some of its candidates."""
    states = {c.name: job.state_in[c.name] for c in candidates if c.name in job.state_in}
    return replace(job, candidates=tuple(candidates), state_in=states)


def _in_one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[-1]}" if lines else type(error).__name__
