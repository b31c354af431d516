"""How a layer reads a parameter: which axes count inputs and outputs, which entries and which scale arrive.

The roles of a weight's axes (see `products`) are followed back along its path to the parameter. There they are
axes of a size and a stride each, whatever reshapes and permutations lie between: the layer's weight is an array
of strides in the parameter's memory.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from operator import mul

import torch
from torch import Tensor

from initsearch.layers.trace.batched import is_wrapped
from initsearch.layers.trace.paths import Path, Step, entries
from initsearch.layers.trace.products import IN, OUT, STACK, TAP, Operand


@dataclass(frozen=True)
class Axis:
    """An axis of a weight in the memory of its parameter.

    Attributes:
        size: Its length.
        stride: The step from one entry to the next, in entries of the contiguous parameter.
        role: `in`, `out`, `stack` or `tap`; see `products`.
    """

    size: int
    stride: int
    role: str


@dataclass(frozen=True)
class Layout:
    """How one call of a layer reads a parameter.

    Attributes:
        axes: The axes of what it reads; of length one only the taps of a kernel.
        offset: The parameter's entry at which that begins.
        fan_in: Inputs per output of the layer's weight, of which the parameter may be a part.
        fan_out: Outputs per input, likewise.
        density: The share of its entries that are not masked on the way.
        gain: The factor on the other entries.
        note: On a scale that does not arrive.
    """

    axes: tuple[Axis, ...]
    offset: int = 0
    fan_in: float = 1.0
    fan_out: float = 1.0
    density: float = 1.0
    gain: float = 1.0
    note: str = ""

    def size(self, *roles: str) -> int:
        """The number of entries along all axes of these roles; of all roles, if none is given."""
        return math.prod(axis.size for axis in self.axes if not roles or axis.role in roles)


# Of each axis of a tensor the lengths and roles of the axes that it consists of, the outermost first.
_Nested = Sequence[Sequence[tuple[int, str]]]


def layout_of(
    weight: Tensor, path: Path, roles: Sequence[str], groups: int = 1, taps: float = 1.0
) -> Layout | None:
    """The layout of the parameter that a layer's weight was made from.

    Args:
        weight: The weight as the layer reads it.
        path: How it was made.
        roles: The role of each of its axes.
        groups: Into how many groups its first axis falls, each a stack's entry.
        taps: The share of a kernel's taps that one output reads: less than one for a transposed convolution
            with a stride.

    Returns:
        `None` if some operation on the way hides which entry stands where.
    """
    if weight.shape != (path.step.shape if path.step else path.parameter.shape):
        return None
    nested = [[(size, role)] for size, role in zip(weight.shape, roles, strict=True)]
    if groups > 1:
        nested[0] = [(groups, STACK), (weight.shape[0] // groups, roles[0])]
    found = _located(weight, path, nested)
    return found and replace(found, fan_in=found.fan_in * taps)


def _located(weight: Tensor, path: Path, nested: _Nested) -> Layout | None:
    inner = [each for axis in nested for each in axis]
    shape, roles = [size for size, _ in inner], [role for _, role in inner]
    view = _view(weight, path)
    if view is not None:
        strides: list[int] = []
        for axis, stride in zip(nested, view.stride(), strict=True):
            rest = accumulate((size for size, _ in reversed(axis)), mul, initial=1)
            strides.extend(stride * step for step in reversed(list(rest)[:-1]))
        axes = (Axis(*each) for each in zip(shape, strides, roles, strict=True))
        offset = int(view.storage_offset() - path.parameter.storage_offset())
        found = _checked(Layout(tuple(filter(_counts, axes)), offset))
    else:
        product = _last_product(path)
        numbers = entries(path, product)
        found = None if numbers is None else _axes(numbers.reshape(shape), roles)
        if found is not None and product is not None:
            return _before(product, found)
    return found and _with_fans(found, inner)


def _with_fans(layout: Layout, inner: Sequence[tuple[int, str]]) -> Layout:
    fan_in = math.prod(size for size, role in inner if role in (IN, TAP))
    fan_out = math.prod(size for size, role in inner if role in (OUT, TAP))
    return replace(layout, fan_in=float(fan_in), fan_out=float(fan_out))


def layout_of_all(weight: Tensor, roles: Sequence[str]) -> Layout:
    """A layout with a weight's fans alone, if it is not known which entry of a parameter stands where."""
    return _with_fans(Layout(()), list(zip(weight.shape, roles, strict=True)))


def _view(weight: Tensor, path: Path) -> Tensor | None:
    """The view of the parameter whose entries the weight has, each in its place; `None` if there is none."""
    while path.step is not None and path.step.keeps_places:
        weight, path = path.step.source
    parameter = path.parameter
    if is_wrapped(weight):
        return None
    plain = path.moves_only and parameter.is_contiguous() and weight.dtype == parameter.dtype
    memory = weight.untyped_storage().data_ptr() == parameter.untyped_storage().data_ptr()
    return weight if plain and memory else None


def _counts(axis: Axis) -> bool:
    """Whether an axis has a place in a layout: a kernel of one tap has that tap, repeated entries have none."""
    return axis.role == TAP or (axis.size > 1 and axis.stride != 0)


def _checked(layout: Layout) -> Layout | None:
    """The layout, if no entry is in it twice."""
    end = 1
    for axis in sorted(layout.axes, key=lambda axis: axis.stride):
        if axis.size == 1:
            continue
        if axis.stride < end:
            return None
        end = axis.stride * axis.size
    return layout


def _last_product(path: Path) -> Step | None:
    """The last product of parameters on a path."""
    step = path.step
    while step is not None and step.product is None:
        step = step.source[1].step
    return step


def _before(step: Step, after: Layout) -> Layout | None:
    """The layout of a factor, from the layout of the product that it is in.

    An axis that the product sums over counts inputs for exactly one of the factors: for the one that reads no
    input of the layer, or else for the last.
    """
    product = step.product
    if product is None:
        return None
    factor, path = step.source
    result = dict(zip(product.result, _nested(after.axes, step.shape), strict=True))

    def reads(operand: Operand) -> bool:
        roles = (role for label in operand.labels for _, role in result.get(label, ()))
        return IN in roles

    own = next(each for each in product.operands if each.tensor is factor)
    idle = [each for each in product.operands if not reads(each)]
    sums = own is (idle or product.operands)[-1]
    summed = IN if sums else STACK
    nested = [
        result.get(label, [(size, summed)])
        for label, size in zip(own.labels, factor.shape, strict=True)
    ]
    if not any(role == OUT for axis in nested for _, role in axis):
        nested = [[(size, OUT if role == STACK else role) for size, role in a] for a in nested]
    return _located(factor, path, nested)


def _nested(axes: Sequence[Axis], shape: Sequence[int]) -> list[list[tuple[int, str]]]:
    """The axes that each axis of a contiguous tensor consists of; what was left out counts as a stack."""
    found: list[list[tuple[int, str]]] = []
    ends = [math.prod(shape[place + 1 :]) for place in range(len(shape))]
    axes = [part for axis in axes for part in _split(axis, ends)]
    for size, first in zip(shape, ends, strict=True):
        end = first
        inner: list[tuple[int, str]] = []
        for axis in sorted(axes, key=lambda axis: axis.stride):
            if not first <= axis.stride < first * size:
                continue
            if axis.stride > end:
                inner.insert(0, (axis.stride // end, STACK))
            inner.insert(0, (axis.size, axis.role))
            end = axis.stride * axis.size
        if end < first * size:
            inner.insert(0, (first * size // end, STACK))
        found.append(inner)
    return found


def _split(axis: Axis, ends: Sequence[int]) -> list[Axis]:
    """An axis that runs over several axes of a contiguous tensor, by these."""
    parts: list[Axis] = []
    for end in sorted(set(ends)):
        if axis.stride < end < axis.stride * axis.size and end % axis.stride == 0:
            parts.append(replace(axis, size=end // axis.stride))
            axis = replace(axis, size=axis.size * axis.stride // end, stride=end)
    return [*parts, axis]


def _axes(numbers: Tensor, roles: Sequence[str]) -> Layout | None:
    """The axes of an array of entries; `None` if it is not one of strides."""
    for place, role in enumerate(roles):
        own = (numbers >= 0).movedim(place, 0).flatten(1).any(1)
        if not bool(own.all()):  # entries of other parameters stand beside it
            numbers = numbers.index_select(place, own.nonzero().flatten())
        if role == STACK and _factored(_line(numbers, place)) is None:
            numbers = numbers.narrow(place, 0, 1)  # a matrix is looked up: the first stands for all
    if not numbers.numel() or int(numbers.min()) < 0:
        return None
    axes: list[Axis] = []
    offset = int(numbers.flatten()[0])
    expected = torch.tensor(offset)
    for place, role in enumerate(roles):
        line = _line(numbers, place)
        expected = expected.unsqueeze(-1) + (line - offset)
        found = _factored(line)
        if found is None:
            return None
        found = found or [(1, 1)]
        axes.extend(filter(_counts, (Axis(*each, role) for each in found)))
    if not torch.equal(expected, numbers) or any(axis.stride < 0 for axis in axes):
        return None
    return _checked(Layout(tuple(axes), offset))


def _line(numbers: Tensor, place: int) -> Tensor:
    """The entries along one axis, at the start of all others."""
    for other in reversed(range(numbers.ndim)):
        if other != place:
            numbers = numbers.select(other, 0)
    return numbers


def _factored(line: Tensor) -> list[tuple[int, int]] | None:
    """A sequence of entries as nested axes (size, stride), the outermost first."""
    if len(line) == 1:
        return []
    steps = line.diff()
    breaks = (steps != steps[0]).nonzero()
    run = int(breaks[0]) + 1 if len(breaks) else len(line)
    if len(line) % run:
        return None
    rows = line.view(-1, run)
    if not torch.equal(rows - rows[:, :1], (rows[:1] - rows[0, 0]).expand_as(rows)):
        return None
    outer = _factored(rows[:, 0])
    return None if outer is None else [*outer, (run, int(steps[0]))]
