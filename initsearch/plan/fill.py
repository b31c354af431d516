"""Carrying out a resolved plan: fill all parameters, then scale those that need a batch or a loss."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from initsearch.digests import seed_of
from initsearch.errors import ConfigError, ModelError
from initsearch.initializers import Initializer, LayerScaling, ModelScaling
from initsearch.layers import Slot, TrainingLoss, assign_, learn_scales_, mark_filled, rescale_
from initsearch.layers.model.assign import backup
from initsearch.plan.rules import KEEP

#: The targets of training examples, or what gives them if they are needed.
Targets = Any | Callable[[], Any]
# The words of `Initializer.needs` that a plan can provide.
_PROVIDED = frozenset({"branch", "part", "batch", "loss", "targets"})


@dataclass(frozen=True)
class Scaling:
    """What scales on data are learned from; see `InitPlan.apply`.

    Attributes:
        batch: An input of the model.
        loss: The training loss.
        loss_batch: What it takes; `None`: `batch`.
    """

    batch: Any = None
    loss: TrainingLoss | None = None
    loss_batch: Any = None


@dataclass
class Assignment:
    """The choice of a plan for one parameter or one part of it, and what came of it.

    Attributes:
        slot: The parameter, or the part; see `Slot.pieces`.
        choice: What the report shows: an initializer, or `"keep"`.
        initializer: What fills the parameter; `None`: it is kept.
        rule: The index of the rule that applies; `None` for the plan's default.
        named: Whether that rule has a condition, and so means this parameter.
        notes: For the report.
    """

    slot: Slot
    choice: Initializer | str
    initializer: Initializer | None
    rule: int | None
    named: bool
    notes: list[str] = field(default_factory=list)


def carry_out(
    model: nn.Module,
    assignments: Sequence[Assignment],
    seed: int,
    data: Scaling = Scaling(),
    targets: Targets = None,
) -> None:
    """Fill all parameters, then scale those whose initializer needs a batch or the loss.

    It is an error if an initializer refuses a parameter (`identity` a convolution) that a rule names by a
    condition. A bare name, a rule without conditions and the plan's default mean all parameters: one that is
    refused there is kept, with a note. An initializer that fills nothing is an error.

    Raises:
        ConfigError: An initializer refuses, or needs what plans do not provide.
        ModelError: A parametrization refuses, or a batch is needed but missing or not an input of the model.
    """
    _check_needs(assignments, data.batch)
    labels = _labels(assignments, targets)
    filled: set[Initializer | str] = set()
    refused: dict[Initializer | str, Exception] = {}
    for each in assignments:
        if each.initializer is None:
            continue
        choice = each.choice
        try:
            _fill(model, each, each.initializer, seed, labels)
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
    _scale(model, assignments, seed, data)


def _scale(model: nn.Module, assignments: Sequence[Assignment], seed: int, data: Scaling) -> None:
    """Multiply the weights whose initializers ask for it, with a note for each."""
    filled = [(each.slot, each.initializer) for each in assignments]
    layers = [(slot, by) for slot, by in filled if isinstance(by, LayerScaling)]
    notes = rescale_(model, data.batch, layers) if layers else {}
    groups: dict[Initializer, list[tuple[Slot, ModelScaling]]] = {}
    for slot, by in filled:
        if isinstance(by, ModelScaling):
            groups.setdefault(by.settings(), []).append((slot, by))
    if len(groups) > 1:
        first, second = (by.label() for by in list(groups)[:2])
        raise ConfigError(
            f"the scales of a model must be learned in one way, but the plan has {first} and {second}: give "
            "all rules the same settings, but for base"
        )
    for group in groups.values():
        examples = data.batch if data.loss_batch is None else data.loss_batch
        notes |= learn_scales_(model, examples, group, seed, data.loss)
    for each in assignments:
        if each.slot.name in notes:
            each.notes.append(notes[each.slot.name])


def parameter_generator(seed: int, name: str) -> torch.Generator:
    """The random generator of a parameter or named part, a function of the seed and its name alone."""
    # torch reads a negative seed as the unsigned number of the same bits.
    return torch.Generator().manual_seed(seed_of(f"{seed}:{name}"))


def _generators(slot: Slot, seed: int, stream: str) -> list[torch.Generator]:
    """The random generator of each part; of a single one, that of the name `stream`, if it is given.

    A named part of several has its own: it draws the same values whatever fills the others.
    """
    pieces = slot.pieces()
    if len(pieces) > 1:
        return [parameter_generator(seed, piece.title) for piece in pieces]
    return [parameter_generator(seed, stream or slot.title)] * len(slot.parts)


def canonical_form(assignments: Sequence[Assignment]) -> str:
    """What a parameter is filled with, the same for equal draws under other names; see `InitPlan.canonical`.

    Args:
        assignments: One for the parameter, or one for each of its parts.
    """
    return ", ".join(map(_canonical_form, assignments))


def _canonical_form(each: Assignment) -> str:
    if each.initializer is None:
        return KEEP
    try:
        complete = each.initializer.resolved(each.slot)
        drawn = [complete.drawn_from(part.fan_in, part.fan_out) for part in each.slot.parts]
    except ConfigError:
        # `carry_out` reports it. Plans with the same specification are equal all the same.
        return repr(each.initializer.spec())
    return ", ".join(repr(complete.spec()) if one is None else one.key for one in drawn)


def _check_needs(assignments: Sequence[Assignment], batch: Any) -> None:
    """Check that all that initializers need is there."""
    for each in assignments:
        if each.initializer is None:
            continue
        label, needs = each.initializer.label(), each.initializer.needs
        if unknown := needs - _PROVIDED:
            raise ConfigError(
                f"{each.slot.title}: {label} needs {' and '.join(sorted(unknown))}, which a plan does "
                "not provide; use another initializer"
            )
        if "batch" in needs and batch is None:
            raise ModelError(
                f"{each.slot.title}: {label} needs a batch of data, but got none: pass batch=... "
                "(InitCallback takes one from the training data)"
            )
        if isinstance(each.initializer, LayerScaling | ModelScaling) and each.slot.part:
            raise ConfigError(
                f"{each.slot.title}: {label} scales a layer's whole weight, but got one part of it: leave "
                "part out of its rule"
            )


def _labels(assignments: Sequence[Assignment], targets: Targets) -> Tensor | None:
    """The targets of the training data, if some initializer needs them."""
    if not any(each.initializer and "targets" in each.initializer.needs for each in assignments):
        return None
    found = targets() if callable(targets) else targets
    return None if found is None else torch.as_tensor(found)


def _fill(
    model: nn.Module, each: Assignment, initializer: Initializer, seed: int, labels: Tensor | None
) -> None:
    """Fill one parameter; if it is refused, it stays as it was."""
    slot = each.slot
    complete = initializer.resolved(slot)
    if labels is not None:
        complete = complete.given(labels, math.prod(slot.shape))
    generators = _generators(slot, seed, complete.stream(slot))
    restore = backup(model, slot)

    def fill(view: Tensor, fan_in: float, fan_out: float, part: int) -> None:
        complete.fill_(view, fan_in=fan_in, fan_out=fan_out, generator=generators[part])
        if (gain := slot.parts[part].gain) != 1.0:
            view.div_(gain)

    try:
        assign_(model, slot, fill)
    except (ConfigError, ModelError):
        restore()
        raise
    mark_filled(model, slot)
    if each.choice is initializer:
        each.choice = complete
