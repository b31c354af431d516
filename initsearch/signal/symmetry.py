"""Layers whose units are identical, and stay identical in training."""

from collections.abc import Sequence

import torch
from torch import Tensor

from initsearch.layers import LayerCall, Slot, read
from initsearch.signal.passing import Pass

_KINDS = ("linear", "conv")
# Sums are rounded in an order that differs from unit to unit: differences up to this many times the type's
# precision are rounding.
_ROUNDING = 1e3
_MOST_ROUNDING = 0.02  # for half-precision types
# Gradients that cancel, such as those before a constant head, leave noise on the scale of the summands:
# differences up to this many times the type's precision, relative to the model's largest gradient, are noise.
_NOISE = 1e2


def identical_unit_layers(done: Pass) -> list[tuple[LayerCall, int]]:
    """The hidden layers whose units stay identical, with their numbers of units.

    For the conditions see `initsearch.signal.exact_checks`.
    """
    return [
        (call, units)
        for call in done.trace.calls
        if (units := _equal_incoming(done, call))
        and _equal_outgoing(done, call, units)
        and _is_only_path(done.trace.calls, call)
    ]


def _equal_incoming(done: Pass, call: LayerCall) -> int:
    """The number of a layer's units if all are equal in weights, bias and gradients; else 0."""
    weights = done.slots_of(call, "weight")
    if call.is_output or len(weights) != 1 or len(done.trace.of(call.weight)) > 1:
        return 0
    rows = _rows(done, weights[0])
    if rows is None or len(rows[0]) < 2:
        return 0
    parts = [*rows]
    for slot in done.slots_of(call, "bias"):
        gradient = _gradient(done, slot)
        if gradient is None:
            return 0
        parts += [read(done.model, slot), gradient]
    values, gradients = parts[::2], parts[1::2]
    if not all(_equal_rows(value) for value in values):
        return 0
    noise = _noise(done)
    return len(rows[0]) if all(_close_rows(gradient, noise) for gradient in gradients) else 0


def _equal_outgoing(done: Pass, call: LayerCall, units: int) -> bool:
    """Whether the layers that read a layer have equal weights and gradients for all its units."""
    readers = [reader for reader in done.trace.calls if call.index in reader.sources]
    moved = False
    for reader in readers:
        slots = done.slots_of(reader, "weight")
        pair = _rows(done, slots[0]) if len(slots) == 1 else None
        if pair is None or pair[0].shape[1] % units:
            return False
        # (out, inputs, *kernel) -> (units, all weights on that unit): in a flattened feature map each unit
        # has several consecutive inputs.
        value, gradient = (
            part.reshape(len(part), units, -1).movedim(1, 0).reshape(units, -1) for part in pair
        )
        if not (_equal_rows(value) and _close_rows(gradient, _noise(done))):
            return False
        moved = moved or bool(gradient.count_nonzero())
    # If all these gradients are zero, the units may still become different later.
    return bool(readers) and moved


def _is_only_path(calls: Sequence[LayerCall], call: LayerCall) -> bool:
    """Whether every path from the input to the output passes through a layer."""
    reached: set[int] = set()
    for other in calls:
        start = other.reads_input and not other.sources
        if other is not call and (start or other.sources & reached):
            reached.add(other.index)
    heads = {other.index for other in calls if other.is_output}
    return bool(heads) and not heads & reached


def _rows(done: Pass, slot: Slot) -> tuple[Tensor, Tensor] | None:
    """A weight and its gradient as (out, in, *kernel); None for kinds that are not checked."""
    gradient = _gradient(done, slot)
    if gradient is None or not slot.kind.startswith(_KINDS) or len(slot.parts) != 1:
        return None
    view = slot.parts[0].view
    value = view(read(done.model, slot))
    return (value, view(gradient)) if value.ndim > 1 else None


def _gradient(done: Pass, slot: Slot) -> Tensor | None:
    """The gradient of a parameter that is trained and not parametrized."""
    plain = slot.stored_as == (slot.name,)
    (gradient, *_) = done.gradients[slot.name]
    return gradient if plain else None


def _equal_rows(values: Tensor) -> bool:
    return torch.equal(values, values[:1].expand_as(values))


def _close_rows(values: Tensor, noise: float) -> bool:
    """Whether all rows are equal, up to noise and up to rounding relative to the largest entry."""
    tolerance = min(_ROUNDING * torch.finfo(values.dtype).eps, _MOST_ROUNDING)
    allowed = max(tolerance * float(values.abs().max()), noise)
    return float((values - values[:1]).abs().max()) <= allowed


def _noise(done: Pass) -> float:
    """The size of the rounding errors in gradients that cancel."""
    largest = 0.0
    for gradients in done.gradients.values():
        for gradient in gradients:
            if gradient is not None and gradient.numel():
                eps = torch.finfo(gradient.dtype).eps
                largest = max(largest, eps * float(gradient.abs().max()))
    return _NOISE * largest
