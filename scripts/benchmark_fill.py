"""Compare filling a ResNet-50 by a plan with the same torch.nn.init calls in a plain loop.

`InitPlan.apply` describes the model (kinds, fans, and from a forward pass what follows each layer),
fills the parameters, and reports what it did. The fill is compared with a plain loop of
`torch.nn.init` calls, interleaved; the target is a ratio of at most 1.2. The costs of describing and
of the whole `apply` are listed separately. LSUV needs a batch. It is compared with forward passes of a
ResNet-18; the target is the time of at most ten, besides the one that LSUV needs.

    python scripts/benchmark_fill.py --output /tmp/fill
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from statistics import fmean

import torch
from benchmarking import cpus, interleave, parser, publish, ratio, table, typical, walls
from torch import Tensor, nn
from torchvision.models import resnet18, resnet50

from initsearch.initializers import Initializer
from initsearch.layers import Slot, assign_, describe
from initsearch.plan import InitPlan

TARGET = 1.2
LSUV_TARGET = 10  # forward passes, besides LSUV's own
LSUV_SIDE = 64  # pixels
# Initializer -> its spec, and the torch.nn.init call that draws from the same distribution.
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
    """Fill without a plan: weights by one call, biases zero, norms as they are."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            call(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def fill_by_plan(model: nn.Module, plan: InitPlan, slots: Sequence[Slot]) -> None:
    """Fill by a plan: what `InitPlan.apply` does between description and report.

    Each parameter has its own random generator.
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
    part: int,
) -> None:
    initializer.fill_(view, fan_in=fan_in, fan_out=fan_out, generator=generator)


def contenders(
    model: nn.Module, plan: InitPlan, call: Callable[[Tensor], object], batch: Tensor
) -> dict[str, Callable[[], object]]:
    """The functions to time for one initializer."""
    slots = describe(model, batch)
    return {
        "torch.nn.init": lambda: fill_by_torch(model, call),
        "fill": lambda: fill_by_plan(model, plan, slots),
        "describe": lambda: describe(model, batch),
        "apply": lambda: plan.apply(model, seed=0, batch=batch),
    }


def time_lsuv(rounds: int) -> tuple[str, dict[str, object]]:
    """Time LSUV on a ResNet-18 with a batch of 64, in units of a forward pass of that batch.

    `apply` with `orthogonal` costs the same as LSUV's description, orthogonal fill and report. The
    difference is LSUV itself: one forward pass, the layers that run again, and the measurements.
    """
    model, batch = resnet18(weights=None), torch.randn(64, 3, LSUV_SIDE, LSUV_SIDE)

    def forward() -> None:
        with torch.no_grad():
            model.train()(batch)

    plans = {name: InitPlan.from_spec(name) for name in ("orthogonal", "lsuv")}
    costs = interleave(
        {
            "forward": forward,
            **{name: partial(plan.apply, model, 0, batch) for name, plan in plans.items()},
        },
        rounds,
    )
    forwards = walls(costs["forward"])
    whole = ratio(walls(costs["lsuv"]), forwards)
    own = fmean(
        (lsuv - fill) / each
        for lsuv, fill, each in zip(
            walls(costs["lsuv"]), walls(costs["orthogonal"]), forwards, strict=True
        )
    )
    beyond = own - 1  # without the one forward pass that LSUV needs
    row = (
        *(f"{1000 * typical(costs[part]).wall:.0f}" for part in costs),
        whole,
        own,
        beyond,
        "yes" if beyond <= LSUV_TARGET else "no",
    )
    headers = (
        *(f"{part}, ms" for part in ("forward", "apply orthogonal", "apply lsuv")),
        "apply lsuv / forward",
        "(lsuv - orthogonal) / forward",
        "besides its own forward",
        f"at most {LSUV_TARGET}",
    )
    text = (
        f"ResNet-18, 64 images of {LSUV_SIDE} x {LSUV_SIDE}, one thread, {rounds} rounds.\n\n"
        f"{table(headers, [row])}"
    )
    return text, {"lsuv": costs}


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
    lsuv, lsuv_facts = time_lsuv(min(rounds, 5))
    sections = [("A plan against torch.nn.init", text), ("LSUV against forward passes", lsuv)]
    publish("Filling a ResNet-50", sections, facts | lsuv_facts, arguments)


if __name__ == "__main__":
    main()
