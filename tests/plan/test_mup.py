"""muP: factors by the paper's table, and outputs that keep their size over widths."""

import pytest
import torch
from torch import Tensor, nn

import initsearch
from initsearch.errors import ConfigError, ModelError

X = torch.randn(64, 20, generator=torch.Generator().manual_seed(0))
Y = torch.arange(64) % 4


def net(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(20, width),
        nn.LayerNorm(width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, 4),
    )


def test_factors_are_those_of_table_3() -> None:
    # r = 8: (init, Adam, SGD) for input, hidden, output weights, and vectors.
    expected = {
        "0.weight": ("input", 1.0, 1.0, 8.0),
        "0.bias": ("vector", 1.0, 1.0, 8.0),
        "1.weight": ("vector", 1.0, 1.0, 8.0),
        "1.bias": ("vector", 1.0, 1.0, 8.0),
        "3.weight": ("hidden", 1.0, 1 / 8, 1.0),
        "3.bias": ("vector", 1.0, 1.0, 8.0),
        "5.weight": ("output", 8**-0.5, 1 / 8, 1 / 8),
        "5.bias": ("fixed", 1.0, 1.0, 1.0),
    }
    adam = {row.parameter: row for row in initsearch.mup(net(256), net(32)).rows}
    sgd = {row.parameter: row for row in initsearch.mup(net(256), net(32), "sgd").rows}
    found = {
        name: (row.role, row.init_factor, row.lr_factor, sgd[name].lr_factor)
        for name, row in adam.items()
    }
    assert found == expected


def test_at_the_base_width_nothing_changes() -> None:
    table = initsearch.mup(net(32), net(32))
    assert {row.lr_factor for row in table.rows} == {1.0}
    (group,) = table.parameter_groups(net(32), lr=0.1)
    assert group["lr"] == 0.1
    assert table.plan("he_normal") == initsearch.InitPlan.from_spec("he_normal")


def test_groups_hold_each_parameter_once_with_its_rate() -> None:
    model = net(256)
    groups = initsearch.mup(model, net(32)).parameter_groups(model, lr=0.1)
    held = {id(each): group["lr"] for group in groups for each in group["params"]}
    assert len(held) == sum(len(group["params"]) for group in groups) == 8
    rates = {name: held[id(value)] for name, value in model.named_parameters()}
    assert rates["3.weight"] == rates["5.weight"] == pytest.approx(0.1 / 8)
    assert rates["0.weight"] == rates["3.bias"] == 0.1


def outputs_after_training(width: int, *, mup: bool) -> float:
    model = net(width)
    table = initsearch.mup(model, net(32))
    if mup:
        table.plan("he_normal").apply(model, seed=0)
        optimizer = torch.optim.Adam(table.parameter_groups(model, lr=0.01))
    else:
        initsearch.InitPlan.from_spec("he_normal").apply(model, seed=0)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(X), Y).backward()
        optimizer.step()
    found: Tensor = model(X).abs().mean()
    return found.item()


def test_the_size_of_outputs_after_training_does_not_grow_with_the_width() -> None:
    narrow, wide = (outputs_after_training(width, mup=True) for width in (64, 1024))
    assert 0.5 < wide / narrow < 2
    narrow, wide = (outputs_after_training(width, mup=False) for width in (64, 1024))
    assert wide / narrow > 3


def test_a_readout_by_the_recipe_falls_with_the_width() -> None:
    class Attention(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.embedding = nn.Embedding(10, width)
            self.num_heads = 1
            self.qkv = nn.Linear(width, 3 * width)
            self.head = nn.Linear(width, 4)

        def forward(self, tokens: Tensor) -> Tensor:
            q, k, v = self.qkv(self.embedding(tokens)).chunk(3, dim=-1)
            return self.head(nn.functional.scaled_dot_product_attention(q, k, v))  # type: ignore[no-any-return]

    for width in (64, 1024):
        model = Attention(width)
        initsearch.InitPlan.from_spec("mup").apply(model, batch=torch.zeros(2, 3, dtype=torch.long))
        assert not model.qkv.weight[:width].any()
        assert model.qkv.weight[width:].std().item() == pytest.approx(width**-0.5, rel=0.05)
        assert model.head.weight.std().item() == pytest.approx(4**0.5 / width, rel=0.25)
        assert model.embedding.weight.std().item() == pytest.approx(0.02, rel=0.15)


def test_what_does_not_fit_is_one_line() -> None:
    with pytest.raises(
        ModelError, match=r"must have the parameters of the model, but 5\.bias is in one only"
    ):
        initsearch.mup(net(32), net(32)[:4])
    with pytest.raises(ConfigError, match="optimizer"):
        initsearch.mup(net(32), net(32), "lion")
