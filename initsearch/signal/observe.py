"""Observing one pass: each layer's output, its activation's input and output, and the gradients there."""

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
class TensorSignal:
    """What was measured of one tensor: a layer's own output, or the input of an activation.

    Attributes:
        units: The moments of its units.
        histogram: Of its entries.
        gradient: Norm and standard deviation of the loss's gradient with respect to it; None if no gradient
            passed.
    """

    units: Units
    histogram: Histogram | None
    gradient: tuple[float, float] | None = None


@dataclass(eq=False)
class Activated:
    """The input and output of an activation.

    Attributes:
        before: The pre-activations.
        after: The activations.
        flat: How flat the activation is there; None if it does not work entry by entry.
        rank: The effective rank of the activations, and its largest possible value.
    """

    before: TensorSignal
    after: Units | None = None
    flat: Flatness | None = None
    rank: tuple[float, int] | None = None


@dataclass(eq=False)
class Seen:
    """What was observed of one call of a layer.

    Attributes:
        output: Its own output, before norm and shortcut.
        rank: The effective rank of `output`, and its largest possible value.
        axis: The axis of its units, from the back.
        dimensions: The number of axes.
        inside: Whether it has an activation of its own (LSTM, GRU, RNN), whose output is then `output`.
        activations: The activations that follow, by the name that the trace gives them.
    """

    output: TensorSignal
    rank: tuple[float, int]
    axis: int
    dimensions: int
    inside: bool
    activations: dict[str, Activated] = field(default_factory=dict)

    def by_unit(self, tensor: Tensor) -> tuple[Tensor, int]:
        """The values of a tensor that was computed from the output, and the axis of its units."""
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
    """Measures everything that a report shows of a pass; `seen` has it by call.

    `seen` may also have calls of a failed attempt to run the model: look up only those of the trace.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[LayerCall, Seen] = {}
        self._last: _Known[TensorSignal] | None = None
        self._copy: _Known[Tensor] | None = None

    def produced(self, call: LayerCall, output: Tensor) -> None:
        """See `Observer`."""
        if not _measurable(output):
            return
        axis = _output_axis(call.operation, output.ndim)
        values = plain(output)
        signal = self._measured(output, values, axis)
        if not signal.units.finite:
            self.broken.append(call)
        rank = effective_rank(values, axis)
        self.seen[call] = Seen(signal, rank, axis, output.ndim, inside=bool(call.uses))

    def activating(self, call: LayerCall, name: str, tensor: Tensor) -> None:
        """See `Observer`."""
        seen = self.seen.get(call)
        if seen is None or name == _ATTENTION or name in seen.activations:
            return
        if not _measurable(tensor):
            return
        seen.activations[name] = Activated(self._measured(tensor, *seen.by_unit(tensor)))
        if self._copy is None or not self._copy.knows(tensor):
            # A copy, since the activation may work in place.
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

    def _measured(self, tensor: Tensor, values: Tensor, axis: int) -> TensorSignal:
        """The measurements of a tensor; not repeated if it is the same tensor as before."""
        if self._last is not None and self._last.knows(tensor):
            return self._last.value
        signal = TensorSignal(measure_units(values, axis), histogram(values))
        if tensor.requires_grad:
            tensor.register_hook(_note_gradient(signal))  # type: ignore[no-untyped-call]
        self._last = _Known(tensor, signal)
        return signal


class _Known(Generic[T]):
    """A value computed from a tensor, valid until the tensor is changed in place.

    It holds the tensor: no other tensor can reuse its memory.
    """

    def __init__(self, tensor: Tensor, value: T) -> None:
        self.value = value
        self._tensor = tensor
        self._version = tensor._version

    def knows(self, tensor: Tensor) -> bool:
        """Whether this is the tensor, unchanged."""
        return tensor is self._tensor and tensor._version == self._version


def _note_gradient(signal: TensorSignal) -> Callable[[Tensor], None]:
    def note(gradient: Tensor) -> None:
        signal.gradient = norm_and_std(plain(gradient))

    return note


def _measurable(tensor: Tensor) -> bool:
    floating = tensor.is_floating_point() or tensor.is_complex()
    return floating and tensor.layout == torch.strided and tensor.numel() > 0 and tensor.ndim > 0


def _output_axis(operation: str, dimensions: int) -> int:
    """The axis of the units in a layer's own output, from the back: -3 for conv2d's channels."""
    if operation.startswith("conv"):
        rank = int("".join(letter for letter in operation if letter.isdigit()) or 0)
        if rank < dimensions:
            return -1 - rank
    return -1
