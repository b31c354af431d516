"""The block of a transformer with the norm before each branch, for `CharGPT` and `SmallViT`."""

import math

from torch import Tensor, nn


class SelfAttention(nn.Module):
    """Attention of several heads; query, key and value have a dense layer each.

    They are apart, as fans of a fused layer would be those of a matrix three times as tall.
    """

    def __init__(self, width: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, width) to the same."""
        split = (self.heads, x.shape[-1] // self.heads)
        q, k, v = (
            layer(x).unflatten(-1, split).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        scores = q @ k.transpose(-1, -2) / math.sqrt(split[1])
        if self.causal:
            length = x.shape[1]
            future = scores.new_ones(length, length).triu(1).bool()
            scores = scores.masked_fill(future, -math.inf)
        mixed = scores.softmax(-1) @ v
        out: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return out


class Feedforward(nn.Module):
    """A dense layer to four times the width, GELU, and one back; (N, T, width) to the same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc = nn.Linear(width, 4 * width)
        self.act = nn.GELU()
        self.proj = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Position by position."""
        out: Tensor = self.proj(self.act(self.fc(x)))
        return out


class TransformerBlock(nn.Module):
    """Attention and feedforward, each a branch beside a skip connection, its norm before it."""

    def __init__(self, width: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads, causal=causal)
        self.norm2 = nn.LayerNorm(width)
        self.feedforward = Feedforward(width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, width) to the same."""
        x = x + self.attention(self.norm1(x))
        out: Tensor = x + self.feedforward(self.norm2(x))
        return out
