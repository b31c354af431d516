"""Plans with rules on residual branches: conditions, named plans, Fixup's scale."""

import math
import warnings

import pytest
import torch
import torchvision
from torch import Tensor, nn

from initsearch import InitPlan, get_initializer
from initsearch.errors import ConfigError, NoEffectWarning
from initsearch.plan import list_plans

IMAGE = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def blocks_of(model: nn.Module) -> list[nn.Module]:
    return [block for stage in range(1, 5) for block in getattr(model, f"layer{stage}")]


def test_zero_gamma_zeroes_the_last_norm_of_each_branch_alone() -> None:
    model = torchvision.models.resnet18()
    twin = torchvision.models.resnet18(zero_init_residual=True)
    InitPlan.from_spec("zero_gamma").apply(model, batch=IMAGE)
    # The reference for which gains are zero is torchvision's own option.
    norms = [name for name, _ in twin.named_parameters() if "bn" in name or "downsample.1" in name]
    for name in norms:
        assert torch.equal(model.get_parameter(name), twin.get_parameter(name)), name
    assert bool((blocks_of(model)[0].conv2.weight != 0).any())


def test_with_zero_last_each_block_equals_its_shortcut() -> None:
    model = torchvision.models.resnet18().eval()
    report = InitPlan.from_spec("zero_last").apply(model, batch=IMAGE)
    x = torch.randn(2, 64, 8, 8).relu()
    block = blocks_of(model)[0]
    with torch.no_grad():
        assert torch.equal(block(x), x)
    zero = {row.parameter for row in report.rows if row.initializer == "zeros"}
    lasts = {name for name, _ in model.named_parameters() if name.endswith("conv2.weight")}
    assert zero == lasts | {"fc.bias"}


def test_fixup_has_the_paper_s_scales() -> None:
    model = torchvision.models.resnet50()
    InitPlan.from_spec("fixup").apply(model, batch=IMAGE)
    blocks = blocks_of(model)
    assert torch.count_nonzero(model.fc.weight) == torch.count_nonzero(model.fc.bias) == 0
    for block in blocks:
        assert torch.count_nonzero(block.conv3.weight) == 0
        for inner in (block.conv1, block.conv2):
            out, taps = inner.weight.shape[0], inner.weight[0, 0].numel()
            # Zhang et al. 2019: sqrt(2 / (out k^2)) L^(-1/(2m-2)), m = 3 layers, L = 16 branches.
            expected = math.sqrt(2 / (out * taps)) * 16 ** (-1 / 4)
            error = 5 / math.sqrt(2 * inner.weight.numel())
            assert inner.weight.std().item() == pytest.approx(expected, rel=error)
    shortcut = blocks[0].downsample[0].weight
    assert shortcut.std().item() == pytest.approx(math.sqrt(2 / 64), rel=0.03)


def test_a_fixup_net_of_any_depth_starts_as_its_shortcuts() -> None:
    """After 30 blocks without norms the variance is still that of the stem."""

    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Linear(20, 64)
            self.blocks = nn.ModuleList(
                nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64)) for _ in range(30)
            )
            self.head = nn.Linear(64, 3)

        def features(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            for block in self.blocks:
                x = x + block(x)
            return x

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.features(x))

    model, x = Deep(), torch.randn(50, 20)
    InitPlan.from_spec("fixup").apply(model, batch=x)
    with torch.no_grad():
        assert torch.equal(model.features(x), model.stem(x))
    InitPlan.from_spec("he_normal").apply(model, batch=x)
    with torch.no_grad():
        assert model.features(x).var() > 1e6 * model.stem(x).var()


def test_fixup_scaled_with_given_numbers_and_outside_of_branches() -> None:
    given = get_initializer({"name": "fixup_scaled", "branches": 16, "layers": 3})
    assert given.moments(10.0, 50.0) == (0.0, pytest.approx(math.sqrt(2 / 50) * 0.5))
    model = torchvision.models.resnet18()
    report = InitPlan.from_spec("fixup_scaled").apply(model, batch=IMAGE)
    labels = {row.parameter: row.initializer for row in report.rows}
    assert labels["layer1.0.conv1.weight"] == "fixup_scaled(branches=8, layers=2)"
    assert labels["conv1.weight"] == "fixup_scaled"
    assert model.conv1.weight.std().item() == pytest.approx(math.sqrt(2 / (64 * 49)), rel=0.03)
    for field, value in (("branches", 0), ("layers", 1), ("layers", 2.5), ("branches", True)):
        with pytest.raises(ConfigError, match=f"fixup_scaled: {field} must be an integer"):
            get_initializer({"name": "fixup_scaled", field: value})


def test_a_branch_of_one_layer_has_no_inner_layers() -> None:
    class Single(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.only = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            return x + self.only(x)

    rule = {"where": {"branch": "last"}, "weight": "fixup_scaled"}
    with pytest.raises(ConfigError, match="at least 2 weight layers, but got 1: use zeros"):
        InitPlan.from_spec({"rules": [rule]}).apply(Single(), batch=torch.randn(3, 4))


def test_the_position_in_a_branch_is_a_condition() -> None:
    spec = {
        "rules": [
            {"where": {"branch": ["last", "last_norm"]}, "weight": "zeros", "bias": "keep"},
            {"where": {"branch": "inner", "kind": "conv2d"}, "weight": "orthogonal"},
        ]
    }
    plan = InitPlan.from_spec(spec)
    assert plan.spec()["rules"] == spec["rules"]
    assert InitPlan.from_spec(plan.spec()) == plan
    model = torchvision.models.resnet18()
    before = model.layer1[0].bn1.weight.clone()
    plan.apply(model, batch=IMAGE)
    block = blocks_of(model)[0]
    assert torch.count_nonzero(block.conv2.weight) == torch.count_nonzero(block.bn2.weight) == 0
    assert torch.equal(block.bn1.weight, before)
    with pytest.raises(ConfigError, match="unknown branch in where 'lst': did you mean last"):
        InitPlan.from_spec({"rules": [{"where": {"branch": "lst"}, "weight": "zeros"}]})


def test_named_plans_are_listed_suggested_and_written_out(tmp_path) -> None:
    assert {"fixup", "zero_gamma", "zero_last"} <= set(list_plans())
    for name in list_plans():
        plan = InitPlan.from_spec(name)
        plan.save(tmp_path / f"{name}.yaml")
        assert InitPlan.load(tmp_path / f"{name}.yaml") == plan
    for wrong, near in (
        ("fixupp", "fixup"),
        ("zero_gama", "zero_gamma"),
        ("zerolast", "zero_last"),
    ):
        with pytest.raises(ConfigError, match=f"unknown initializer or plan '{wrong}'.*{near}"):
            InitPlan.from_spec(wrong)


@pytest.mark.parametrize("name", ["fixup", "zero_gamma", "zero_last"])
def test_without_branches_the_rules_warn_and_all_weights_are_he_s(name: str) -> None:
    model = nn.Sequential(nn.Linear(300, 200), nn.ReLU(), nn.Linear(200, 4))
    with pytest.warns(
        NoEffectWarning,
        match="branch.*applies to no parameter|fixup.*apply to no parameter.*branch",
    ):
        InitPlan.from_spec(name).apply(model, batch=torch.randn(2, 300))
    assert model[0].weight.std().item() == pytest.approx(math.sqrt(2 / 300), rel=0.03)


BIASED = {"name": "edge_of_chaos", "bias_variance": 0.3}


@pytest.mark.parametrize(
    "spec",
    [
        BIASED,
        {"rules": [{"weight": BIASED}]},
        {"rules": [{"where": {"kind": "linear"}, "weight": BIASED}]},
        {"default": {"weight": BIASED}},
    ],
)
def test_a_prescribed_bias_is_drawn_if_no_other_is_given(spec: object) -> None:
    model = nn.Sequential(
        nn.Linear(30, 2000), nn.Tanh(), nn.Linear(2000, 2000), nn.BatchNorm1d(2000)
    )
    plan = InitPlan.from_spec(spec)
    assert InitPlan.from_spec(plan.spec()) == plan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plan.apply(model, batch=torch.randn(2, 30))
    for layer in (model[0], model[2]):
        assert layer.bias.var().item() == pytest.approx(0.3, rel=0.2)
    assert torch.count_nonzero(model[3].bias) == 0


def test_a_given_bias_overrides_a_prescribed_one() -> None:
    model = nn.Sequential(nn.Linear(30, 200), nn.Tanh(), nn.Linear(200, 200))
    rules = [
        {"where": {"name": "2.bias"}, "bias": "ones"},
        {"where": {"name": "0.*"}, "weight": BIASED, "bias": "zeros"},
        {"weight": BIASED},
    ]
    InitPlan.from_spec({"rules": rules}).apply(model, batch=torch.randn(2, 30))
    assert torch.count_nonzero(model[0].bias) == 0
    assert bool((model[2].bias == 1).all())
