"""`assert_init`: whether a model's weights fit a plan, for test suites."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from initsearch.audit.fit import Fit, entries_of, fit, resolution_of
from initsearch.audit.laws import describe_law
from initsearch.audit.oddities import fingerprint
from initsearch.audit.structure import fits_structure
from initsearch.audit.units import split_padding
from initsearch.errors import ConfigError
from initsearch.initializers import Initializer, Sparse
from initsearch.initializers.distribution import Distribution
from initsearch.layers import Slot, describe, read
from initsearch.plan import InitPlan
from initsearch.plan.rules import Spec

#: Parameters that the message lists; the others are counted.
_MOST_LISTED = 20
# Fewer numbers may be equal by chance.
_LEAST_COPIED = 4


def assert_init(
    model: nn.Module,
    plan: "Spec | InitPlan",
    *,
    batch: Any = None,
    false_alarm: float = 1e-6,
    include_frozen: bool = False,
) -> None:
    """Assert that fresh weights were drawn as a plan draws them, whatever drew them.

    For test suites: it needs no seed and no stored values. Each parameter is compared with the distribution
    that the plan gives it, by the exact tests of `initsearch.audit.fit`. Deterministic and orthogonal
    initializers are compared by what all their draws share. Parameters that should be independent but are
    equal, such as deep copies, fail as well.

    Args:
        model: Any module, as for `InitPlan.apply`.
        plan: A plan, a name, a mapping or a path, as for `InitPlan.from_spec`. What it keeps is not checked.
            What the model set on purpose is: name it in a rule with `keep` if it should differ.
        batch: An input of the model; see `InitPlan.apply`.
        false_alarm: The probability, over all parameters together, that weights drawn by the plan fail
            (Bonferroni), above 0 and below 1.
        include_frozen: Whether parameters with `requires_grad=False` are checked too.

    Raises:
        AssertionError: Some parameters do not fit; the message names them, with what was expected and found.
        ConfigError: The plan is not valid, `false_alarm` is out of range, or the plan holds an initializer that
            has no distribution to compare with (`lsuv`, a function).
        ModelError: The model cannot be described.

    Example:
        >>> initsearch.assert_init(MyTransformer(), {"rules": [{"weight": {"name": "normal", "std": 0.02}}]})
    """
    if not 0 < false_alarm < 1:
        raise ConfigError(
            f"false_alarm must be above 0 and below 1, but got {false_alarm!r}: use for instance 1e-6"
        )
    chosen = InitPlan.from_spec(plan)
    checked = [
        each
        for slot in describe(model, batch)
        for each in chosen.initializers_of(slot, include_frozen=include_frozen)
    ]
    level = false_alarm / max(len(checked), 1)
    failures: list[str] = []
    seen: dict[tuple[object, ...], str] = {}
    for slot, initializer in checked:
        reasons = list(_reasons(model, slot, initializer, level))
        if not reasons and (twin := _twin(slot, initializer, read(model, slot), seen)):
            reasons.append(f"has the same values as {twin}")
        failures += [f"{slot.title}: {reason}" for reason in reasons[:1]]
    if failures:
        more = len(failures) - _MOST_LISTED
        lines = [*failures[:_MOST_LISTED], *([f"and {more} more"] if more > 0 else [])]
        raise AssertionError(
            f"{len(failures)} of {len(checked)} parameters do not fit the plan:\n  "
            + "\n  ".join(lines)
        )


def samples(
    slot: Slot, initializer: Initializer, value: Tensor
) -> Iterator[tuple[Distribution, Tensor]]:
    """The distributions that an initializer gives to a parameter, each with its entries.

    Parts with the same distribution are one sample. What the model multiplies a weight by counts.
    """
    groups: dict[str, tuple[Distribution, list[Tensor]]] = {}
    for part in slot.parts:
        law = initializer.drawn_from(part.fan_in, part.fan_out)
        if law is not None:
            _, views = groups.setdefault(law.key, (law, []))
            views.append(part.view(value) * part.gain)
    for law, views in groups.values():
        yield law, views[0] if len(views) == 1 else torch.cat([each.reshape(-1) for each in views])


def _reasons(model: nn.Module, slot: Slot, initializer: Initializer, level: float) -> Iterator[str]:
    """Why a parameter does not fit, if it does not."""
    value = read(model, slot)
    if not value.numel():
        return
    if value.is_complex():
        raise ConfigError(
            f"{slot.name}: assert_init checks real parameters, but got {value.dtype}: keep it in the plan"
        )
    value, padding = split_padding(model, slot, value)
    if padding is not None and bool(padding.count_nonzero()):
        yield "the row of its padding_idx must be zero, but is not"
    label = initializer.label()
    try:
        laws = list(samples(slot, initializer, value))
    except ConfigError:
        return  # the initializer refuses this parameter, and `apply` keeps it
    for law, entries in laws:
        found = fit(entries_of(entries), law, resolution_of(value))
        if found.p_value < level / len(laws):
            yield _difference(label, describe_law(law), found, entries)
    if laws:
        return
    for part in slot.parts:
        view = part.view(value) * part.gain
        try:
            fits = fits_structure(view, initializer)
        except ConfigError:
            return
        if fits is None:
            raise ConfigError(
                f"{slot.name}: assert_init needs an initializer with a known distribution, but got {label}: "
                "keep this parameter in the plan"
            )
        if not fits:
            yield f"{label} expected, but its values have another structure"
        elif isinstance(initializer, Sparse):
            law, entries = Distribution.normal(0.0, initializer.std), view[view != 0]
            found = fit(entries_of(entries), law, resolution_of(value))
            if found.p_value < level / len(slot.parts):
                yield _difference(label, describe_law(law), found, entries)


def _difference(label: str, law: str, found: Fit, entries: Tensor) -> str:
    numbers = entries.double()
    return (
        f"{label} draws from {law}, but the {found.worst} of its entries does not fit (mean "
        f"{float(numbers.mean()):.4g}, std {float(numbers.std(correction=0)):.4g}, "
        f"p = {found.p_value:.1g})"
    )


def _twin(
    slot: Slot, initializer: Initializer, value: Tensor, seen: dict[tuple[object, ...], str]
) -> str | None:
    """An earlier parameter with the same values, which independent draws do not have."""
    part = slot.parts[0]
    deviation = (initializer.moments(part.fan_in, part.fan_out) or (0.0, 0.0))[1]
    if not deviation or value.numel() < _LEAST_COPIED:
        return None
    key = fingerprint(part.view(value) if slot.part else value)
    twin = seen.setdefault(key, slot.title)
    return None if twin == slot.title else twin
