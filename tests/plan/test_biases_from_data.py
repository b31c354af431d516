"""Biases from data, of gates and of detectors: what they are, and where plans take the data from."""

import math
from typing import Any

import lightning
import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, random_split

from initsearch import InitCallback, InitPlan, get_initializer
from initsearch.errors import ConfigError, ModelError

HEAD = {
    "rules": [
        {"where": {"role": "head"}, "weight": "zeros", "bias": "class_prior"},
        {"weight": "he_normal", "bias": "zeros"},
    ]
}


def net(outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, outputs))


def head_bias(outputs: int, targets: Any, plan: Any = HEAD) -> Tensor:
    model = net(outputs)
    InitPlan.from_spec(plan).apply(model, targets=targets)
    return model[2].bias.detach()


def rare_classes() -> Tensor:
    return torch.tensor([0] * 90 + [1] * 9 + [2])


def test_with_the_log_of_frequencies_the_first_loss_is_the_entropy_of_the_labels() -> None:
    labels = rare_classes()
    bias = head_bias(3, labels)
    torch.testing.assert_close(bias.exp(), torch.tensor([0.90, 0.09, 0.01]))
    loss = nn.functional.cross_entropy(bias.expand(100, 3), labels)
    assert loss.item() == pytest.approx(stats.entropy([0.90, 0.09, 0.01]))


def test_the_bias_is_what_training_of_the_bias_alone_would_find() -> None:
    # The oracle is gradient descent, for each of the three losses.
    labels = rare_classes()
    binary = (labels > 0).float().unsqueeze(1)
    numbers = torch.randn(100, 2, generator=torch.Generator().manual_seed(0)) + 3
    cases = [
        (3, labels, lambda b: nn.functional.cross_entropy(b.expand(100, 3), labels)),
        (
            1,
            binary,
            lambda b: nn.functional.binary_cross_entropy_with_logits(b.expand(100, 1), binary),
        ),
        (2, numbers, lambda b: nn.functional.mse_loss(b.expand(100, 2), numbers)),
    ]
    for outputs, targets, loss in cases:
        bias = head_bias(outputs, targets).requires_grad_()
        (gradient,) = torch.autograd.grad(loss(bias), bias)
        torch.testing.assert_close(gradient, torch.zeros(outputs), atol=2e-6, rtol=0)


@pytest.mark.parametrize(
    ("outputs", "targets", "expected"),
    [
        (1, torch.tensor([0, 0, 0, 1]), [math.log(1 / 3)]),
        (1, [0.0, 1.0, 1.0, 1.0], [math.log(3)]),
        (2, torch.tensor([[1, 1], [0, 1], [0, 0], [0, 1]]), [math.log(1 / 3), math.log(3)]),
        (2, torch.eye(2)[torch.tensor([0, 0, 0, 1])], [math.log(0.75), math.log(0.25)]),
        (
            2,
            torch.tensor([[[0, 0], [0, -100]], [[1, 0], [1, 0]]]),
            [math.log(5 / 7), math.log(2 / 7)],
        ),
        (
            3,
            lambda: torch.tensor([0, 0, 0, 1]),
            [math.log(6 / 9), math.log(2 / 9), math.log(1 / 9)],
        ),
    ],
)
def test_targets_of_each_form(outputs: int, targets: Any, expected: list[float]) -> None:
    torch.testing.assert_close(head_bias(outputs, targets), torch.tensor(expected))


def test_frequencies_may_be_given() -> None:
    plan = {
        "rules": [
            {"where": {"role": "head"}, "bias": {"name": "class_prior", "frequencies": [3, 1]}},
            {"weight": "he_normal"},
        ]
    }
    expected = torch.tensor([0.75, 0.25]).log()
    torch.testing.assert_close(head_bias(2, None, plan), expected)
    torch.testing.assert_close(head_bias(1, None, plan), torch.tensor([math.log(1 / 3)]))
    again = InitPlan.from_spec(InitPlan.from_spec(plan).spec())
    assert again == InitPlan.from_spec(plan)
    scope: dict[str, Any] = {}
    exec(again.to_code(net(2)), scope)
    model = net(2)
    scope["init_weights"](model)
    torch.testing.assert_close(model[2].bias.detach(), expected)


def test_what_does_not_fit_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"class_prior: needs the frequencies.*targets"):
        head_bias(3, None)
    with pytest.raises(ConfigError, match=r"labels must be below the number of outputs, but got 4"):
        head_bias(3, torch.tensor([0, 4]))
    with pytest.raises(ConfigError, match="must be above 0 and below 1"):
        get_initializer({"name": "class_prior", "frequencies": [1.0]}).fill_(torch.empty(1))
    with pytest.raises(ConfigError, match="needs one frequency per output, but got 3"):
        get_initializer({"name": "class_prior", "frequencies": [1, 1, 1]}).fill_(torch.empty(5))
    with pytest.raises(ConfigError, match="frequencies must be finite numbers"):
        get_initializer({"name": "class_prior", "frequencies": ["many"]})


def test_the_focal_prior_is_retinanet_s_bias() -> None:
    # torchvision's RetinaNetClassificationHead: -math.log((1 - prior) / prior), prior .01.
    bias = get_initializer("focal_prior").fill_(torch.empty(5))
    torch.testing.assert_close(bias, torch.full((5,), -math.log(0.99 / 0.01)))
    torch.testing.assert_close(bias.sigmoid(), torch.full((5,), 0.01))


class Classifier(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layers = net(3)

    def training_step(self, batch: Any, number: int) -> Tensor:
        x, y = (batch["x"], batch["y"]) if isinstance(batch, dict) else batch
        return nn.functional.cross_entropy(self.layers(x), y)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)  # type: ignore[no-any-return]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


def fit(data: Any, tmp_path: Any) -> Classifier:
    model = Classifier()
    trainer = lightning.Trainer(
        max_epochs=1,
        callbacks=[InitCallback(HEAD)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        accelerator="cpu",
    )
    trainer.fit(model, DataLoader(data, batch_size=25))
    return model


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)`")
@pytest.mark.filterwarnings("ignore:.*logging interval")
def test_the_callback_takes_the_labels_of_the_training_data(tmp_path: Any) -> None:
    labels = rare_classes()
    data = TensorDataset(torch.randn(100, 4), labels)
    bias = fit(data, tmp_path).layers[2].bias.detach()
    torch.testing.assert_close(bias.exp(), torch.tensor([0.90, 0.09, 0.01]))
    part, _ = random_split(data, [0.5, 0.5])
    counts = torch.bincount(labels[torch.tensor(part.indices)], minlength=3).clamp(min=0.5)
    bias = fit(part, tmp_path).layers[2].bias.detach()
    torch.testing.assert_close(bias.exp(), counts / counts.sum())
    rows = [{"x": torch.randn(4), "y": label} for label in labels]
    bias = fit(rows, tmp_path).layers[2].bias.detach()
    torch.testing.assert_close(bias.exp(), torch.tensor([0.90, 0.09, 0.01]))
    with pytest.raises(ModelError, match="needs the targets of the training data"):
        fit([{"x": torch.randn(4), "kind": label} for label in labels], tmp_path)


def test_a_forget_gate_s_bias_is_said_in_one_word() -> None:
    model = nn.LSTM(3, 5)
    plan = {"rules": [{"where": {"kind": "lstm"}, "bias": {"name": "forget_gate", "value": 2.0}}]}
    report = InitPlan.from_spec(plan).apply(model)
    total = model.bias_ih_l0 + model.bias_hh_l0
    assert torch.equal(total, torch.tensor([0.0, 2.0, 0.0, 0.0]).repeat_interleave(5))
    labels = {row.parameter: row.initializer for row in report.rows}
    assert labels["bias_ih_l0[forget_gate]"] == "constant(value=2)"
    with pytest.raises(ConfigError, match="must fill the bias of an LSTM, but got the bias of gru"):
        InitPlan.from_spec({"rules": [{"where": {"kind": "gru"}, "bias": "forget_gate"}]}).apply(
            nn.GRU(3, 4)
        )


def test_chrono_s_biases_have_the_paper_s_law() -> None:
    model = nn.LSTM(3, 4000)
    plan = {"rules": [{"where": {"kind": "lstm"}, "bias": {"name": "chrono", "t_max": 784}}]}
    InitPlan.from_spec(plan).apply(model, seed=5)
    total = (model.bias_ih_l0 + model.bias_hh_l0).detach()
    entry, forget, cell, output = total.chunk(4)
    assert torch.equal(entry, -forget)
    assert not cell.any()
    assert not output.any()
    assert stats.kstest(forget.exp().numpy(), stats.uniform(1, 782).cdf).pvalue > 1e-6
    mean, std = get_initializer({"name": "chrono", "t_max": 784}).moments(1, 1) or (0, 0)
    assert forget.mean().item() == pytest.approx(mean, abs=6 * std / 4000**0.5)
    assert forget.std().item() == pytest.approx(std, rel=0.1)
