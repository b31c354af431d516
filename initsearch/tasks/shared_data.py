"""`SharedData`: the data of one fit for several fits in lockstep, loaded and augmented once for all of them."""

import copy
import functools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from initsearch.callback.bases import overrides
from initsearch.callback.batches import combined_loader
from initsearch.tasks.lockstep import Lockstep

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

#: Hooks that make loaders, with the way in which Lightning combines several: one for training, one else.
LOADERS = {"train_dataloader": "max_size_cycle", "val_dataloader": "sequential"}
#: Hooks of a datamodule that run once for all fits.
PREPARING = ("prepare_data", "setup")
#: Hooks of a datamodule that end a fit: they run once, after the last one.
ENDING = ("teardown", "on_exception")


class SharedData:
    """The data of a cohort: one copy, which the fits use in turns.

    Attributes:
        lockstep: The fits; set before they start.
        keywords: The data as given, of which this object is in charge.
    """

    def __init__(self, keywords: Mapping[str, Any]) -> None:
        self.keywords = {name: value for name, value in keywords.items() if value is not None}
        self.lockstep: Lockstep[Any] | None = None
        self._trainers: dict[int, Trainer] = {}
        self._loaders: dict[int, _Loader] = {}
        self._own: dict[int, int] = {}
        self._slots: list[Any] = []
        self._datamodule = self.keywords.get("datamodule")
        self._teardown = getattr(self._datamodule, "teardown", None)
        if self._datamodule is not None:
            self._share_hooks(self._datamodule)

    @property
    def steps(self) -> Lockstep[Any]:
        """The fits in lockstep."""
        if self.lockstep is None:
            raise RuntimeError("shared data have no fits yet")
        return self.lockstep

    def resumed(self, member: int) -> None:
        """A fit has got its turn: the datamodule refers to its Trainer."""
        if self._datamodule is not None and member in self._trainers:
            self._datamodule.trainer = self._trainers[member]

    def keywords_for(self, trainer: "Trainer", model: "LightningModule") -> dict[str, Any]:
        """The keywords of a fit's `Trainer.fit`; loaders that its module makes are shared, too.

        Args:
            trainer: The Trainer of the fit that calls.
            model: Its module.
        """
        self._trainers[self.steps.member] = trainer
        for name, mode in LOADERS.items():
            if _overrides(model, name):
                made = getattr(model, name)
                vars(model)[name] = self._hook(
                    made, functools.partial(self._of_module, trainer, mode)
                )
        if self._datamodule is not None:
            return self.keywords
        modes = {f"{name}s": mode for name, mode in LOADERS.items()}
        return {
            key: self._combined(trainer, value, modes[key]) for key, value in self.keywords.items()
        }

    def end(self) -> None:
        """All fits have ended."""
        if self._teardown is not None:
            self._teardown("fit")

    def _share_hooks(self, datamodule: Any) -> None:
        for name in PREPARING:
            setattr(datamodule, name, self._once(name, getattr(datamodule, name)))
        for name, mode in LOADERS.items():
            if _overrides(datamodule, name):
                once = self._once(name, getattr(datamodule, name))
                setattr(
                    datamodule, name, self._hook(once, functools.partial(self._of_datamodule, mode))
                )
        for name in ENDING:
            setattr(datamodule, name, functools.wraps(getattr(datamodule, name))(_nothing))

    def _once(self, name: str, hook: Any) -> Any:
        @functools.wraps(hook)
        def shared(*args: Any, **kwargs: Any) -> Any:
            return self.steps.share(name, functools.partial(hook, *args, **kwargs))

        return shared

    def _hook(self, hook: Any, changed: Any) -> Any:
        @functools.wraps(hook)
        def with_shared_loaders(*args: Any, **kwargs: Any) -> Any:
            made = hook(*args, **kwargs)
            return made if self.steps.is_aside else changed(made)

        return with_shared_loaders

    def _of_datamodule(self, mode: str, made: Any) -> Any:
        return self._combined(self._trainers[self.steps.member], made, mode)

    def _of_module(self, trainer: "Trainer", mode: str, made: Any) -> Any:
        """Each module makes loaders of its own; those of the first are used."""
        member = self.steps.member
        slot = self._own.get(member, 0)
        self._own[member] = slot + 1
        if slot == len(self._slots):
            self._slots.append(made)
        return self._combined(trainer, self._slots[slot], mode)

    def _combined(self, trainer: "Trainer", loaders: Any, mode: str) -> Any:
        """What Lightning makes of loaders, a new one for each fit, over shared ones."""
        combined = combined_loader(trainer, loaders, mode)
        combined.flattened = [self._shared(loader) for loader in combined.flattened]
        return combined

    def _shared(self, loader: Any) -> "_Loader":
        if type(loader) is _Loader:
            return loader
        return self._loaders.setdefault(id(loader), _Loader(loader, self))


class _Loader:
    """A loader whose batches are drawn once for all fits; all else is that of the user's loader."""

    def __init__(self, loader: Any, data: SharedData) -> None:
        vars(self).update(_loader=loader, _data=data)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        # Lightning treats torch's DataLoader in its own way.
        return type(self._loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._loader, name, value)

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        steps = self._data.steps
        begun = steps.share(("a new pass over", id(self)), lambda: iter(self._loader))
        return begun if steps.is_aside else _Batches(begun, steps)


class _Batches:
    """One pass over a loader, for one fit. Each fit has copies of the batches, since it may change them."""

    def __init__(self, batches: Iterator[Any], steps: Lockstep[Any]) -> None:
        self._batches = batches
        self._steps = steps

    def __iter__(self) -> "_Batches":
        return self

    def __next__(self) -> Any:
        batch = self._steps.share(("a batch of", id(self._batches)), lambda: next(self._batches))
        return copy.deepcopy(batch) if self._steps.remaining() else batch


def _overrides(holder: Any, name: str) -> bool:
    """Whether a module or datamodule has a hook of its own."""
    return name in vars(holder) or overrides(type(holder), name)


def _nothing(*args: Any, **kwargs: Any) -> None:
    """Where the last fit to end does the work."""
