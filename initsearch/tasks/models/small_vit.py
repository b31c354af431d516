"""A small vision transformer."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from initsearch.errors import ConfigError
from initsearch.tasks.models.attention import TransformerBlock
from initsearch.tasks.models.char_gpt import check_heads


class SmallViT(nn.Module):
    """Patches by a convolution, learned positions, transformer blocks, the mean over patches, a dense head.

    Maps (N, C, H, W) to logits (N, num_classes).

    Args:
        input_shape: Channels, height and width of one image; both sides are multiples of `patch`.
        num_classes: Width of the output.
        depth: Number of blocks.
        width: Width of the residual stream, a multiple of `heads`.
        heads: Heads of each attention.
        patch: Side of a patch in pixels.

    Raises:
        ConfigError: A width or a patch that does not divide.
    """

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        num_classes: int,
        depth: Annotated[int, Field(ge=1)] = 4,
        width: Annotated[int, Field(ge=1)] = 48,
        heads: Annotated[int, Field(ge=1)] = 3,
        patch: Annotated[int, Field(ge=1)] = 2,
    ) -> None:
        super().__init__()
        check_heads("small_vit", width, heads)
        channels, height, side = input_shape
        if height % patch or side % patch:
            raise ConfigError(
                f"model.patch of small_vit must divide the sides of an image, {height} and {side}, but got "
                f"{patch}: give another one, or change data.image_size"
            )
        self.example_input_array = torch.zeros(2, *input_shape)
        self.patches = nn.Conv2d(channels, width, patch, patch)
        self.positions = nn.Parameter(torch.zeros((height // patch) * (side // patch), width))
        nn.init.trunc_normal_(self.positions, std=0.02)
        self.blocks = nn.Sequential(
            *(TransformerBlock(width, heads, causal=False) for _ in range(depth))
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, num_classes) of images (N, C, H, W)."""
        stream = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        logits: Tensor = self.head(self.norm(self.blocks(stream)).mean(1))
        return logits
