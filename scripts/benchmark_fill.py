"""Filling a ResNet-50: a plan against the same torch.nn.init calls in a plain loop.

`InitPlan.apply` does three things: it describes the model (kinds, fans, and by a forward pass what
follows each layer), it fills the parameters, and it reports what it did. The fill alone is what a
plain loop of `torch.nn.init` calls does, and is held against it, interleaved; the aim is a ratio of
at most 1.2. The cost of describing, and of the whole of `apply`, is told apart.

    python scripts/benchmark_fill.py --output /tmp/fill
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial

import torch
from benchmarking import cpus, interleave, parser, publish, ratio, table, typical, walls
from torch import Tensor, nn
from torchvision.models import resnet50

from initsearch.initializers import Initializer
from initsearch.layers import Slot, assign_, describe
from initsearch.plan import InitPlan

TARGET = 1.2
# Initializer -> the call of torch.nn.init that draws from the same distribution.
TWINS: dict[str, tuple[dict[str, object], Callable[[Tensor], object]]] = {
    "he_normal": ({"name": "he_normal"}, partial(nn.init.kaiming_normal_, nonlinearity="relu")),
    "glorot_uniform": ({"name": "glorot_uniform"}, nn.init.xavier_uniform_),
    "normal": ({"name": "normal", "std": 0.02}, partial(nn.init.normal_, std=0.02)),
    "truncated_normal": (
        {"name": "truncated_normal", "std": 0.02},
        partial(nn.init.trunc_normal_, std=0.02, a=-0.04, b=0.04),
    ),
    "orthogonal": ({"name": "orthogonal"}, nn.init.orthogonal_),
}


def fill_by_torch(model: nn.Module, call: Callable[[Tensor], object]) -> None:
    """What a user writes without a plan: weights by one call, biases zero, norms left alone."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            call(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def fill_by_plan(model: nn.Module, plan: InitPlan, slots: Sequence[Slot]) -> None:
    """What `InitPlan.apply` does between describing the model and reporting, by its public pieces.

    Each parameter is drawn by a random generator of its own.
    """
    for number, slot in enumerate(slots):
        choice, _ = plan.resolve(slot)
        if isinstance(choice, Initializer):
            assign_(model, slot, partial(_draw, choice, torch.Generator().manual_seed(number)))


def _draw(
    initializer: Initializer,
    generator: torch.Generator,
    view: Tensor,
    fan_in: float,
    fan_out: float,
    block: int,
) -> None:
    initializer.fill_(view, fan_in=fan_in, fan_out=fan_out, generator=generator)


def contenders(
    model: nn.Module, plan: InitPlan, call: Callable[[Tensor], object], batch: Tensor
) -> dict[str, Callable[[], object]]:
    """What is timed for one initializer. Data-dependent fills (LSUV) get their line here as well."""
    slots = describe(model, batch)
    return {
        "torch.nn.init": lambda: fill_by_torch(model, call),
        "fill": lambda: fill_by_plan(model, plan, slots),
        "describe": lambda: describe(model, batch),
        "apply": lambda: plan.apply(model, seed=0, batch=batch),
    }


def main() -> None:
    """Time the contenders for each initializer and print the ratios."""
    arguments: argparse.Namespace = parser(__doc__).parse_args()
    rounds = arguments.rounds or (2 if arguments.quick else 12)
    names = list(TWINS)[:1] if arguments.quick else list(TWINS)
    torch.set_num_threads(1)
    model = resnet50(weights=None)
    batch = torch.zeros(2, 3, 64, 64)
    rows, facts = [], {}
    for name in names:
        spec, call = TWINS[name]
        plan = InitPlan.from_spec(spec)
        costs = interleave(contenders(model, plan, call, batch), rounds)
        facts[name] = costs
        per_torch = walls(costs["torch.nn.init"])
        fill = ratio(walls(costs["fill"]), per_torch)
        rows.append(
            (
                name,
                *(f"{1000 * typical(costs[part]).wall:.0f}" for part in costs),
                fill,
                ratio(cpus(costs["fill"]), cpus(costs["torch.nn.init"])),
                "yes" if fill.value <= TARGET else "no",
                ratio(walls(costs["apply"]), per_torch),
            )
        )
    headers = (
        "initializer",
        *(f"{part}, ms" for part in ("torch.nn.init", "fill", "describe", "whole apply")),
        "fill / torch, wall",
        "fill / torch, CPU",
        f"at most {TARGET}",
        "apply / torch",
    )
    parameters = sum(parameter.numel() for parameter in model.parameters())
    text = (
        f"{parameters / 1e6:.1f} million parameters, one thread, {rounds} rounds; medians, and ratios with "
        f"their 95% intervals.\n\n{table(headers, rows)}"
    )
    publish("Filling a ResNet-50", [("A plan against torch.nn.init", text)], facts, arguments)


if __name__ == "__main__":
    main()
