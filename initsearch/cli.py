"""The command line of a study: runs it as its configuration says, and prints the verdict."""

import contextlib
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from initsearch.command import leave, run_command

if TYPE_CHECKING:
    from pathlib import Path

    from omegaconf import DictConfig

    from initsearch.execution import JobExecutor
    from initsearch.search import Progress, Study, StudySettings, Tracker, Verdict

#: What a training needs, imported by worker processes before the first one.
PRELOAD = (
    *("torch", "torchvision", "lightning.pytorch"),
    *("initsearch.training.run", "initsearch.tasks.image_classification"),
)
#: Columns of the verdict if it is printed to a file or a pipe.
FILE_WIDTH = 110


def run(config: "DictConfig") -> None:
    """Run the study that a composed configuration describes."""
    from initsearch.execution import keep_freed_memory, start_preloading

    if config.get("workers") != 1:
        start_preloading(PRELOAD)  # takes longest: the settings are read meanwhile
    from hydra.core.hydra_config import HydraConfig
    from rich.console import Console

    from initsearch.config import read_settings, writable

    settings = read_settings(config, list(HydraConfig.get().overrides.task))
    if settings.workers == 1:  # this process trains
        keep_freed_memory()
    # Imported after the settings are checked, so that a mistyped name is reported at once.
    from initsearch.tracking import prepare_store

    output_dir = writable(settings.output_dir)
    repairs = prepare_store(output_dir)
    with _executor(settings) as executor:
        from initsearch.search import Study
        from initsearch.tracking import SearchProgress, TrackerGroup, print_verdict, ui_command

        with SearchProgress() as progress:
            for line in repairs:
                progress.message(line)
            tracker = TrackerGroup(partial(_trackers, output_dir, progress))
            with contextlib.closing(tracker):
                study = Study(settings, tracker, progress)
                try:
                    verdict = _answer(study, output_dir, progress) or study.run(executor)
                finally:  # before the tracker closes: what is still in training is not needed
                    executor.terminate()
    study.tidy()
    console = Console()
    if not console.is_terminal:
        console = Console(width=FILE_WIDTH)
    print_verdict(console, verdict, folder=study.folder, ui=ui_command(output_dir))


def _executor(settings: "StudySettings") -> "JobExecutor":
    """The executor of a study's jobs on this machine, for its workers and its trainer's devices."""
    from initsearch.execution import make_executor

    trainer = settings.trainer
    return make_executor(
        "local",
        workers=settings.workers,
        devices=trainer.gpus,
        distributed=trainer.distributed,
        preload=PRELOAD,
    )


def _answer(study: "Study", output_dir: "Path", progress: "Progress") -> "Verdict | None":
    """The verdict of a finished study; None if it must run, be it only to write MLflow's records again."""
    from initsearch.tracking import has_records

    verdict = study.finished
    if verdict is None or has_records(output_dir, study.name) or not study.has_results:
        return verdict
    progress.message(f"MLflow has no records of {study.name}: writing them again from its results")
    return None


def _trackers(output_dir: "Path", progress: "Progress") -> "list[Tracker]":
    """The trackers of a study; the report comes first, since MLflow stores its figures."""
    from initsearch.tracking import MlflowTracker, ReportTracker

    return [ReportTracker(), MlflowTracker.in_folder(output_dir, progress.message)]


def program() -> NoReturn:
    """Entry point of `initsearch` and `python -m initsearch`."""
    main()
    leave()


def main() -> None:
    """Run the study of the command line; raises `SystemExit` if it fails."""
    run_command("config", run, stopped="stopped: run the same command again to resume")
