"""`diagnose`: all kinds of models, which stay unchanged; the table; and bad arguments."""

import copy
import random
from typing import Any

import numpy as np
import pytest
import torch
from signal_nets import Tagger, classes, mlp, noise, row, words
from torch import Tensor, nn
from torch.nn import functional as F

import initsearch
from initsearch.errors import ConfigError, ModelError
from initsearch.signal import diagnose, exact_checks

# --- all kinds of models -------------------------------------------------------------------------


def test_words_attention_lstm_and_a_layer_used_twice() -> None:
    torch.manual_seed(0)
    model = Tagger()
    tokens = torch.randint(0, 40, (6, 9), generator=torch.Generator().manual_seed(0))
    report = diagnose(model, (tokens, tokens))
    assert [each.layer for each in report.rows] == [
        "words", "encoder.self_attn.in_proj_weight", "encoder.self_attn.out_proj",
        "encoder.linear1", "encoder.linear2", "lstm", "mix", "mix (2)", "words (2)",
    ]  # fmt: skip
    assert report.loss == "cross-entropy"
    lstm = row(report, "lstm")
    assert (lstm.activation, lstm.pre_std) == ("gates", None)
    assert lstm.post_std is not None
    assert 0 < lstm.post_std < 1
    assert row(report, "mix").activation == "silu"
    assert row(report, "mix").weight_gradient == row(report, "mix (2)").weight_gradient
    assert "2 times" in row(report, "mix").note
    assert row(report, "encoder.self_attn.in_proj_weight").verdict == "unseen"
    assert all(each.weight_gradient for each in report.rows)


def test_parametrized_weights_and_a_gate_computed_by_hand() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.utils.parametrizations.weight_norm(nn.Linear(6, 12))
            self.up, self.gate, self.down = nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(12, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = F.elu(self.one(x))
            return self.down(F.silu(self.gate(x)) * self.up(x))

    report = diagnose(Net(), noise(10, 6))
    assert [(each.layer, each.activation) for each in report.rows] == [
        ("one", "elu"), ("gate", "swiglu"), ("up", "swiglu"), ("down", "none"),
    ]  # fmt: skip
    assert all(each.weight_gradient for each in report.rows)
    assert row(report, "gate").post_std is None
    assert "by hand" in row(report, "gate").note


def test_several_inputs_labels_and_losses() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Linear(4, 3), nn.Linear(4, 3)

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.left(a) + self.right(b)

    a, b = noise(8, 4), noise(8, 4, seed=1)
    plain = diagnose(Pair(), (a, b))
    assert plain.loss == "a random projection of the output"
    assert diagnose(Pair(), ((a, b), classes(8, 3))).loss == "cross-entropy"
    assert diagnose(Pair(), ({"a": a, "b": b}, noise(8, 3))).loss == "mean squared error"
    model = nn.Linear(4, 3)
    squares = diagnose(model, a, loss=lambda out: out.square().sum())
    by_hand = 2 * F.linear(a, model.weight, model.bias)
    assert squares.rows[0].pre_gradient == pytest.approx(by_hand.norm().item(), rel=1e-5)
    both = diagnose(model, (a, b[:, :3]), loss=lambda out, y: F.l1_loss(out, y))
    assert both.loss_value == pytest.approx(F.l1_loss(model(a), b[:, :3]).item())

    class Own(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).square().mean()

    assert diagnose(Own(4, 3), a).loss == "the model's own loss"
    dense = nn.Conv2d(1, 5, 3, padding=1)
    maps = torch.randint(0, 5, (2, 4, 4), generator=torch.Generator().manual_seed(0))
    expected = F.cross_entropy(dense(a.view(2, 1, 4, 4)), maps).item()
    assert diagnose(dense, (a.view(2, 1, 4, 4), maps)).loss_value == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(8,), (8, 1)])
@pytest.mark.parametrize("dtype", [torch.long, torch.bool, torch.uint8])
def test_one_logit_per_label_has_the_binary_cross_entropy(
    shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    model, x = nn.Linear(4, 1), noise(8, 4)
    labels = classes(8, 2).view(shape).to(dtype)
    report = diagnose(model, (x, labels))
    chance = torch.sigmoid(model(x)).flatten()
    by_hand = -torch.where(labels.flatten() == 1, chance, 1 - chance).log().mean()
    assert report.loss == "binary cross-entropy"
    assert report.loss_value == pytest.approx(by_hand.item(), rel=1e-5)
    assert diagnose(nn.Sequential(model, nn.Flatten(0)), (x, labels)).loss == report.loss


def test_labels_that_fit_no_default_loss_are_blamed_and_not_a_loss_that_is_not_given() -> None:
    for model, high, remedy in ((nn.Linear(4, 1), 9, "regression"), (nn.Linear(4, 3), 5, "0 to 2")):
        with pytest.raises(ModelError, match=f"labels must be .*{remedy}"):
            diagnose(model, (noise(8, 4), torch.full((8,), high)))
    left_out = torch.tensor([0, 1, -100, 2])  # as torch's cross-entropy leaves them out
    assert diagnose(nn.Linear(4, 3), (noise(4, 4), left_out)).loss == "cross-entropy"


def test_a_wrapped_model_is_diagnosed_as_the_model_inside() -> None:
    model, batch = mlp(8, 2), (noise(12, 20), classes(12))
    plain = diagnose(model, batch)
    for wrapped in (nn.DataParallel(model), torch.compile(model, backend="eager")):
        assert diagnose(wrapped, batch) == plain
        assert exact_checks(wrapped, batch) == ()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.complex64])
def test_other_types_of_numbers(dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Linear(6, 8, dtype=dtype), nn.Linear(8, 3, dtype=dtype))
    report = diagnose(model, noise(10, 6).to(dtype))
    assert set(words(report)) == {"healthy"}
    assert all(each.pre_gradient for each in report.rows)


def test_frozen_layers_show_their_gradients_and_stay_frozen() -> None:
    model = mlp(8, 2)
    model[0].requires_grad_(False)
    report = diagnose(model, noise(12, 20))
    assert all(each.pre_gradient for each in report.rows)
    assert not model[0].weight.requires_grad
    assert model[2].weight.requires_grad
    assert report.exact == ()
    model.requires_grad_(False)
    model[4].bias.requires_grad_()
    assert [each.check for each in diagnose(model, noise(12, 20)).exact] == ["no_gradient"]


# --- the model stays unchanged -------------------------------------------------------------------


def everything(model: nn.Module) -> list[Any]:
    """All state that a diagnosis could change."""
    return [
        [(name, p.clone(), p._version, p.requires_grad) for name, p in model.named_parameters()],
        [(name, buffer.clone()) for name, buffer in model.named_buffers()],
        [id(p) for p in model.parameters()],
        [None if p.grad is None else (id(p.grad), p.grad.clone()) for p in model.parameters()],
        [module.training for module in model.modules()],
        [
            (tuple(m._forward_hooks), tuple(m._forward_pre_hooks), tuple(m._backward_hooks))
            for m in model.modules()
        ],
        [sorted(module.__dict__) for module in model.modules()],
        torch.get_rng_state(),
        random.getstate(),
        [torch.from_numpy(np.random.get_state()[1].astype(np.int64))],
        torch.is_grad_enabled(),
    ]


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and torch.equal(a, b)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


@pytest.mark.parametrize("plan", [None, "he_normal"])
def test_nothing_changes(plan: str | None) -> None:
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout(0.2), nn.Flatten(),
        nn.utils.parametrizations.spectral_norm(nn.Linear(4 * 16, 8)), nn.Tanh(), nn.Linear(8, 10),
    )  # fmt: skip
    x, y = noise(6, 1, 6, 6).requires_grad_(), classes(6)
    F.cross_entropy(model(x), y).backward()
    x.grad = None
    model.eval()
    model[3].train()
    model[0].register_forward_hook(lambda module, args, output: None)
    model[7].bias.requires_grad_(False)
    before = everything(model)
    report = diagnose(model, (x, y), plan=plan)
    # A parameter that the plan fills is written twice; everything else is the same to the bit.
    after = everything(model)
    if plan is not None:
        for state in (before, after):
            state[0] = [(name, value, grad) for name, value, _, grad in state[0]]
    assert same(before, after)
    assert x.grad is None
    assert report.plan == (plan or "")


def test_a_plan_shows_the_model_as_it_would_be_initialized() -> None:
    model = mlp(16, 2)
    filled = copy.deepcopy(model)
    batch = (noise(12, 20), classes(12))
    initsearch.InitPlan.from_spec("glorot_uniform").apply(filled, seed=7, batch=batch[0])
    assert (
        diagnose(model, batch, plan="glorot_uniform", seed=7).rows == diagnose(filled, batch).rows
    )


def test_it_is_the_function_of_the_package() -> None:
    assert initsearch.diagnose is diagnose


# --- the table -----------------------------------------------------------------------------------


def test_the_table_and_the_frame_have_a_row_per_layer() -> None:
    report = diagnose(mlp(16, 3), noise(12, 20))
    lines = str(report).splitlines()
    assert len(lines) == 1 + len(report.rows)
    assert lines[0].split()[:2] == ["layer", "activation"]
    assert [line.split()[0] for line in lines[1:]] == [each.layer for each in report.rows]
    assert lines[-1].endswith("healthy")
    frame = report.to_frame()
    assert list(frame["layer"]) == [each.layer for each in report.rows]
    assert list(frame["pre_std"]) == [each.pre_std for each in report.rows]
    assert "histogram" not in frame


# --- bad arguments -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"plan": "he_norml"}, ConfigError, "he_normal"),
        ({"loss": "mse"}, ConfigError, "loss must be a function.*'mse'"),
        ({"loss": lambda out: out}, ConfigError, r"one number.*\(4, 10\)"),
        ({"loss": lambda out: out.frobnicate()}, ConfigError, "AttributeError.*frobnicate"),
        ({"loss": lambda out: torch.ones(())}, ModelError, "depend on a parameter"),
        ({"batch": torch.zeros(4, 7)}, ModelError, "batch"),
        ({"batch": (torch.zeros(4, 20), torch.zeros(3))}, ModelError, r"labels.*\(3,\).*\(4, 10\)"),
        ({"batch": (torch.zeros(4, 20), torch.full((4,), 11))}, ModelError, "labels.*0 to 9.*11"),
    ],
)
def test_bad_arguments_are_one_line(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    given = {"batch": torch.zeros(4, 20), **arguments}
    model = mlp(8, 1)
    before = everything(model)
    with pytest.raises(error, match=message) as raised:
        diagnose(model, **given)
    assert "\n" not in str(raised.value)
    assert same(before, everything(model))
