"""Which axes of its operands an operation sums over, keeps, or runs through in parallel.

Every linear operation is written as an einsum: a label for each axis of each operand, and the labels of the
result. The role of a weight's axis follows from where else its label stands:

- not in the result: the operation sums over it, so it counts inputs (`in`);
- in the result and in another operand: one matrix for each entry, as for experts or heads (`stack`);
- in the result alone: it counts outputs (`out`).

A convolution's weight has its taps as well (`tap`).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

#: The roles of an axis of a weight.
IN, OUT, STACK, TAP = "in", "out", "stack", "tap"

# The operands that are multiplied: their places among the arguments, and their names.
_FACTORS: Mapping[str, tuple[tuple[int, str], tuple[int, str]]] = {
    "matmul": ((0, "input"), (1, "other")),
    "mm": ((0, "input"), (1, "mat2")),
    "bmm": ((0, "input"), (1, "mat2")),
    "mv": ((0, "input"), (1, "vec")),
    "addmm": ((1, "mat1"), (2, "mat2")),
    "addmv": ((1, "mat"), (2, "vec")),
    "addbmm": ((1, "batch1"), (2, "batch2")),
    "baddbmm": ((1, "batch1"), (2, "batch2")),
    "spmm": ((0, "input"), (1, "mat2")),
    "sparse_mm": ((0, "sparse"), (1, "dense")),
    "linalg_matmul": ((0, "input"), (1, "other")),
    "grouped_mm": ((0, "self"), (1, "mat2")),
    "scaled_mm": ((0, "self"), (1, "mat2")),
}
#: Operations that multiply and sum, and have no other meaning.
PRODUCTS = frozenset((*_FACTORS, "einsum", "tensordot", "inner"))


@dataclass(frozen=True, eq=False)
class Operand:
    """A factor of a product.

    Attributes:
        tensor: The factor.
        labels: A label for each of its axes.
    """

    tensor: Tensor
    labels: tuple[object, ...]


@dataclass(frozen=True, eq=False)
class Product:
    """A product as an einsum.

    Attributes:
        operands: The factors.
        result: The labels of the result's axes.
        batch: The labels of a matrix product's batch: a factor that alone has them is a stack of matrices too.
    """

    operands: tuple[Operand, ...]
    result: tuple[object, ...]
    batch: frozenset[object] = frozenset()

    def roles(self, tensor: Tensor, weights: Sequence[Tensor] = ()) -> tuple[str, ...]:
        """The role of each axis of one of the factors.

        Args:
            tensor: The factor.
            weights: All factors that are weights. An axis between two of them counts inputs for the last.
        """
        places = [any(each.tensor is weight for weight in weights) for each in self.operands]
        at = next(i for i, each in enumerate(self.operands) if each.tensor is tensor)
        own = self.operands[at]
        rest = [each for i, each in enumerate(self.operands) if i != at]
        others = self.batch.union(*(each.labels for each in rest))
        later = [each for i, each in enumerate(self.operands) if i > at and places[i]]
        taken = frozenset[object]().union(*(each.labels for each in later))
        kept = set(self.result)
        return tuple(
            (OUT if label in taken else IN)
            if label not in kept
            else (STACK if label in others else OUT)
            for label in own.labels
        )


def product_of(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Product | None:
    """The einsum of an operation's call; `None` if the operation is no product of two or more tensors."""
    if name == "einsum":
        return _einsum(args, kwargs)
    if name == "linear":
        x, weight = _argument(args, kwargs, 0, "input"), _argument(args, kwargs, 1, "weight")
        return _inner(x, weight, 1)
    if name == "inner":
        left, right = _argument(args, kwargs, 0, "input"), _argument(args, kwargs, 1, "other")
        return _inner(left, right, 1)
    if name == "tensordot":
        return _tensordot(args, kwargs)
    if name in _FACTORS:
        left, right = (_argument(args, kwargs, *each) for each in _FACTORS[name])
        return _matmul(left, right, summed=name == "addbmm")
    return None


def convolution_roles(transposed: bool, rank: int) -> tuple[str, ...]:
    """The roles of the axes of a convolution's weight: (out, in, *taps), or (in, out, *taps)."""
    first = (IN, OUT) if transposed else (OUT, IN)
    return (*first, *(TAP,) * rank)


def _argument(args: Sequence[Any], kwargs: Mapping[str, Any], place: int, name: str) -> Any:
    if len(args) > place:
        return args[place]
    return kwargs.get(name, kwargs.get("self") if place == 0 else None)


def _tensors(*values: Any) -> bool:
    return all(isinstance(value, Tensor) for value in values)


def _inner(left: Any, right: Any, axes: int) -> Product | None:
    """The last axes of both factors are summed over."""
    if not _tensors(left, right) or not (left.ndim and right.ndim):
        return None
    shared = tuple(f"k{i}" for i in range(axes))
    ours = tuple(f"l{i}" for i in range(left.ndim - axes))
    theirs = tuple(f"r{i}" for i in range(right.ndim - axes))
    operands = (Operand(left, (*ours, *shared)), Operand(right, (*theirs, *shared)))
    return Product(operands, (*ours, *theirs))


def _matmul(left: Any, right: Any, summed: bool) -> Product | None:
    if not _tensors(left, right) or not (left.ndim and right.ndim):
        return None
    batch = tuple(f"b{i}" for i in reversed(range(max(left.ndim, right.ndim, 2) - 2)))
    rows = ("m",) if left.ndim > 1 else ()
    columns = ("n",) if right.ndim > 1 else ()
    ours = (*batch[len(batch) - max(left.ndim - 2, 0) :], *rows, "k")
    theirs = (*batch[len(batch) - max(right.ndim - 2, 0) :], "k", *columns)
    kept = () if summed else batch
    operands = (Operand(left, ours), Operand(right, theirs))
    return Product(operands, (*kept, *rows, *columns), frozenset(kept))


def _tensordot(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Product | None:
    left, right = _argument(args, kwargs, 0, "a"), _argument(args, kwargs, 1, "b")
    dims = _argument(args, kwargs, 2, "dims")
    dims = 2 if dims is None else dims
    if not _tensors(left, right):
        return None
    if isinstance(dims, Tensor):
        dims = dims.tolist()
    if isinstance(dims, int):
        pairs = [(left.ndim - dims + i, i) for i in range(dims)]
    else:
        ours, theirs = (each if isinstance(each, list | tuple) else [each] for each in dims)
        pairs = [(a % left.ndim, b % right.ndim) for a, b in zip(ours, theirs, strict=True)]
    of_left = {a: f"k{number}" for number, (a, _) in enumerate(pairs)}
    of_right = {b: f"k{number}" for number, (_, b) in enumerate(pairs)}
    operands = (
        Operand(left, tuple(of_left.get(i, f"l{i}") for i in range(left.ndim))),
        Operand(right, tuple(of_right.get(i, f"r{i}") for i in range(right.ndim))),
    )
    kept = (label for each in operands for label in each.labels if str(label)[0] != "k")
    return Product(operands, tuple(kept))


def _einsum(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Product | None:
    given = list(args) or [kwargs.get("equation"), *kwargs.get("operands", ())]
    if not given:
        return None
    if isinstance(given[0], Tensor):
        # The sublist format: tensor, axes, tensor, axes, ..., and perhaps the axes of the result.
        subscripts: list[list[object]] = [list(each) for each in given[1::2]]
        factors = given[0 : 2 * len(subscripts) : 2]
        result: list[object] | None = list(given[-1]) if len(given) % 2 else None
    else:
        inputs, arrow, output = str(given[0]).replace(" ", "").partition("->")
        subscripts = [_labels(term) for term in inputs.split(",")]
        factors = given[1:]
        if len(factors) == 1 and isinstance(factors[0], list | tuple):
            factors = list(factors[0])
        result = _labels(output) if arrow else None
    if len(factors) != len(subscripts) or not _tensors(*factors):
        return None
    operands = tuple(
        Operand(tensor, _spread(labels, tensor.ndim))
        for tensor, labels in zip(factors, subscripts, strict=True)
    )
    hidden = max(
        (
            tensor.ndim - len(labels) + 1
            for tensor, labels in zip(factors, subscripts, strict=True)
            if _has_ellipsis(labels)
        ),
        default=0,
    )
    if result is None:
        every = [label for labels in subscripts for label in labels]
        alone = {label for label in every if every.count(label) == 1}
        result = ["..."] if hidden else []
        result += sorted((label for label in alone if not _has_ellipsis([label])), key=str)
    return Product(operands, _spread(result, len(result) - 1 + hidden))


def _labels(term: str) -> list[object]:
    return re.findall(r"\.\.\.|\w", term)


def _has_ellipsis(labels: Sequence[object]) -> bool:
    return any(label == "..." or label is Ellipsis for label in labels)


def _spread(labels: Sequence[object], rank: int) -> tuple[object, ...]:
    """The labels with those of the axes that `...` stands for, which are counted from the right."""
    spread: list[object] = []
    for label in labels:
        if _has_ellipsis([label]):
            missing = rank - len(labels) + 1
            spread.extend(f"...{i}" for i in reversed(range(missing)))
        else:
            spread.append(label)
    return tuple(spread)
