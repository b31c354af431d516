"""The training step of a LightningModule, run outside of training.

Many LightningModules run in `forward` only what prediction needs, or nothing: a decoder, a discriminator or the
loss is in `training_step` alone. Here it runs without a trainer's loop: what it logs is dropped, its optimizers
do nothing, and its losses are not differentiated. Lightning itself is not needed; a module is known by its
class's name.
"""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

from initsearch.layers.trace.inputs import Call

_PACKAGES = ("lightning.", "pytorch_lightning.")


def is_lightning(module: nn.Module) -> bool:
    """Whether a module is a LightningModule."""
    return any(
        kind.__name__ == "LightningModule" and kind.__module__.startswith(_PACKAGES)
        for kind in type(module).__mro__
    )


def has_training_step(module: nn.Module) -> bool:
    """Whether a module is a LightningModule with a training step of its own."""
    step = getattr(type(module), "training_step", None)
    own = step is not None and not str(step.__module__).startswith(_PACKAGES)
    return own and is_lightning(module)


def quiet(module: nn.Module) -> list[Any]:
    """Take a LightningModule off its trainer: until its attributes are restored, it neither logs nor steps.

    Returns:
        A list that receives the losses that it would differentiate.
    """
    losses: list[Any] = []
    if not is_lightning(module):
        return losses
    held = vars(module)
    for name in ("log", "log_dict", "toggle_optimizer", "untoggle_optimizer", "clip_gradients"):
        held[name] = _nothing
    held["manual_backward"] = lambda loss, *args, **kwargs: losses.append(loss)
    held["optimizers"] = lambda *args, **kwargs: _idle_optimizers(module)
    held["lr_schedulers"] = lambda *args, **kwargs: Idle()
    held["_trainer"] = _WithoutLogger(held.get("_trainer") or _NoTrainer())
    return losses


def step_call(module: nn.Module, batch: Any) -> Call:
    """The arguments of a training step: the batch, and zero for its index if the step takes that."""
    step: Any = module.training_step
    kinds = [parameter.kind for parameter in inspect.signature(step).parameters.values()]
    positional = sum(
        kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        for kind in kinds
    )
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        positional = max(positional, 2)
    return Call((batch, *(0,) * (positional - 1)))


class Idle:
    """An object that has every attribute and does nothing, but for functions that it is given to run."""

    def __getattr__(self, name: str) -> "Idle":
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> "Idle":
        """Run the functions given, such as the closure of an optimizer's step."""
        for each in (*args, *kwargs.values()):
            if inspect.isfunction(each):
                each()
        return self

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __enter__(self) -> "Idle":
        return self

    def __exit__(self, *exception: object) -> None:
        return None


class _NoTrainer:
    """What a module reads of its trainer that has none, at the start of training."""

    current_epoch = global_step = global_rank = local_rank = 0
    is_global_zero = True
    world_size = 1


class _WithoutLogger:
    """A trainer whose loggers do nothing."""

    def __init__(self, trainer: Any) -> None:
        self._held = trainer
        self.logger = Idle()
        self.loggers: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._held, name)


def _nothing(*args: Any, **kwargs: Any) -> None:
    """In place of a method that acts on training."""


def _idle_optimizers(module: nn.Module) -> Any:
    """As many idle optimizers as the module configures: one by itself, several as a list."""
    configure: Callable[[], Any] = module.configure_optimizers  # type: ignore[assignment]
    made = configure()
    if isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], list):
        made = made[0]  # optimizers and schedulers
    number = len(made) if isinstance(made, list | tuple) else 1
    return Idle() if number == 1 else [Idle() for _ in range(number)]
