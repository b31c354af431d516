"""Jobs of one study: trained once, kept on disk, and taken from there when a study goes on."""

import json
import traceback
from collections.abc import Sequence
from concurrent.futures import CancelledError, Executor, Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from initsearch.digests import short_hash
from initsearch.errors import InitSearchError
from initsearch.files import write_whole
from initsearch.search.tracker import Progress
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
        kept: Files with the results of candidates that were trained before.
        training: Jobs of the other candidates, with the results to come; these may be of more candidates.
    """

    kept: tuple[Path, ...]
    training: "tuple[tuple[Job, _Training], ...]"


@dataclass(frozen=True, eq=False)
class _Training:
    """What an executor has in hand.

    Attributes:
        size: How many candidates are trained together.
        source: The executor's own future.
        result: The same result, once it is kept.
    """

    size: int
    source: "Future[CohortResult]"
    result: "Future[CohortResult]"


class JobBook:
    """Hands jobs to an executor and keeps each candidate's result in a file.

    A file is named by all that the result depends on. For a loop the others of the cohort are not among that:
    where some results are there, the missing candidates are trained alone. The stacked engine rounds a cohort
    as a whole, in its last digits, so that a result belongs to its cohort, which is trained again as a whole
    for those that are missing.

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
        self._in_hand: dict[Path, _Training] = {}
        self._written: set[Path] = set()  # by this run
        self.cpu_seconds = 0.0

    def submit(self, job: Job, work: float) -> Ticket:
        """Start a job for those of its candidates whose results are neither there nor on their way.

        Args:
            job: What shall be trained.
            work: What it adds to the progress per candidate, in candidate-epochs.
        """
        kept: list[Path] = []
        training: list[tuple[Job, _Training]] = []
        for cohort in self._cohorts(job):
            on_their_way: dict[_Training, list[Candidate]] = {}
            missing = []
            for candidate, file in self._files(cohort):
                # In this order: a result leaves what is in hand once its file is there.
                if (begun := self._in_hand.get(file)) is not None:
                    on_their_way.setdefault(begun, []).append(candidate)
                elif file.exists():
                    kept.append(file)
                else:
                    missing.append(candidate)
            training += [(cohort.part(some), begun) for begun, some in on_their_way.items()]
            if missing and job.stacked:
                training.append((cohort.part(missing), self._start(cohort)))
            else:
                chunks = (cohort.part(chunk) for chunk in self._chunks(missing))
                training += [(chunk, self._start(chunk)) for chunk in chunks]
        # The race trains some blocks before they are due: their time belongs to this run.
        fresh = sum(file in self._written for file in kept)
        self._progress.advance(work * fresh)
        if fresh < len(kept):
            self._progress.skip(work * (len(kept) - fresh))
        for part, begun in training:
            done = partial(self._advance, work * len(part.candidates))
            begun.result.add_done_callback(done)
        return Ticket(tuple(kept), tuple(training))

    def withdraw(self, ticket: Ticket) -> None:
        """Take a job back, as far as nobody has begun with it; what has begun is kept when it is done."""
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
        """Start a job whose result is kept as soon as it is there, whether or not anybody waits for it."""
        files = [file for _, file in self._files(job)]
        training = _Training(len(files), self._executor.submit(run_job, job), Future())
        self._in_hand.update(dict.fromkeys(files, training))

        def settle(done: "Future[CohortResult]") -> None:
            error = CancelledError() if done.cancelled() else done.exception()
            if error is None:
                try:
                    self._keep(job, done.result())
                except Exception as unexpected:  # noqa: BLE001  # told to whoever waits for the result
                    error = unexpected
            for file in files:
                if self._in_hand.get(file) is training:  # and not of a later one, that began since
                    del self._in_hand[file]
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
        for candidate, file in self._files(job):
            if file.exists():  # a stacked cohort was trained again for the sake of another
                continue
            try:
                write_whole(file, json.dumps(_share(result, [candidate]).to_json()))
                self._written.add(file)
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
        for job, training in ticket.training:
            try:
                results.append(_share(training.result.result(), job.candidates))
                self._tell_engine(job, results[-1])
            except Exception as error:  # noqa: BLE001  # whatever a user's code raises is a result here
                if training.size == 1:
                    self._note(job.candidates[0], error, errors)
                else:
                    results += self._one_by_one(job, errors)
        results += [_read(file) for file in ticket.kept]
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
        asked = job.trainer.engine
        as_asked = asked in ("auto", result.engine) or result.engine == "none"
        if not as_asked and result.reason not in self._told:
            self._told.add(result.reason)
            self._progress.message(f"cohorts are trained by {result.engine}: {result.reason}")

    def _one_by_one(self, job: Job, errors: dict[str, Exception]) -> list[CohortResult]:
        """Train candidates whose cohort failed each alone, and note those that fail again."""
        parts = [job.part([candidate]) for candidate in job.candidates]
        results = []
        for part, ticket in [(part, self.submit(part, 0.0)) for part in parts]:
            results += [_read(file) for file in ticket.kept]
            for _, training in ticket.training:
                try:
                    results.append(training.result.result())
                except Exception as error:  # noqa: BLE001  # as above
                    self._note(part.candidates[0], error, errors)
        return results

    def _note(self, candidate: Candidate, error: Exception, errors: dict[str, Exception]) -> None:
        """Note that a candidate's own training failed."""
        errors[candidate.name] = error
        text = "".join(traceback.format_exception(error))
        file = self._folder / f"failed-{short_hash(candidate.name)}.txt"
        write_whole(file, f"{candidate.name}\n{text}")

    def _files(self, job: Job) -> list[tuple[Candidate, Path]]:
        """Where each candidate's result is kept."""
        return [(c, self._folder / f"{result_key(job, c)}.json") for c in job.candidates]


def result_key(job: Job, candidate: Candidate) -> str:
    """A hash of all that a candidate's result depends on; see `Job.key`."""
    return short_hash(job.key(candidate)) + short_hash([job.seed, candidate.name])


def _share(result: CohortResult, candidates: Sequence[Candidate]) -> CohortResult:
    """The part of a result that is of some candidates, with their share of the time."""
    curves = {curve.candidate: curve for curve in result.curves}
    own = tuple(curves[candidate.name] for candidate in candidates)
    share = len(own) / len(curves)
    return replace(
        result,
        curves=own,
        wall_seconds=result.wall_seconds * share,
        cpu_seconds=result.cpu_seconds * share,
    )


def _read(file: Path) -> CohortResult:
    return CohortResult.from_json(json.loads(file.read_text(encoding="utf-8")))


def _in_one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[-1]}" if lines else type(error).__name__
