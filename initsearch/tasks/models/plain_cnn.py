"""A deep plain convolutional net: no skip connection, no norm."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from initsearch.tasks.models.activations import ActivationName, make_activation

STAGES = 3


class PlainCNN(nn.Module):
    """3x3 convolutions in three stages, then the mean over all pixels and a dense layer.

    The plain net that He et al. compare residual nets with (arXiv 1512.03385, section 4.2), without
    its norms: only the initialization keeps its signal from fading or growing with depth.
    The second and the third stage begin with stride 2 and double the channels. Maps (N, C, H, W) to
    logits (N, num_classes), for images of any size.

    Args:
        input_shape: Channels, height and width of one image.
        num_classes: Width of the output.
        depth: Number of convolutions, at least 3; where 3 does not divide it, earlier stages get
            one more than later ones.
        width: Channels of the first stage.
        activation: `relu`, `leaky_relu`, `elu`, `gelu`, `silu`, `selu`, `tanh`, `sigmoid` or
            `softplus`.
    """

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        num_classes: int,
        depth: Annotated[int, Field(ge=STAGES)] = 12,
        width: Annotated[int, Field(ge=1)] = 16,
        activation: ActivationName = "relu",
    ) -> None:
        super().__init__()
        self.example_input_array = torch.zeros(2, *input_shape)
        channels = input_shape[0]
        layers: list[nn.Module] = []
        for stage in range(STAGES):
            out = width * 2**stage
            # The remaining convolutions over the remaining stages, rounded up: 14 are 5, 5 and 4.
            for place in range((depth + STAGES - 1 - stage) // STAGES):
                stride = 2 if stage > 0 and place == 0 else 1
                layers.append(nn.Conv2d(channels, out, 3, stride, padding=1))
                layers.append(make_activation(activation))
                channels = out
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, num_classes) of images (N, C, H, W)."""
        logits: Tensor = self.head(self.features(x).mean((2, 3)))
        return logits
