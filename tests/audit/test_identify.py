"""`identify`: weights drawn by torch.nn.init, torchvision and by closed formulas are named rightly."""

import math
from collections.abc import Callable, Iterator

import pytest
import torch
import torchvision
from torch import Tensor, nn

import initsearch
from initsearch import IdentifyReport, InitPlan, assert_init, identify
from initsearch.audit.short_numbers import shortest_within


@pytest.fixture(autouse=True)
def seed() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


class Blocks(nn.Module):
    """Pre-norm residual blocks of two layers."""

    def __init__(self, blocks: int = 6, width: int = 48) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    "norm": nn.LayerNorm(width),
                    "up": nn.Linear(width, 2 * width),
                    "down": nn.Linear(2 * width, width),
                }
            )
            for _ in range(blocks)
        )
        self.example_input_array = torch.randn(2, width)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + block["down"](torch.relu(block["up"](block["norm"](x))))
        return x


def found(report: IdentifyReport) -> dict[str, str]:
    return {row.parameter: row.initializer for row in report.rows}


def only(fill: Callable[[Tensor], object], *shape: int) -> str:
    """What one weight is named that a function of torch has filled; its bias is zero."""
    layer = (
        nn.Linear(shape[1], shape[0])
        if len(shape) == 2
        else nn.Conv2d(shape[1], shape[0], shape[2:], padding=1)
    )
    fill(layer.weight)
    nn.init.zeros_(layer.bias)
    names = found(identify(layer))
    assert names["bias"] == "zeros"
    return names["weight"]


@pytest.mark.parametrize(
    ("fill", "name"),
    [
        (lambda w: nn.init.kaiming_normal_(w), "he_normal"),
        (lambda w: nn.init.kaiming_normal_(w, mode="fan_out"), "he_normal(fan_out)"),
        (lambda w: nn.init.kaiming_uniform_(w, nonlinearity="relu"), "he_uniform"),
        (lambda w: nn.init.kaiming_uniform_(w, a=math.sqrt(5)), "torch_default"),
        (lambda w: nn.init.xavier_normal_(w), "glorot_normal"),
        (lambda w: nn.init.xavier_uniform_(w), "glorot_uniform"),
        (lambda w: nn.init.kaiming_normal_(w, nonlinearity="linear"), "lecun_normal"),
        (lambda w: nn.init.normal_(w, std=0.02), "normal(std=0.02)"),
        (lambda w: nn.init.normal_(w, 1.0, 0.02), "normal(mean=1, std=0.02)"),
        (lambda w: nn.init.uniform_(w, -0.08, 0.08), "uniform(±0.08)"),
        (lambda w: nn.init.uniform_(w), "uniform(0, 1)"),
        (lambda w: nn.init.trunc_normal_(w, std=1.0), "truncated_normal(std=1, ±2)"),
        (
            lambda w: nn.init.trunc_normal_(w, std=0.02, a=-0.04, b=0.04),
            "truncated_normal(std=0.02, ±2)",
        ),
        (
            lambda w: nn.init.trunc_normal_(w, std=0.02, a=-0.06, b=0.06),
            "truncated_normal(std=0.02, ±3)",
        ),
        (lambda w: nn.init.constant_(w, 0.3), "constant(value=0.3)"),
        (lambda w: nn.init.ones_(w), "ones"),
        (lambda w: nn.init.eye_(w), "identity"),
        (lambda w: nn.init.orthogonal_(w), "orthogonal"),
        (lambda w: nn.init.orthogonal_(w, gain=0.01), "orthogonal(gain=0.01)"),
        (lambda w: nn.init.sparse_(w, 0.25), "sparse(sparsity=0.25)"),
    ],
)
def test_what_torch_draws_is_named(fill: Callable[[Tensor], object], name: str) -> None:
    assert only(fill, 120, 70) == name


@pytest.mark.parametrize(
    ("fill", "name"),
    [
        (lambda w: nn.init.dirac_(w), "dirac"),
        (lambda w: nn.init.orthogonal_(w, math.sqrt(2)), f"orthogonal(gain={math.sqrt(2):g})"),
        (lambda w: nn.init.kaiming_normal_(w, mode="fan_out"), "he_normal(fan_out)"),
        (lambda w: initsearch.get_initializer("delta_orthogonal").fill_(w), "delta_orthogonal"),
    ],
)
def test_convolutions_are_named(fill: Callable[[Tensor], object], name: str) -> None:
    assert only(fill, 64, 24, 3, 3) == name


def test_a_value_head_of_one_orthogonal_row_is_named() -> None:
    assert only(lambda w: nn.init.orthogonal_(w, 1.0), 1, 64) == "orthogonal"


def test_resnet_is_named_as_its_source_says() -> None:
    # torchvision/models/resnet.py: kaiming_normal_(fan_out) for convolutions, zero-init-residual, fc by
    # default.
    block = torchvision.models.resnet.BasicBlock
    model = torchvision.models.ResNet(block, [1, 1, 1, 1], zero_init_residual=True, num_classes=10)
    names = found(identify(model, torch.randn(2, 3, 32, 32)))
    for name, rule in names.items():
        if "conv" in name or "downsample.0" in name:
            assert rule == "he_normal(fan_out)", name
        elif name.startswith("fc"):
            assert rule == "torch_default", name
        elif name.endswith("bn2.weight") or name.endswith("bias"):
            assert rule == "zeros", name
        else:
            assert rule == "ones", name
    assert len(names) == 38


def test_grouped_convolutions_have_the_fans_that_torch_reads_from_their_shape() -> None:
    # torchvision/models/mobilenetv2.py: kaiming_normal_(fan_out), which ignores groups; Linear N(0, .01^2).
    model = torchvision.models.mobilenet_v2(width_mult=0.35, num_classes=10)
    batch = torch.randn(2, 3, 32, 32)
    report = identify(model, batch)
    names = found(report)
    assert names["features.1.conv.0.0.weight"] == "he_normal(fan_out of the shape)"
    assert names["features.3.conv.0.0.weight"] == "he_normal(fan_out)"
    assert names["classifier.1.weight"] == "normal(std=0.01)"
    assert not report.oddities
    assert_init(model, report.plan, batch=batch)


def test_a_scale_has_the_standard_error_of_its_estimate() -> None:
    layer = nn.Linear(50, 80)
    nn.init.normal_(layer.weight, std=0.02)
    row = next(row for row in identify(layer).rows if row.parameter == "weight")
    assert row.scale == 0.02
    assert row.error == pytest.approx(0.02 / math.sqrt(2 * 4000))
    assert row.confidence > 0.9


def test_one_rule_explains_small_siblings() -> None:
    # A bias of 3 entries shows nothing by itself.
    model = nn.Sequential(
        nn.Linear(200, 3), nn.ReLU(), nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 90)
    )
    assert set(found(identify(model)).values()) == {"torch_default"}


def test_depth_scaled_projections_are_named_by_their_depth() -> None:
    model = Blocks(width=96)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif "norm" not in name:
            deep = math.sqrt(6) if "down" in name else 1.0
            nn.init.normal_(parameter, std=0.02 / deep)
    report = identify(model)
    names = found(report)
    assert names["blocks.3.up.weight"] == "normal(std=0.02)"
    assert names["blocks.3.down.weight"] == "normal(std=0.02) / sqrt(6)"
    assert not report.oddities
    for index, block in enumerate(model.blocks):
        nn.init.normal_(block["down"].weight, std=0.02 / math.sqrt(2 * (index + 1)))
    assert found(identify(model))["blocks.3.down.weight"] == "normal(std=0.02) / sqrt(2 (l + 1))"


def test_a_residual_projection_that_is_not_scaled_is_odd() -> None:
    model = Blocks()
    for name, parameter in model.named_parameters():
        if name.endswith("up.weight") or name.endswith("down.weight"):
            nn.init.normal_(parameter, std=0.02)
    (oddity,) = identify(model).oddities
    assert "residual projections are not scaled" in oddity
    assert "blocks.*.down.weight" in oddity


def test_a_layer_unlike_its_siblings_is_odd() -> None:
    model = Blocks()
    nn.init.normal_(model.blocks[4]["up"].weight, std=0.3)
    unlike = [each for each in identify(model).oddities if "unlike its siblings" in each]
    assert len(unlike) == 1
    assert unlike[0].startswith("blocks.4.up.weight")


def test_two_zeros_in_a_row_are_odd_and_one_is_not() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    for layer in (model[0], model[2]):
        nn.init.zeros_(layer.bias)
    nn.init.zeros_(model[2].weight)
    assert not identify(model).oddities
    nn.init.zeros_(model[0].weight)
    (oddity,) = identify(model).oddities
    assert "two zeros in a row" in oddity
    assert "0.weight" in oddity
    assert "2.weight" in oddity
    # The independent check: no gradient reaches either weight.
    model(torch.randn(4, 8)).square().sum().backward()
    for layer in (model[0], model[2]):
        assert not layer.weight.grad.count_nonzero()


def test_deep_copies_are_odd() -> None:
    # nn.TransformerEncoder copies its layer (pytorch#86274).
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    oddities = identify(nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)).oddities
    copies = [each for each in oddities if "identical copies" in each]
    assert len(copies) == 1
    assert "layers.0, layers.1, layers.2" in copies[0]


def test_a_truncation_far_out_is_odd() -> None:
    model = nn.Linear(300, 300)
    nn.init.trunc_normal_(model.weight, std=0.02, a=-0.06, b=0.06)
    (oddity,) = identify(model).oddities
    assert "changes nothing" in oddity


def test_single_entries_far_out_are_odd() -> None:
    # timm's trunc_normal_ gives its bound of -2 once in 2^24 entries.
    model = nn.Linear(200, 200)
    nn.init.normal_(model.weight, std=0.02)
    with torch.no_grad():
        model.weight[3, 5] = -2.0
    (oddity,) = identify(model).oddities
    assert "weight has 1 of 40000 entries far out" in oddity
    assert "(-2)" in oddity


def test_gates_that_differ_have_rows_of_their_own() -> None:
    model = nn.LSTM(20, 40)
    with torch.no_grad():
        model.bias_ih_l0.zero_()
        model.bias_ih_l0[40:80] = 1.0
    names = found(identify(model))
    assert names["bias_ih_l0[forget_gate]"] == "ones"
    assert names["bias_ih_l0[input_gate]"] == "zeros"
    assert names["weight_hh_l0"] == "torch_default"


def test_the_padding_row_of_an_embedding_does_not_count() -> None:
    model = nn.Embedding(300, 40, padding_idx=0)
    nn.init.normal_(model.weight, std=0.02)
    with torch.no_grad():
        model.weight[0].zero_()
    report = identify(model)
    assert found(report) == {"weight": "normal(std=0.02)"}
    assert_init(model, report.plan)


def test_what_no_candidate_fits_is_unknown_and_kept() -> None:
    model = nn.Sequential(nn.Linear(60, 60), nn.Linear(60, 60))
    with torch.no_grad():
        model[0].weight.copy_(torch.empty(60, 60).log_normal_())
    report = identify(model)
    assert found(report)["0.weight"] == "unknown"
    assert any("0.weight" in remark for remark in report.remarks)
    before = model[0].weight.clone()
    report.plan.apply(model, seed=3)
    assert torch.equal(model[0].weight, before)


def test_half_precision_weights_are_named() -> None:
    model = nn.Linear(256, 128)
    nn.init.xavier_uniform_(model.weight)
    nn.init.zeros_(model.bias)
    names = found(identify(model.to(torch.bfloat16)))
    assert names == {"weight": "glorot_uniform", "bias": "zeros"}


@pytest.mark.parametrize(
    "plan", ["he_normal", "keras_glorot_normal", "orthogonal", "lecun_uniform"]
)
def test_what_a_plan_has_drawn_is_identified_as_that_plan(plan: str) -> None:
    model = nn.Sequential(
        nn.Linear(40, 90), nn.ReLU(), nn.Linear(90, 60), nn.ReLU(), nn.Linear(60, 30)
    )
    InitPlan.from_spec(plan).apply(model, seed=5)
    report = identify(model)
    names = found(report)
    assert {name: rule for name, rule in names.items() if name.endswith("weight")} == dict.fromkeys(
        ("0.weight", "2.weight", "4.weight"), plan
    )
    assert report.plan.spec()["rules"] == [
        {"where": {"kind": "linear"}, "weight": plan},
        {"where": {"kind": "linear"}, "bias": "zeros"},
    ]


def test_the_plan_of_a_report_draws_the_same() -> None:
    model = torchvision.models.VisionTransformer(32, 8, 2, 2, 32, 64, num_classes=5)
    report = identify(model)
    assert_init(model, report.plan)
    again = torchvision.models.VisionTransformer(32, 8, 2, 2, 32, 64, num_classes=5)
    for parameter in again.parameters():
        nn.init.normal_(parameter)
    report.plan.apply(again, seed=1)
    assert_init(again, report.plan)
    assert found(identify(again)) == found(report)


def test_of_numbers_of_one_digit_a_power_of_ten_is_named() -> None:
    assert shortest_within(7.6e-7, 1.05e-6) == (1e-6, 1)  # 8e-07 and 9e-07 are nearer to the middle
    assert shortest_within(0.009, 0.013) == (0.01, 1)
    assert shortest_within(0.018, 0.021) == (0.02, 1)


def test_a_model_is_run_once() -> None:
    calls = []
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    model.register_forward_hook(lambda *_: calls.append(1))
    identify(model, torch.randn(2, 4))
    assert len(calls) == 1


def test_the_model_and_the_random_state_are_left_as_they_were() -> None:
    model = Blocks()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    identify(model)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_table_has_a_line_per_row_and_the_plan() -> None:
    report = identify(nn.Linear(64, 64))
    lines = str(report).splitlines()
    assert lines[0].split()[:3] == ["parameter", "shape", "initializer"]
    assert [line.split()[0] for line in lines[1:3]] == ["weight", "bias"]
    assert "rules:" in str(report)
    assert len(report.to_frame()) == 2


def test_steps_and_decays_of_state_spaces_are_named() -> None:
    class Mixer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.A_log = nn.Parameter(torch.arange(1.0, 9).log().repeat(6, 1))
            self.dt_proj = nn.Linear(4, 96)
            self.plain = nn.Linear(4, 96)
            with torch.no_grad():
                dt = torch.exp(torch.rand(96) * math.log(100) + math.log(0.001))
                self.dt_proj.bias.copy_(dt + torch.log(-torch.expm1(-dt)))  # as mamba_ssm
                self.plain.bias.uniform_(-2.0, -1.0)

    report = identify(Mixer())
    names = found(report)
    assert names["A_log"] == "mamba_decay"
    assert names["dt_proj.bias"] == "mamba_step"
    assert names["plain.bias"] == "uniform(-2, -1)"
    model = Mixer()
    report.plan.apply(model, seed=0)
    assert float(nn.functional.softplus(model.dt_proj.bias.detach()).max()) <= 0.1 + 1e-6


def test_queries_divided_by_the_root_of_a_head_s_width_are_named_by_it() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.n_heads = 4
            self.q, self.k, self.v, self.o = (nn.Linear(64, 64, bias=False) for _ in range(4))
            nn.init.normal_(self.q.weight, 0.0, (64 * 16) ** -0.5)  # T5
            for each in (self.k, self.v, self.o):
                nn.init.normal_(each.weight, 0.0, 64**-0.5)

    for seed in range(3):
        torch.manual_seed(seed)
        names = found(identify(Attention()))
        assert names["q.weight"] == "variance_scaling(0.0625, fan_in, normal)"
        assert {names[f"{name}.weight"] for name in "kvo"} == {"lecun_normal"}


def test_units_without_a_far_entry_by_chance_are_not_said_to_be_truncated() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Linear(96, 96, bias=False) for _ in range(30)))
    for layer in model:
        nn.init.normal_(layer.weight, std=0.02)
    assert set(found(identify(model)).values()) == {"normal(std=0.02)"}
    for layer in model:
        nn.init.trunc_normal_(layer.weight, std=0.02, a=-0.06, b=0.06)
    assert set(found(identify(model)).values()) == {"truncated_normal(std=0.02, ±3)"}
