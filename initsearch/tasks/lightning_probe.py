"""A short fit of a user's own module: what it logs, how long its epochs are, and what is wrong with it."""

import math
import re
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.parameter import is_lazy

from initsearch.callback import CallbackBase
from initsearch.callback.bases import overrides
from initsearch.errors import (
    ConfigError,
    DataError,
    InitSearchError,
    ModelError,
    quoted,
    shortened,
    unknown_name,
)
from initsearch.layers import Slot, describe
from initsearch.random_state import isolated_random_state
from initsearch.tasks.lightning_fit import UsersFit, is_one_of

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

#: Batches of the short fit, from the training and from the validation data.
BATCHES = 2
#: What a test logs for what a validation logs: `test/acc` for `val/acc`.
TEST_FOR_VALIDATION = re.compile(r"(?<![a-zA-Z])(validation|valid|val)(?![a-zA-Z])")
#: Lightning's stand-in for a module without optimizers.
MOCK = "_MockOptimizer"


@dataclass(frozen=True)
class Probed:
    """What a short fit showed.

    Attributes:
        name: The name of the module's class.
        dataset: What records call the data: the name of the class that gives them.
        epochs: Epochs of the user's whole fit, at least 1.
        slots: The parameters that a plan can fill.
        notes: What the user should know, a line each.
    """

    name: str
    dataset: str
    epochs: int
    slots: tuple[Slot, ...]
    notes: tuple[str, ...] = ()


class _Watch(CallbackBase):
    """Watches a fit for what it should do at every step.

    Attributes:
        backward: Whether there was a backward pass.
        optimizers: The names of the optimizers' classes.
        rates: The learning rate of each parameter group, as the fit starts.
    """

    def __init__(self) -> None:
        super().__init__()
        self.backward = False
        self.optimizers: set[str] = set()
        self.rates: list[float] = []

    def on_train_start(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Note the optimizers."""
        self.optimizers = {type(optimizer).__name__ for optimizer in trainer.optimizers}
        groups = [group for one in trainer.optimizers for group in one.param_groups]
        self.rates = [float(group["lr"]) for group in groups if "lr" in group]

    def on_after_backward(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Note the backward pass."""
        self.backward = True


def probe(users: UsersFit, metric: str) -> Probed:
    """Train for two batches and validate on two; all that can be known to be wrong is reported here.

    The global random state is left as it was.

    Args:
        users: What the user passes to `fit`.
        metric: What candidates are compared by: a name that the module logs.

    Raises:
        ConfigError: The metric is not logged, or the Trainer cannot be used for a search.
        DataError: There are no validation data.
        ModelError: The module cannot be trained.
    """
    _check_trainer(users.trainer)
    watch = _Watch()
    with isolated_random_state(seed=0, devices=[users.trainer.strategy.root_device]):
        try:
            trainer, model = users.run(0, [watch], shortened_fit)
        except InitSearchError:
            raise
        except Exception as error:
            raise ModelError(
                f"{_name(users)} cannot be trained by the Trainer: {described(error)}: "
                "make Trainer(fast_dev_run=True).fit work first"
            ) from error
        _check_validation(trainer)
        _check_steps(watch, model)
        if metric not in trainer.callback_metrics:
            raise unknown_name(
                "metric, which must be one that is logged,", metric, trainer.callback_metrics
            )
        slots = tuple(describe(model.to("cpu")))  # as `InitCallback` sees them
    return Probed(
        name=type(model).__name__,
        dataset=_dataset(trainer, model),
        epochs=_epochs(users.trainer, trainer),
        slots=slots,
        notes=(*_notes(trainer.callback_metrics, metric), *_fixed_weights(users)),
    )


def _notes(metrics: Mapping[str, Any], metric: str) -> Iterator[str]:
    """That the metric is no number, which is no error: another plan may make it one."""
    value = float(metrics[metric])
    if not math.isfinite(value):
        yield (
            f"{metric} is {value} after {BATCHES} batches with the weights that the module has now: candidates "
            "for which it stays so have diverged"
        )


def _fixed_weights(users: UsersFit) -> Iterator[str]:
    """That a function builds the same weights again and again, from a file or a seed of its own."""
    if not users.builds:
        return
    built = []
    for seed in (0, 1):
        with isolated_random_state(seed=seed, devices=[users.trainer.strategy.root_device]):
            built.append(users.model())
    matrices = [[p for p in one.parameters() if p.ndim > 1 and not is_lazy(p)] for one in built]
    pairs = list(zip(*matrices, strict=False))
    if pairs and all(torch.equal(one, other) for one, other in pairs):
        yield (
            f"{type(built[0]).__name__} has the same weights on every seed (from a file, or by a seed of its "
            "own): plans replace what they match, all else is the same in all seeds"
        )


def check_rates(users: UsersFit, rates: Sequence[float]) -> None:
    """Check that a learning rate reaches the optimizers, by short fits with two of them.

    Args:
        users: What the user passes to `fit`.
        rates: Those of the space, at least one.

    Raises:
        ConfigError: It cannot be set, or the optimizers have the same rate with both.
    """
    tried = (rates[0], rates[-1] if rates[-1] != rates[0] else 2 * rates[0])
    seen = []
    with isolated_random_state(seed=0, devices=[users.trainer.strategy.root_device]):
        for lr in tried:
            watch = _Watch()
            users.run(0, [watch], shortened_fit, lr=lr)
            seen.append(watch.rates)
    if seen[0] == seen[1]:
        raise ConfigError(
            f"space.lr must reach the optimizer, but {_name(users)} has the same rate with lr={tried[0]:g} and "
            f"lr={tried[1]:g}: read self.lr or self.hparams.lr in configure_optimizers, or give configure="
        )


def name_in_test(users: UsersFit, metric: str, asked: str | None) -> str | None:
    """What the module logs for the test set; None if it has no test step or no test data.

    Args:
        users: What the user passes to `fit` and `test`.
        metric: What it logs in validation.
        asked: The name as the user gives it; None: that of `metric`, with `test` for `val`.

    Raises:
        ConfigError: A name is given, but there is no test.
    """
    holders = [type(users.data.get("datamodule")), type(users.model)]
    if users.builds and isinstance(users.model, type):
        holders[1] = users.model
    given = users.test_dataloaders is not None or any(
        overrides(one, "test_dataloader") for one in holders
    )
    unknown = users.builds and not isinstance(users.model, type)  # what a function builds
    if given and (unknown or overrides(holders[1], "test_step")):
        return asked or TEST_FOR_VALIDATION.sub("test", metric)
    if asked is not None:
        raise ConfigError(
            f"test_metric={quoted(asked)} needs a test set: define test_step(), and give test_dataloaders or "
            "define test_dataloader()"
        )
    return None


def described(error: Exception) -> str:
    """An error of a user's code in one line, with the place that raised it."""
    reason = shortened((str(error).strip().splitlines() or [""])[0])
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {reason} ({Path(place.filename).name}, line {place.lineno})"


def shortened_fit(trainer: "Trainer", epochs: int = 1) -> None:
    """Two batches of everything in each epoch, whatever the Trainer was set to."""
    trainer.fit_loop.max_epochs = epochs
    trainer.fit_loop.min_epochs = 0
    trainer.fit_loop.epoch_loop.max_steps = -1
    trainer.fit_loop.epoch_loop.min_steps = None
    trainer.limit_train_batches = min(BATCHES, trainer.limit_train_batches)
    trainer.limit_val_batches = min(BATCHES, trainer.limit_val_batches)
    trainer.num_sanity_val_steps = 0
    trainer.val_check_interval = 1.0
    trainer.check_val_every_n_epoch = 1


def _check_trainer(trainer: Any) -> None:
    if trainer.world_size > 1:
        raise ConfigError(
            f"trainer must use one device, but has {trainer.world_size}: give Trainer(devices=1)"
        )
    if trainer.max_epochs == -1 and trainer.max_steps == -1:
        raise ConfigError(
            "trainer must end: give Trainer(max_epochs=...) or Trainer(max_steps=...)"
        )
    if any(is_one_of(one, {"InitCallback"}) for one in trainer.callbacks):
        raise ConfigError(
            "trainer must have no InitCallback, since each candidate brings its own: remove it, and give its "
            "plan as baselines={'mine': PLAN}"
        )
    if trainer.global_step > 0:
        raise ConfigError("trainer must be a new one, but has trained already: create another")


def _check_validation(trainer: "Trainer") -> None:
    if trainer.val_dataloaders is None or sum(trainer.num_val_batches) == 0:
        raise DataError(
            "there must be validation data, by which candidates are compared, but there are none: give "
            "val_dataloaders, or define val_dataloader() and validation_step()"
        )


def _check_steps(watch: _Watch, model: "LightningModule") -> None:
    name = type(model).__name__
    if not watch.optimizers - {MOCK}:
        raise ModelError(
            f"{name} must have an optimizer, but has none: return one from configure_optimizers"
        )
    if model.automatic_optimization and not watch.backward:
        raise ModelError(
            f"{name} must have a loss, but training_step returned none in {BATCHES} batches: "
            "return the loss from training_step"
        )


def _epochs(users: "Trainer", short: "Trainer") -> int:
    """Epochs of the user's whole fit, the last of which may be cut by `max_steps`."""
    most = users.max_epochs if users.max_epochs is not None and users.max_epochs > 0 else math.inf
    if users.max_steps != -1:
        most = min(most, math.ceil(users.max_steps / _steps_per_epoch(users, short)))
    return max(1, int(most))


def _steps_per_epoch(users: "Trainer", short: "Trainer") -> int:
    """Optimizer steps of one of the user's epochs."""
    limit = users.limit_train_batches
    try:
        batches = len(short.train_dataloader or ())
    except TypeError as error:  # data without a length
        if not isinstance(limit, int):
            raise ConfigError(
                "trainer must have epochs of a known length, but the training data have no length: give "
                "Trainer(limit_train_batches=NUMBER)"
            ) from error
        batches = limit
    batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    return max(1, math.ceil(batches / users.accumulate_grad_batches))


def _dataset(trainer: "Trainer", model: "LightningModule") -> str:
    """The datamodule's class, else that of the training loader's data set, else the module's."""
    if (datamodule := getattr(trainer, "datamodule", None)) is not None:
        return type(datamodule).__name__
    data = getattr(trainer.train_dataloader, "dataset", None)
    return type(model if data is None else data).__name__


def _name(users: UsersFit) -> str:
    return "the module" if users.builds else type(users.model).__name__
