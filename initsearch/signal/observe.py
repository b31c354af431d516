"""Watching one pass: what each layer gives, what its activation reads and makes of it, and the
gradients that come back to where it reads."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch
from torch import Tensor

from initsearch.layers import LayerCall, Observer
from initsearch.signal.flatness import Flatness, flatness
from initsearch.signal.measure import (
    Histogram,
    Units,
    by_unit,
    effective_rank,
    histogram,
    measure_units,
    norm_and_std,
    plain,
    unit_axis,
)

T = TypeVar("T")

# Attention's softmax reads scores, not a layer's output.
_ATTENTION = "attention"


@dataclass(eq=False)
class Place:
    """A tensor on the way: a layer's bare output, or what an activation reads.

    Attributes:
        units: Its numbers.
        histogram: Of its entries.
        gradient: Norm and standard deviation of the loss's gradient there; None where no gradient
            passed.
    """

    units: Units
    histogram: Histogram | None
    gradient: tuple[float, float] | None = None


@dataclass(eq=False)
class Activated:
    """What an activation read and gave.

    Attributes:
        before: The pre-activations.
        after: The activations.
        flat: None where the activation is not one number's function of one number.
        rank: The effective rank of the activations, and what it could be at most.
    """

    before: Place
    after: Units | None = None
    flat: Flatness | None = None
    rank: tuple[float, int] | None = None


@dataclass(eq=False)
class Seen:
    """What was seen of one call of a layer.

    Attributes:
        output: Its bare output, before norm and shortcut.
        rank: The effective rank of `output`, and what it could be at most.
        axis: The axis of its units, from the back.
        dimensions: How many axes it has.
        inside: Whether it brings its own activation (LSTM, GRU, RNN), so that `output` is what its
            activations gave.
        activations: By the name under which an activation was announced.
    """

    output: Place
    rank: tuple[float, int]
    axis: int
    dimensions: int
    inside: bool
    activations: dict[str, Activated] = field(default_factory=dict)

    def by_unit(self, tensor: Tensor) -> tuple[Tensor, int]:
        """The values of what became of the output, and the axis of the units in it."""
        axis = unit_axis(tensor.shape, self.output.units.units, self.axis, self.dimensions)
        return by_unit(plain(tensor), axis)


class FiniteWatch(Observer):
    """Notes the calls whose output is not finite."""

    def __init__(self) -> None:
        self.broken: list[LayerCall] = []

    def produced(self, call: LayerCall, output: Tensor) -> None:
        """See `Observer`."""
        if not bool(torch.isfinite(output.detach()).all()):
            self.broken.append(call)


class SignalWatch(FiniteWatch):
    """Measures all that a report tells of a pass; `seen` has it by call.

    A failed attempt to call the model leaves calls of its own here: look up those of the trace.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[LayerCall, Seen] = {}
        self._last: _Known[Place] | None = None
        self._copy: _Known[Tensor] | None = None

    def produced(self, call: LayerCall, output: Tensor) -> None:
        """See `Observer`."""
        if not _measurable(output):
            return
        axis = _output_axis(call.operation, output.ndim)
        values = plain(output)
        place = self._place(output, values, axis)
        if not place.units.finite:
            self.broken.append(call)
        rank = effective_rank(values, axis)
        self.seen[call] = Seen(place, rank, axis, output.ndim, inside=bool(call.uses))

    def activating(self, call: LayerCall, name: str, tensor: Tensor) -> None:
        """See `Observer`."""
        seen = self.seen.get(call)
        if seen is None or name == _ATTENTION or name in seen.activations:
            return
        if not _measurable(tensor):
            return
        seen.activations[name] = Activated(self._place(tensor, *seen.by_unit(tensor)))
        if self._copy is None or not self._copy.knows(tensor):
            # A copy, for the activation may work in place.
            self._copy = _Known(tensor, plain(tensor).clone())

    def activated(self, call: LayerCall, name: str, tensor: Tensor) -> None:
        """See `Observer`."""
        seen = self.seen.get(call)
        found = None if seen is None else seen.activations.get(name)
        if seen is None or found is None or found.after is not None or not _measurable(tensor):
            return
        values, axis = seen.by_unit(tensor)
        found.after = measure_units(values, axis)
        found.rank = effective_rank(values, axis)
        use = next((use for use in reversed(call.uses) if use.name == name), None)
        if use is None or use.function is None or self._copy is None:
            return
        if found.before.units.finite:
            found.flat = flatness(name, use.function, *seen.by_unit(self._copy.value))

    def _place(self, tensor: Tensor, values: Tensor, axis: int) -> Place:
        """The numbers of a tensor; where it is looked at twice in a row, they are taken once."""
        if self._last is not None and self._last.knows(tensor):
            return self._last.value
        place = Place(measure_units(values, axis), histogram(values))
        if tensor.requires_grad:
            tensor.register_hook(_note_gradient(place))  # type: ignore[no-untyped-call]
        self._last = _Known(tensor, place)
        return place


class _Known(Generic[T]):
    """What is known of a tensor, until it is changed in place.

    It holds the tensor, so that no other one can come to lie in the same memory.
    """

    def __init__(self, tensor: Tensor, value: T) -> None:
        self.value = value
        self._tensor = tensor
        self._version = tensor._version

    def knows(self, tensor: Tensor) -> bool:
        """Whether this is the tensor, unchanged."""
        return tensor is self._tensor and tensor._version == self._version


def _note_gradient(place: Place) -> Callable[[Tensor], None]:
    def note(gradient: Tensor) -> None:
        place.gradient = norm_and_std(plain(gradient))

    return note


def _measurable(tensor: Tensor) -> bool:
    floating = tensor.is_floating_point() or tensor.is_complex()
    return floating and tensor.layout == torch.strided and tensor.numel() > 0 and tensor.ndim > 0


def _output_axis(operation: str, dimensions: int) -> int:
    """Where the units of a layer's bare output lie, from the back: conv2d's channels at -3."""
    if operation.startswith("conv"):
        rank = int("".join(letter for letter in operation if letter.isdigit()) or 0)
        if rank < dimensions:
            return -1 - rank
    return -1
