"""`Trainer.fit` of a user's own module, alone or several in lockstep, on copies of all that the user passed."""

import copy
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from torch import nn

from initsearch.callback import InitCallback
from initsearch.callback.bases import class_for
from initsearch.errors import ConfigError, shortened
from initsearch.tasks.lockstep import Lockstep, NotSharedError
from initsearch.tasks.quiet_fit import fit, quiet
from initsearch.tasks.shared_data import SharedData
from initsearch.tasks.stacked_steps import StackedSteps

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningModule, Trainer

#: Classes of callbacks that a copy of the user's Trainer does without: they write, show or search.
OMITTED = {
    *("Checkpoint", "ProgressBar", "ModelSummary", "LearningRateMonitor", "DeviceStatsMonitor"),
    *("InitFinder", "SaveConfigCallback"),
}
#: Where a module (`_trainer`) and a datamodule (`trainer`) refer to their Trainer.
TRAINER = ("_trainer", "trainer")
#: Names of a module's learning rate, as Lightning's own LearningRateFinder knows them.
RATES = ("lr", "learning_rate")
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
        test_dataloaders: As `Trainer.test` takes them; None: those of the datamodule or of the module.
        configure: Sets a learning rate, `configure(module, lr)`; None: it is the module's attribute or
            hyperparameter `lr` or `learning_rate`.
    """

    model: "LightningModule | Callable[[], LightningModule]"
    trainer: "Trainer"
    data: Mapping[str, Any] = field(default_factory=dict)
    test_dataloaders: Any = None
    configure: Callable[[Any, float], Any] | None = None

    @property
    def builds(self) -> bool:
        """Whether each fit builds its module from scratch."""
        return not isinstance(self.model, nn.Module)

    def run(
        self,
        seed: int,
        callbacks: Sequence["Callback"],
        adjust: Callable[["Trainer"], None] = lambda trainer: None,
        *,
        lr: float | None = None,
        then: "Callable[[Trainer], None]" = lambda trainer: None,
    ) -> "tuple[Trainer, LightningModule]":
        """Fit copies of everything, as `seed_everything(seed)` and `trainer.fit` would.

        The global random state is that of the fit afterwards.

        Args:
            seed: All randomness follows from it: a module that is built here, the order of the data, dropout.
            callbacks: Come before the user's own.
            adjust: Changes settings of the Trainer's copy.
            lr: The learning rate; None: the module's own.
            then: Called at the end of the fit.

        Returns:
            The Trainer and the module after the fit.

        Raises:
            ConfigError: Something cannot be copied.
            Exception: Whatever the user's code raises.
        """
        with _quietly() as scratch:
            trainer, model = self._prepared(seed, callbacks, adjust, scratch, lr)
            data = {name: copied(name, value) for name, value in self.data.items()}
            fit(trainer, model, **data)
            then(trainer)
        return trainer, model

    def run_together(
        self,
        seed: int,
        callbacks: Sequence[Sequence["Callback"]],
        adjust: Callable[["Trainer"], None] = lambda trainer: None,
        *,
        rates: Sequence[float | None] | None = None,
        then: "Callable[[int, Trainer], None]" = lambda number, trainer: None,
        stacked: bool = False,
    ) -> "list[tuple[Trainer, LightningModule] | None]":
        """Several fits of one seed, in lockstep on one copy of the data; see `run` for each.

        Each is bit for bit what `run` would give (up to rounding if stacked), or is given up.

        Args:
            seed: That of all fits.
            callbacks: Those of each fit.
            adjust: Changes settings of each Trainer's copy.
            rates: The learning rate of each; None: the module's own.
            then: Called at the end of each fit, with its number.
            stacked: Whether the training steps of all fits are one pass; see `StackedSteps`.

        Returns:
            The Trainer and the module of each after its fit; None for one that needs other data.

        Raises:
            ConfigError: Something cannot be copied.
            NotStackedError: The training steps cannot be one pass.
            Exception: Whatever the user's code raises.
        """
        shared = SharedData({name: copied(name, value) for name, value in self.data.items()})

        steps = StackedSteps(lambda: shared.steps)

        def body(number: int) -> "tuple[Trainer, LightningModule]":
            own = [aside(one, shared) for one in callbacks[number]]
            lr = None if rates is None else rates[number]
            trainer, model = self._prepared(seed, own, adjust, scratch, lr)
            if stacked:
                steps.attach(trainer)
            fit(trainer, model, **shared.keywords_for(trainer, model))
            then(number, trainer)
            return trainer, model

        bodies = [partial(body, number) for number in range(len(callbacks))]
        device = self.trainer.strategy.root_device
        shared.lockstep = Lockstep(bodies, [device], shared.resumed)
        with _quietly() as scratch:
            outcomes = shared.lockstep.run()
            shared.end()
        for outcome in outcomes:
            if isinstance(outcome, Exception) and not isinstance(outcome, NotSharedError):
                raise outcome
        return [None if isinstance(one, BaseException) else one for one in outcomes]

    def test(self, seed: int, callbacks: Sequence["Callback"], kept: str) -> Mapping[str, Any]:
        """The metrics of `Trainer.test` with the checkpoint of a fit.

        Args:
            seed: That of the fit.
            callbacks: Those that the fit had, which may be in the checkpoint.
            kept: The file of the checkpoint.

        Raises:
            Exception: Whatever the user's code raises.
        """
        with _quietly() as scratch:
            trainer, model = self._prepared(seed, callbacks, lambda trainer: None, scratch, None)
            if trainer.precision == "64-true":
                # Lightning loads a checkpoint before that, and would round it.
                model = model.double()
            # The checkpoint is this project's own, and may have a user's objects in it.
            trainer.test(
                model, **self._test_data(), ckpt_path=kept, weights_only=False, verbose=False
            )
            return trainer.callback_metrics

    def _test_data(self) -> dict[str, Any]:
        """The keywords of `Trainer.test` that give data."""
        if self.test_dataloaders is not None:
            return {"dataloaders": copied("test_dataloaders", self.test_dataloaders)}
        datamodule = self.data.get("datamodule")
        return {} if datamodule is None else {"datamodule": copied("datamodule", datamodule)}

    def _prepared(
        self,
        seed: int,
        callbacks: Sequence["Callback"],
        adjust: Callable[["Trainer"], None],
        scratch: str,
        lr: float | None,
    ) -> "tuple[Trainer, LightningModule]":
        """A Trainer and a module for one fit, after seeding."""
        from lightning.pytorch import seed_everything

        seed_everything(seed, workers=True, verbose=False)
        model = self.model() if self.builds else copied("model", self.model)
        if lr is not None:
            self._set_rate(model, lr)
        trainer = copied("trainer", self.trainer)
        kept = [one for one in trainer.callbacks if not _is_omitted(one)]
        trainer.callbacks = [*callbacks, *kept]
        trainer.loggers = [_silent_logger(trainer)] if trainer.loggers else []
        # A callback that the module itself configures may still write checkpoints: they go here.
        trainer._default_root_dir = scratch
        adjust(trainer)
        return trainer, model

    def _set_rate(self, model: Any, lr: float) -> None:
        if self.configure is not None:
            self.configure(model, lr)
            return
        hyperparameters = getattr(model, "hparams", {})
        names = [name for name in RATES if hasattr(model, name) or name in hyperparameters]
        if not names:
            raise ConfigError(
                f"space.lr needs a rate that can be set, but {type(model).__name__} has no attribute or "
                f"hyperparameter {' or '.join(RATES)}: call save_hyperparameters() in it, or give "
                "configure=lambda module, lr: ..."
            )
        if hasattr(model, names[0]):
            setattr(model, names[0], lr)
        if names[0] in hyperparameters:
            hyperparameters[names[0]] = lr


def aside(callback: "Callback", shared: SharedData) -> "Callback":
    """A callback that takes a batch of its own, if it needs one, without the others of a lockstep."""
    if isinstance(callback, InitCallback):
        apply = callback._apply

        @functools.wraps(apply)
        def apply_aside(*args: Any, **kwargs: Any) -> None:
            with shared.steps.aside():
                apply(*args, **kwargs)

        vars(callback)["_apply"] = apply_aside
    return callback


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
    return class_for(trainer, "loggers.logger:DummyLogger")()


@contextmanager
def _quietly() -> Iterator[str]:
    """Without messages and without a trace in the environment; gives the path of a temporary folder."""
    with quiet(), _environment_kept(), TemporaryDirectory() as scratch:
        yield scratch


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
