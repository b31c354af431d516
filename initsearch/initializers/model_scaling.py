"""The base of initializers that learn one scale for each weight, of all layers of a model at once."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import Tensor

from initsearch.errors import ConfigError, ModelError, quoted
from initsearch.initializers.base import Facts, Initializer
from initsearch.initializers.registry import get_initializer
from initsearch.initializers.scaling import VarianceScaling

# The least scale, as GradInit has it: a scale keeps its sign, and no layer vanishes.
LEAST = 0.01


class LossAt(Protocol):
    """The training loss of a model as a function of its parameters; see `initsearch.layers.learn_scales_`."""

    def __call__(self, values: Sequence[Tensor], draw: int) -> Tensor:
        """The mean loss with these values for the parameters, with gradients.

        Args:
            values: The weights to scale, then all other trainable parameters.
            draw: Calls with the same number see the same examples.
        """


@dataclass(frozen=True)
class ModelScaling(Initializer):
    """Fills a weight by `base`; afterwards all weights are multiplied, each by a positive scale of its own.

    A plan first fills all parameters of the model. Then the scales of all weights that have this initializer
    are learned together, from the loss of the model on a batch and its gradients.

    Class attributes:
        examples: What the loss sees: `halves` of the batch, or `noise` of its shape.
    """

    examples: ClassVar[str]

    base: Any = field(default=VarianceScaling(2.0))

    def __post_init__(self) -> None:
        base = get_initializer(self.base)
        if not base.needs <= {"branch"}:
            raise ConfigError(
                f"{self.name}: base must draw from fans or the depth alone, but got {quoted(base.label())}: "
                "use for instance he_normal"
            )
        object.__setattr__(self, "base", base)

    @abstractmethod
    def learned(
        self, weights: Sequence[Tensor], others: Sequence[Tensor], loss: LossAt
    ) -> list[float]:
        """The scale of each weight.

        Args:
            weights: As drawn from `base`.
            others: All other trainable parameters of the model; they keep their values.
            loss: The training loss.

        Raises:
            ModelError: The loss or its gradient is not finite.
        """

    def settings(self) -> Initializer:
        """How the scales are learned, whatever the base: weights with equal settings are scaled together."""
        return replace(self, base=VarianceScaling(2.0))

    def resolved(self, facts: Facts) -> Self:
        """With a base that is completed by the parameter's position."""
        base: Initializer = self.base.resolved(facts)
        return self if base is self.base else replace(self, base=base)

    def bias(self) -> Initializer | None:
        """What the base prescribes."""
        found: Initializer | None = self.base.bias()
        return found

    def _draw_(
        self, out: Tensor, fan_in: float, fan_out: float, generator: torch.Generator | None
    ) -> None:
        self.base._draw_(out, fan_in, fan_out, generator)

    def _finite(self, value: Tensor, what: str) -> Tensor:
        if not torch.isfinite(value).all():
            raise ModelError(
                f"{self.name}: {what} on the batch must be finite, but got {float(value.detach()):g}: use a "
                "base of smaller weights"
            )
        return value


def scaled(weights: Sequence[Tensor], scales: Tensor) -> list[Tensor]:
    """Each weight times its scale."""
    return [
        weight * scale.to(weight) for weight, scale in zip(weights, scales.unbind(), strict=True)
    ]
