"""A small causal transformer for the characters of a text."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from initsearch.errors import ConfigError
from initsearch.tasks.models.attention import TransformerBlock


class CharGPT(nn.Module):
    """Token and position embeddings, blocks with the norm first, a norm and a dense head; as GPT-2 in small.

    Maps tokens (N, T) to logits (N, T, num_tokens). Names: `tokens`, `positions` (the embeddings), in each
    block `attention.query|key|value|proj` and `feedforward.fc|proj`, and `head`, which is not tied. The
    residual projections are the layers named `proj`.

    Args:
        input_shape: The length of a text, `(T,)`.
        num_tokens: Number of different tokens.
        depth: Number of blocks.
        width: Width of the residual stream, a multiple of `heads`.
        heads: Heads of each attention.

    Raises:
        ConfigError: A width that is no multiple of `heads`.
    """

    def __init__(
        self,
        input_shape: tuple[int],
        num_tokens: int,
        depth: Annotated[int, Field(ge=1)] = 4,
        width: Annotated[int, Field(ge=1)] = 64,
        heads: Annotated[int, Field(ge=1)] = 4,
    ) -> None:
        super().__init__()
        check_heads("char_gpt", width, heads)
        (length,) = input_shape
        self.example_input_array = torch.zeros(2, length, dtype=torch.long)
        self.tokens = nn.Embedding(num_tokens, width)
        self.positions = nn.Embedding(length, width)
        self.blocks = nn.Sequential(
            *(TransformerBlock(width, heads, causal=True) for _ in range(depth))
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_tokens, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, T, num_tokens) of the token that follows each position of (N, T)."""
        stream = self.tokens(x) + self.positions(torch.arange(x.shape[1], device=x.device))
        logits: Tensor = self.head(self.norm(self.blocks(stream)))
        return logits


def check_heads(model: str, width: int, heads: int) -> None:
    """Refuse a width that the heads cannot share."""
    if width % heads:
        raise ConfigError(
            f"model.width of {model} must be a multiple of model.heads={heads}, but got {width}: give "
            f"{heads * max(1, round(width / heads))}"
        )
