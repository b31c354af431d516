"""The verdicts, on nets that are known to learn or not, and on deliberate zeros."""

from typing import Any

import pytest
import torch
from signal_nets import Residual, classes, fill, mlp, noise, row, weights, words
from torch import Tensor, nn
from torch.nn import functional as F

from initsearch.signal import diagnose

DEEP = [
    ("he_normal", {"healthy"}, {"healthy"}),
    ({"name": "normal", "std": 0.01}, {"vanishing"}, {"vanishing"}),
    ({"name": "normal", "std": 1.0}, {"exploding"}, {"exploding"}),
    ("torch_default", {"vanishing"}, {"vanishing"}),
]


@pytest.mark.parametrize(("plan", "first", "last"), DEEP)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_thirty_relu_layers(plan: Any, first: set[str], last: set[str], seed: int) -> None:
    # He et al. 2015: 30 layers learn with He's rule only. Also measured on this width.
    model = mlp(128, 30, inputs=784)
    report = diagnose(model, (noise(64, 784, seed=seed), classes(64)), plan=plan, seed=seed)
    assert report.rows[0].verdict in first
    assert report.rows[-1].verdict in last
    if plan == "he_normal":
        assert set(words(report)) == {"healthy"}
        widths = [each.pre_std for each in report.rows]
        assert all(0.2 < width < 8 for width in widths if width is not None)
    assert report.exact == ()


@pytest.mark.parametrize(("plan", "learns"), [("glorot_normal", True), ("torch_default", False)])
def test_the_verdicts_on_ten_relu_layers_agree_with_training(plan: str, learns: bool) -> None:
    # 400 steps on MNIST: Glorot .94, torch's default .11.
    report = diagnose(mlp(128, 10, inputs=784), noise(64, 784), plan=plan)
    assert (set(words(report)) == {"healthy"}) is learns
    assert set(words(report)) <= {"healthy", "vanishing"}


def test_unit_normal_weights_saturate_tanh() -> None:
    report = diagnose(mlp(128, 4, nn.Tanh), noise(64, 20), plan={"name": "normal", "std": 1.0})
    assert words(report)[1:4] == ["saturated"] * 3
    assert "over 50%" in report.rows[1].reason


def test_the_convnet_of_a_known_post_grows_and_shrinks_as_published() -> None:
    # "LTFN 6: Weight Initialization": [-1, 1] to +-20,000 by layer 4, and .02 to .0002.
    def convnet() -> nn.Module:
        layers: list[nn.Module] = []
        for number, (a, b) in enumerate(((1, 64), (64, 64), (64, 128), (128, 128))):
            layers += [nn.Conv2d(a, b, 3, padding=1), nn.ReLU()]
            layers += [nn.MaxPool2d(2)] if number % 2 else []
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 9, 10))

    images = noise(16, 1, 12, 12)
    large = diagnose(convnet(), images, plan={"name": "normal", "std": 1.0})
    small = diagnose(convnet(), images, plan={"name": "normal", "std": 0.01})
    good = diagnose(convnet(), images, plan="he_normal")
    assert large.rows[3].pre_std == pytest.approx(2e4, rel=0.5)
    assert small.rows[3].pre_std == pytest.approx(2e-4, rel=0.5)
    # The layers in the middle have half of the growth in the signal and half in the gradient.
    assert set(words(large)) == {"exploding"}
    assert words(small)[3] == "vanishing"
    assert set(words(good)) == {"healthy"}
    assert any("between exploding layers" in each.reason for each in large.rows)


def test_a_layer_in_the_middle_of_a_net_that_shrinks_vanishes() -> None:
    report = diagnose(mlp(64, 4), noise(64, 20), plan={"name": "normal", "std": 0.02})
    assert set(words(report)) == {"vanishing"}
    assert "between vanishing layers" in report.rows[1].reason


def test_a_layer_whose_own_signal_is_fine_is_healthy_between_exploding_layers() -> None:
    sizes, stds = (20, 64, 64, 64, 10), (1e4, 0.2, 1e4, 0.1)
    layers: list[nn.Module] = []
    for inputs, outputs, std in zip(sizes, sizes[1:], stds, strict=False):
        layers += [nn.Linear(inputs, outputs), nn.LayerNorm(outputs, elementwise_affine=False)]
        fill(layers[-2], std)
    model = nn.Sequential(*layers[:-1])
    report = diagnose(model, noise(64, 20))
    assert row(report, "0").verdict == row(report, "4").verdict == "exploding"
    assert row(report, "2").verdict == "healthy"


class Attention(nn.Module):
    """Single-head attention with the initialization of BERT (Devlin et al. 2019), and a head of two classes."""

    def __init__(self, width: int = 256, layers: int = 2) -> None:
        super().__init__()
        self.words = nn.Embedding(100, width)
        self.kinds = nn.Embedding(2, width)
        self.parts = nn.ModuleList(
            nn.ModuleDict({name: nn.Linear(width, width) for name in ("q", "k", "v", "out")})
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.head = nn.Linear(width, 2)
        for layer in [self.words, self.kinds, *weights(self)]:
            nn.init.normal_(layer.weight, 0.0, 0.02)
        for layer in weights(self):
            nn.init.zeros_(layer.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        kind = torch.zeros(tokens.shape[1], dtype=torch.long)
        x = self.norm(self.words(tokens) + self.kinds(kind))
        for part in self.parts:
            read = F.scaled_dot_product_attention(part["q"](x), part["k"](x), part["v"](x))
            x = self.norm(x + part["out"](read))
        return self.head(x[:, 0])


def test_queries_and_keys_of_a_stock_bert_are_healthy_and_those_of_tiny_weights_vanish() -> None:
    torch.manual_seed(0)
    model = Attention()
    tokens, labels = torch.randint(0, 100, (16, 96)), classes(16, 2)
    report = diagnose(model, (tokens, labels))
    assert set(words(report)) == {"healthy"}
    query, value, head = (row(report, name) for name in ("parts.0.q", "parts.0.v", "head"))
    # Below the threshold that holds for a layer outside of attention.
    assert query.pre_gradient < 1e-3 * head.pre_gradient
    assert value.pre_gradient > 1e-3 * head.pre_gradient
    with torch.no_grad():
        model.parts[0]["q"].weight.mul_(1e-3)
    tiny = diagnose(model, (tokens, labels))
    assert row(tiny, "parts.0.k").verdict == "vanishing"
    assert "its attention reads" in row(tiny, "parts.0.k").reason


def test_values_that_are_not_finite_have_exploded() -> None:
    model = mlp(16, 3)
    with torch.no_grad():
        model[2].weight.fill_(3e38)
    report = diagnose(model, noise(8, 20))
    assert words(report)[1] == "exploding"
    assert "not finite" in report.rows[1].reason
    assert [each.check for each in report.exact] == ["non_finite"]
    assert str(report).splitlines()[-1].startswith("non_finite: ")


def test_layers_of_identical_units_are_symmetric() -> None:
    model = mlp(16, 2, nn.Sigmoid).double()
    for layer in weights(model):
        nn.init.constant_(layer.weight, 0.1)
        nn.init.zeros_(layer.bias)
    report = diagnose(model, noise(8, 20).double())
    assert words(report) == ["symmetric", "symmetric", "healthy"]
    assert [each.where for each in report.exact] == ["0.weight", "2.weight"]
    assert [line.startswith("symmetric: ") for line in str(report).splitlines()[-2:]] == [True] * 2


@pytest.mark.parametrize("last", ["zero", "fixup", "skip_init", "gamma"])
def test_a_deliberate_zero_is_healthy_and_explained(last: str) -> None:
    report = diagnose(Residual(last), (noise(16, 1, 6, 6), classes(16)))
    assert set(words(report)) == {"healthy"}
    assert report.exact == ()
    note = row(report, "first.0").note
    expected = {"zero": "second.0.weight", "skip_init": "gains.0", "gamma": "norms.0.weight"}
    assert expected.get(last, ".weight") in note
    assert "zero" in note


def test_a_layer_before_a_tiny_gain_is_healthy_and_explained() -> None:
    model = Residual("skip_init")
    with torch.no_grad():
        for gain in model.gains:
            gain.fill_(1e-6)  # LayerScale
    report = diagnose(model, noise(16, 1, 6, 6))
    assert set(words(report)) == {"healthy"}
    assert "gains.0 (1e-06)" in row(report, "first.0").note


def test_a_zero_that_explains_nothing_excuses_nothing() -> None:
    class Token(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Parameter(torch.zeros(16))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.token

    model = nn.Sequential(*mlp(16, 6)[:-1], Token(), nn.Linear(16, 10))
    for layer in weights(model):
        fill(layer, 0.01)
    assert words(diagnose(model, noise(16, 20)))[0] == "vanishing"


def test_a_zero_first_layer_is_healthy_under_tanh_and_dead_under_relu() -> None:
    for activation, word in ((nn.Tanh, "healthy"), (nn.ReLU, "dead")):
        model = mlp(16, 1, activation)
        nn.init.zeros_(model[0].weight)
        nn.init.zeros_(model[0].bias)
        fill(model[2], 1.0)
        assert diagnose(model, noise(16, 20)).rows[0].verdict == word
