"""A small convolutional net: pairs of convolutions with pooling, and one dense layer."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from initsearch.errors import ConfigError
from initsearch.tasks.models.activations import ActivationName, make_activation


class ConvNet(nn.Module):
    """Pairs of 3x3 convolutions, 2x2 max pooling after each pair, and one dense layer.

    At depth 4 and width 64 it is the net of "LTFN 6: Weight Initialization" (Learn TensorFlow Now):
    convolutions of 64, 64, pool, 128, 128, pool, then a dense layer to the classes. Each further
    pair doubles the channels. Maps (N, C, H, W) to logits (N, num_classes).

    Args:
        input_shape: Channels, height and width of one image. A pool that would leave less than one
            pixel is left out: at 8x8, depth 6 is the deepest that pools after every pair.
        num_classes: Width of the output.
        depth: Number of convolutions, even.
        width: Channels of the first pair.
        activation: `relu`, `leaky_relu`, `elu`, `gelu`, `silu`, `selu`, `tanh`, `sigmoid` or
            `softplus`.

    Raises:
        ConfigError: An odd depth.
    """

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        num_classes: int,
        depth: Annotated[int, Field(ge=2)] = 4,
        width: Annotated[int, Field(ge=1)] = 16,
        activation: ActivationName = "relu",
    ) -> None:
        super().__init__()
        if depth % 2:
            raise ConfigError(
                f"model.depth of convnet must be even (it pools after each pair of convolutions), "
                f"but got {depth}: give {depth - 1} or {depth + 1}"
            )
        self.example_input_array = torch.zeros(2, *input_shape)
        channels, height, side = input_shape
        layers: list[nn.Module] = []
        for pair in range(depth // 2):
            for _ in range(2):
                out = width * 2**pair
                layers += [nn.Conv2d(channels, out, 3, padding=1), make_activation(activation)]
                channels = out
            if min(height, side) >= 2:
                layers.append(nn.MaxPool2d(2))
                height, side = height // 2, side // 2
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(channels * height * side, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, num_classes) of images (N, C, H, W)."""
        logits: Tensor = self.head(self.features(x).flatten(1))
        return logits
