"""Recipes by one word, each against the original's own code or formula on a small model."""

import math
import warnings
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from initsearch import InitPlan, assert_init
from initsearch.errors import ConfigError, ModelError, NoEffectWarning
from initsearch.plan import list_plans

WIDTH = 48


def apply(plan: Any, model: nn.Module, batch: Any = None) -> dict[str, Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", NoEffectWarning)
        InitPlan.from_spec(plan).apply(model, seed=1, batch=batch)
    return {name: value.detach() for name, value in model.named_parameters()}


def has_std(value: Tensor, expected: float) -> bool:
    """Within six standard errors, for normal and uniform entries alike."""
    error = 6 / math.sqrt(2 * value.numel())
    return value.std(correction=0).item() == pytest.approx(expected, rel=error)


class Block(nn.Module):
    """A GPT block, named as in nanoGPT."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.c_attn = nn.Linear(width, 3 * width)
        self.c_proj = nn.Linear(width, width)
        self.c_fc = nn.Linear(width, 4 * width)
        self.out = nn.ModuleDict({"c_proj": nn.Linear(4 * width, width)})

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.c_attn(self.ln_1(x)).chunk(3, dim=-1)
        x = x + self.c_proj(nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True))
        return x + self.out["c_proj"](nn.functional.gelu(self.c_fc(self.ln_2(x))))  # type: ignore[no-any-return]


class Gpt(nn.Module):
    def __init__(self, layers: int, width: int = WIDTH) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(65, width), nn.Embedding(16, width)
        self.h = nn.ModuleList(Block(width) for _ in range(layers))
        self.ln_f = nn.LayerNorm(width)
        self.lm_head = nn.Linear(width, 65, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1]))
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x))  # type: ignore[no-any-return]


TOKENS = torch.arange(32).view(2, 16)


def test_gpt2_is_nanogpt_s_init_weights() -> None:
    layers = 6
    values = apply("gpt2", Gpt(layers), TOKENS)
    for name, value in values.items():
        if "ln_" in name:
            assert bool((value == (1.0 if name.endswith("weight") else 0.0)).all())
        elif name.endswith("bias"):
            assert not value.any()
        else:
            # nanoGPT: N(0, .02); then, for c_proj.weight, .02 / sqrt(2 n_layer).
            last = name.endswith("c_proj.weight")
            assert has_std(value, 0.02 / math.sqrt(2 * layers) if last else 0.02), name


@pytest.mark.slow
def test_gpt2_is_what_transformers_draws() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        n_layer=3,
        n_embd=48,
        n_head=4,
        vocab_size=65,
        n_positions=32,
        bos_token_id=0,
        eos_token_id=0,
    )
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(config)
    assert_init(model, "gpt2", batch={"input_ids": TOKENS})


def test_the_scale_by_the_layer_s_own_index_is_torchtitan_s() -> None:
    rule = {
        "where": {"branch": "last"},
        "weight": {"name": "depth_scaled", "rule": "index"},
        "bias": "zeros",
    }
    values = apply({"rules": [rule]}, Gpt(4), TOKENS)
    for layer in range(4):
        for name in (f"h.{layer}.c_proj.weight", f"h.{layer}.out.c_proj.weight"):
            # torchtitan: weight_init_std = 0.02 / (2 * (layer_id + 1)) ** 0.5
            assert has_std(values[name], 0.02 / (2 * (layer + 1)) ** 0.5), name


@pytest.mark.parametrize("name", ["small_init", "wang_init"])
def test_small_init_is_gpt_neox_s(name: str) -> None:
    layers = 4
    values = apply(name, Gpt(layers), TOKENS)
    small, wang = math.sqrt(2 / (5 * WIDTH)), 2 / layers / math.sqrt(WIDTH)
    assert has_std(values["wte.weight"], small)
    for block in range(layers):
        assert has_std(values[f"h.{block}.c_attn.weight"], small)
        assert has_std(values[f"h.{block}.c_fc.weight"], small)
        assert has_std(values[f"h.{block}.c_proj.weight"], wang)
        assert has_std(values[f"h.{block}.out.c_proj.weight"], wang)


def encoder(layers: int) -> nn.Module:
    layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
    return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)


def glorot(rows: int, columns: int) -> float:
    return math.sqrt(2 / (rows + columns))


def is_scaled(values: dict[str, Tensor], name: str, beta: float) -> None:
    """Attention's query and key at Glorot's scale; value, output and feed-forward layers times beta."""
    for attention in ("self_attn", "multihead_attn"):
        packed = values.get(f"{name}.{attention}.in_proj_weight")
        if packed is None:
            continue
        query, key, value = packed.chunk(3)
        assert has_std(query, glorot(32, 32))
        assert has_std(key, glorot(32, 32))
        assert has_std(value, beta * glorot(32, 32)), name
        assert has_std(values[f"{name}.{attention}.out_proj.weight"], beta * glorot(32, 32))
    for layer in ("linear1", "linear2"):
        assert has_std(values[f"{name}.{layer}.weight"], beta * glorot(32, 64))


class Seq2Seq(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.core = nn.Transformer(32, 4, 2, 3, 64, dropout=0.0, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.core(x, x[:, :4])  # type: ignore[no-any-return]


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("plan", ["deepnet", "t_fixup"])
def test_deepnet_and_t_fixup_have_the_factors_of_their_papers(plan: str) -> None:
    x = torch.randn(2, 5, 32)
    values = apply({"rules": InitPlan.from_spec(plan).spec()["rules"][:2]}, encoder(4), x)
    single = (8 * 4) ** -0.25 if plan == "deepnet" else 0.67 * 4**-0.25
    for layer in range(4):
        is_scaled(values, f"layers.{layer}", single)
    values = apply({"rules": InitPlan.from_spec(plan).spec()["rules"][:2]}, Seq2Seq(), x)
    n, m = 2, 3
    factors = {
        "deepnet": (0.87 * (n**4 * m) ** -0.0625, (12 * m) ** -0.25),
        "t_fixup": (0.67 * n**-0.25, (9 * m) ** -0.25),
    }[plan]
    for layer in range(n):
        is_scaled(values, f"core.encoder.layers.{layer}", factors[0])
    for layer in range(m):
        is_scaled(values, f"core.decoder.layers.{layer}", factors[1])


class Agent(nn.Module):
    """CleanRL's agent for continuous actions."""

    def __init__(self) -> None:
        super().__init__()
        self.critic = nn.Sequential(
            nn.Linear(6, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1)
        )
        self.actor_mean = nn.Sequential(
            nn.Linear(6, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 3)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.actor_mean(x), self.critic(x)


def test_ppo_heads_are_cleanrl_s_layer_init() -> None:
    values = apply("ppo_heads", Agent(), torch.randn(2, 6))
    # layer_init(layer, std=sqrt(2), bias=0); std=1.0 for the critic's last layer, .01 for the actor's.
    gains = {"critic.0": 2**0.5, "critic.2": 2**0.5, "critic.4": 1.0}
    gains |= {"actor_mean.0": 2**0.5, "actor_mean.2": 2**0.5, "actor_mean.4": 0.01}
    for name, gain in gains.items():
        weight = values[f"{name}.weight"]
        singular = torch.linalg.svdvals(weight)
        torch.testing.assert_close(singular, torch.full_like(singular, gain))
        assert not values[f"{name}.bias"].any()


def test_dcgan_is_the_weights_init_of_the_paper_s_authors() -> None:
    model = nn.Sequential(
        nn.ConvTranspose2d(16, 32, 4, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 3, 3),
    )
    values = apply("dcgan", model)
    assert has_std(values["0.weight"], 0.02)
    assert has_std(values["3.weight"], 0.02)
    assert has_std(values["1.weight"] - 1, 0.02)
    assert abs(values["1.weight"].mean().item() - 1) < 0.02
    assert not values["1.bias"].any()


class Sine(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(30 * x)


def test_siren_is_the_authors_code() -> None:
    model = nn.Sequential(nn.Linear(2, 64), Sine(), nn.Linear(64, 64), Sine(), nn.Linear(64, 1))
    values = apply("siren", model, torch.randn(2, 2))
    # first_layer_sine_init: U(-1 / n, 1 / n); sine_init: U(-sqrt(6 / n) / 30, sqrt(6 / n) / 30).
    for name, limit in (("0", 1 / 2), ("2", math.sqrt(6 / 64) / 30), ("4", math.sqrt(6 / 64) / 30)):
        largest = values[f"{name}.weight"].abs().max().item()
        assert 0.85 * limit < largest <= limit


def test_focal_head_is_torchvision_s_retinanet() -> None:
    head = torchvision.models.detection.retinanet.RetinaNetClassificationHead(16, 2, 5)
    reference = head.cls_logits.bias.detach().clone()
    nn.init.zeros_(head.cls_logits.bias)
    InitPlan.from_spec("focal_head").apply(head)
    torch.testing.assert_close(head.cls_logits.bias.detach(), reference)
    assert has_std(head.cls_logits.weight.detach(), 0.01)


def test_irnn_is_the_identity() -> None:
    values = apply("irnn", nn.RNN(30, 40, nonlinearity="relu"))
    assert torch.equal(values["weight_hh_l0"], torch.eye(40))
    assert has_std(values["weight_ih_l0"], 0.001)
    assert not values["bias_ih_l0"].any()
    assert not values["bias_hh_l0"].any()


class Mixer(nn.Module):
    """The parameters of a Mamba block, named as in `mamba_ssm`, with a gate in place of the scan."""

    def __init__(self, width: int = 16, rank: int = 4, states: int = 8) -> None:
        super().__init__()
        self.in_proj = nn.Linear(width, 2 * width)
        self.dt_in = nn.Linear(2 * width, rank)
        self.dt_proj = nn.Linear(rank, 2 * width)
        self.A_log = nn.Parameter(torch.zeros(2 * width, states))
        self.D = nn.Parameter(torch.zeros(2 * width))
        self.out_proj = nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.in_proj(x)
        step = nn.functional.softplus(self.dt_proj(self.dt_in(x)))
        decay = torch.exp(-step.unsqueeze(-1) * self.A_log.exp()).sum(-1)
        return self.out_proj(x * decay + x * self.D)  # type: ignore[no-any-return]


class Mamba(nn.Module):
    def __init__(self, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        self.layers = nn.ModuleList(Mixer() for _ in range(layers))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        for layer in self.layers:
            x = x + layer(x)
        return x  # type: ignore[no-any-return]


def test_mamba_is_the_code_of_mamba_ssm() -> None:
    values = apply("mamba", Mamba(4), TOKENS)
    for layer in range(4):
        name = f"layers.{layer}"
        steps = nn.functional.softplus(values[f"{name}.dt_proj.bias"])
        assert 0.001 * 0.999 <= steps.min() < 0.01 < steps.max() <= 0.1 * 1.001
        decays = values[f"{name}.A_log"].exp()
        torch.testing.assert_close(decays, torch.arange(1.0, 9.0).expand(32, 8))
        assert bool((values[f"{name}.D"] == 1).all())
        assert 0.8 * 0.5 < values[f"{name}.dt_proj.weight"].abs().max() <= 0.5  # rank^-1/2
        # kaiming_uniform_(a=sqrt(5)), divided by sqrt(n_layer).
        assert has_std(values[f"{name}.out_proj.weight"], 1 / math.sqrt(3 * 32) / 2)
    assert has_std(values["embedding.weight"], 0.02)


def test_zero_conv_zeroes_the_convolutions_of_a_control() -> None:
    model = nn.ModuleDict(
        {
            "controlnet_down_blocks": nn.ModuleList([nn.Conv2d(4, 4, 1)]),
            "body": nn.Conv2d(4, 4, 3),
        }
    )
    before = model["body"].weight.detach().clone()
    values = apply("zero_conv", model)
    assert not values["controlnet_down_blocks.0.weight"].any()
    assert not values["controlnet_down_blocks.0.bias"].any()
    assert torch.equal(values["body.weight"], before)


def test_spectral_keeps_the_size_of_features_at_any_shape() -> None:
    for rows, columns in ((2048, 128), (512, 512), (64, 2048)):
        model = nn.Linear(columns, rows)
        weight = apply("spectral", model)["weight"]
        # Yang et al. 2023: the norm is sqrt(rows / columns) (1 + min/max of the square roots).
        ratio = math.sqrt(min(rows, columns) / max(rows, columns))
        norm = torch.linalg.matrix_norm(weight, 2).item()
        assert norm == pytest.approx(math.sqrt(rows / columns) * (1 + ratio), rel=0.05)


def test_depth_scales_any_base_and_is_refused_without_branches() -> None:
    base = {"name": "depth_scaled", "base": "orthogonal", "rule": "total"}
    plan: Any = {"rules": [{"where": {"name": "*.c_proj.weight"}, "weight": base}]}
    model = Gpt(2)
    weight = apply(plan, model, TOKENS)["h.1.c_proj.weight"]
    torch.testing.assert_close(weight @ weight.t(), torch.eye(WIDTH) / 4)
    scope: dict[str, Any] = {}
    exec(InitPlan.from_spec(plan).to_code(model, TOKENS), scope)
    scope["init_weights"](model)
    weight = model.get_parameter("h.1.c_proj.weight").detach()
    torch.testing.assert_close(weight @ weight.t(), torch.eye(WIDTH) / 4)
    assert InitPlan.from_spec(InitPlan.from_spec(plan).spec()) == InitPlan.from_spec(plan)
    with pytest.raises(ConfigError, match="must have residual branches, but has none"):
        InitPlan.from_spec({"rules": [{"where": {"kind": "linear"}, "weight": base}]}).apply(
            nn.Linear(3, 3)
        )
    with pytest.raises(ConfigError, match="base must draw from fans alone, but got 'lsuv'"):
        InitPlan.from_spec({"rules": [{"weight": {"name": "depth_scaled", "base": "lsuv"}}]})


class VisionAttention(nn.Module):
    def __init__(self, width: int, heads: int, *, fused: bool) -> None:
        super().__init__()
        self.num_heads, self.fused = heads, fused
        if fused:
            self.qkv = nn.Linear(width, 3 * width)
        else:
            self.q_proj, self.k_proj = nn.Linear(width, width), nn.Linear(width, width)
            self.v_proj = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        if self.fused:
            q, k, v = self.qkv(x).chunk(3, dim=-1)
        else:
            q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        q, k, v = (each.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for each in (q, k, v))
        y = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.proj(y.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


@pytest.mark.parametrize("by_code", [False, True])
@pytest.mark.parametrize("kind", ["fused", "apart", "torch"])
def test_mimetic_products_are_near_multiples_of_the_identity(kind: str, by_code: bool) -> None:
    width, heads = 64, 2
    attention: nn.Module = VisionAttention(width, heads, fused=kind == "fused")
    if kind == "torch":
        attention = nn.TransformerEncoderLayer(width, heads, 64, dropout=0.0, batch_first=True)
    model = nn.ModuleDict({"attn": attention})
    if kind == "torch":
        model = nn.ModuleDict({"attn": attention.self_attn})
    plan = InitPlan.from_spec({"rules": InitPlan.from_spec("mimetic").spec()["rules"][:2]})
    if by_code:
        torch.manual_seed(0)
        code: dict[str, Any] = {}
        exec(plan.to_code(model), code)
        code["init_weights"](model)
    else:
        plan.apply(model)
    values = {name: value.detach() for name, value in model.named_parameters()}
    if kind == "apart":
        q, k, v = (values[f"attn.{name}_proj.weight"] for name in "qkv")
    else:
        packed = "attn.qkv.weight" if kind == "fused" else "attn.in_proj_weight"
        q, k, v = values[packed].chunk(3)
    out = values["attn.out_proj.weight" if kind == "torch" else "attn.proj.weight"]
    # Rows of the input meet W^T: x W_v W_o = x v.T out.T. Section 3: W_v W_o = .4 Z - .4 I.
    product = v.t() @ out.t()
    assert product.diagonal().mean().item() == pytest.approx(-0.4, abs=6 * 0.4 / 64)
    off = product - torch.diag(product.diagonal())
    assert off.pow(2).sum().item() / (64 * 63) == pytest.approx(0.4**2 / 64, rel=0.15)
    # Each head: the best approximation of rank k to .7 Z + .7 I has its k largest singular values.
    for query, key in zip(q.chunk(heads), k.chunk(heads), strict=True):
        product = query.t() @ key
        assert torch.linalg.matrix_rank(product) == width // heads
        assert product.diagonal().mean().item() > 0.3
    first, second = (query.t() @ key for query, key in zip(q.chunk(2), k.chunk(2), strict=True))
    assert not torch.allclose(first, second)


class Detect(nn.Module):
    """The head of YOLOv5."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.m = nn.ModuleList(nn.Conv2d(8, 3 * (5 + classes), 1) for _ in range(3))

    def forward(self, x: Tensor) -> list[Tensor]:
        return [layer(x) for layer in self.m]


def test_yolo_head_is_yolov5_s_initialize_biases() -> None:
    model = Detect(20)
    values = apply("yolo_head", model, torch.randn(1, 8, 4, 4))
    for scale, stride in enumerate((8, 16, 32)):
        bias = values[f"m.{scale}.bias"].view(3, -1)
        # b.data[:, 4] += log(8 / (640 / s) ** 2); b.data[:, 5:] += log(0.6 / (nc - 0.99999))
        expected = torch.full((3,), math.log(8 / (640 / stride) ** 2))
        torch.testing.assert_close(bias[:, 4], expected)
        torch.testing.assert_close(bias[:, 5:], torch.full((3, 20), math.log(0.6 / (20 - 0.99999))))
    with pytest.raises(ConfigError, match="yolo_head: the bias must have 3 times 5 entries"):
        apply("yolo_head", nn.Conv2d(3, 4, 1), torch.randn(1, 3, 4, 4))


def test_every_recipe_is_a_plan_that_can_be_saved(tmp_path: Any) -> None:
    for name in list_plans():
        plan = InitPlan.from_spec(name)
        plan.save(tmp_path / "plan.yaml")
        assert InitPlan.load(tmp_path / "plan.yaml") == plan


def test_a_recipe_on_a_model_without_its_parts_says_so_in_one_line() -> None:
    with pytest.warns(NoEffectWarning) as caught:
        InitPlan.from_spec("deepnet").apply(nn.Linear(3, 3))
    (line,) = [str(each.message) for each in caught]
    assert line.startswith("the plan deepnet has rules that apply to no parameter of this model: ")
    assert "'part': ['query', 'key']" in line
    assert "'branch': ['inner', 'last']" in line
    with pytest.raises(ModelError, match="matches none of the 2 parameters"):
        InitPlan.from_spec("chrono").apply(nn.Linear(3, 3))


@pytest.mark.parametrize("name", list_plans())
def test_every_recipe_applies_to_a_head_that_is_tied_to_its_embedding(name: str) -> None:
    model = Gpt(1)
    model.lm_head.weight = model.wte.weight
    model.h[0].num_heads = 2
    batch = torch.arange(16).view(2, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoEffectWarning)
        if name in ("chrono", "dcgan", "focal_head", "yolo_head", "zero_conv"):
            with pytest.raises(
                ModelError, match="matches none of the"
            ):  # it has none of their parts
                InitPlan.from_spec(name).apply(model, batch=batch)
            return
        report = InitPlan.from_spec(name).apply(model, batch=batch)
    (row,) = (row for row in report.rows if row.parameter == "wte.weight")
    assert model.lm_head.weight is model.wte.weight
    assert 0 < row.std < 1
