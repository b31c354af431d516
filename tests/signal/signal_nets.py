"""Nets whose signal is known (by construction, or because they are known to learn), and batches."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from initsearch.signal import LayerSignal, SignalReport


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def classes(samples: int, count: int = 10, seed: int = 0) -> Tensor:
    """Random labels."""
    return torch.randint(0, count, (samples,), generator=torch.Generator().manual_seed(seed))


def row(report: SignalReport, layer: str) -> LayerSignal:
    """The row of a layer that is called once."""
    (found,) = (each for each in report.rows if each.layer == layer)
    return found


def words(report: SignalReport) -> list[str]:
    """The verdicts in execution order."""
    return [each.verdict for each in report.rows]


def mlp(
    width: int, depth: int, activation: Callable[[], nn.Module] = nn.ReLU, inputs: int = 20
) -> nn.Sequential:
    """`depth` hidden layers, and a head of 10."""
    layers: list[nn.Module] = []
    for number in range(depth):
        layers += [nn.Linear(width if number else inputs, width), activation()]
    return nn.Sequential(*layers, nn.Linear(width if depth else inputs, 10))


def weights(model: nn.Module) -> list[nn.Linear]:
    """The dense layers of a model."""
    return [module for module in model.modules() if isinstance(module, nn.Linear)]


@torch.no_grad()
def fill(layer: nn.Module, std: float, bias: float = 0.0, seed: int = 0) -> None:
    """Draw a layer's weight from N(0, std^2); its bias is a constant."""
    layer.weight.normal_(0.0, std, generator=torch.Generator().manual_seed(seed))
    if layer.bias is not None:
        layer.bias.fill_(bias)


class Residual(nn.Module):
    """x + F(x) three times, without norms; `last` is how the branches end.

    `zero`: the second convolution of each branch is zero (the zeroed residual branch); `fixup`:
    also the head; `skip_init`: a scalar gain of zero instead; `gamma`: a batch norm of gain zero.
    """

    def __init__(self, last: str, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1)
        self.first = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(3))
        self.second = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(3))
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(3))
        self.gains = nn.ParameterList(torch.ones(1) for _ in range(3))
        self.last = last
        self.head = nn.Linear(width, 10)
        with torch.no_grad():
            for number in range(3):
                fill(self.first[number], (2 / (9 * width)) ** 0.5, seed=number)
                fill(self.second[number], (2 / (9 * width)) ** 0.5, seed=10 + number)
                if last in ("zero", "fixup"):
                    self.second[number].weight.zero_()
                if last == "skip_init":
                    self.gains[number].zero_()
                if last == "gamma":
                    self.norms[number].weight.zero_()
            if last == "fixup":
                self.head.weight.zero_()
                self.head.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        for first, second, norm, gain in zip(
            self.first, self.second, self.norms, self.gains, strict=True
        ):
            branch = second(F.relu(first(x)))
            if self.last == "gamma":
                branch = norm(branch)
            x = F.relu(x + gain * branch)
        return self.head(x.mean((2, 3)))


class Tagger(nn.Module):
    """A language model: an embedding tied to the head, attention, an LSTM, a layer used twice."""

    def __init__(self, words: int = 40, width: int = 16) -> None:
        super().__init__()
        self.words = nn.Embedding(words, width, padding_idx=0)
        self.encoder = nn.TransformerEncoderLayer(
            width, 2, 32, batch_first=True, norm_first=True, activation="gelu"
        )
        self.lstm = nn.LSTM(width, width, batch_first=True)
        self.mix = nn.Linear(width, width)
        self.head = nn.Linear(width, words)
        self.head.weight = self.words.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x, _ = self.lstm(self.encoder(self.words(tokens)))
        return self.head(self.mix(F.silu(self.mix(x))))
