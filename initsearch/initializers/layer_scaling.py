"""The base of initializers that scale a layer's weight by what the layer gives for a batch."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from initsearch.initializers.base import Initializer


@dataclass(frozen=True)
class LayerScaling(Initializer):
    """Fills a weight like any initializer; afterwards the weight is multiplied, layer by layer, on a batch.

    A plan first fills all parameters of the model. Then it scales the layers in execution order: each
    layer's input comes from layers that are already scaled. A subclass computes the factor from the
    variance of the output; `initsearch.layers.rescale_` measures that variance.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"batch"})

    @abstractmethod
    def attempts(self) -> int:
        """The most times that a weight is multiplied."""

    @abstractmethod
    def factor(self, variance: float) -> float | None:
        """The factor on the weight of a layer whose output has this variance.

        Args:
            variance: Of all entries of the output on the batch; positive and finite.

        Returns:
            A positive number; `None` if the variance is within the tolerance.
        """
