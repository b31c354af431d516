"""Where a tensor of a forward pass comes from, and what operations make of it.

`Lineage` is what is known of one tensor, `merged` what an operation makes of its inputs, and `Lineages`
remembers the lineage of each tensor while a model runs.
"""

import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import torch
from torch import Tensor

from initsearch.layers.model.tensors import tensors
from initsearch.layers.trace.batched import is_wrapped, one_of, wrapped
from initsearch.layers.trace.paths import Path
from initsearch.layers.trace.products import Product
from initsearch.layers.trace.record import Use

# Elementwise operations whose result is still "x" in x * f(x).
_ARITHMETIC = frozenset({"add", "sub", "rsub", "mul", "div", "neg", "pow", "square", "clone"})
_ROOTS = count()


@dataclass(frozen=True)
class Gate:
    """An activation's result, as long as only arithmetic with constants follows.

    Attributes:
        use: The recorded use of the activation; it is renamed if it turns out to be part of a gate.
        chain: The activation, or several joined by > where one was applied to another's result.
        calls: The layers whose outputs it consumed, by index.
    """

    use: Use
    chain: str
    calls: frozenset[int]


@dataclass(eq=False)
class Draft:
    """A product of parameters with each other, or with constants.

    It makes a weight (a low-rank product), or it uses one (on latent vectors). Which of the two shows later, by
    what is done with it.

    Attributes:
        operation: What ran.
        product: What it sums over.
        weight: The factor that is the weight if it uses one.
        path: How that was made from a parameter.
        name: That parameter.
        module_name: Where it ran.
        on_data: Whether the other factor is data by its name.
        low_rank: Whether it has fewer entries between two factors than on either side.
        settled: The lineage of the result, once it turned out to use a weight.
    """

    operation: str
    product: Product
    weight: Tensor
    path: Path
    name: str
    module_name: str
    on_data: bool
    low_rank: bool
    settled: "Lineage | None" = None


@dataclass(frozen=True)
class Lineage:
    """Where a tensor comes from. Layers are given by the index of their call.

    Attributes:
        pending: Layers after which no activation has been seen yet.
        tail: Layers whose output this is, directly or through an output function.
        sources: The nearest layers before it, with or without an activation between.
        parameters: The parameters that it is computed from, if from nothing else.
        from_input: Whether it depends on the model's input.
        product: Whether it is a matrix product of two activations (attention scores).
        attended: Whether it is such a product after its softmax.
        norm: The parameters of the last norm before it, if no weight layer came after that norm.
        root: Identifies the value that this is computed from by arithmetic alone.
        gate: See `Gate`.
        paths: How it was made from parameters alone, by the parameter's name, as far as that is known.
        draft: The last product of parameters alone on its way; see `Draft`.
    """

    pending: frozenset[int] = frozenset()
    tail: frozenset[int] = frozenset()
    sources: frozenset[int] = frozenset()
    parameters: frozenset[str] = frozenset()
    from_input: bool = False
    product: bool = False
    attended: bool = False
    norm: frozenset[str] = frozenset()
    root: int = -1
    gate: Gate | None = None
    paths: Mapping[str, Path] = field(default_factory=dict, compare=False)
    draft: Draft | None = None


def fresh_root() -> int:
    """A new value for `Lineage.root`."""
    return next(_ROOTS)


def merged(inputs: Sequence[Lineage], operation: str = "") -> Lineage:
    """The lineage of the result of an operation that is neither a layer nor an activation.

    Parameters that are combined with data (a gain, a shift, a position embedding) do not show in it.
    """
    data = [lineage for lineage in inputs if not lineage.parameters]
    if not data:
        names = frozenset[str]().union(*(lineage.parameters for lineage in inputs))
        return Lineage(parameters=names, root=fresh_root())
    if len(data) == 1:
        if operation in _ARITHMETIC:
            return data[0]
        return replace(data[0], root=fresh_root(), gate=None)
    norm = data[0].norm
    for lineage in data[1:]:
        # A product is zero if one of its factors is, other results only if all of their inputs are.
        norm = norm | lineage.norm if operation == "mul" else norm & lineage.norm
    arithmetic = operation in _ARITHMETIC and len({lineage.root for lineage in data}) == 1
    return Lineage(
        pending=frozenset[int]().union(*(lineage.pending for lineage in data)),
        tail=frozenset[int]().union(*(lineage.tail for lineage in data)),
        sources=frozenset[int]().union(*(lineage.sources for lineage in data)),
        from_input=any(lineage.from_input for lineage in data),
        product=any(lineage.product for lineage in data),
        attended=any(lineage.attended for lineage in data),
        norm=norm,
        root=data[0].root if arithmetic else fresh_root(),
    )


def normed(inputs: Sequence[Lineage], parameters: Iterable[str]) -> Lineage:
    """The lineage of a norm's output."""
    return replace(merged(inputs), norm=frozenset(parameters))


class Lineages:
    """The lineage of each tensor that a forward pass has made. It keeps no tensor alive."""

    def __init__(self) -> None:
        # By the tensor's id. The reference shows whether that id still means the same tensor.
        self._known: dict[int, tuple[weakref.ref[Tensor], Lineage]] = {}
        self._at_address: dict[object, set[int]] = {}

    def get(self, tensor: Tensor) -> Lineage | None:
        """The lineage of a tensor; `None` for constants."""
        reference, lineage = self._known.get(id(tensor), (None, None))
        if reference is not None and reference() is tensor:
            return lineage
        return self._inside(tensor) if is_wrapped(tensor) else None

    def _inside(self, tensor: Tensor) -> Lineage | None:
        """The lineage of a tensor in a transform, from that of the one that it stands for."""
        inside, axis = wrapped(tensor)
        known = self.get(inside)
        if known is None:
            return None
        paths = {name: one_of(inside, axis, path) for name, path in known.paths.items()}
        self.put(tensor, replace(known, paths=paths, draft=None))
        return self.get(tensor)

    def of(self, value: Any) -> list[Lineage]:
        """The lineages of the tensors in nested containers, without constants."""
        found = (self.get(tensor) for tensor in tensors(value))
        return [lineage for lineage in found if lineage is not None]

    def put(self, tensor: Tensor, lineage: Lineage) -> None:
        """Set the lineage of one tensor."""
        self._known[id(tensor)] = (weakref.ref(tensor), lineage)
        if is_wrapped(tensor):  # what the transform returns
            inside, _ = wrapped(tensor)
            if self.get(inside) is None:
                self.put(inside, replace(lineage, paths={}, draft=None))
        if _has_plain_memory(tensor):
            self._at_address.setdefault(_address(tensor), set()).add(id(tensor))

    def write(self, outputs: Iterable[Tensor], lineage: Lineage, in_place: bool = False) -> None:
        """Set the lineage of an operation's outputs.

        Args:
            outputs: The results. After the first, each gets a root of its own: the parts of a split are
                different values.
            lineage: Their lineage.
            in_place: Whether the operation wrote into one of its inputs.
        """
        for number, tensor in enumerate(outputs):
            if number:
                lineage = replace(lineage, root=fresh_root())
            known = self.get(tensor) is not None
            self.put(tensor, lineage)
            if known:
                self._write_views(tensor, lineage)
            elif in_place and tensor._base is not None:
                # What is written to a part is in the whole.
                self.put(tensor._base, merged([*self.of(tensor._base), lineage]))

    def _write_views(self, tensor: Tensor, lineage: Lineage) -> None:
        """After an operation in place, other tensors on all of the same memory have changed too."""
        if not _has_plain_memory(tensor):
            return
        start, size = _address(tensor), tensor.numel()
        for key in list(self._at_address.get(start, ())):
            other = self._known[key][0]()
            if other is None or other is tensor or not _has_plain_memory(other):
                continue
            # The memory may have been given to another tensor since.
            if _address(other) == start and other.numel() == size:
                self.put(other, lineage)


def _has_plain_memory(tensor: Tensor) -> bool:
    """Whether a tensor's entries are where its address says (not so if it is sparse or nested)."""
    plain = type(tensor) in (Tensor, torch.nn.Parameter) and tensor.layout == torch.strided
    return plain and not (is_wrapped(tensor) or tensor.is_nested) and tensor.numel() > 0


def _address(tensor: Tensor) -> object:
    """Where a tensor's memory begins; on the meta device, where there is none, which storage it would be."""
    if tensor.is_meta:
        return tensor.untyped_storage()._cdata, tensor.storage_offset()
    return tensor.data_ptr()
