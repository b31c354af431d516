"""The lines of `code` that fill one part of a parameter."""

from typing import Any

import torch

from initsearch.errors import ConfigError
from initsearch.initializers import (
    Chrono,
    ClassPrior,
    DeltaOrthogonal,
    DepthScaled,
    Dirac,
    Identity,
    Initializer,
    MambaDecay,
    MambaStep,
    Mimetic,
    Orthogonal,
    Sparse,
    YoloHead,
)
from initsearch.initializers.distribution import Distribution
from initsearch.layers import ParameterPart, Slot


def place(part: ParameterPart) -> str:
    """The view of a part of shape (out, in, *kernel), or with more axes if memory has no such view."""
    if part.strides is not None:
        axes = (*part.strides.out, *part.strides.inputs, *part.strides.taps)
        sizes, steps = [size for size, _ in axes], [step for _, step in axes]
        return f".as_strided({sizes}, {steps}, {part.strides.offset})"
    text = ""
    if part.index is not None:
        places = [
            str(each) if isinstance(each, int) else f"{_end(each.start)}:{_end(each.stop)}"
            for each in part.index
        ]
        text = f"[{', '.join(places)}]"
    return text + (".transpose(0, 1)" if part.transposed else "")


def _end(place: Any) -> str:
    return "" if place is None else str(place)


def draw(target: str, law: Distribution) -> str:
    """The line that draws entries from a distribution, in place."""
    if law.kind == "constant":
        return f"{target}.fill_({law.numbers[0]!r})"
    if law.kind == "normal":
        mean, std = law.numbers
        return f"{target}.normal_({mean!r}, {std!r})"
    if law.kind == "uniform":
        low, high = law.numbers
        return f"{target}.uniform_({low!r}, {high!r})"
    mean, std, low, high = law.numbers
    ends = f"a={mean + low * std!r}, b={mean + high * std!r}"
    return f"nn.init.trunc_normal_({target}, {mean!r}, {std!r}, {ends})"


def structure(
    slot: Slot, part: ParameterPart, initializer: Initializer, partner: ParameterPart | None
) -> list[str]:
    """Lines that fill a part as a whole: `t`, a view of the parameter `w`, of shape (out, in, *kernel).

    Args:
        slot: The parameter.
        part: The part.
        initializer: What fills it.
        partner: The other gate of a bias that `chrono` fills, if it is filled before.

    Raises:
        ConfigError: The initializer has no such code.
    """
    shape = part.strides.shape if part.strides is not None else None
    size = str(shape) if shape is not None else "t.shape"
    new = f"q = torch.empty({size}, dtype=t.dtype, device=t.device)"
    store = "t.copy_(q.reshape(t.shape))"
    if isinstance(initializer, Orthogonal):
        gain = f"{initializer.gain!r}"
        if initializer.scaled:
            gain += " * max(math.sqrt(len(q) / q[0].numel()), 1.0)"
        return [new, f"nn.init.orthogonal_(q, {gain})", store]
    if isinstance(initializer, DeltaOrthogonal):
        return [
            "t.zero_()",
            "centre = [(size - 1) // 2 for size in t.shape[2:]]",
            "tap = t[(slice(None), slice(None), *centre)]",
            f"tap.copy_(nn.init.orthogonal_(torch.empty_like(tap), {initializer.gain!r}))",
        ]
    if isinstance(initializer, Identity):
        return [new, f"q.zero_().fill_diagonal_({initializer.gain!r})", store]
    if isinstance(initializer, Dirac):
        return [new, f"nn.init.dirac_(q, {initializer.groups})", store]
    if isinstance(initializer, Sparse):
        zeros = f"math.ceil({initializer.sparsity!r} * len(q))"
        return [
            new,
            f"q.normal_(0.0, {initializer.std!r})",
            "order = torch.rand_like(q.flatten(1)).argsort(dim=0).view_as(q)",
            f"q[order < {zeros}] = 0.0",
            store,
        ]
    if isinstance(initializer, DepthScaled):
        lines = structure(slot, part, initializer.base, None)
        return lines if initializer.factor is None else [*lines, f"t.mul_({initializer.factor!r})"]
    if isinstance(initializer, ClassPrior) and initializer.frequencies is not None:
        values = initializer.fill_(torch.empty(slot.shape, dtype=torch.float64))
        return [f"t.copy_(torch.tensor({values.tolist()!r}))"]
    if isinstance(initializer, Chrono):
        sign = "" if initializer.gate == "forget_gate" else "-"
        if partner is not None:
            return [f"t.copy_(-w{place(partner)})  # of the other gate"]
        return [new, f"q.uniform_(1.0, {initializer.t_max - 1!r}).log_()", f"t.copy_({sign}q)"]
    if isinstance(initializer, MambaStep):
        ends = f"math.log({initializer.dt_min!r}), math.log({initializer.dt_max!r})"
        return [
            new,
            f"q.uniform_({ends}).exp_().clamp_(min={initializer.dt_floor!r})",
            "t.copy_(q + torch.log(-torch.expm1(-q)))",
        ]
    if isinstance(initializer, MambaDecay):
        last = slot.shape[-1] if slot.shape else 1
        return [f"t.copy_(torch.arange(1, {last + 1}).log().view({list(slot.shape[-1:])}))"]
    if isinstance(initializer, YoloHead):
        values = initializer.fill_(torch.empty(slot.shape, dtype=torch.float64))
        _, *row = values.view(initializer.anchors, -1)[0].tolist()
        return [
            f"rows = t.zero_().view({initializer.anchors}, -1)",
            f"rows[:, 4] = {row[3]!r}",
            f"rows[:, 5:] = {row[4]!r}",
        ]
    if isinstance(initializer, Mimetic):
        return _mimetic(slot, initializer)
    raise ConfigError(
        f"{slot.name}: to_code writes initializers that draw from fans alone, but got {initializer.label()}: "
        "keep this parameter in the plan, and call that initializer yourself"
    )


def _mimetic(slot: Slot, initializer: Mimetic) -> list[str]:
    """One factor of a product; `products` keeps the draw, which both factors share, by its random stream."""
    by_head = initializer.side in ("query", "key")
    heads = (initializer.heads or 1) if by_head else 1
    alpha, beta = initializer.factors
    key = initializer.stream(slot)
    left = initializer.side in ("query", "value")
    factor = "u[..., :size].mT" if left else "v[..., :size, :]"
    turned = ".mT" if initializer.side == "output" else ""
    return [
        f"size, width = len(t) // {heads}, t.shape[1]",
        f"if {key!r} not in products:",
        f"    z = torch.randn({heads}, width, width, dtype=t.dtype, device=t.device) / math.sqrt(width)",
        f"    products[{key!r}] = {alpha!r} * z + {beta!r} * torch.eye(width, dtype=t.dtype, device=t.device)",
        f"u, s, v = torch.linalg.svd(products[{key!r}])",
        f"factor = {factor} * s[..., :size].sqrt().unsqueeze(-1)",
        f"t.copy_(factor{turned}.reshape(t.shape))",
    ]
