"""Rules for parts of parameters: gates of recurrent layers; query, key and value of attention."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from initsearch import InitPlan, assert_init, identify
from initsearch.errors import ConfigError, ModelError, NoEffectWarning
from initsearch.layers import describe

FORGET_ONE = {
    "rules": [
        {"where": {"part": "forget_gate"}, "bias": "ones"},
        {"where": {"kind": "lstm"}, "weight": "glorot_uniform", "bias": "zeros"},
    ]
}


def filled(model: nn.Module, plan: Any, batch: Any = None, seed: int = 0) -> dict[str, Tensor]:
    InitPlan.from_spec(plan).apply(model, seed=seed, batch=batch)
    return {name: value.detach().clone() for name, value in model.named_parameters()}


@pytest.mark.parametrize("make", [nn.LSTM, nn.LSTMCell])
def test_a_forget_bias_of_one_is_one_in_that_gate_alone(make: Any) -> None:
    # Keras's LSTM has one bias, with `unit_forget_bias`: (0, 1, 0, 0) for its gates in the same order.
    model = make(3, 5)
    InitPlan.from_spec(FORGET_ONE).apply(model, batch=torch.zeros(2, 3))
    (first,) = [value for name, value in model.named_parameters() if "bias_ih" in name]
    (second,) = [value for name, value in model.named_parameters() if "bias_hh" in name]
    expected = torch.tensor([0.0, 1.0, 0.0, 0.0]).repeat_interleave(5)
    assert torch.equal(first + second, expected)
    assert torch.equal(first, expected)


def test_with_other_weights_zero_the_cell_forgets_as_the_bias_says() -> None:
    model = nn.LSTM(2, 4)
    plan = {
        "rules": [
            {
                "where": {"part": "forget_gate"},
                "weight": "zeros",
                "bias": {"name": "constant", "value": 1.5},
            },
            {"where": {"kind": "lstm"}, "weight": "zeros", "bias": "zeros"},
        ]
    }
    InitPlan.from_spec(plan).apply(model)
    start = (torch.zeros(1, 1, 4), torch.ones(1, 1, 4))
    _, (_, cell) = model(torch.zeros(1, 1, 2), start)
    torch.testing.assert_close(cell, torch.full((1, 1, 4), torch.sigmoid(torch.tensor(1.5)).item()))


def test_the_report_has_a_row_for_each_part_that_rules_fill_differently() -> None:
    report = InitPlan.from_spec(FORGET_ONE).apply(nn.LSTM(3, 5))
    rows = {row.parameter: row for row in report.rows}
    gate = rows["bias_ih_l0[forget_gate]"]
    assert (gate.initializer, gate.rule, gate.shape, gate.mean) == ("ones", 1, (5,), 1.0)
    assert rows["bias_ih_l0[cell_gate]"].initializer == "zeros"
    other = rows["bias_hh_l0[forget_gate]"]
    assert other.initializer == "zeros"
    assert other.note == "zero, since bias_ih_l0 is added to it and carries the value"
    assert rows["weight_hh_l0"].shape == (20, 5)


def test_a_rule_that_names_one_of_two_biases_fills_that_one() -> None:
    plan = {"rules": [{"where": {"part": "update_gate", "name": "*bias_hh*"}, "bias": "ones"}]}
    values = filled(nn.GRU(3, 4), plan)
    assert torch.equal(values["bias_hh_l0"][4:8], torch.ones(4))
    assert bool((values["bias_ih_l0"][4:8].abs() < 1).all())


def test_a_part_draws_the_same_whatever_fills_the_others() -> None:
    plain = filled(nn.LSTM(6, 5), "he_normal", seed=3)
    rules = [
        {"where": {"part": "output_gate"}, "weight": "zeros"},
        {"weight": "he_normal", "bias": "zeros"},
    ]
    values = filled(nn.LSTM(6, 5), {"rules": rules}, seed=3)
    for name in ("weight_ih_l0", "weight_hh_l0"):
        assert torch.equal(values[name][:15], plain[name][:15])
        assert not values[name][15:].any()


def test_torch_attention_with_a_zero_query_attends_evenly() -> None:
    torch.manual_seed(0)
    model = nn.MultiheadAttention(8, 2, batch_first=True)
    rules = [{"where": {"part": "query"}, "weight": "zeros"}, {"weight": "lecun_normal"}]
    InitPlan.from_spec({"rules": rules}).apply(model)
    x = torch.randn(1, 5, 8)
    _, attention = model(x, x, x)
    torch.testing.assert_close(attention, torch.full((1, 5, 5), 0.2))


class FusedAttention(nn.Module):
    """Attention as timm writes it."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.num_heads = 4
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, t, d = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, 4, d // 4).permute(2, 0, 3, 1, 4)
        y = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.proj(y.transpose(1, 2).reshape(n, t, d))  # type: ignore[no-any-return]


def test_a_fused_projection_has_the_fans_of_its_blocks() -> None:
    model = FusedAttention(32)
    slots = {slot.name: slot for slot in describe(model, torch.randn(2, 5, 32))}
    assert (slots["qkv.weight"].fan_in, slots["qkv.weight"].fan_out) == (32, 32)
    # Glorot on each of the three, as on three separate layers: 6 / (32 + 32), and not 6 / (32 + 96).
    values = filled(model, "glorot_uniform", torch.randn(2, 5, 32))
    for block in values["qkv.weight"].chunk(3):
        assert 0.97 * (6 / 64) ** 0.5 < block.max().item() < (6 / 64) ** 0.5
    # Orthogonal: each block by itself.
    values = filled(model, "orthogonal", torch.randn(2, 5, 32))
    for block in values["qkv.weight"].chunk(3):
        torch.testing.assert_close(block @ block.t(), torch.eye(32), atol=1e-5, rtol=0)


def test_a_fused_projection_with_a_zero_query_gives_the_mean_of_its_values() -> None:
    model = FusedAttention(32)
    x = torch.randn(2, 5, 32)
    rules = [
        {"where": {"part": ["query"]}, "weight": "zeros", "bias": "zeros"},
        {"weight": "lecun_normal"},
    ]
    InitPlan.from_spec({"rules": rules}).apply(model, batch=x)
    y = model(x)
    torch.testing.assert_close(y, y[:, :1].expand_as(y))
    assert y.abs().max() > 0.1


def test_separate_projections_have_the_names_of_their_parts() -> None:
    model = nn.ModuleDict(
        {name: nn.Linear(4, 4) for name in ("q_proj", "k_proj", "v_proj", "o_proj")}
    )
    labels = {slot.module_name: slot.parts[0].label for slot in describe(model)}
    assert labels == {"q_proj": "query", "k_proj": "key", "v_proj": "value", "o_proj": ""}
    alone = describe(nn.ModuleDict({"query": nn.Linear(4, 4)}))
    assert {part.label for slot in alone for part in slot.parts} == {""}
    apart = describe(nn.MultiheadAttention(8, 2, kdim=6, vdim=4))
    assert next(s for s in apart if s.name == "k_proj_weight").parts[0].label == "key"


def test_a_part_of_a_parametrized_weight_is_set_and_the_others_stay() -> None:
    model = FusedAttention(8)
    weight_norm(model.qkv)
    before = model.qkv.weight.detach().clone()
    rules = [{"where": {"part": "value"}, "weight": "ones"}]
    InitPlan.from_spec({"rules": rules}).apply(model, batch=torch.randn(1, 3, 8))
    torch.testing.assert_close(model.qkv.weight[16:], torch.ones(8, 8))
    torch.testing.assert_close(model.qkv.weight[:16], before[:16])


def test_what_the_model_set_in_other_parts_is_kept() -> None:
    model = nn.LSTM(3, 4)
    with torch.no_grad():
        model.bias_ih_l0.fill_(5.0)
    report = InitPlan.from_spec(
        {
            "rules": [
                {"where": {"part": "forget_gate"}, "bias": "ones"},
                {"weight": "he_normal", "bias": "zeros"},
            ]
        }
    ).apply(model)
    assert model.bias_ih_l0.tolist() == [5.0] * 4 + [1.0] * 4 + [5.0] * 8
    rows = {row.parameter: row for row in report.rows}
    assert rows["bias_ih_l0[cell_gate]"].initializer == "keep"


def test_the_code_of_a_plan_fills_parts_as_the_plan_does() -> None:
    plan = {
        "rules": [
            *FORGET_ONE["rules"],
            {"where": {"part": "key"}, "weight": {"name": "constant", "value": 2.0}},
            {"weight": "zeros"},
        ]
    }
    model: Any = nn.ModuleDict({"rnn": nn.LSTM(4, 3), "attention": FusedAttention(8)})
    text = InitPlan.from_spec(plan).to_code(model)
    scope: dict[str, Any] = {}
    exec(text, scope)
    scope["init_weights"](model)
    assert model["rnn"].bias_ih_l0.tolist() == [0.0] * 3 + [1.0] * 3 + [0.0] * 6
    assert not model["rnn"].bias_hh_l0.any()
    assert torch.equal(model["attention"].qkv.weight[8:16], torch.full((8, 8), 2.0))
    assert not model["attention"].qkv.weight[:8].any()


def test_identify_gives_a_plan_with_rules_for_parts_that_differ() -> None:
    model = nn.Sequential(nn.LSTM(20, 40))
    InitPlan.from_spec(FORGET_ONE).apply(model)
    assert_init(model, FORGET_ONE)
    report = identify(model)
    assert_init(model, report.plan)
    fresh = nn.Sequential(nn.LSTM(20, 40))
    report.plan.apply(fresh)
    assert torch.equal(fresh[0].bias_ih_l0, model[0].bias_ih_l0)
    assert torch.equal(fresh[0].bias_hh_l0, model[0].bias_hh_l0)
    with torch.no_grad():
        model[0].bias_ih_l0[3] = 1.0
    with pytest.raises(AssertionError, match=r"bias_ih_l0\[input_gate\]"):
        assert_init(model, FORGET_ONE)


def test_plans_that_write_one_thing_for_parts_or_for_the_whole_are_equal() -> None:
    slots = describe(nn.LSTM(4, 4))
    zeros = [{"where": {"kind": "lstm"}, "weight": "he_normal", "bias": "zeros"}]
    part = [{"where": {"part": "forget_gate"}, "bias": "zeros"}, *zeros]
    forms = [InitPlan.from_spec({"rules": rules}).canonical(slots) for rules in (zeros, part)]
    assert forms[0] == forms[1]
    assert InitPlan.from_spec(FORGET_ONE).canonical(slots) != forms[0]


def test_a_part_that_no_layer_has_is_named_in_one_line() -> None:
    plan = {"rules": [{"where": {"part": "forget_gate"}, "bias": "ones"}, {"weight": "he_normal"}]}
    with pytest.warns(NoEffectWarning, match=r"'part': 'forget_gate'.*no such parameter"):
        InitPlan.from_spec(plan).apply(nn.Linear(3, 3))
    with pytest.raises(ModelError, match="matches none"):
        InitPlan.from_spec({"rules": plan["rules"][:1]}).apply(nn.GRU(3, 3))
    with pytest.raises(ConfigError, match=r"part in where.*forget_gate"):
        InitPlan.from_spec({"rules": [{"where": {"part": "forget"}, "bias": "ones"}]})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "settings"),
    [
        ("GPT2Config", {}),
        ("GPTNeoXConfig", {"intermediate_size": 64}),
        ("FalconConfig", {"new_decoder_architecture": True, "num_kv_heads": 2}),
        ("FalconConfig", {"new_decoder_architecture": False, "multi_query": True}),
        ("FalconConfig", {"new_decoder_architecture": False, "multi_query": False}),
        ("Phi3Config", {"intermediate_size": 64, "num_key_value_heads": 2, "pad_token_id": 0}),
        ("CodeGenConfig", {"rotary_dim": 4, "n_positions": 16}),
        ("GPTBigCodeConfig", {"multi_query": False}),
        ("GPTBigCodeConfig", {"multi_query": True}),
        ("ModernBertConfig", {"intermediate_size": 64, "pad_token_id": 0}),
        ("PersimmonConfig", {"intermediate_size": 64}),
        ("LlamaConfig", {"intermediate_size": 64}),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_zero_query_attends_evenly_in_hugging_face_s_models(
    config: str, settings: dict[str, Any]
) -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"vocab_size": 32, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
    made = getattr(transformers, config)(**sizes, **settings, attn_implementation="eager")
    tokens = torch.arange(12).view(2, 6)
    for part in ("query", "key", "value"):
        model = transformers.AutoModel.from_config(made).eval()
        rules = [
            {"where": {"part": part}, "weight": "zeros", "bias": "zeros"},
            {"weight": {"name": "normal", "std": 0.5}},
        ]
        InitPlan.from_spec({"rules": rules}).apply(model, batch={"input_ids": tokens})
        with torch.no_grad():
            (attention,) = model(tokens, output_attentions=True).attentions
        seen = (attention > 0).float()
        even = bool(((attention - seen / seen.sum(-1, keepdim=True)).abs() < 1e-5).all())
        assert even == (part != "value"), part
