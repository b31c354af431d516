"""Tensors that are not drawn entry by entry: their structure shows the initializer exactly."""

import math

import torch
from torch import Tensor

from initsearch.audit.short_numbers import shortest, shortest_within
from initsearch.audit.state_space import state_space
from initsearch.initializers import (
    Constant,
    DeltaOrthogonal,
    Dirac,
    Identity,
    Initializer,
    Orthogonal,
    Sparse,
)

# Products of orthonormal rows are 0 and 1 up to this, in units of the type's precision: QR in single precision
# reaches some tens for thousands of columns.
_ROUNDING = 1e3
_MOST_ROUNDING = 0.02  # for half-precision types
#: A single row is orthonormal if its length is a usual gain: no other property shows it.
_ROW_GAINS = (1.0, math.sqrt(2.0), 5 / 3, 0.01, 0.1, 0.5, 2.0)
_LEAST_ROW = 8
# The digits of a constant that is the only entry.
_CONSTANT_DIGITS = 3


def structure_of(view: Tensor) -> Initializer | None:
    """The initializer that a tensor's structure shows; None if its entries look drawn one by one.

    Args:
        view: Shape (out, in, *kernel) for weights.
    """
    if not view.numel() or view.is_complex() or not bool(torch.isfinite(view).all()):
        return None
    first = view.flatten()[0]
    if (computed := state_space(view)) is not None:
        return computed
    if bool((view == first).all()):
        value = shortest(float(first), view.dtype)
        # One number drawn at random has more digits.
        drawn = view.numel() == 1 and float(f"{value:.{_CONSTANT_DIGITS}g}") != value
        return None if drawn else Constant(value)
    if view.ndim < 2:
        return None
    if int(view.count_nonzero()) < view.numel():
        for initializer in (_diagonal(view), _dirac(view), _delta(view)):
            if initializer is not None:
                return initializer
        return _sparse(view)
    gain = orthogonal_gain(view.flatten(1))
    return None if gain is None else Orthogonal(gain)


def orthogonal_gain(matrix: Tensor) -> float | None:
    """The gain of a matrix with orthonormal rows or columns, whichever are fewer; None for any other matrix."""
    rows = (matrix if matrix.shape[0] <= matrix.shape[1] else matrix.t()).double()
    tolerance = tolerance_of(matrix.dtype)
    lengths = rows.norm(dim=1)
    gain = float(lengths.mean())
    if gain == 0 or float((lengths / gain - 1).abs().max()) > tolerance:
        return None
    if len(rows) == 1:
        near = min(_ROW_GAINS, key=lambda usual: abs(gain / usual - 1))
        known = abs(gain / near - 1) < tolerance and rows.shape[1] >= _LEAST_ROW
        return near if known else None
    gram = rows @ rows.t() / gain**2
    if float((gram - torch.eye(len(rows), dtype=gram.dtype)).abs().max()) > tolerance:
        return None
    return _rounded(gain, tolerance)


def tolerance_of(dtype: torch.dtype) -> float:
    """How far products of orthonormal rows may be from 0 and 1 in a type."""
    return min(_ROUNDING * torch.finfo(dtype).eps, _MOST_ROUNDING)


def zeros_of_columns(view: Tensor) -> int | None:
    """The number of zeros in a column (all weights of one input), if it is the same for all columns."""
    counts = (view.flatten(1) == 0).sum(dim=0)
    return int(counts[0]) if bool((counts == counts[0]).all()) else None


def fits_structure(view: Tensor, initializer: Initializer) -> bool | None:
    """Whether a tensor can be a draw of an initializer that fills it as a whole; None if that is not known."""
    if isinstance(initializer, Identity | Dirac):
        expected = torch.empty(view.shape, dtype=view.dtype)
        initializer.fill_(expected)
        return torch.allclose(view, expected)
    if isinstance(initializer, Orthogonal | DeltaOrthogonal):
        # All draws have the same products of rows (or columns), and zeros in the same places.
        drawn = torch.empty(view.shape, dtype=view.dtype)
        initializer.fill_(drawn, generator=torch.Generator().manual_seed(0))
        tolerance = tolerance_of(view.dtype) * initializer.gain**2
        same_zeros = torch.equal(view == 0, drawn == 0)
        if isinstance(initializer, DeltaOrthogonal):  # its columns are orthonormal
            view, drawn = view.transpose(0, 1), drawn.transpose(0, 1)
        difference = (_products(view) - _products(drawn)).abs().max()
        return same_zeros and float(difference) <= tolerance * max(
            view.shape[0] / view[0].numel(), 1
        )
    if isinstance(initializer, Sparse):
        return zeros_of_columns(view) == math.ceil(initializer.sparsity * view.shape[0])
    return None


def _products(view: Tensor) -> Tensor:
    matrix = view.flatten(1).double()
    return matrix @ matrix.t() if matrix.shape[0] <= matrix.shape[1] else matrix.t() @ matrix


def _rounded(gain: float, tolerance: float) -> float:
    """A usual gain or a short number, if it is as near as rounding allows."""
    for usual in _ROW_GAINS:
        if abs(gain / usual - 1) < tolerance:
            return usual
    for digits in range(1, 7):
        if abs(float(f"{gain:.{digits}g}") / gain - 1) < tolerance:
            return float(f"{gain:.{digits}g}")
    return gain


def _diagonal(view: Tensor) -> Initializer | None:
    if view.ndim != 2:
        return None
    gain = float(view[0, 0])
    expected = torch.zeros_like(view).fill_diagonal_(gain)
    return Identity(shortest(gain, view.dtype)) if gain and torch.equal(view, expected) else None


def _dirac(view: Tensor) -> Initializer | None:
    if view.ndim not in (3, 4, 5):
        return None
    # Each group of output channels starts again at the first input channel.
    groups = max(view.shape[0] // view.shape[1], 1)
    for count in (1, groups):
        if view.shape[0] % count == 0 and bool(fits_structure(view, Dirac(count))):
            return Dirac(count)
    return None


def _delta(view: Tensor) -> Initializer | None:
    if view.ndim not in (3, 4, 5) or view.shape[1] > view.shape[0]:
        return None
    tap = view
    for size in view.shape[2:]:
        tap = tap.select(2, (size - 1) // 2)
    if int(view.count_nonzero()) != int(tap.count_nonzero()):
        return None
    gain = orthogonal_gain(tap)
    return None if gain is None else DeltaOrthogonal(gain)


def _sparse(view: Tensor) -> Initializer | None:
    count = zeros_of_columns(view)
    rows = view.shape[0]
    # A whole row of zeros, such as padding, gives each column one zero as well.
    if not count or bool((view.flatten(1) == 0).all(dim=1).any()) or view[0].numel() < 2:
        return None
    entries = view[view != 0].double()
    std, margin = float(entries.square().mean().sqrt()), math.exp(3.5 / math.sqrt(2 * len(entries)))
    sparsity = next(
        (
            share
            for digits in (1, 2, 3)
            if math.ceil((share := round(count / rows, digits)) * rows) == count
        ),
        (count - 0.5) / rows,
    )
    return Sparse(sparsity, shortest_within(std / margin, std * margin)[0])
