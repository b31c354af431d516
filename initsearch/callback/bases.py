"""The classes of Lightning, of whichever of its two packages are installed."""

import importlib.util
import pkgutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

#: The two packages, which are copies of one another.
PACKAGES = ("lightning.pytorch", "pytorch_lightning")

if TYPE_CHECKING:
    from lightning.pytorch import Callback, Trainer

    CallbackBase = Callback
else:

    def _bases() -> tuple[type, ...]:
        """The `Callback` of every installed Lightning.

        `lightning.pytorch` and `pytorch_lightning` are two copies of one class hierarchy. The LightningCLI of
        each refuses a callback that derives from the other's class only, so this one derives from both.
        """
        found = tuple(lightning_classes("callbacks:Callback"))
        if not found:
            raise ImportError("InitCallback needs Lightning: pip install lightning")
        return found


def lightning_classes(path: str) -> Iterator[Any]:
    """A class of every installed Lightning, by its path in `lightning.pytorch` (`callbacks:Callback`)."""
    for package in PACKAGES:
        if importlib.util.find_spec(package.partition(".")[0]) is not None:
            dot = "" if path.startswith(":") else "."
            yield pkgutil.resolve_name(f"{package}{dot}{path}")


def class_for(trainer: "Trainer", path: str) -> Any:
    """A class of the Lightning whose Trainer this is or derives from, by its path in `lightning.pytorch`."""
    modules = [one.__module__ for one in type(trainer).__mro__]
    package = next(p for module in modules for p in PACKAGES if module.startswith(f"{p}."))
    return pkgutil.resolve_name(f"{package}.{path}")


def overrides(kind: type, hook: str) -> bool:
    """Whether a class has a hook of its own, not Lightning's."""
    module = getattr(getattr(kind, hook, None), "__module__", None)
    return module is not None and not module.startswith(PACKAGES)


if not TYPE_CHECKING:
    CallbackBase = type("CallbackBase", _bases(), {})
