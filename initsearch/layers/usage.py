"""The slot of a parameter as the forward pass has shown it to be used.

A parameter of no known layer becomes a weight if a layer reads it: its fans, its orientation and its parts
come from the layouts of the calls (see `initsearch.layers.trace.layouts`). A weight of a known layer keeps
its own; only what is masked or multiplied on the way counts.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import product

from initsearch.layers.model.slots import ParameterPart, Slot, Strides
from initsearch.layers.model.tables import holds_data
from initsearch.layers.trace.layouts import Axis, Layout
from initsearch.layers.trace.products import IN, OUT, STACK, TAP
from initsearch.layers.trace.record import LayerCall


def as_used(slot: Slot, calls: Sequence[LayerCall]) -> Slot:
    """The slot with what the calls of layers show; unchanged if they show nothing.

    Args:
        slot: A parameter's slot, as its module alone shows it.
        calls: The calls that used the parameter, in execution order; not empty.
    """
    layouts = [call.layouts[slot.name] for call in calls if slot.name in call.layouts]
    added = next((call for call in calls if slot.name in call.biases), None)
    if slot.kind == "other" and added is not None:
        return _as_bias(slot, added)
    if slot.category == "other" and holds_data(slot.name):
        return slot
    if slot.kind == "other" and slot.category in ("other", "weight"):
        slot = _as_weight(slot, calls, layouts)
    return _as_arriving(slot, layouts[0]) if layouts and slot.category == "weight" else slot


def _as_bias(slot: Slot, call: LayerCall) -> Slot:
    layout = call.layouts.get(call.weight)
    fans = (layout.fan_in, layout.fan_out) if layout else (slot.fan_in, slot.fan_out)
    parts = tuple(replace(part, fan_in=fans[0], fan_out=fans[1]) for part in slot.parts)
    return replace(slot, category="bias", fan_in=fans[0], fan_out=fans[1], parts=parts)


def _as_weight(slot: Slot, calls: Sequence[LayerCall], layouts: Sequence[Layout]) -> Slot:
    own = [each for each in calls if each.weight == slot.name]
    call = next((each for each in own if slot.name in each.layouts), None) or next(iter(own), None)
    if call is None and not layouts:
        return slot
    call = call or calls[0]
    note = f"used as the weight of {call.operation}"
    if not layouts:
        return slot if slot.category == "weight" else replace(slot, category="weight", note=note)
    parts = _parts(layouts, math.prod(slot.shape))
    if parts is None:
        fans = (layouts[0].fan_in, layouts[0].fan_out)
        parts = (replace(slot.parts[0], fan_in=fans[0], fan_out=fans[1]),)
        note += "; its entries are not in the order of a matrix, and are drawn as one"
    first = parts[0]
    return replace(
        slot,
        category="weight",
        fan_in=first.fan_in,
        fan_out=first.fan_out,
        parts=parts,
        note=note,
    )


def _as_arriving(slot: Slot, layout: Layout) -> Slot:
    """The slot of a weight with what becomes of it on the way to its layer."""
    notes = [slot.note] if slot.note else []
    share = layout.density
    if share != 1.0:
        notes.append(f"{share:.3g} of its entries reach the layer: its fans count those")
    if layout.gain != 1.0:
        notes.append(f"multiplied by {layout.gain:.4g} on its way, by which values are divided")
    if layout.note:
        notes.append(layout.note)
    parts = tuple(
        replace(part, fan_in=part.fan_in * share, fan_out=part.fan_out * share, gain=layout.gain)
        for part in slot.parts
    )
    return replace(
        slot,
        fan_in=slot.fan_in * share,
        fan_out=slot.fan_out * share,
        parts=parts,
        note="; ".join(notes),
    )


def _parts(layouts: Sequence[Layout], total: int) -> tuple[ParameterPart, ...] | None:
    """The matrices of a parameter: together all of its entries; `None` if the layouts do not give them."""
    if not layouts[0].axes and total > 1:
        return None
    distinct = {(each.axes, each.offset): each for each in layouts}
    if sum(each.size() for each in distinct.values()) != total:
        # Some entries were not read, as those of an expert that got no sample: they are like the others.
        whole = _completed(layouts[0], total)
        if whole is None:
            return None
        distinct = {(whole.axes, whole.offset): whole}
    parts = [part for layout in distinct.values() for part in _matrices(layout)]
    places = [part.strides.offset for part in parts if part.strides]
    if len(set(places)) < len(parts):
        return None
    return tuple(sorted(parts, key=lambda part: part.strides.offset if part.strides else 0))


def _completed(layout: Layout, total: int) -> Layout | None:
    """A layout that has all entries of the parameter, with a stack's axis for each gap between its own."""
    gaps: list[Axis] = []
    end = 1
    for axis in sorted(layout.axes, key=lambda axis: axis.stride):
        if axis.size == 1:
            continue
        if axis.stride % end:
            return None
        if axis.stride > end:
            gaps.append(Axis(axis.stride // end, end, STACK))
        end = axis.stride * axis.size
    if total % end:
        return None
    if total > end:
        gaps.append(Axis(total // end, end, STACK))
    rest = layout.offset
    for gap in sorted(gaps, key=lambda gap: -gap.stride):
        rest -= gap.stride * min(rest // gap.stride, gap.size - 1)
    return replace(layout, axes=(*layout.axes, *gaps), offset=0) if rest == 0 else None


def _matrices(layout: Layout) -> Iterable[ParameterPart]:
    def axes(role: str) -> tuple[tuple[int, int], ...]:
        return tuple((axis.size, axis.stride) for axis in layout.axes if axis.role == role)

    steps = [
        range(0, axis.size * axis.stride, axis.stride) for axis in layout.axes if axis.role == STACK
    ]
    for place in product(*steps):
        strides = Strides(layout.offset + sum(place), axes(OUT), axes(IN), axes(TAP))
        yield ParameterPart(None, layout.fan_in, layout.fan_out, strides=strides)
