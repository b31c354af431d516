"""Copies of a trainable part that must stay equal to it: a teacher, a momentum encoder, a target network.

Such a model starts with equal weights in both. A plan that fills the one and keeps the other would break that,
so the copy follows. A parameter is a copy if its values equal those of a trainable parameter of the same shape,
and it is frozen or stands under a name that says so (`teacher`, `target`, `ema`). Equal values show a copy only
if they were drawn; what is constant (biases of zeros, a norm's gain) is a copy if it lies beside one. Buffers
are compared too: some keep averages of weights in them.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from initsearch.layers.model.absent import is_sharded
from initsearch.layers.model.slots import Slot
from initsearch.layers.model.stored import Stored
from initsearch.layers.model.walk import parameters, unwrap, walk

_COPIES = frozenset(
    ["teacher", "target", "targets", "ema", "momentum", "shadow", "averaged", "average", "avg"]
)


@dataclass(frozen=True)
class Twin:
    """A tensor that is a copy of a parameter.

    Attributes:
        name: The copy's qualified name.
        of: The name of the parameter that it follows.
        target: The copy's stored tensors.
        source: Those of the parameter, one for each.
    """

    name: str
    of: str
    target: tuple[Tensor, ...]
    source: tuple[Tensor, ...]

    def follow(self) -> None:
        """Give the copy the parameter's values."""
        with torch.no_grad():
            for target, source in zip(self.target, self.source, strict=True):
                target.copy_(source)


def find_twins(model: nn.Module, slots: Sequence[Slot]) -> list[Twin]:
    """The copies in a model, each with the trainable parameter that it equals.

    Args:
        model: The model that was described.
        slots: All of its slots.
    """
    trainable = {slot.name for slot in slots if slot.requires_grad}
    stored = {each.name: each.sites[0].stored for each in parameters(model)}
    held = {name: _tensors(each) for name, each in stored.items()}
    copies = {name for name in held if name not in trainable or _is_named_copy(name)}
    held.update((name, (buffer,)) for name, buffer in _buffers(model))
    copies.update(name for name in held if name not in stored)
    originals = [name for name in held if name in trainable and name not in copies]
    if not copies or not originals:
        return []
    by_shape: dict[object, list[str]] = {}
    for name in originals:
        by_shape.setdefault(_shapes(held[name]), []).append(name)
    found: dict[str, str] = {}
    prefixes: dict[tuple[str, str], None] = {}
    for name in sorted(copies):
        alike = by_shape.get(_shapes(held[name]), ())
        equal = [other for other in alike if _equal(held[name], held[other])]
        if equal and _is_drawn(held[name]):
            # Layers that were copied from each other are equal too: the one of the same place is the twin.
            found[name] = max(equal, key=lambda other: len(_common_end(name, other)))
            prefixes[_prefixes(name, found[name])] = None
    for here, there in prefixes:
        for name in copies - found.keys():
            other = there + name.removeprefix(here)
            if not name.startswith(here) or other not in originals:
                continue
            if _shapes(held[name]) == _shapes(held[other]) and _equal(held[name], held[other]):
                found[name] = other
    return [Twin(name, of, held[name], held[of]) for name, of in sorted(found.items())]


def _tensors(stored: Stored) -> tuple[Tensor, ...]:
    # Of sharded tensors each process compares and copies its own shards.
    held = (original.detach() for _, original in stored.originals)
    return tuple(each.to_local() if is_sharded(each) else each for each in held)  # type: ignore[attr-defined]


def _buffers(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, module, _ in walk(unwrap(model)):
        for key, buffer in module._buffers.items():
            if buffer is not None and buffer.is_floating_point() and buffer.ndim > 1:
                yield (f"{name}.{key}" if name else key), buffer


def _is_named_copy(name: str) -> bool:
    return not _COPIES.isdisjoint(re.split(r"[^a-z]+", name.lower()))


def _shapes(held: Sequence[Tensor]) -> tuple[object, ...]:
    return tuple((each.shape, each.dtype, each.device) for each in held)


def _is_drawn(held: Sequence[Tensor]) -> bool:
    """Whether some tensor has values that were drawn, and is not constant."""
    return any(
        each.numel() > 1
        and each.layout == torch.strided
        and bool((each != each.flatten()[0]).any())
        for each in held
    )


def _equal(held: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(held, others, strict=True))


def _common_end(name: str, other: str) -> str:
    """The end of both names, from a dot on."""
    ours, theirs = name.split("."), other.split(".")
    same = 0
    while same < min(len(ours), len(theirs)) and ours[-1 - same] == theirs[-1 - same]:
        same += 1
    return ".".join(ours[len(ours) - same :])


def _prefixes(name: str, other: str) -> tuple[str, str]:
    end = _common_end(name, other)
    return name.removesuffix(end), other.removesuffix(end)
