"""Orthogonal matrices, for dense and convolution weights."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from initsearch.errors import ConfigError
from initsearch.initializers import draws
from initsearch.initializers.base import Initializer
from initsearch.initializers.identity import require_convolution
from initsearch.initializers.registry import register

DIALECTS = ("torch", "keras")


def draw_orthogonal(
    rows: int, columns: int, like: Tensor, generator: torch.Generator | None
) -> Tensor:
    """A (rows, columns) matrix with orthonormal rows or columns, whichever are fewer.

    From the QR decomposition of a Gaussian matrix; removing the phases of R's diagonal gives the Haar
    distribution (Mezzadri 2007). Unitary for a complex `like`.

    Args:
        rows: Number of rows.
        columns: Number of columns.
        like: A tensor of the type and device to use.
        generator: Source of randomness.
    """
    gaussian = torch.empty((rows, columns), dtype=like.dtype, device=like.device)
    draws.normal_(gaussian, 0.0, 1.0, generator)
    q, r = torch.linalg.qr(gaussian.t() if rows < columns else gaussian)
    haar: Tensor = q * r.diagonal().sgn()
    return haar.t() if rows < columns else haar


@register("orthogonal")
@dataclass(frozen=True)
class Orthogonal(Initializer):
    """gain times a matrix with orthonormal rows (out <= rest) or columns (out >= rest).

    The tensor (out, in, *kernel) is filled as a matrix of out by rest = in * prod(kernel). Entries have
    a mean square of gain^2 / max(out, rest).

    Frameworks flatten the tensor differently: torch draws (out, rest), Keras and JAX (rest, out) with
    rest ordered as (*kernel, in). The distribution is the same; the values drawn from one generator
    are not, and `dialect` selects them. If out > rest, the output's variance falls by rest / out (to a
    quarter for 50 inputs and 200 outputs); `scaled` multiplies by max(sqrt(out / rest), 1), as the
    scaled uniform orthogonal of Martens et al. 2021 (Deep Kernel Shaping).

    Args:
        gain: Factor on the matrix, > 0; for instance `gain("relu", "torch")`.
        dialect: "torch" or "keras".
        scaled: Multiply by max(sqrt(out / rest), 1) as well.

    Raises:
        ConfigError: From `fill_`, for a tensor of fewer than two dimensions.
    """

    formula: ClassVar[str] = "gain · Q, Q orthonormal; scaled: times max(√(out/in), 1)"
    source: ClassVar[str] = "Saxe et al. 2014; torch, Keras and JAX `orthogonal`"

    gain: float = 1.0
    dialect: str = "torch"
    scaled: bool = False

    def __post_init__(self) -> None:
        self._number("gain", above=0.0)
        self._choice("dialect", DIALECTS)
        self._flag("scaled")

    def _draw_(
        self, out: Tensor, fan_in: float, fan_out: float, generator: torch.Generator | None
    ) -> None:
        if out.ndim < 2:
            raise ConfigError(
                f"{self.name}: the tensor must have at least 2 dimensions, but got shape "
                f"{tuple(out.shape)}: use another initializer for it"
            )
        rows, rest = out.shape[0], out[0].numel()
        if self.dialect == "torch":
            out.copy_(draw_orthogonal(rows, rest, out, generator).reshape(out.shape))
        else:
            drawn = draw_orthogonal(rest, rows, out, generator)
            kernel_last = drawn.t().reshape(rows, *out.shape[2:], out.shape[1])
            out.copy_(kernel_last.movedim(-1, 1))
        stretch = max(math.sqrt(rows / rest), 1.0) if self.scaled else 1.0
        out.mul_(self.gain * stretch)


@register("delta_orthogonal")
@dataclass(frozen=True)
class DeltaOrthogonal(Initializer):
    """gain times orthonormal columns at the centre tap of a convolution, zero at all others.

    The convolution keeps the norm of its input (times gain), at every depth. As in JAX's
    `delta_orthogonal`, in <= out must hold, and the centre of an even kernel is (k - 1) // 2.

    Args:
        gain: Factor, > 0.

    Raises:
        ConfigError: From `fill_`, for a tensor that is not 3-D to 5-D, or that has more inputs than
            outputs.
    """

    formula: ClassVar[str] = "gain · Q at the centre tap, QᵀQ = I; 0 elsewhere"
    source: ClassVar[str] = "Xiao et al. 2018; JAX `delta_orthogonal`"

    gain: float = 1.0

    def __post_init__(self) -> None:
        self._number("gain", above=0.0)

    def _draw_(
        self, out: Tensor, fan_in: float, fan_out: float, generator: torch.Generator | None
    ) -> None:
        require_convolution(self.name, out)
        rows, columns = out.shape[0], out.shape[1]
        if columns > rows:
            raise ConfigError(
                f"{self.name}: input channels must be <= output channels, but got {columns} > {rows}: "
                "use orthogonal"
            )
        out.zero_()
        tap = out
        for size in out.shape[2:]:
            tap = tap.select(2, (size - 1) // 2)
        tap.copy_(draw_orthogonal(rows, columns, out, generator))
        tap.mul_(self.gain)
