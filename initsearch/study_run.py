"""`run_study`: a study with its executor, records and progress, for the command line and `init_find`."""

import contextlib
import logging
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from initsearch.errors import ConfigError

if TYPE_CHECKING:
    from initsearch.execution import JobExecutor
    from initsearch.search import Progress, Study, StudySettings, Tracker, Verdict

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FinishedStudy:
    """What is left of a study that has run.

    Attributes:
        verdict: Its verdict.
        folder: Its own folder.
    """

    verdict: "Verdict"
    folder: Path


def run_study(
    settings: "StudySettings", *, preload: Sequence[str] = (), progress: bool = True
) -> FinishedStudy:
    """Run or resume a study; a finished one returns its verdict without training.

    Args:
        settings: What is searched.
        preload: Modules that worker processes import before their first job.
        progress: Whether a progress bar is shown.

    Raises:
        ConfigError: A setting does not fit the task, or the output folder is not writable.
        InitSearchError: Fewer than two candidates can be trained.
        KeyboardInterrupt: Ctrl-C; results so far are kept.
    """
    # Imported here, after the settings were checked: a mistyped name is reported at once.
    from initsearch.tracking import prepare_store

    output_dir = writable(settings.output_dir)
    repairs = prepare_store(output_dir)
    with _executor(settings, preload) as executor:
        from initsearch.search import Study
        from initsearch.tracking import TrackerGroup

        with _progress(shown=progress) as shown:
            for line in repairs:
                shown.message(line)
            tracker = TrackerGroup(partial(_trackers, output_dir, shown))
            with contextlib.closing(tracker):
                study = Study(settings, tracker, shown)
                try:
                    verdict = _answer(study, output_dir, shown) or study.run(executor)
                finally:  # before the tracker closes: what is still in training is not needed
                    executor.terminate()
    study.tidy()
    return FinishedStudy(verdict, study.folder)


def writable(folder: Path) -> Path:
    """The folder, made if it is missing.

    Raises:
        ConfigError: It cannot be made, or is not writable.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise ConfigError(
            f"output_dir must be a writable folder, but {str(folder)!r} is not ({error.strerror}): give "
            "another one, output_dir=PATH"
        ) from error


def _executor(settings: "StudySettings", preload: Sequence[str]) -> "JobExecutor":
    """The executor of a study's jobs on this machine, for its workers and its trainer's devices."""
    from initsearch.execution import make_executor

    trainer = settings.trainer
    return make_executor(
        "local",
        workers=settings.workers,
        devices=trainer.gpus,
        distributed=trainer.distributed,
        preload=preload,
    )


def _progress(*, shown: bool) -> "AbstractContextManager[Progress]":
    if not shown:
        return nullcontext(Quiet())
    from initsearch.tracking import SearchProgress

    return SearchProgress()


def _answer(study: "Study", output_dir: Path, progress: "Progress") -> "Verdict | None":
    """The verdict of a finished study; None if it must run, be it only to write MLflow's records again."""
    from initsearch.tracking import has_records

    verdict = study.finished
    if verdict is None or has_records(output_dir, study.name) or not study.has_results:
        return verdict
    progress.message(f"MLflow has no records of {study.name}: writing them again from its results")
    return None


def _trackers(output_dir: Path, progress: "Progress") -> "list[Tracker]":
    """The trackers of a study; the report comes first, since MLflow stores its figures."""
    from initsearch.tracking import MlflowTracker, ReportTracker

    return [ReportTracker(), MlflowTracker.in_folder(output_dir, progress.message)]


class Quiet:
    """A `Progress` that shows nothing; messages go to the log."""

    def plan(self, work: Mapping[str, float]) -> None:
        """See `Progress`."""

    def phase(self, name: str, total: float) -> None:
        """See `Progress`."""

    def training(self, what: str) -> None:
        """See `Progress`."""

    def advance(self, amount: float) -> None:
        """See `Progress`."""

    def skip(self, amount: float) -> None:
        """See `Progress`."""

    def message(self, text: str) -> None:
        """See `Progress`."""
        logger.info(text)
