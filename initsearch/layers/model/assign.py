"""Read and write a parameter by its slot, plain or parametrized."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from initsearch.errors import ModelError
from initsearch.layers.model.absent import is_sharded
from initsearch.layers.model.deliberate import FILLED
from initsearch.layers.model.slots import Slot
from initsearch.layers.model.stored import Stored, plain_parameter, stored_parameters
from initsearch.layers.model.walk import submodule

#: Fills a view in place: (view, fan_in, fan_out, number of the part).
Fill = Callable[[Tensor, float, float, int], object]


def read(model: nn.Module, slot: Slot) -> Tensor:
    """The value that the model computes with, detached. For a plain parameter it is not a copy.

    Args:
        model: The model that was described, wrapped (`torch.compile`, `DataParallel`) or not.
        slot: One of its slots.

    Raises:
        ModelError: The model has no such parameter.
    """
    return _stored(model, slot).read()


def assign_(model: nn.Module, slot: Slot, fill: Fill) -> None:
    """Fill a parameter in place, part by part, without recording gradients.

    A parametrized weight is filled as a separate tensor and set through its parametrization. The
    module then computes with what the parametrization makes of it (spectral_norm divides it by its
    largest singular value). The row of an embedding's `padding_idx` is zero afterwards; if the
    embedding is tied, so are the rows of all its names.

    Args:
        model: The model that was described, wrapped or not.
        slot: One of its slots.
        fill: Called as `fill(view, fan_in, fan_out, number)` for each part in order. The view of a
            weight has shape (out, in, *kernel).

    Raises:
        ModelError: The model has no such parameter, or its parametrization cannot be set to these
            values.
    """
    stored = _stored(model, slot)
    with torch.no_grad():
        plain = stored.by == "plain" and not is_sharded(stored.originals[0][1])
        value = stored.originals[0][1] if plain else stored.read()
        if not plain and not is_sharded(stored.originals[0][1]):
            value = value.clone()  # what was gathered is a copy
        for number, part in enumerate(slot.parts):
            view = part.view(value)
            fill(view, part.fan_in, part.fan_out, number)
            part.store(value, view)
        for each in (slot, *slot.aliases):
            padding = padding_row(model, each)
            if padding is not None:
                value[padding].zero_()
    if not plain:
        stored.write(slot.name, value)


def backup(model: nn.Module, slot: Slot) -> Callable[[], None]:
    """A function that gives a parameter back the values that it has now, if `assign_` fails half-way.

    Only what is filled in place needs that: a parameter of one part is refused before anything is written, and
    a sharded one is written after it was filled.
    """
    stored = _stored(model, slot)
    if len(slot.parts) < 2 or is_sharded(stored.originals[0][1]):
        return lambda: None
    now = stored.read()
    before = now.clone()

    def restore() -> None:
        now.copy_(before)

    return restore


def padding_row(model: nn.Module, slot: Slot) -> int | None:
    """The index of an embedding's padding row; None if it has none, and for other parameters."""
    if slot.kind != "embedding":
        return None
    row: int | None = getattr(submodule(model, slot.module_name), "padding_idx", None)
    return row


def mark_filled(model: nn.Module, slot: Slot) -> None:
    """Let a parameter be known as filled by a plan: its values are then not the model's own choice."""
    for _, original in _stored(model, slot).originals:
        # The count of writes tells whether something has changed the values since.
        setattr(original, FILLED, 0 if original.is_inference() else original._version)


def _stored(model: nn.Module, slot: Slot) -> Stored:
    attribute = slot.name.rpartition(".")[2]
    module = submodule(model, slot.module_name)
    if (stored := plain_parameter(module, attribute)) is not None:
        return stored
    for stored in stored_parameters(module):
        if stored.attribute == attribute:
            return stored
    raise ModelError(
        f"{type(model).__name__} must be the model that was described, but has no parameter "
        f"{slot.name!r}"
    )
