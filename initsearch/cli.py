"""The command line: composes the configuration, runs the study, prints the verdict or one line of error."""

import contextlib
import os
import sys
from pathlib import Path
from typing import NoReturn

import hydra
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from initsearch.config import conf_dir, read_settings, writable
from initsearch.errors import InitSearchError, unknown_name

#: What a shell reports for a program that Ctrl-C ended.
INTERRUPTED = 130
#: Columns of the verdict where it goes to a file or a pipe.
FILE_WIDTH = 110


def run(config: DictConfig) -> None:
    """Run the study that a composed configuration describes."""
    settings = read_settings(config)
    # Imported after the settings are checked: a mistyped name is told at once, not after MLflow has loaded.
    from initsearch.search.executor import make_executor
    from initsearch.search.study import Study
    from initsearch.tracking import (
        MlflowTracker,
        ReportTracker,
        SearchProgress,
        TrackerGroup,
        print_verdict,
        ui_command,
    )

    output_dir = writable(settings.output_dir)
    tracker = TrackerGroup([ReportTracker(), MlflowTracker.in_folder(output_dir)])
    with SearchProgress() as progress, contextlib.closing(tracker):
        study = Study(settings, tracker, progress)
        verdict = study.finished
        if verdict is None:
            with make_executor(settings.workers, settings.trainer) as executor:
                verdict = study.run(executor)
    console = Console()
    if not console.is_terminal:
        console = Console(width=FILE_WIDTH)
    print_verdict(console, verdict, folder=study.folder, ui=ui_command(output_dir))


def main() -> None:
    """Entry point of `initsearch` and `python -m initsearch`."""
    # Hydra prints an exception itself, over many lines, unless it is told to let it through.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    # A model, an initializer or a config of the user's own lies in the current folder. `python -m` looks
    # there; a console script does not.
    sys.path.insert(0, str(Path.cwd()))
    errors: list[InitSearchError] = []

    @hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")
    def compose_and_run(config: DictConfig) -> None:
        try:
            run(config)
        except InitSearchError as error:
            # Out of Hydra's sight: it would print the overrides of a job that fails.
            errors.append(error)

    try:
        compose_and_run()
    except MissingConfigException as error:
        group, _, name = (error.missing_cfg_file or "").rpartition("/")
        _fail(
            str(unknown_name(group, name, error.options)) if group and error.options else str(error)
        )
    except (HydraException, OmegaConfBaseException) as error:
        _fail(str(error))
    except KeyboardInterrupt:
        print("stopped: the same command goes on from here", file=sys.stderr)  # noqa: T201
        sys.exit(INTERRUPTED)
    if errors:
        _fail(str(errors[0]))


def _fail(message: str) -> NoReturn:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201
    sys.exit(1)
