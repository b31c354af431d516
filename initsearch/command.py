"""A program of the command line: composes its configuration, runs, and reports an error in one line.

`run_command` imports what it needs itself: that takes seconds, in which Ctrl-C must work as well.
"""

import atexit
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from initsearch import __version__
from initsearch.ctrl_c import INTERRUPTED
from initsearch.errors import InitSearchError, visible
from initsearch.help_page import help_page
from initsearch.shipped_configs import conf_dir

if TYPE_CHECKING:
    from omegaconf import DictConfig

#: The exit status that a shell reports for a program whose output is no longer read (128 + SIGPIPE).
BROKEN_PIPE = 141


def run_command(
    config_name: str,
    task: "Callable[[DictConfig], None]",
    stopped: str = "stopped",
    *,
    needs_words: bool = False,
) -> None:
    """Compose a configuration from the command line and run a task with it.

    An `InitSearchError` (a bad setting, a missing file) becomes one line on standard error and an exit status
    of 1; any other error keeps its traceback.

    Args:
        config_name: A file of `conf`, without its ending.
        task: What to do with the composed configuration.
        stopped: The message when Ctrl-C ends it.
        needs_words: Whether a command without any word shows the help page.
    """
    words = sys.argv[1:]
    if {"-h", "--help"} & {*words} or (needs_words and not words):
        print(help_page(config_name), end="")  # noqa: T201
        return
    if "--version" in words:
        print(f"initsearch {__version__}")  # noqa: T201
        return
    # Without this, Hydra prints an exception itself, over many lines.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    # The user's own models and initializers are in the current folder. `python -m` looks there; a console
    # script does not.
    sys.path.insert(0, str(Path.cwd()))
    try:
        error = _compose_and_run(config_name, task)
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)  # noqa: T201
        sys.exit(INTERRUPTED)
    if error is not None:
        fail(error)


def leave() -> NoReturn:
    """End a finished program at once: tearing down torch, Lightning and MLflow takes seconds."""
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has closed the pipe
        os._exit(BROKEN_PIPE)
    sys.stderr.flush()
    os._exit(0)


def _compose_and_run(config_name: str, task: "Callable[[DictConfig], None]") -> str | None:
    """The message of a known error; None if there was none."""
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from initsearch.composition import composition_error
    from initsearch.execution import run_call
    from initsearch.overrides import check_words

    words = sys.argv[1:]
    errors: list[InitSearchError] = []
    composed = False

    @hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=config_name)
    def compose_and_run(config: "DictConfig") -> None:
        nonlocal composed
        composed = True
        try:
            run_call(task, config)  # `sys.exit()` in the user's code must not pass for success
        except (InitSearchError, OmegaConfBaseException) as error:
            # Hydra must not see it: it would print the overrides of a job that fails.
            errors.append(composition_error(error, config_name, words))

    try:
        check_words(words, config_name)
        compose_and_run()
    except Exception as error:
        # An error of the task keeps its traceback.
        if composed and not isinstance(error, HydraException):
            raise
        return str(composition_error(error, config_name, words))
    return str(errors[0]) if errors else None


def fail(message: str) -> NoReturn:
    """Print an error in one line, and end this process with status 1."""
    # Hydra quotes what it was given as it is.
    print(f"error: {visible(' '.join(message.split()))}", file=sys.stderr)  # noqa: T201
    sys.exit(1)
