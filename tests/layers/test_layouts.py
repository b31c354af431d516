"""Fans from what a model computes: under LeCun's rule, the output of every way to use a weight has variance 1.

The variance is measured on the operation itself. `pytest -s` prints the table.
"""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from initsearch import InitPlan
from initsearch.layers import describe

B, M, N, H = 256, 48, 40, 4  # samples, inputs, outputs, heads
RANK = 32
SEEDS = 6


class Uses(nn.Module):
    """Bare parameters w0, w1, ... and a function of them and the input."""

    def __init__(self, function: Callable[..., Tensor], *shapes: tuple[int, ...]) -> None:
        super().__init__()
        self.function = function
        for number, shape in enumerate(shapes):
            self.register_parameter(f"w{number}", nn.Parameter(torch.randn(shape)))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.parameters())


Case = tuple[str, Callable[..., Tensor], list[tuple[int, ...]], tuple[int, ...]]

FLAT, HEADS, IMAGE = (B, M), (B, H, M), (8, 24, 12, 12)


def einsum(equation: str, shape: tuple[int, ...], *x: int) -> Case:
    def function(data: Tensor, weight: Tensor) -> Tensor:
        first = "b" in equation.partition(",")[0] or "..." in equation.partition(",")[0]
        return torch.einsum(equation, *((data, weight) if first else (weight, data)))

    return f"einsum {equation}", function, [shape], x or FLAT


def by_groups(x: Tensor, w: Tensor) -> Tensor:
    first, second = x.chunk(2, 1)
    return torch.cat([F.linear(first, w[: N // 2]), F.linear(second, w[N // 2 :])], 1)


def by_loop(x: Tensor, w: Tensor) -> Tensor:
    return torch.stack([x @ w[i] for i in range(len(w))], 1)


def grouped_queries(x: Tensor, w: Tensor) -> Tensor:
    query, key, value = w.split([N, N // 2, N // 2])
    return torch.cat([F.linear(x, each) for each in (query, key, value)], 1)


def upwards(rank: int, **settings: Any) -> Callable[[Tensor, Tensor], Tensor]:
    function = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[rank - 1]

    def inner(x: Tensor, w: Tensor) -> Tensor:
        edge = w.shape[-1]  # outputs there read fewer taps
        return function(x, w, **settings)[(..., *(slice(edge, -edge),) * rank)]

    return inner


TYPES = torch.arange(B) % H

CASES: list[Case] = [
    ("x @ W", lambda x, w: x @ w, [(M, N)], FLAT),
    ("x @ W, square", lambda x, w: x @ w, [(M, M)], FLAT),
    ("x @ W.T", lambda x, w: x @ w.T, [(N, M)], FLAT),
    ("x @ W.mT", lambda x, w: x @ w.mT, [(N, M)], FLAT),
    ("x @ W.t()", lambda x, w: x @ w.t(), [(N, M)], FLAT),
    ("(W @ x.T).T", lambda x, w: (w @ x.T).T, [(N, M)], FLAT),
    ("mm", lambda x, w: torch.mm(x, w), [(M, N)], FLAT),
    ("Tensor.matmul", lambda x, w: x.matmul(w), [(M, N)], FLAT),
    ("inner", lambda x, w: torch.inner(x, w), [(N, M)], FLAT),
    ("addmm", lambda x, w: torch.addmm(torch.zeros(N), x, w), [(M, N)], FLAT),
    ("F.linear", F.linear, [(N, M)], FLAT),
    ("F.linear, by name", lambda x, w: F.linear(input=x, weight=w), [(N, M)], FLAT),
    ("F.bilinear", lambda x, w: F.bilinear(x, x.flip(0), w), [(N, M, M)], FLAT),
    ("bmm, ensemble", lambda x, w: torch.bmm(x.expand(H, *x.shape), w), [(H, M, N)], FLAT),
    (
        "baddbmm, ensemble",
        lambda x, w: torch.baddbmm(torch.zeros(H, 1, N), x.expand(H, *x.shape), w),
        [(H, M, N)],
        FLAT,
    ),
    ("x @ W, ensemble by broadcasting", lambda x, w: x @ w, [(H, M, N)], FLAT),
    ("x @ W.mT, ensemble", lambda x, w: x @ w.mT, [(H, N, M)], FLAT),
    (
        "addbmm",
        lambda x, w: torch.addbmm(torch.zeros(B, N), x.mT.mT.transpose(0, 1), w),
        [(H, M, N)],
        HEADS,
    ),
    ("bmm, one matrix", lambda x, w: torch.bmm(x, w.expand(B, M, N)), [(M, N)], HEADS),
    einsum("bi,io->bo", (M, N)),
    einsum("bi,oi->bo", (N, M)),
    einsum("io,bi->bo", (M, N)),
    einsum("oi,bi->bo", (N, M)),
    einsum("bhi,hio->bho", (H, M, N), *HEADS),
    einsum("bhi,hoi->bho", (H, N, M), *HEADS),
    einsum("bhi,ohi->boh", (N, H, M), *HEADS),
    einsum("bhi,hio->bo", (H, M, N), *HEADS),
    einsum("bhi,ohi->bo", (N, H, M), *HEADS),
    einsum("bhi,iho->bo", (M, H, N), *HEADS),
    einsum("bi,iho->bho", (M, H, N)),
    einsum("bi,hoi->bho", (H, N, M)),
    einsum("bi,hio->hbo", (H, M, N)),
    einsum("...i,io->...o", (M, N), *HEADS),
    einsum("...hi,hio->...ho", (H, M, N), *HEADS),
    einsum("bi,io", (M, N)),
    (
        "einsum by numbers",
        lambda x, w: torch.einsum(x, [0, 1], w, [2, 1], [0, 2]),
        [(N, M)],
        FLAT,
    ),
    ("tensordot, 1", lambda x, w: torch.tensordot(x, w, 1), [(M, N)], FLAT),
    ("tensordot, 2", lambda x, w: torch.tensordot(x, w, dims=2), [(H, M, N)], HEADS),
    ("tensordot ([1], [1])", lambda x, w: torch.tensordot(x, w, ([1], [1])), [(H, M, N)], FLAT),
    ("tensordot ([-1], [0])", lambda x, w: torch.tensordot(x, w, ([-1], [0])), [(M, N)], FLAT),
    ("W.view(in, -1)", lambda x, w: x @ w.view(M, -1), [(M, H, N)], FLAT),
    ("W.flatten(0, 1)", lambda x, w: x.flatten(1) @ w.flatten(0, 1), [(H, M, N)], HEADS),
    (
        "W.permute().reshape()",
        lambda x, w: x @ w.permute(1, 0, 2).reshape(M, -1),
        [(H, M, N)],
        FLAT,
    ),
    (
        "heads apart",
        lambda x, w: torch.einsum("bi,iho->bho", x, w.view(M, H, -1)),
        [(M, H * N)],
        FLAT,
    ),
    (
        "W.view(heads, ...) per head",
        lambda x, w: torch.einsum("bhi,hio->bho", x, w.view(H, M, N)),
        [(H * M, N)],
        HEADS,
    ),
    (
        "queries, keys, values",
        lambda x, w: torch.cat([x @ each for each in w.chunk(3, 1)], 1),
        [(M, 3 * N)],
        FLAT,
    ),
    ("grouped queries", grouped_queries, [(2 * N, M)], FLAT),
    ("halves for halves", by_groups, [(N, M // 2)], FLAT),
    ("experts, one by one", by_loop, [(H, M, N)], FLAT),
    ("experts, some", lambda x, w: x @ w[2], [(H, M, N)], FLAT),
    ("experts, by type", lambda x, w: torch.bmm(x[:, None], w[TYPES[: len(x)]]), [(H, M, N)], FLAT),
    ("stack", lambda x, *w: torch.einsum("bi,hio->bho", x, torch.stack(w)), [(M, N)] * 3, FLAT),
    ("cat of outputs", lambda x, *w: x @ torch.cat(w, 1), [(M, N), (M, 2 * N)], FLAT),
    ("cat of inputs", lambda x, *w: x @ torch.cat(w), [(M // 2, N), (M // 2, N)], FLAT),
    ("low rank, x @ (A @ B)", lambda x, a, b: x @ (a @ b), [(M, RANK), (RANK, N)], FLAT),
    ("low rank, F.linear", lambda x, a, b: F.linear(x, b @ a), [(RANK, M), (N, RANK)], FLAT),
    (
        "low rank, einsum",
        lambda x, a, b: torch.einsum("bi,oi->bo", x, torch.einsum("ri,or->oi", a, b)),
        [(RANK, M), (N, RANK)],
        FLAT,
    ),
    (
        "low rank, three factors",
        lambda x, a, b, c: x @ (a @ b @ c),
        [(M, RANK), (RANK, RANK), (RANK, N)],
        FLAT,
    ),
    (
        "low rank, one einsum",
        lambda x, a, b: torch.einsum("bi,ir,or->bo", x, a, b),
        [(M, RANK), (N, RANK)],
        FLAT,
    ),
    (
        "tensor train",
        lambda x, a, b: x @ torch.einsum("ior,rjp->ijop", a, b).reshape(M, -1),
        [(6, 8, RANK), (RANK, 8, 8)],
        FLAT,
    ),
    ("x W y", lambda x, w: torch.einsum("bi,ij,cj->bc", x, w, x.flip(0)), [(M, M)], FLAT),
    ("sparse", lambda x, w: torch.sparse.mm(x.to_sparse(), w), [(M, N)], FLAT),
    ("W.float()", lambda x, w: F.linear(x.float(), w.type(torch.float32)), [(N, M)], FLAT),
    (
        "basis sum",
        lambda x, a, b: torch.einsum("bi,hio->bho", x, torch.einsum("hr,rio->hio", a, b)),
        [(H, 3), (3, M, N)],
        FLAT,
    ),
    (
        "basis sum by a view",
        lambda x, a, b: x @ (a @ b.view(RANK, -1)).view(16, M, N),
        [(16, RANK), (RANK, M, N)],
        FLAT,
    ),
    ("F.conv1d", F.conv1d, [(N, 24, 5)], (32, 24, 40)),
    ("F.conv2d", lambda x, w: F.conv2d(x, w, stride=2), [(N, 24, 3, 3)], IMAGE),
    ("F.conv2d, groups", lambda x, w: F.conv2d(x, w, groups=4), [(N, 6, 3, 3)], IMAGE),
    ("F.conv2d, depthwise", lambda x, w: F.conv2d(x, w, groups=24), [(24, 1, 3, 3)], IMAGE),
    ("F.conv2d, dilated", lambda x, w: F.conv2d(x, w, None, 1, 0, 2), [(N, 24, 3, 3)], IMAGE),
    ("F.conv3d", F.conv3d, [(16, 8, 3, 3, 3)], (4, 8, 8, 8, 8)),
    ("F.conv2d, view", lambda x, w: F.conv2d(x, w.view(N, 24, 3, 3)), [(N, 24 * 9)], IMAGE),
    ("F.conv_transpose1d", upwards(1, stride=3), [(24, 16, 6)], (16, 24, 64)),
    ("F.conv_transpose2d", upwards(2, stride=2, padding=1), [(24, 16, 4, 4)], IMAGE),
    ("F.conv_transpose2d, groups", upwards(2, stride=2, groups=4), [(24, 8, 4, 4)], IMAGE),
    ("F.conv_transpose3d", upwards(3, stride=(1, 2, 2)), [(8, 6, 2, 2, 2)], (4, 8, 8, 8, 8)),
    ("W times a constant", lambda x, w: x @ (w * 0.01), [(M, N)], FLAT),
    ("W / sqrt(in)", lambda x, w: F.linear(x, w / math.sqrt(M)), [(N, M)], FLAT),
    ("W tril", lambda x, w: F.linear(x, w.tril()), [(M, M)], FLAT),
    ("W times a mask", lambda x, w: F.linear(x, w * MASK), [(N, M)], FLAT),
    ("W masked_fill", lambda x, w: F.linear(x, w.masked_fill(MASK == 0, 0.0)), [(N, M)], FLAT),
    ("W without its mean", lambda x, w: F.linear(x, w - w.mean(1, keepdim=True)), [(N, M)], FLAT),
    ("W rounded", lambda x, w: F.linear(x, (w * 64).round() / 64), [(N, M)], FLAT),
]
MASK = (torch.arange(N)[:, None] + torch.arange(M)) % 4 == 0
MASK = MASK.float()


def variance(case: Case, plan: object = "lecun_normal") -> float:
    """The mean square of the output over several seeds of weights and inputs."""
    _, function, shapes, size = case
    total = 0.0
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        model, x = Uses(function, *shapes), torch.randn(size)
        InitPlan.from_spec(plan).apply(model, seed=seed, batch=x)
        with torch.no_grad():
            total += float(model(x).pow(2).mean())
    return total / SEEDS


def test_the_output_of_every_layout_has_variance_one_under_lecun_s_rule() -> None:
    found = {case[0]: variance(case) for case in CASES}
    lines = [f"{name:40s} {value:.3f}" for name, value in found.items()]
    print("", *lines, sep="\n")  # noqa: T201 - the table
    assert {name: value for name, value in found.items() if abs(value - 1) > 0.05} == {}


def test_a_matrix_is_drawn_in_the_orientation_in_which_it_is_used() -> None:
    # A layer from more inputs to fewer outputs has orthonormal columns: what it makes of the unit vectors.
    names = {
        "x @ W",
        "x @ W.T",
        "(W @ x.T).T",
        "einsum bi,oi->bo",
        "W.permute().reshape()",
        "W.flatten(0, 1)",
        "bmm, ensemble",
        "x @ W.mT, ensemble",
        "heads apart",
        "experts, one by one",
    }
    shapes = {"W.permute().reshape()": [(2, M, 20)], "heads apart": [(M, 2 * 20)]}
    for name, function, given, size in CASES:
        if name not in names:
            continue
        names.remove(name)
        if name == "heads apart":

            def function(x: Tensor, w: Tensor) -> Tensor:
                return torch.einsum("bi,iho->bho", x, w.view(M, 2, 20))

        model = Uses(function, *shapes.get(name, given))
        InitPlan.from_spec("orthogonal").apply(model, batch=torch.randn(size))
        inputs = math.prod(size[1:])
        with torch.no_grad():
            unit = function(torch.eye(inputs).view(-1, *size[1:]), *model.parameters())
        stack = name.startswith(("bmm", "x @ W.mT"))
        rows = unit if stack else unit.movedim(1, 0) if "experts" in name else unit.flatten(1)[None]
        for matrix in rows:
            torch.testing.assert_close(
                matrix.T @ matrix, torch.eye(matrix.shape[1]), atol=1e-4, rtol=0
            )
    assert not names


def test_a_weight_that_is_not_contiguous_is_filled_in_its_places() -> None:
    model = Uses(lambda x, w: F.conv2d(x, w.mT), (16, 6, 4, 3))
    model.w0.data = model.w0.data.to(memory_format=torch.channels_last)
    twin = Uses(model.function, (16, 6, 4, 3))
    x = torch.randn(2, 6, 9, 9)
    for each in (model, twin):
        InitPlan.from_spec("he_normal").apply(each, seed=3, batch=x)
    assert not model.w0.is_contiguous()
    assert torch.equal(model.w0, twin.w0)


def test_a_stack_has_a_part_for_each_matrix_however_it_is_read() -> None:
    def parts(function: Callable[..., Tensor], *shape: int) -> list[tuple[int, ...]]:
        model = Uses(function, shape)
        (slot,) = describe(model, torch.randn(B, M))
        covered = torch.zeros(shape)
        for part in slot.parts:
            view = part.view(covered)
            view.add_(1)
            part.store(covered, view)
        assert bool((covered == 1).all())
        return [tuple(part.view(covered).shape) for part in slot.parts]

    assert parts(lambda x, w: x @ w[1], 3, M, N) == [(N, M)] * 3
    assert parts(grouped_queries, 2 * N, M) == [(N, M), (N // 2, M), (N // 2, M)]
    assert (
        parts(lambda x, w: torch.cat([x @ e for e in w.chunk(3, 1)], 1), M, 3 * N) == [(N, M)] * 3
    )
    assert (
        parts(lambda x, w: F.conv1d(x[:, :, None], w, groups=4), N, M // 4, 1)
        == [(N // 4, M // 4, 1)] * 4
    )


def test_the_values_of_a_plain_product_are_those_of_the_layer_it_is() -> None:
    # The draws of a parameter depend on its name and on the layer's shape (out, in), not on how it is stored.
    plain = Uses(F.linear, (N, M))
    turned = Uses(lambda x, w: x @ w, (M, N))
    for model in (plain, turned):
        InitPlan.from_spec("glorot_uniform").apply(model, seed=5, batch=torch.randn(B, M))
    assert torch.equal(plain.w0, turned.w0.T)


class Experts(nn.Module):
    """As timm's CondConv2d: a kernel for each sample, mixed from flat ones."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 16 * 8 * 3 * 3))

    def forward(self, x: Tensor, route: Tensor) -> Tensor:
        kernels = torch.matmul(route, self.weight).view(len(x) * 16, 8, 3, 3)
        stacked = x.reshape(1, -1, *x.shape[2:])
        return F.conv2d(stacked, kernels, groups=len(x)).view(len(x), 16, -1)


def test_kernels_that_are_mixed_for_each_sample_have_the_fans_of_their_convolution() -> None:
    x, model = torch.randn(64, 8, 6, 6), Experts()
    # One expert for each sample, so that the scale of a mixture is that of an expert.
    route = F.one_hot(torch.arange(64) % 4, 4).float()
    report = InitPlan.from_spec("lecun_normal").apply(model, batch=(x, route))
    (row,) = report.rows
    assert (row.fan_in, row.fan_out) == (8 * 9, 16 * 9)
    assert "conv2d" in row.note
    assert "may not arrive" in row.note
    assert float(model(x, route).detach().var()) == pytest.approx(1, rel=0.1)


def stacked_models(x: Tensor, first: Tensor, bias: Tensor, last: Tensor) -> Tensor:
    def one(x: Tensor, first: Tensor, bias: Tensor, last: Tensor) -> Tensor:
        return torch.relu(F.linear(x, first, bias)) @ last.T

    return torch.vmap(one, in_dims=(None, 0, 0, 0))(x, first, bias, last)


@pytest.mark.parametrize(
    ("function", "shape"),
    [
        (lambda x, w: torch.vmap(F.linear, in_dims=(None, 0))(x, w), (5, N, M)),
        (lambda x, w: torch.vmap(lambda w: x @ w)(w), (5, M, N)),
        (lambda x, w: torch.vmap(lambda w: x @ w, in_dims=2, out_dims=1)(w), (M, N, 5)),
    ],
)
def test_a_weight_under_vmap_is_a_stack_of_matrices(
    function: Callable[..., Tensor], shape: tuple[int, ...]
) -> None:
    model, x = Uses(function, shape), torch.randn(B, M)
    InitPlan.from_spec("lecun_normal").apply(model, batch=x)
    (slot,) = describe(model, x)
    assert (slot.fan_in, slot.fan_out, len(slot.parts)) == (M, N, 5)
    assert float(model(x).detach().var()) == pytest.approx(1, rel=0.1)


def test_models_that_are_stacked_for_vmap_have_layers_biases_and_activations() -> None:
    model = Uses(stacked_models, (3, N, M), (3, N), (3, 7, N))
    slots = {slot.name: slot for slot in describe(model, torch.randn(B, M))}
    assert [slots[name].category for name in ("w0", "w1", "w2")] == ["weight", "bias", "weight"]
    assert (slots["w0"].activation, slots["w0"].fan_in) == ("relu", M)
    assert (slots["w2"].fan_in, slots["w2"].fan_out, slots["w2"].role) == (N, 7, "head")
