"""The jobs of a study at work: each result is computed once, kept in a file, and read when a study resumes."""

import json
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Executor, Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

from initsearch.digests import short_hash
from initsearch.errors import InitSearchError, JobEndedError
from initsearch.execution import submit_limited
from initsearch.files import read_whole, write_whole
from initsearch.search.jobs.overruns import OverrunBook
from initsearch.search.jobs.time_limits import TimeLimits
from initsearch.search.tracker import Progress
from initsearch.tasks import StandaloneTask
from initsearch.training.job import Candidate, CohortResult, Curve, Job

NONE_FAILED: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Outcome:
    """What came of a job.

    Attributes:
        curves: Learning curve by name of the candidates that were trained.
        failed: The error in one line by name of the candidates whose training raised one.
    """

    curves: dict[str, Curve]
    failed: dict[str, str]


@dataclass(frozen=True)
class Ticket:
    """A submitted job: `JobBook.collect` waits for its outcome.

    Attributes:
        kept: The results of candidates that were trained before.
        failed: The error by name of the candidates that took too long before, and would again.
        training: Jobs of the other candidates, with what is in training for them; that may include further
            candidates.
    """

    kept: tuple[CohortResult, ...]
    failed: Mapping[str, Exception]
    training: "tuple[tuple[Job, _Training], ...]"


@dataclass(frozen=True, eq=False)
class _Training:
    """A job that an executor has been given.

    Attributes:
        size: Number of candidates that it trains together.
        source: The executor's own future.
        result: The same result, once it is written to files.
    """

    size: int
    source: "Future[CohortResult]"
    result: "Future[CohortResult]"


class JobBook:
    """Submits jobs to an executor and keeps each candidate's result in a file.

    A file is named by everything that the result depends on. For the loop engine, the rest of the cohort is not
    part of that: if some results exist, the missing candidates are trained without the others. The stacked
    engine rounds a cohort as a whole, in the last digits. So a result belongs to its cohort, which is trained
    again as a whole if one is missing.

    Args:
        folder: Where results and tracebacks of failures are kept.
        executor: Runs the jobs.
        progress: Gets the work of each finished job.
        train: Runs a job; the executor calls it, perhaps in another process.
        cohort_limit: Candidates that one job may train together; None: any number.
        limits: How long a job may take; None: any time. It holds where the executor can end a job.
        written: Called after a result is written.

    Attributes:
        cpu_seconds: Processor time of all results that were collected, also those of earlier runs.
        engines: The engines that trained them, each with its reason.
    """

    def __init__(
        self,
        folder: Path,
        executor: Executor,
        progress: Progress,
        train: Callable[[Job], CohortResult],
        *,
        cohort_limit: int | None = None,
        limits: TimeLimits | None = None,
        written: Callable[[], None] = lambda: None,
    ) -> None:
        self._folder = folder
        self._executor = executor
        self._progress = progress
        self._train = train
        self._limit = cohort_limit
        self._limits = limits or TimeLimits(None)
        self._overruns = OverrunBook(folder, self._limits, progress.message)
        #: Candidates that took too long in an earlier run: whether they do again depends on the limit.
        self.overran = frozenset(self._overruns.candidates)
        self._when_written = written
        self._any_result = False
        self._unwritable: OSError | None = None
        self._reported: set[str] = set()
        self._in_training: dict[Path, _Training] = {}
        self._written: set[Path] = set()  # by this run
        self.cpu_seconds = 0.0
        self.engines: dict[str, str] = {}

    def submit(self, job: Job, work: float) -> Ticket:
        """Start a job for those of its candidates whose results neither exist nor are in training.

        Args:
            job: The job.
            work: The work per candidate that it adds to the progress, in candidate-epochs.
        """
        kept: list[CohortResult] = []
        failed: dict[str, Exception] = {}
        fresh = 0  # of those kept, how many this run has trained
        training: list[tuple[Job, _Training]] = []
        for cohort in self._cohorts(job):
            shared: dict[_Training, list[Candidate]] = {}
            missing = []
            for candidate, file in self._files(cohort):
                # In this order: a training is forgotten once its file exists.
                if (running := self._in_training.get(file)) is not None:
                    shared.setdefault(running, []).append(candidate)
                elif (result := self._read(file)) is not None:
                    kept.append(result)
                    fresh += file in self._written
                elif (overrun := self._overruns.of(file)) is not None:
                    failed[candidate.name] = JobEndedError(overrun.message, overrun.seconds)
                else:
                    missing.append(candidate)
            training += [(cohort.part(some), running) for running, some in shared.items()]
            if missing and job.stacked:
                training.append((cohort.part(missing), self._start(cohort)))
            else:
                chunks = (cohort.part(chunk) for chunk in self._chunks(missing))
                training += [(chunk, self._start(chunk)) for chunk in chunks]
        # The race trains on some seeds before they are due: their time belongs to this run.
        self._progress.advance(work * fresh)
        if fresh < len(kept):
            self._progress.skip(work * (len(kept) - fresh))
        if failed:
            self._progress.skip(work * len(failed))
        for part, running in training:
            done = partial(self._advance, work * len(part.candidates))
            running.result.add_done_callback(done)
        return Ticket(tuple(kept), failed, tuple(training))

    def withdraw(self, ticket: Ticket) -> None:
        """Cancel what has not started of a job; the results of what has started are kept."""
        for _, training in ticket.training:
            training.source.cancel()

    def _cohorts(self, job: Job) -> list[Job]:
        """The parts of a job whose results belong together."""
        if not job.stacked:
            return [job]
        return [job.part(chunk) for chunk in self._chunks(job.candidates)]

    def _chunks(self, candidates: Sequence[Candidate]) -> list[Sequence[Candidate]]:
        size = self._limit or max(1, len(candidates))
        return [candidates[at : at + size] for at in range(0, len(candidates), size)]

    def _start(self, job: Job) -> _Training:
        """Start a job whose result is written as soon as it exists, whether or not it is collected."""
        files = [file for _, file in self._files(job)]
        limit = partial(self._limits.of, job)
        source = submit_limited(self._executor, limit, self._train, job)
        training = _Training(len(files), source, Future())
        self._in_training.update(dict.fromkeys(files, training))

        def settle(done: "Future[CohortResult]") -> None:
            error = CancelledError() if done.cancelled() else done.exception()
            if error is None:
                try:
                    self._keep(job, done.result())
                except Exception as unexpected:  # noqa: BLE001  # raised by `collect`
                    error = unexpected
            for file in files:
                if self._in_training.get(file) is training:  # and not a later one
                    del self._in_training[file]
            if error is None:
                training.result.set_result(done.result())
            else:
                training.result.set_exception(error)

        training.source.add_done_callback(settle)
        return training

    def _advance(self, work: float, _: "Future[CohortResult]") -> None:
        self._progress.advance(work)

    def _keep(self, job: Job, result: CohortResult) -> None:
        """Write each candidate's part of a result."""
        self._limits.note(job, result)
        for candidate, file in self._files(job):
            if file.exists():  # a stacked cohort was trained again for another of its candidates
                continue
            try:
                write_whole(file, json.dumps(_share(result, [candidate]).to_json()))
                self._written.add(file)
            except OSError as error:
                # This may be a thread of the executor, where it would be lost: `collect` raises it.
                self._unwritable = error
        self._when_written()

    def collect(self, ticket: Ticket, failed: Mapping[str, str] = NONE_FAILED) -> Outcome:
        """Wait for a job; one that fails is tried again candidate by candidate, so each fails on its own.

        Args:
            ticket: The job.
            failed: Candidates that have failed on another seed, with their errors: they are not tried again.

        Raises:
            InitSearchError: All candidates fail with the same `InitSearchError`, or a result cannot be written.
                A `JobEndedError` must also be the first that happens: code that ends its process is the
                fault of a few candidates if others came through.
        """
        results: list[CohortResult] = []
        errors = dict(ticket.failed)
        for job, training in ticket.training:
            try:
                results.append(_share(training.result.result(), job.candidates))
                self._report_engine(job, results[-1])
            except Exception as error:  # noqa: BLE001  # any error of the user's code is a result here
                if training.size == 1:
                    self._note(job, error, errors)
                else:
                    again = [c for c in job.candidates if c.name not in failed]
                    results += self._one_by_one(job.part(again), errors) if again else []
        results += ticket.kept
        self._any_result = self._any_result or bool(results)
        if self._unwritable is not None:
            raise InitSearchError(
                f"results cannot be written to {str(self._folder)!r} ({self._unwritable.strerror}): make "
                "room there, then run the same command again"
            ) from self._unwritable
        if len(errors) > 1 and not results and len({str(error) for error in errors.values()}) == 1:
            # Different candidates do not fail alike by themselves: the configuration is wrong.
            common = next(iter(errors.values()))
            by_code = isinstance(common, JobEndedError)
            if isinstance(common, InitSearchError) and not (by_code and self._any_result):
                raise common
        self.cpu_seconds += sum(result.cpu_seconds for result in results)
        self.engines |= {one.engine: one.reason for one in results if one.engine != "none"}
        return Outcome(
            {curve.candidate: curve for result in results for curve in result.curves},
            {name: _in_one_line(error) for name, error in errors.items()},
        )

    def _report_engine(self, job: Job, result: CohortResult) -> None:
        """Report once why cohorts are not stacked, if the configuration asks for it."""
        asked = job.trainer.engine
        own = isinstance(job.task, StandaloneTask)  # which says itself how it trains
        as_asked = asked in ("auto", result.engine) or result.engine == "none" or own
        if not as_asked and result.reason not in self._reported:
            self._reported.add(result.reason)
            self._progress.message(f"cohorts are trained by {result.engine}: {result.reason}")

    def _one_by_one(self, job: Job, errors: dict[str, Exception]) -> list[CohortResult]:
        """Train each candidate of a failed cohort on its own, and note those that fail again."""
        parts = [job.part([candidate]) for candidate in job.candidates]
        results: list[CohortResult] = []
        for part, ticket in [(part, self.submit(part, 0.0)) for part in parts]:
            results += ticket.kept
            errors.update(ticket.failed)
            for _, training in ticket.training:
                try:
                    results.append(training.result.result())
                except Exception as error:  # noqa: BLE001  # as above
                    self._note(part, error, errors)
        return results

    def _note(self, job: Job, error: Exception, errors: dict[str, Exception]) -> None:
        """Note that the training of one candidate failed, and keep the traceback."""
        ((candidate, result),) = self._files(job)
        errors[candidate.name] = error
        if isinstance(error, JobEndedError) and error.limit is not None:
            self._overruns.note(result, candidate.name, str(error), error.limit)
        text = "".join(traceback.format_exception(error))
        file = self._folder / f"failed-{short_hash(candidate.name)}.txt"
        write_whole(file, f"{candidate.name}\n{text}")

    def _read(self, file: Path) -> CohortResult | None:
        """A kept result; None if there is none, or only a damaged file."""
        return read_whole(file, _parse, self._progress.message)

    def _files(self, job: Job) -> list[tuple[Candidate, Path]]:
        """Where each candidate's result is kept."""
        return [(c, self._folder / f"{result_key(job, c)}.json") for c in job.candidates]


def result_key(job: Job, candidate: Candidate) -> str:
    """A hash of everything that a candidate's result depends on; see `Job.key`."""
    return short_hash(job.key(candidate)) + short_hash([job.seed, candidate.name])


def _share(result: CohortResult, candidates: Sequence[Candidate]) -> CohortResult:
    """The part of a result that belongs to some candidates, with their share of the time."""
    curves = {curve.candidate: curve for curve in result.curves}
    own = tuple(curves[candidate.name] for candidate in candidates)
    share = len(own) / len(curves)
    return replace(
        result,
        curves=own,
        wall_seconds=result.wall_seconds * share,
        cpu_seconds=result.cpu_seconds * share,
    )


def _parse(data: bytes) -> CohortResult:
    return CohortResult.from_json(json.loads(data))


def _in_one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[-1]}" if lines else type(error).__name__
