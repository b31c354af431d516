"""`InitPlan.to_code`: the code runs with torch alone, and draws what the plan draws."""

import ast
import math
import os
from collections.abc import Iterator

import pytest
import torch
import torchvision
from scipy import stats
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from initsearch import ConfigError, InitPlan, assert_init

os.environ.setdefault("KERAS_BACKEND", "torch")
import jax
import keras


@pytest.fixture(autouse=True)
def seed() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def run(code: str, model: nn.Module) -> None:
    names: dict[str, object] = {}
    exec(compile(code, "init_weights.py", "exec"), names)
    assert callable(names["init_weights"])
    names["init_weights"](model)


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(4, 16, 3, groups=2),
        nn.ReLU(),
        nn.ConvTranspose2d(16, 8, 2, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * 12 * 12, 40),
        nn.Tanh(),
        nn.Linear(40, 10),
    )


BATCH = torch.randn(2, 4, 8, 8)


@pytest.mark.parametrize(
    "plan",
    [
        "he_normal",
        "he_uniform",
        "keras_glorot_normal",
        "tf1_msra",
        "torch_default",
        "orthogonal",
        {"name": "normal", "std": 0.02, "mean": 1.0},
        {"name": "truncated_normal", "std": 0.02},
        {"name": "uniform", "limit": 1.0, "low": 0.0},
        {"name": "sparse", "sparsity": 0.5},
        {"name": "orthogonal", "gain": 0.1, "scaled": True},
    ],
    ids=str,
)
def test_the_code_draws_what_the_plan_draws(plan: object) -> None:
    chosen = InitPlan.from_spec(plan)
    model = network()
    code = chosen.to_code(model, batch=BATCH)
    assert "initsearch" not in code
    for parameter in model.parameters():
        nn.init.constant_(parameter, 9.0)
    run(code, model)
    assert_init(model, chosen, batch=BATCH)


def test_torch_s_functions_draw_the_same_values_from_the_same_seed() -> None:
    model = torchvision.models.resnet.BasicBlock(8, 8)
    model.example_input_array = torch.randn(2, 8, 5, 5)
    plan = {"rules": [{"weight": {"name": "variance_scaling", "mode": "fan_out"}}]}
    code = InitPlan.from_spec(plan).to_code(model)
    torch.manual_seed(3)
    run(code, model)
    torch.manual_seed(3)
    for convolution in (model.conv1, model.conv2):
        expected = nn.init.kaiming_normal_(torch.empty(8, 8, 3, 3), mode="fan_out")
        assert torch.allclose(convolution.weight, expected, rtol=1e-6)


def test_gates_and_projections_are_drawn_apart() -> None:
    model = nn.ModuleList([nn.LSTM(6, 32), nn.MultiheadAttention(16, 2)])
    run(InitPlan.from_spec("orthogonal").to_code(model), model)
    for gate in model[0].weight_hh_l0.split(32):
        assert torch.allclose(gate @ gate.t(), torch.eye(32), atol=1e-5)
    for projection in model[1].in_proj_weight.split(16):
        assert torch.allclose(projection @ projection.t(), torch.eye(16), atol=1e-5)


def test_a_parametrized_weight_is_set_through_its_module() -> None:
    model = weight_norm(nn.Linear(300, 40))
    run(InitPlan.from_spec("he_normal").to_code(model), model)
    assert float(model.weight.detach().std()) == pytest.approx(math.sqrt(2 / 300), rel=0.05)


def test_a_padding_row_stays_zero() -> None:
    model = nn.Embedding(9, 4, padding_idx=3)
    run(InitPlan.from_spec({"name": "normal", "std": 2.0}).to_code(model), model)
    assert not model.weight[3].count_nonzero()
    assert model.weight[4].count_nonzero() == 4


@pytest.mark.parametrize(
    "plan",
    [
        "he_normal",
        "keras_he_normal",
        "glorot_uniform",
        "zeros",
        "orthogonal",
        "truncated_normal",
        "normal",
    ],
)
def test_the_keras_and_the_jax_line_draw_the_same_scale(plan: str) -> None:
    model = nn.Linear(200, 100, bias=False)
    code = InitPlan.from_spec(plan).to_code(model)
    lines = [line.strip(" #") for line in code.splitlines()]
    (in_keras,) = (line for line in lines if line.startswith("keras."))
    (in_jax,) = (line for line in lines if line.startswith("jax."))
    run(code, model)
    expected = float(model.weight.detach().square().mean().sqrt())
    keras.utils.set_random_seed(0)
    in_torch = eval(in_keras, {"keras": keras})(shape=(200, 100)).detach()
    assert float(in_torch.square().mean().sqrt()) == pytest.approx(expected, rel=0.03, abs=1e-9)
    array = eval(in_jax, {"jax": jax})(jax.random.key(0), (200, 100))
    assert float((array**2).mean() ** 0.5) == pytest.approx(expected, rel=0.03, abs=1e-9)


def test_the_code_imports_torch_alone() -> None:
    tree = ast.parse(InitPlan.from_spec("he_normal").to_code(nn.Linear(50, 50)))
    imports = [each for each in ast.walk(tree) if isinstance(each, ast.Import | ast.ImportFrom)]
    assert [ast.unparse(each) for each in imports] == [
        "import math",
        "import torch",
        "from torch import nn",
    ]


def test_what_has_no_code_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"weight: .*lsuv.*keep"):
        InitPlan.from_spec("lsuv").to_code(nn.Linear(4, 4))


def test_chrono_s_gates_share_a_draw() -> None:
    model = nn.LSTM(6, 400)
    plan = InitPlan.from_spec({"rules": [{"bias": {"name": "chrono", "t_max": 50}}]})
    run(plan.to_code(model), model)
    remember, forget, *others = model.bias_ih_l0.detach().clone().split(400)
    assert torch.equal(remember, -forget)
    assert stats.kstest(forget.exp().numpy(), stats.uniform(1, 48).cdf).pvalue > 1e-4
    assert not any(each.count_nonzero() for each in (*others, model.bias_hh_l0))
    alone = {"rules": [{"where": {"part": "input_gate"}, "bias": "chrono"}]}
    run(InitPlan.from_spec(alone).to_code(model), model)
    again = model.bias_ih_l0.detach()[:400]
    assert not torch.equal(again, remember)
    assert float(again.max()) < 0


def test_steps_decays_and_detection_biases_are_those_of_the_plan() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.A_log = nn.Parameter(torch.zeros(8, 4))
            self.dt_proj = nn.Linear(4, 300)
            self.m = nn.ModuleList([nn.Conv2d(4, 3 * 7, 1) for _ in range(2)])

    rules = [
        {"where": {"name": "A_log"}, "weight": "mamba_decay"},
        {"where": {"name": "dt_proj.bias"}, "bias": "mamba_step"},
        {"where": {"name": "m.*"}, "bias": "yolo_head"},
    ]
    plan = InitPlan.from_spec({"rules": rules})
    model, reference = Model(), Model()
    run(plan.to_code(model), model)
    plan.apply(reference)
    for name in ("A_log", "m.0.bias", "m.1.bias"):
        torch.testing.assert_close(model.get_parameter(name), reference.get_parameter(name))
    steps = nn.functional.softplus(model.dt_proj.bias.detach().double()).numpy()
    assert stats.kstest(steps, stats.loguniform(0.001, 0.1).cdf).pvalue > 1e-4
