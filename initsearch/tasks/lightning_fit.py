"""One `Trainer.fit` of a user's own module, on copies of all that the user passed."""

import copy
import importlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from torch import nn

from initsearch.errors import ConfigError, shortened
from initsearch.tasks.quiet_fit import fit, quiet

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningModule, Trainer

#: Classes of callbacks that a copy of the user's Trainer does without: they write, show or search.
OMITTED = {
    *("Checkpoint", "ProgressBar", "ModelSummary", "LearningRateMonitor", "DeviceStatsMonitor"),
    "InitFinder",
}
#: Where a module (`_trainer`) and a datamodule (`trainer`) refer to their Trainer.
TRAINER = ("_trainer", "trainer")
#: What `seed_everything` sets in the environment.
SEED_VARIABLES = ("PL_GLOBAL_SEED", "PL_SEED_WORKERS")


@dataclass(frozen=True)
class UsersFit:
    """What a user passes to `Trainer.fit`; each fit has copies of its own, and leaves these as they are.

    Attributes:
        model: A LightningModule, which is copied with the weights that it has; or a function that builds one,
            which is called for each fit.
        trainer: The user's Trainer, not used before. Its copies have no progress bar, no model summary and no
            checkpoints, log nowhere, and have a temporary `default_root_dir`; all else is as the user set it.
        data: The keywords of `fit` that give data (`datamodule`, or `train_dataloaders`, `val_dataloaders`).
    """

    model: "LightningModule | Callable[[], LightningModule]"
    trainer: "Trainer"
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def builds(self) -> bool:
        """Whether each fit builds its module from scratch."""
        return not isinstance(self.model, nn.Module)

    def run(
        self,
        seed: int,
        callbacks: Sequence["Callback"],
        adjust: Callable[["Trainer"], None] = lambda trainer: None,
    ) -> "tuple[Trainer, LightningModule]":
        """Fit copies of everything, as `seed_everything(seed)` and `trainer.fit` would.

        The global random state is that of the fit afterwards.

        Args:
            seed: All randomness follows from it: a module that is built here, the order of the data, dropout.
            callbacks: Come before the user's own.
            adjust: Changes settings of the Trainer's copy.

        Returns:
            The Trainer and the module after the fit.

        Raises:
            ConfigError: Something cannot be copied.
            Exception: Whatever the user's code raises.
        """
        from lightning.pytorch import seed_everything

        with quiet(), _environment_kept(), TemporaryDirectory() as scratch:
            seed_everything(seed, workers=True, verbose=False)
            model = self.model() if self.builds else copied("model", self.model)
            trainer = copied("trainer", self.trainer)
            data = {name: copied(name, value) for name, value in self.data.items()}
            kept = [one for one in trainer.callbacks if not _is_omitted(one)]
            trainer.callbacks = [*callbacks, *kept]
            trainer.loggers = [_silent_logger(trainer)] if trainer.loggers else []
            # A callback that the module itself configures may still write checkpoints: they go here.
            trainer._default_root_dir = scratch
            adjust(trainer)
            fit(trainer, model, **data)
        return trainer, model


def copied(what: str, original: Any) -> Any:
    """A deep copy.

    Args:
        what: What is copied, for the error.
        original: What to copy.

    Raises:
        ConfigError: It cannot be copied.
    """
    # Modules and datamodules that were fitted refer to their Trainer, which must not be copied with them.
    holders = original.modules() if isinstance(original, nn.Module) else [original]
    attached = [getattr(one, "__dict__", {}).get(key) for one in holders for key in TRAINER]
    try:
        return copy.deepcopy(original, {id(one): None for one in attached if one is not None})
    except Exception as error:  # a user's object may raise anything
        remedy = (
            "pass a function that builds it, lambda: MyModule(...)"
            if what == "model"
            else "create what cannot be copied later, in setup() or in the hooks of a fit"
        )
        raise ConfigError(
            f"{what} must be something that can be copied, since each candidate trains with its own, but "
            f"copying {type(original).__name__} raised {type(error).__name__} "
            f"({shortened(str(error))}): {remedy}"
        ) from error


def is_one_of(callback: object, names: set[str]) -> bool:
    """Whether an object's class, or a base of it, has one of some names, in either of Lightning's packages."""
    return any(base.__name__ in names for base in type(callback).__mro__)


def _is_omitted(callback: object) -> bool:
    return is_one_of(callback, OMITTED)


def _silent_logger(trainer: "Trainer") -> Any:
    """Lightning's logger that accepts everything and keeps nothing, as `fast_dev_run` has it."""
    package = type(trainer).__module__.partition(".trainer")[0]
    return importlib.import_module(f"{package}.loggers.logger").DummyLogger()


@contextmanager
def _environment_kept() -> Iterator[None]:
    """The environment variables of a seed, as they were before."""
    before = {name: os.environ.get(name) for name in SEED_VARIABLES}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
