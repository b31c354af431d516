"""Plans: which rule applies, what a fill depends on, and what is refused."""

import copy
import math
import warnings

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn
from torch.nn import functional as F

from initsearch import InitPlan
from initsearch.errors import ConfigError, ModelError, NoEffectWarning


class Net(nn.Module):
    """Functional activations, a norm in between, and a residual addition."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.inner = nn.Conv2d(8, 8, 3, padding=1)
        self.squash = nn.Linear(8, 16)
        self.head = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norm(self.stem(x)))
        x = F.relu(x + self.inner(x))
        return self.head(torch.tanh(self.squash(x.mean((2, 3)))))


BATCH = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def by_name(plan: InitPlan, model: nn.Module, seed: int = 0) -> dict[str, str]:
    return {
        row.parameter: row.initializer for row in plan.apply(model, seed=seed, batch=BATCH).rows
    }


def test_the_first_matching_rule_that_sets_a_part_applies() -> None:
    plan = InitPlan.from_spec(
        {
            "rules": [
                {"where": {"name": "inner.*"}, "bias": "ones"},
                {"where": {"activation": "relu"}, "weight": "he_normal", "bias": "zeros"},
                {"where": {"role": "head"}, "weight": "zeros"},
            ],
            "default": {"weight": "glorot_uniform", "bias": "keep"},
        }
    )
    assert by_name(plan, Net()) == {
        "stem.weight": "he_normal",
        "stem.bias": "zeros",
        "norm.weight": "keep",
        "norm.bias": "keep",
        "inner.weight": "he_normal",
        "inner.bias": "ones",
        "squash.weight": "glorot_uniform",
        "squash.bias": "keep",
        "head.weight": "zeros",
        "head.bias": "keep",
    }


def test_a_bare_name_fills_weights_zeroes_biases_and_keeps_norms() -> None:
    model = Net()
    with torch.no_grad():
        model.norm.weight.fill_(0.7)
    InitPlan.from_spec("he_normal").apply(model, batch=BATCH)
    assert torch.count_nonzero(model.stem.bias) == 0
    assert torch.all(model.norm.weight == 0.7)
    fan_in = 8 * 9
    assert model.inner.weight.std().item() == pytest.approx(math.sqrt(2 / fan_in), rel=0.15)


def test_torch_default_draws_what_torch_draws() -> None:
    model = nn.Sequential(nn.Linear(400, 300), nn.ReLU(), nn.Conv1d(300, 20, 1))
    InitPlan.from_spec("torch_default").apply(model)
    for layer, fan_in in ((model[0], 400), (model[2], 300)):
        for values in (layer.weight, layer.bias):
            bound = 1 / math.sqrt(fan_in)
            assert values.abs().max() <= bound
            assert values.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.35)
    assert model[0].weight.std().item() == pytest.approx(1 / math.sqrt(3 * 400), rel=0.02)


def test_a_fill_depends_on_seed_and_name_alone() -> None:
    plan = InitPlan.from_spec("glorot_normal")
    first, second = Net(), Net()
    torch.manual_seed(1)
    plan.apply(first, seed=3, batch=BATCH)
    torch.manual_seed(2)
    torch.rand(5)
    plan.apply(second, seed=3, batch=BATCH)
    assert torch.equal(first.inner.weight, second.inner.weight)
    # The values are the same if all other parameters are kept.
    third = Net()
    InitPlan.from_spec(
        {"rules": [{"where": {"name": "inner.weight"}, "weight": "glorot_normal"}]}
    ).apply(third, seed=3, batch=BATCH)
    assert torch.equal(first.inner.weight, third.inner.weight)
    plan.apply(second, seed=4, batch=BATCH)
    assert not torch.equal(first.inner.weight, second.inner.weight)


def test_the_global_random_state_is_left_alone() -> None:
    model = Net()
    before = torch.get_rng_state()
    InitPlan.from_spec("he_normal").apply(model, batch=BATCH)
    assert torch.equal(before, torch.get_rng_state())


def test_schemes_scale_one_base_noise() -> None:
    he, lecun = Net(), Net()
    InitPlan.from_spec("he_normal").apply(he, seed=5, batch=BATCH)
    InitPlan.from_spec("lecun_normal").apply(lecun, seed=5, batch=BATCH)
    assert torch.allclose(he.inner.weight, math.sqrt(2) * lecun.inner.weight)


def test_frozen_parameters_are_kept_unless_included() -> None:
    model = Net()
    model.stem.weight.requires_grad_(False)
    before = model.stem.weight.clone()
    report = InitPlan.from_spec("zeros").apply(model, batch=BATCH)
    assert torch.equal(model.stem.weight, before)
    assert "frozen" in report.rows[0].note
    InitPlan.from_spec("zeros").apply(model, batch=BATCH, include_frozen=True)
    assert torch.count_nonzero(model.stem.weight) == 0


def test_a_plan_file_reads_back_as_the_same_plan(tmp_path) -> None:
    plan = InitPlan.from_spec(
        {
            "rules": [
                {
                    "where": {"activation": ["relu", "gelu"], "kind": "conv2d"},
                    "weight": {"name": "variance_scaling", "factor": 1.5, "mode": "fan_out"},
                    "bias": "zeros",
                }
            ],
            "default": {"weight": "lecun_uniform"},
        }
    )
    plan.save(tmp_path / "plan.yaml", comment="tie: equivalent")
    assert InitPlan.load(tmp_path / "plan.yaml") == plan
    assert InitPlan.from_spec(str(tmp_path / "plan.yaml")) == plan
    assert (tmp_path / "plan.yaml").read_text().startswith("# tie")


def test_a_rule_without_effect_warns_and_is_named() -> None:
    plan = InitPlan.from_spec(
        {"rules": [{"weight": "he_normal"}, {"where": {"activation": "selu"}, "weight": "zeros"}]}
    )
    with pytest.warns(NoEffectWarning, match="rule 2.*selu"):
        plan.apply(Net(), batch=BATCH)


def test_a_plan_that_touches_nothing_is_an_error() -> None:
    plan = InitPlan.from_spec({"rules": [{"where": {"activation": "selu"}, "weight": "zeros"}]})
    with pytest.raises(ModelError, match="matches none"):
        plan.apply(Net(), batch=BATCH)


def test_the_report_is_a_table_of_the_model_s_parameters() -> None:
    model = Net()
    report = InitPlan.from_spec("he_normal").apply(model, batch=BATCH)
    frame = report.to_frame().set_index("parameter")
    assert list(frame.index) == [name for name, _ in model.named_parameters()]
    assert frame.loc["inner.weight", "std"] == pytest.approx(
        model.inner.weight.std(correction=0).item()
    )
    assert frame.loc["stem.weight", "activation"] == "relu"
    assert frame.loc["head.weight", "role"] == "head"
    text = str(report)
    assert len(text.splitlines()) == 1 + len(frame)
    assert "he_normal" in text


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("he_norml", "he_normal"),
        (None, "but got None"),
        ({"rule": []}, "rules"),
        ({"rules": [{"where": {"activation": "relu"}}]}, "weight or bias"),
        ({"rules": [{"where": {"activaton": "relu"}, "weight": "zeros"}]}, "activation"),
        ({"rules": [{"where": {"role": "haed"}, "weight": "zeros"}]}, "head"),
        ({"rules": [{"weight": "zeros", "biass": "zeros"}]}, "bias"),
        ({"rules": "he_normal"}, "list of rules"),
        ({"rules": 5}, "list of rules, but got 5"),
        ({"rules": [{"where": {"kind": 5}, "weight": "zeros"}]}, "where.kind must be a name"),
        ({}, "rules or a default"),
        ({"rules": [{"weight": "zeros"}], "default": {"wieght": "zeros"}}, "weight"),
        ({"name": "variance_scaling", "factor": -1.0}, "factor"),
        ({"name": "variance_scaling", "mode": "fan_middle"}, "mode"),
        ("missing/plan.yaml", "cannot be read"),
    ],
)
def test_a_bad_plan_is_refused_in_one_line(spec, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        InitPlan.from_spec(spec)
    assert "\n" not in str(raised.value)


def test_omegaconf_s_containers_are_read_like_python_s() -> None:
    spec = {
        "rules": [{"where": {"activation": ["relu", "gelu"]}, "weight": "he_normal"}],
        "default": {"weight": "zeros"},
    }
    assert InitPlan.from_spec(OmegaConf.create(spec)).spec() == InitPlan.from_spec(spec).spec()


def test_a_plan_file_with_a_misspelt_key_names_file_and_key(tmp_path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text("rules:\n  - where: {activation: relu}\n    weigth: he_normal\n")
    with pytest.raises(ConfigError, match=r"plan\.yaml.*weigth.*weight"):
        InitPlan.load(file)


def test_applying_records_no_gradient_and_keeps_the_parameters_objects() -> None:
    model = Net()
    before = copy.copy(dict(model.named_parameters()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        InitPlan.from_spec("orthogonal").apply(model, batch=BATCH)
    for name, parameter in model.named_parameters():
        assert parameter is before[name]
        assert parameter.grad_fn is None
        assert parameter.requires_grad


class Tied(nn.Module):
    """An embedding and a head that share their weight."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(12, 6)
        self.head = nn.Linear(6, 12, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.embed(tokens))


TOKENS = torch.arange(12).reshape(3, 4)


def test_a_tied_parameter_is_filled_once_by_the_rule_of_either_name() -> None:
    model = Tied()
    plan = InitPlan.from_spec({"rules": [{"where": {"name": "head.weight"}, "weight": "zeros"}]})
    report = plan.apply(model, batch=TOKENS)
    assert torch.count_nonzero(model.embed.weight) == 0
    assert len(report.rows) == 1


def test_rules_that_disagree_on_a_tied_parameter_are_an_error() -> None:
    plan = InitPlan.from_spec(
        {
            "rules": [
                {"where": {"name": "head.weight"}, "weight": "zeros"},
                {"where": {"name": "embed.weight"}, "weight": "ones"},
            ]
        }
    )
    with pytest.raises(ConfigError, match="one tied parameter, but rules 2 and 1"):
        plan.apply(Tied(), batch=TOKENS)


def test_a_rule_for_embeddings_fills_a_tied_one_unless_another_names_it() -> None:
    rules = [
        {"where": {"kind": "embedding"}, "weight": "ones"},
        {"where": {"kind": "linear"}, "weight": "zeros"},
    ]
    model = Tied()
    with pytest.warns(NoEffectWarning, match="rule 2"):  # no other layer is linear
        InitPlan.from_spec({"rules": rules}).apply(model, batch=TOKENS)
    assert bool((model.head.weight == 1).all())
    named = {"where": {"name": "head.weight"}, "weight": "zeros"}
    with pytest.raises(ConfigError, match="one tied parameter"):
        InitPlan.from_spec({"rules": [named, *rules]}).apply(model, batch=TOKENS)
