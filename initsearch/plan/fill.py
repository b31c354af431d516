"""Carrying out what a plan decided: every fill, then what needs the whole model and a batch."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from initsearch.digests import seed_of
from initsearch.errors import ConfigError, ModelError
from initsearch.initializers import Initializer, LayerScaling
from initsearch.layers import Slot, assign_, read, rescale_

# What plans can provide of `Initializer.needs`.
_PROVIDED = frozenset({"branch", "batch"})


@dataclass
class Assignment:
    """What a plan decided for a parameter, and how it went.

    Attributes:
        slot: The parameter.
        choice: What the report names: an initializer, or `"keep"`.
        initializer: What fills it; `None` if nothing does.
        rule: The number of the rule that decided; `None` for the plan's default.
        named: Whether that rule gives a condition, so that this parameter is meant.
        notes: For the report.
    """

    slot: Slot
    choice: Initializer | str
    initializer: Initializer | None
    rule: int | None
    named: bool
    notes: list[str] = field(default_factory=list)


def carry_out(model: nn.Module, assignments: Sequence[Assignment], seed: int, batch: Any) -> None:
    """Fill all parameters, then scale those layers that a batch decides about.

    A parameter that its initializer refuses (`identity` and a convolution) is an error if a rule
    names it by a condition. A bare name, a rule without conditions and the plan's default speak of
    all that is there: there it is kept, with a note. An initializer that fills nothing is an error.

    Raises:
        ConfigError: An initializer refuses, or needs what plans do not provide.
        ModelError: A parametrization refuses; or a batch is needed and there is none, or it is none
            of the model's.
    """
    scalings = _check_needs(assignments, batch)
    filled: set[Initializer | str] = set()
    refused: dict[Initializer | str, Exception] = {}
    for each in assignments:
        if each.initializer is None:
            continue
        choice = each.choice
        try:
            _fill(model, each, each.initializer, seed)
            filled.add(choice)
        except (ConfigError, ModelError) as error:
            if each.named:
                raise
            refused.setdefault(choice, error)
            each.choice, each.initializer = "keep", None
            each.notes.append(f"kept: {error}")
    for choice, refusal in refused.items():
        if choice not in filled:
            raise refusal
    scaled = [(each.slot, by) for each, by in scalings if each.initializer is not None]
    notes = rescale_(model, batch, scaled) if scaled else {}
    for each in assignments:
        if each.slot.name in notes:
            each.notes.append(notes[each.slot.name])


def parameter_generator(seed: int, name: str) -> torch.Generator:
    """The random generator of one parameter: a function of the seed and the qualified name alone."""
    # torch reads a negative seed as the unsigned number of the same bits.
    return torch.Generator().manual_seed(seed_of(f"{seed}:{name}"))


def _check_needs(
    assignments: Sequence[Assignment], batch: Any
) -> list[tuple[Assignment, LayerScaling]]:
    """What is to be scaled by a batch, if all that is needed is there."""
    scalings: list[tuple[Assignment, LayerScaling]] = []
    for each in assignments:
        if each.initializer is None:
            continue
        label, needs = each.initializer.label(), each.initializer.needs
        if unknown := needs - _PROVIDED:
            raise ConfigError(
                f"{each.slot.name}: {label} needs {' and '.join(sorted(unknown))}, which a plan does "
                "not provide; use another initializer"
            )
        if "batch" in needs and batch is None:
            raise ModelError(
                f"{each.slot.name}: {label} needs a batch of data, but got none: pass batch=... "
                "(InitCallback takes one from the training data)"
            )
        if isinstance(each.initializer, LayerScaling):
            scalings.append((each, each.initializer))
    return scalings


def _fill(model: nn.Module, each: Assignment, initializer: Initializer, seed: int) -> None:
    """Fill one parameter; one that is refused is left as it was."""
    slot = each.slot
    complete = initializer.resolved(slot)
    generator = parameter_generator(seed, slot.name)
    # With one part, a refusal comes before anything is written.
    now = read(model, slot)
    before = now.clone() if len(slot.parts) > 1 else None

    def fill(view: Tensor, fan_in: float, fan_out: float, part: int) -> None:
        complete.fill_(view, fan_in=fan_in, fan_out=fan_out, generator=generator)

    try:
        assign_(model, slot, fill)
    except (ConfigError, ModelError):
        if before is not None:
            now.copy_(before)
        raise
    if each.choice is initializer:
        each.choice = complete
