"""What happens to a weight on its way to its layer: the scheme's scale arrives, or the report says so."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import prune

from initsearch import InitPlan

WIDTH = 200


class Changed(nn.Linear):
    """A layer that changes its weight before it uses it."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__(WIDTH, WIDTH, bias=False)
        self.change = change

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.change(self.weight))


def applied(model: nn.Module, plan: object) -> tuple[Tensor, str]:
    """What arrives, and the note of the weight."""
    report = InitPlan.from_spec(plan).apply(model, batch=torch.randn(4, WIDTH))
    return model.change(model.weight).detach(), report.rows[0].note


MASK = (torch.rand(WIDTH, WIDTH, generator=torch.Generator().manual_seed(0)) < 0.125).float()


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w * MASK,
        lambda w: torch.where(MASK > 0, w, torch.zeros(())),
        lambda w: w.masked_fill(MASK == 0, 0.0),
        lambda w: 3.0 * (w * MASK),
    ],
)
def test_fans_count_the_entries_that_a_mask_leaves(change: Callable[[Tensor], Tensor]) -> None:
    arrived, note = applied(Changed(change), "lecun_normal")
    kept = arrived[MASK > 0]
    assert kept.std().item() == pytest.approx((float(MASK.mean()) * WIDTH) ** -0.5, rel=0.03)
    assert arrived[MASK == 0].count_nonzero() == 0
    assert f"{float(MASK.mean()):.3g} of its entries" in note


@pytest.mark.parametrize("factor", [math.sqrt(2 / WIDTH), 12.0])
def test_what_arrives_at_an_equalized_layer_is_what_the_scheme_speaks_of(factor: float) -> None:
    model = Changed(lambda w: w * factor)
    arrived, note = applied(model, "he_normal")
    assert arrived.std().item() == pytest.approx(math.sqrt(2 / WIDTH), rel=0.02)
    assert f"multiplied by {factor:.4g}" in note
    arrived, _ = applied(model, {"name": "normal", "std": 0.02})
    assert arrived.std().item() == pytest.approx(0.02, rel=0.02)
    arrived, _ = applied(model, "orthogonal")
    torch.testing.assert_close(arrived @ arrived.T, torch.eye(WIDTH), atol=1e-4, rtol=0)


def test_a_pruned_weight_counts_what_is_left() -> None:
    model = nn.Sequential(prune.random_unstructured(nn.Linear(WIDTH, WIDTH), "weight", amount=0.75))
    report = InitPlan.from_spec("lecun_normal").apply(model, batch=torch.randn(4, WIDTH))
    with torch.no_grad():
        out = model(torch.randn(2000, WIDTH))
    assert out.var().item() == pytest.approx(1, rel=0.05)
    row = next(row for row in report.rows if row.parameter == "0.weight")
    assert row.fan_in == WIDTH / 4
    assert "0.25 of its entries" in row.note


@pytest.mark.parametrize(
    "change",
    [
        lambda w: (w - w.mean(1, keepdim=True)) / w.std(1, keepdim=True),
        lambda w: F.normalize(w, dim=1),
        lambda w: w / w.norm(),
        torch.sign,
        lambda w: F.layer_norm(w, (WIDTH,)),
    ],
)
def test_a_scale_that_the_layer_divides_away_is_reported(
    change: Callable[[Tensor], Tensor],
) -> None:
    _, note = applied(Changed(change), "lecun_normal")
    assert "the scale drawn does not arrive" in note


@pytest.mark.parametrize("change", [torch.tanh, F.softplus, torch.exp, lambda w: w + 1.0])
def test_a_weight_that_is_bent_on_its_way_is_reported(change: Callable[[Tensor], Tensor]) -> None:
    model = Changed(lambda w: change(10 * w))
    _, note = applied(model, "lecun_normal")
    assert "not linear" in note


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w,
        lambda w: w.clone().view(WIDTH, WIDTH),
        lambda w: w.to(torch.bfloat16).float(),
        lambda w: (w * 512).round() / 512,
        lambda w: w + (w.sign() * w.abs().mean() - w).detach() * 0,
        lambda w: F.dropout(w, 0.5, training=False),
    ],
)
def test_a_weight_that_arrives_as_it_is_has_no_note(change: Callable[[Tensor], Tensor]) -> None:
    arrived, note = applied(Changed(change), "lecun_normal")
    assert note == ""
    assert arrived.std().item() == pytest.approx(WIDTH**-0.5, rel=0.02)


def test_a_sum_of_scaled_matrices_has_the_fans_and_the_scale_of_what_arrives() -> None:
    class Basis(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shares = nn.Parameter(torch.randn(5, 3))
            self.basis = nn.Parameter(torch.randn(3, WIDTH, WIDTH))

        def forward(self, x: Tensor) -> Tensor:
            weight = (self.shares[:, :, None, None] * self.basis).sum(1)
            return torch.einsum("bi,rio->bro", x, weight)

    torch.manual_seed(0)
    model, x = Basis(), torch.randn(400, WIDTH)
    InitPlan.from_spec("lecun_normal").apply(model, batch=x)
    with torch.no_grad():
        assert model(x).var().item() == pytest.approx(1, rel=0.05)


def test_a_weight_that_is_read_as_complex_keeps_the_size_of_its_inputs() -> None:
    class Spectral(nn.Module):
        """Real and imaginary parts in the last axis, as Fourier neural operators store them."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(64, 48, 8, 2))

        def forward(self, x: Tensor) -> Tensor:
            return torch.einsum("bik,iok->bok", x, torch.view_as_complex(self.weight))

    model, x = Spectral(), torch.randn(64, 64, 8, dtype=torch.complex64)
    InitPlan.from_spec("lecun_normal").apply(model, batch=x)
    assert model(x).detach().abs().pow(2).mean().item() == pytest.approx(1.0, rel=0.05)
