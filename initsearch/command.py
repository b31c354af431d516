"""A program of the command line: composes its configuration, runs, and ends in one line of error."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import hydra
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from initsearch.config import conf_dir
from initsearch.errors import InitSearchError, unknown_name

#: What a shell reports for a program that Ctrl-C ended.
INTERRUPTED = 130


def run_command(
    config_name: str, task: Callable[[DictConfig], None], stopped: str = "stopped"
) -> None:
    """Compose a configuration from the command line and run a task with it.

    Whatever goes wrong on purpose (a bad setting, a missing file) is one line on standard error and an
    exit status of 1; an error that is none of ours keeps its traceback.

    Args:
        config_name: A file of `conf`, without its ending.
        task: What to do with the composed configuration.
        stopped: What to say when Ctrl-C ends it.
    """
    # Hydra prints an exception itself, over many lines, unless it is told to let it through.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    # A model, an initializer or a config of the user's own lies in the current folder. `python -m` looks
    # there; a console script does not.
    sys.path.insert(0, str(Path.cwd()))
    errors: list[InitSearchError] = []

    @hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=config_name)
    def compose_and_run(config: DictConfig) -> None:
        try:
            task(config)
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
        print(stopped, file=sys.stderr)  # noqa: T201
        sys.exit(INTERRUPTED)
    if errors:
        _fail(str(errors[0]))


def _fail(message: str) -> NoReturn:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201
    sys.exit(1)
