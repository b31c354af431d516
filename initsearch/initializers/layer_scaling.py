"""Initializers that look at what a layer makes of a batch, and scale its weight."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from initsearch.initializers.base import Initializer


@dataclass(frozen=True)
class LayerScaling(Initializer):
    """Fills a weight as any other does; then, on a batch, the weight is multiplied layer by layer.

    A plan fills all parameters of the model first. Then the layers are scaled in the order in which
    they run, so that each sees the layers before it as they will be. What is to become of a layer is
    said here, how its output comes about is `initsearch.layers.rescale_`'s business.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"batch"})

    @abstractmethod
    def attempts(self) -> int:
        """How often a weight is multiplied at most."""

    @abstractmethod
    def factor(self, variance: float) -> float | None:
        """By what to multiply the weight of a layer whose output has this variance.

        Args:
            variance: Of all entries of the output on the batch; positive and finite.

        Returns:
            A positive number; `None` where the variance is as it should be.
        """
