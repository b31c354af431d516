"""Layers that pass their input through: identity for dense weights, Dirac for convolutions."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from initsearch.errors import ConfigError
from initsearch.initializers.base import Initializer
from initsearch.initializers.registry import register


@register("identity")
@dataclass(frozen=True)
class Identity(Initializer):
    """gain on the diagonal of a matrix, which need not be square, and zero elsewhere.

    2-D only, as torch's `eye_`, Keras's `Identity` and JAX's `eye` (gain 1); for convolutions see
    `dirac`.

    Args:
        gain: The value on the diagonal.

    Raises:
        ConfigError: From `fill_`, for a tensor that is not 2-D.
    """

    formula: ClassVar[str] = "gain · I"
    source: ClassVar[str] = "torch `eye_`, Keras `Identity`; Le et al. 2015 (IRNN)"

    gain: float = 1.0

    def __post_init__(self) -> None:
        self._number("gain")

    def _draw_(
        self, out: Tensor, fan_in: float, fan_out: float, generator: torch.Generator | None
    ) -> None:
        if out.ndim != 2:
            raise ConfigError(
                f"{self.name}: the tensor must be 2-D, but got shape {tuple(out.shape)}: use dirac for "
                "convolutions"
            )
        out.zero_()
        out.fill_diagonal_(self.gain)


@register("dirac")
@dataclass(frozen=True)
class Dirac(Initializer):
    """Convolutions that pass as many channels through as possible: 1 at the kernel's centre.

    Output channel d of each group copies input channel d; output channels without one are zero. The
    centre of an even kernel is index k // 2. Equal to torch's `dirac_`.

    Args:
        groups: Number of equal groups of output channels, >= 1.

    Raises:
        ConfigError: From `fill_`, for a tensor that is not 3-D to 5-D, or whose number of output
            channels is no multiple of the groups.
    """

    formula: ClassVar[str] = "w[d, d mod out/groups, centre] = 1, else 0"
    source: ClassVar[str] = "torch `dirac_`; Zagoruyko and Komodakis 2017 (DiracNets)"

    groups: int = 1

    def __post_init__(self) -> None:
        self._integer("groups", 1)

    def _draw_(
        self, out: Tensor, fan_in: float, fan_out: float, generator: torch.Generator | None
    ) -> None:
        require_convolution(self.name, out)
        if out.shape[0] % self.groups:
            raise ConfigError(
                f"dirac: groups must divide the {out.shape[0]} output channels, but got {self.groups}: "
                "use the convolution's own"
            )
        per_group = out.shape[0] // self.groups
        out.zero_()
        centre = out
        for size in out.shape[2:]:
            centre = centre.select(2, size // 2)
        for first in range(0, out.shape[0], per_group):
            centre[first : first + per_group].fill_diagonal_(1)


def require_convolution(name: str, tensor: Tensor) -> None:
    """Raise ConfigError for a tensor that is not the weight of a convolution."""
    if tensor.ndim not in (3, 4, 5):
        raise ConfigError(
            f"{name}: the tensor must be 3-D, 4-D or 5-D (a convolution's), but got shape "
            f"{tuple(tensor.shape)}: use identity or orthogonal for dense layers"
        )
