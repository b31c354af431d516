"""The deep plain net of "Dynamical Isometry and a Mean Field Theory of CNNs": circular padding, one width."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from initsearch.tasks.models.activations import ActivationName, make_activation


class CircularCNN(nn.Module):
    """3x3 convolutions of one width with circular padding, then the mean over all pixels and a dense layer.

    As in Xiao et al. 2018 (arXiv 1806.05393, section 3), without skips and norms. The first convolution halves
    the sides, as theirs do. With circular padding every pixel is like every other, and a delta-orthogonal
    convolution keeps the norm of its input exactly. Maps (N, C, H, W) to logits (N, num_classes).

    Args:
        input_shape: Channels, height and width of one image.
        num_classes: Width of the output.
        depth: Number of convolutions.
        width: Channels of every convolution.
        activation: `relu`, `leaky_relu`, `elu`, `gelu`, `silu`, `selu`, `tanh`, `sigmoid` or `softplus`.
    """

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        num_classes: int,
        depth: Annotated[int, Field(ge=1)] = 64,
        width: Annotated[int, Field(ge=1)] = 16,
        activation: ActivationName = "tanh",
    ) -> None:
        super().__init__()
        self.example_input_array = torch.zeros(2, *input_shape)
        channels, _, _ = input_shape
        layers: list[nn.Module] = []
        for place in range(depth):
            stride = 2 if place == 0 else 1
            layers.append(nn.Conv2d(channels, width, 3, stride, padding=1, padding_mode="circular"))
            layers.append(make_activation(activation))
            channels = width
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, num_classes) of images (N, C, H, W)."""
        logits: Tensor = self.head(self.features(x).mean((2, 3)))
        return logits
