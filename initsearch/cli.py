"""The command line of a study: runs it as its configuration says, and prints the verdict."""

from typing import TYPE_CHECKING, NoReturn

from initsearch.command import leave, run_command
from initsearch.ctrl_c import exit_at_interrupt, raise_at_interrupt
from initsearch.shipped_configs import SEARCH, no_sweep
from initsearch.study_run import run_study

if TYPE_CHECKING:
    from omegaconf import DictConfig

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

    if not config.get("space"):
        raise no_sweep()
    if config.get("workers") != 0:
        start_preloading(PRELOAD)  # takes longest: the settings are read meanwhile
    from hydra.core.hydra_config import HydraConfig
    from rich.console import Console

    from initsearch.config import read_settings

    settings = read_settings(config, list(HydraConfig.get().overrides.task))
    settings.trainer.check_devices()
    if settings.workers == 0:  # this process trains
        keep_freed_memory()
    raise_at_interrupt()  # what is done from here on is stopped in good order
    found = run_study(settings, preload=PRELOAD)
    from initsearch.tracking import print_verdict, ui_command

    console = Console()
    if not console.is_terminal:
        console = Console(width=FILE_WIDTH)
    print_verdict(console, found.verdict, folder=found.folder, ui=ui_command(settings.output_dir))


def program() -> NoReturn:
    """The search as a program of its own: it ends this process."""
    try:
        main()
    finally:
        exit_at_interrupt()  # the results are kept, and the end has been reported
    leave()


def main() -> None:
    """Run the study of the command line, or print the help page; raises `SystemExit` if it fails."""
    run_command(
        SEARCH,
        run,
        stopped="stopped: run the same command again to resume",
        needs_words=True,
    )
