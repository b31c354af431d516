"""A program of the command line: composes its configuration, runs, and ends in one line of error.

Little is imported before `run_command`: what a program needs takes seconds to load, and Ctrl-C may be pressed
in them as well.
"""

import atexit
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from initsearch.errors import InitSearchError, unknown_name

if TYPE_CHECKING:
    from omegaconf import DictConfig

#: What a shell reports for a program that Ctrl-C ended.
INTERRUPTED = 130
#: And for one that wrote where nobody reads any more.
BROKEN_PIPE = 141


def conf_dir() -> Path:
    """The folder of the shipped configs: beside the package in a checkout, inside it in a wheel."""
    package = Path(__file__).resolve().parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def run_command(
    config_name: str, task: "Callable[[DictConfig], None]", stopped: str = "stopped"
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
    try:
        error = _compose_and_run(config_name, task)
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)  # noqa: T201
        sys.exit(INTERRUPTED)
    if error is not None:
        _fail(error)


def leave() -> NoReturn:
    """End a program that has done its work: tearing down torch, Lightning and MLflow takes seconds."""
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read has seen enough
        os._exit(BROKEN_PIPE)
    sys.stderr.flush()
    os._exit(0)


def _compose_and_run(config_name: str, task: "Callable[[DictConfig], None]") -> str | None:
    """The error, if one was raised on purpose."""
    import hydra
    from hydra.errors import HydraException, MissingConfigException
    from omegaconf.errors import OmegaConfBaseException

    errors: list[InitSearchError] = []

    @hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=config_name)
    def compose_and_run(config: "DictConfig") -> None:
        try:
            task(config)
        except InitSearchError as error:
            # Out of Hydra's sight: it would print the overrides of a job that fails.
            errors.append(error)

    try:
        compose_and_run()
    except MissingConfigException as error:
        group, _, name = (error.missing_cfg_file or "").rpartition("/")
        if group and error.options:
            return str(unknown_name(group, name, error.options))
        return str(error)
    except (HydraException, OmegaConfBaseException) as error:
        return str(error)
    return str(errors[0]) if errors else None


def _fail(message: str) -> NoReturn:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201
    sys.exit(1)
