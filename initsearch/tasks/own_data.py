"""Data of a user's own for the shipped tasks: whatever a `_target_` gives."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from initsearch.dotted import instantiated
from initsearch.errors import ConfigError, DataError
from initsearch.settings import gathered
from initsearch.tasks.data.examples import Examples, ExampleSettings, TargetKind, held_out

_OWN = ("_target_", "name", "train_size", "val_size", "arguments")
_FORMS = "(x, y), (x, y, test_x, test_y), a torch Dataset of pairs, or initsearch's Examples"


class OwnDataSettings(ExampleSettings):
    """The config group `data` with a `_target_`; what is not listed here is passed to it.

    The callable gives `(x, y)`, `(x, y, test_x, test_y)`, a torch `Dataset` of pairs of known length, or
    `Examples`. Without a test set a sixth is held out. Integers are targets of classification, one for each
    example or one for each position of it; other numbers are targets of regression.

    Attributes:
        name: What records call the data; default: the last part of `_target_`.
        target: `_target_` in the configuration: the dotted path of the callable.
        arguments: Its keyword arguments; mappings with a `_target_` are built first.
        train_size: See `ExampleSettings`.
        val_size: See `ExampleSettings`.
    """

    name: str = ""
    target: str = Field(alias="_target_")
    arguments: Mapping[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _gather_arguments(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        name = values.get("name") or str(values.get("_target_", "")).rpartition(".")[2]
        return gathered({**values, "name": name}, _OWN)

    @model_validator(mode="after")
    def _check_target(self) -> Self:
        if "." not in self.target:
            raise ConfigError(
                f"data._target_ must be the dotted path of a callable, but got {self.target!r}: write "
                "mypackage.load"
            )
        return self

    def __hash__(self) -> int:  # loaded data are kept by their settings
        return hash((self.target, repr(self.key())))

    def load(self) -> Examples:
        """What the callable gives, in memory.

        Raises:
            ConfigError: It cannot be called.
            DataError: It gives something else.
        """
        given = instantiated("data", {"_target_": self.target, **self.arguments})
        if isinstance(given, Examples):
            return given
        if isinstance(given, str):
            raise self._other("a text")
        if isinstance(given, Sequence) and len(given) in (2, 4):
            parts = [self._tensor(part) for part in given]
        elif hasattr(given, "shape"):
            raise self._other("a single array")
        elif hasattr(given, "__getitem__") and hasattr(given, "__len__"):
            pairs = [given[place] for place in range(len(given))]
            if any(not isinstance(pair, Sequence) or len(pair) != 2 for pair in pairs):
                raise self._other("examples that are no pairs")
            parts = [self._stacked([pair[side] for pair in pairs]) for side in (0, 1)]
        else:
            raise self._other(type(given).__name__)
        return self._examples(parts)

    def _other(self, got: str) -> DataError:
        return DataError(
            f"data._target_ {self.target!r} must give {_FORMS}, but gave {got}: return one of them, or set "
            "task._target_ for a task that takes it"
        )

    def _tensor(self, part: Any) -> Tensor:
        try:
            values = torch.as_tensor(part)
        except (TypeError, ValueError, RuntimeError) as error:
            raise self._other(f"{type(part).__name__} as a part") from error
        if values.ndim == 0:
            raise self._other("a single number as a part")
        return values.float() if values.is_floating_point() else values.long()

    def _stacked(self, parts: Sequence[Any]) -> Tensor:
        try:
            return self._tensor(torch.stack([torch.as_tensor(part) for part in parts]))
        except (TypeError, ValueError, RuntimeError) as error:
            raise self._other("examples that are no tensors of one shape") from error

    def _examples(self, parts: Sequence[Tensor]) -> Examples:
        x, y = parts[:2]
        if len(x) != len(y) or (len(parts[2:]) and len(parts[2]) != len(parts[3])):
            raise self._other(f"{len(x)} inputs and {len(y)} targets")
        if not y.numel():
            raise self._other("no examples")
        if y.is_floating_point():
            y = y.reshape(len(y), -1)
            kind: TargetKind = "numbers"
        else:
            kind = "class" if y.ndim == 1 else "tokens"
            if int(y.min()) < 0:
                raise self._other(f"the class {int(y.min())}, and classes begin at 0")
        if kind != "tokens" and not x.is_floating_point():
            x = x.float()
        classes_seen = 1 + max(int(part.max()) for part in (y, *parts[3:]))
        outputs = y.shape[1] if kind == "numbers" else classes_seen
        classes = tuple(map(str, range(outputs))) if kind == "class" else ()
        if len(parts) == 4:
            test_x = parts[2].to(x.dtype)
            test_y = parts[3].reshape(len(parts[3]), -1) if kind == "numbers" else parts[3]
            split = (x, y, test_x, test_y)
        else:
            split = held_out(x, y, kind, self.name, classes)
        return Examples(
            self.name,
            _digest(split),
            *split,
            kind=kind,
            outputs=outputs,
            main={"class": "accuracy", "tokens": "bits_per_token", "numbers": "mse"}[kind],
            classes=classes,
        )


def _digest(parts: Sequence[Tensor]) -> str:
    """Hexadecimal digits that stand for the types, shapes and values of tensors."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(f"{part.dtype} {tuple(part.shape)}".encode())
        digest.update(part.contiguous().numpy().data)
    return digest.hexdigest()
