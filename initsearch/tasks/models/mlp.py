"""A multilayer perceptron."""

import math
from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from initsearch.tasks.models.activations import ActivationName, make_activation


class MLP(nn.Module):
    """Fully connected layers of one width, each followed by the activation, then a dense head.

    Maps (N, C, H, W) to logits (N, num_classes).

    Args:
        input_shape: Channels, height and width of one image.
        num_classes: Width of the output.
        depth: Number of hidden layers, not counting the head.
        width: Units in each hidden layer.
        activation: `relu`, `leaky_relu`, `elu`, `gelu`, `silu`, `selu`, `tanh`, `sigmoid` or
            `softplus`.
    """

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        num_classes: int,
        depth: Annotated[int, Field(ge=1)] = 2,
        width: Annotated[int, Field(ge=1)] = 128,
        activation: ActivationName = "relu",
    ) -> None:
        super().__init__()
        self.example_input_array = torch.zeros(2, *input_shape)
        features = math.prod(input_shape)
        self.hidden = hidden_layers(features, depth, width, lambda: make_activation(activation))
        self.head = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, num_classes) of images (N, C, H, W)."""
        logits: Tensor = self.head(self.hidden(x.flatten(1)))
        return logits


def hidden_layers(
    features: int, depth: int, width: int, activation: Callable[[], nn.Module]
) -> nn.Sequential:
    """Linear layers, each with an activation behind it.

    Args:
        features: Inputs of the first layer.
        depth: Number of layers, >= 1.
        width: Units in each.
        activation: Makes an activation.
    """
    layers: list[nn.Module] = []
    for inputs in (features, *[width] * (depth - 1)):
        layers += [nn.Linear(inputs, width), activation()]
    return nn.Sequential(*layers)
