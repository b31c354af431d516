"""What is identified one by one: a parameter, or a named part of it."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from initsearch.audit.fit import Array, Sums, entries_of, resolution_of, sums_of, thinned
from initsearch.audit.structure import structure_of
from initsearch.initializers import Initializer, compute_fans
from initsearch.initializers.distribution import Distribution
from initsearch.layers import Slot, read
from initsearch.layers.model.assign import padding_row

# An index in a name: of a block (`layers.3`, `encoder_layer_3`), or of a layer in an `nn.Sequential`.
_NUMBER = re.compile(r"(?:(?<=[._])|^)\d+(?=\.|$)")
#: A name up to its first index.
BLOCK = re.compile(r"(?:.*?[._])?\d+(?=\.|$)")
# The index of a layer in a Sequential that is inside a block: it is a place, and not one of several blocks.
_PLACE = re.compile(r"(?<=\.)\d+\.\w+$")


@dataclass(frozen=True, eq=False)
class Unit:
    """A parameter or a part of it.

    Attributes:
        slot: The parameter.
        part: The part's label; empty for the whole parameter.
        sums: Of its entries, without those of a padding row.
        values: These entries, or evenly spaced ones if there are many.
        view: The same as a tensor, of shape (out, in, *kernel) for weights.
        fans: (fan_in, fan_out) as the module has them.
        shape_fans: The same as the bare shape of the parameter gives them, which `torch.nn.init` uses.
        default: What the framework draws it from, if that is known.
        structure: The initializer that its structure shows; None if entries look drawn one by one.
        sibling: The same for the same weight of each block: its name without indices, its kind, and
            whether it is the head.
        block: The first number in its name: the index of its block.
        blocks: How many parameters differ from it in that number only, itself included.
        resolution: The relative rounding of its type.
    """

    slot: Slot
    part: str
    sums: Sums
    values: Array
    view: Tensor
    fans: tuple[float, float]
    shape_fans: tuple[float, float]
    default: Distribution | None
    structure: Initializer | None
    sibling: tuple[str, str, bool]
    block: int
    blocks: int
    resolution: float

    @property
    def name(self) -> str:
        """The parameter's name, with the part in brackets."""
        return f"{self.slot.name}[{self.part}]" if self.part else self.slot.name

    @property
    def group(self) -> tuple[str, str]:
        """Parameters of one group are likely to have one rule."""
        return self.slot.category, self.slot.kind


def units_of(model: nn.Module, slots: Sequence[Slot]) -> list[Unit]:
    """The units of all real parameters with entries, in the order of the slots."""
    blocks: dict[str, set[str]] = defaultdict(set)
    for slot in slots:
        pattern, index = _first_number(slot.name)
        blocks[pattern].add(index)
    return [
        unit
        for slot in slots
        if slot.shape.count(0) == 0 and not slot.dtype.is_complex and slot.dtype.is_floating_point
        for unit in _of(model, slot, len(blocks[_first_number(slot.name)[0]]))
    ]


def split_padding(model: nn.Module, slot: Slot, value: Tensor) -> tuple[Tensor, Tensor | None]:
    """An embedding's rows without that of its `padding_idx`, and that row; None if it has no such row."""
    padding = padding_row(model, slot)
    if padding is None:
        return value, None
    return torch.cat([value[:padding], value[padding + 1 :]]), value[padding]


def without_numbers(name: str) -> str:
    """A name with `*` in place of each index."""
    return _NUMBER.sub("*", name)


def _sibling(name: str) -> str:
    """A name without the indices of blocks."""
    place = _PLACE.search(name)
    if place is None or not _NUMBER.search(name[: place.start()]):
        return without_numbers(name)
    return without_numbers(name[: place.start() - 1]) + name[place.start() - 1 :]


def _first_number(name: str) -> tuple[str, str]:
    """A name with `*` for its first index, and that index."""
    found = _NUMBER.search(name)
    if found is None:
        return name, ""
    return f"{name[: found.start()]}*{name[found.end() :]}", found[0]


def _of(model: nn.Module, slot: Slot, blocks: int) -> list[Unit]:
    value = read(model, slot)
    rows, padding = split_padding(model, slot, value)
    if padding is not None and not bool(padding.count_nonzero()):
        value = rows
    labelled = len(slot.parts) > 1 and all(part.label for part in slot.parts)
    whole = structure_of(value) if len(slot.parts) > 1 else None
    first = slot.parts[0]

    def unit(
        part: str, view: Tensor, fans: tuple[float, float], structure: Initializer | None
    ) -> Unit:
        law = slot.torch_default.drawn_from(*fans) if slot.torch_default else None
        return Unit(
            slot=slot,
            part=part,
            sums=sums_of(view),
            values=entries_of(thinned(view)),
            view=view,
            fans=fans,
            shape_fans=compute_fans(slot.shape),
            default=law,
            structure=structure,
            sibling=(_sibling(slot.name) + part, slot.kind, slot.role == "head"),
            block=int(_first_number(slot.name)[1] or 0),
            blocks=blocks,
            resolution=resolution_of(value),
        )

    if len(slot.parts) == 1:
        view = first.view(value) if slot.category == "weight" or first.transposed else value
        view = view * first.gain if first.gain != 1.0 else view
        return [unit("", view, (first.fan_in, first.fan_out), structure_of(view))]
    if whole is not None or not labelled:
        structures = {structure_of(part.view(value) * part.gain) for part in slot.parts}
        shared = structures.pop() if len(structures) == 1 else None
        return [unit("", value * first.gain, (first.fan_in, first.fan_out), whole or shared)]
    views = [part.view(value) * part.gain for part in slot.parts]
    return [
        unit(part.label, view, (part.fan_in, part.fan_out), structure_of(view))
        for part, view in zip(slot.parts, views, strict=True)
    ]
