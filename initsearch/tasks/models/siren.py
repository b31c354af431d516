"""SIREN: a multilayer perceptron with sines, for functions of coordinates."""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from initsearch.tasks.models.mlp import hidden_layers


class Sine(nn.Module):
    """sin(omega x)."""

    def __init__(self, omega: float) -> None:
        super().__init__()
        self.omega = omega

    def forward(self, x: Tensor) -> Tensor:
        """Entry by entry."""
        return torch.sin(self.omega * x)


class Siren(nn.Module):
    """Dense layers, each followed by sin(omega x), then a dense head (Sitzmann et al. 2020, section 3.1).

    Maps (N, ...) coordinates to (N, num_outputs). torch's own draws are too small or too large for it,
    depending on omega: the initializer `siren` has the same omega.

    Args:
        input_shape: The shape of one input; `(2,)` for the coordinates of a pixel.
        num_outputs: Width of the output.
        depth: Number of hidden layers, not counting the head.
        width: Units in each hidden layer.
        omega: The frequency in every activation, > 0.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_outputs: int,
        depth: Annotated[int, Field(ge=1)] = 3,
        width: Annotated[int, Field(ge=1)] = 64,
        omega: Annotated[float, Field(gt=0)] = 30.0,
    ) -> None:
        super().__init__()
        self.example_input_array = torch.zeros(2, *input_shape)
        features = math.prod(input_shape)
        self.hidden = hidden_layers(features, depth, width, lambda: Sine(omega))
        self.head = nn.Linear(width, num_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (N, num_outputs) of inputs (N, ...)."""
        out: Tensor = self.head(self.hidden(x.flatten(1)))
        return out
