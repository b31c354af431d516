"""`identify`: what a model's weights were drawn from, from the weights alone."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import nn

from initsearch.audit.choice import choose
from initsearch.audit.fit import fit
from initsearch.audit.identified import Identified
from initsearch.audit.laws import Candidates, describe_law
from initsearch.audit.oddities import find_oddities
from initsearch.audit.plan_of import plan_of
from initsearch.audit.report import IdentifiedRow, IdentifyReport
from initsearch.audit.units import Unit, units_of
from initsearch.initializers import Constant, Initializer, TorchDefault
from initsearch.initializers.distribution import Distribution
from initsearch.layers import unwrap
from initsearch.layers.description import describe_with_trace

# All units together are wrongly called unknown with this probability.
_FALSE_UNKNOWN = 1e-6
# Bounds of ±2 are five standard deviations out.
_MOST_UNCUT = 0.4


def identify(model: nn.Module, batch: Any = None) -> IdentifyReport:
    """Name what each parameter of a model was drawn from, from its fresh weights alone.

    Constants, identities, Dirac, orthogonal and sparse weights are recognized by their structure. All others
    are compared with the candidates of `initsearch.audit.laws`: normal, uniform and truncated normal
    distributions whose scale is a rule on the fans (He, Glorot, LeCun, the framework's default, any factor),
    a short number, or either divided by the depth. The rules that explain all parameters best are chosen, few
    and simple ones first (see `initsearch.audit.choice`). A parameter that none of them fits is `unknown`.

    Named parts of fused parameters (gates, query, key and value) are examined separately, and have rows of
    their own where they differ. The model is left as it was.

    Args:
        model: Any module, wrapped or not, with the weights with which training would begin.
        batch: An input of the model; see `initsearch.diagnose`. It shows fans, residual branches and
            layers of zeros in a row. Default: the model's `example_input_array`, or an input guessed from its
            first layer.

    Returns:
        A row per parameter or part, a plan that draws the same, and what is odd.

    Raises:
        ModelError: The model cannot be described, or fails on the batch.

    Example:
        >>> report = initsearch.identify(torchvision.models.resnet18())
        >>> print(report)
        >>> report.plan.save("as_built.yaml")
    """
    slots, seen = describe_with_trace(model, batch)
    units = units_of(model, slots)
    found = identified(units)
    oddities = find_oddities(slots, found, seen.trace)
    remarks = _remarks(found)
    if seen.reason:
        remarks.append(f"some layers were not examined for zeros in a row: {seen.reason}")
    plan, unplanned = plan_of(slots, found)
    if unplanned:
        remarks.append(f"the plan keeps what it cannot draw: {', '.join(unplanned)}")
    return IdentifyReport(
        model=type(unwrap(model)).__name__,
        rows=tuple(_rows(found)),
        plan=plan,
        oddities=tuple(oddities),
        remarks=tuple(remarks),
    )


def identified(units: Sequence[Unit]) -> list[Identified]:
    """What each unit was drawn from."""
    drawn = [unit for unit in units if unit.structure is None]
    random: dict[int, Identified] = {}
    if drawn:
        table = Candidates(drawn)
        laws = table.laws()
        for number, (unit, choice) in enumerate(zip(drawn, choose(table, laws), strict=True)):
            if choice.law is None:
                law = unit.default
                initializer: Initializer = TorchDefault()
                label = rule = _default_label(unit)
            else:
                chosen = laws[choice.law]
                law = chosen.distribution(number)
                initializer = chosen.initializer(number)
                label, rule = chosen.label_of(number), chosen.label
            assert law is not None
            random[id(unit)] = _drawn(
                unit, label, rule, initializer, law, choice.confidence, _FALSE_UNKNOWN / len(drawn)
            )
    return [random[id(unit)] if unit.structure is None else _structured(unit) for unit in units]


def _default_label(unit: Unit) -> str:
    default = unit.slot.torch_default
    usual = (
        unit.slot.kind in ("linear", "bilinear", "lstm", "gru", "rnn") or "conv" in unit.slot.kind
    )
    return "torch_default" if usual or default is None else f"torch_default: {default.label()}"


def _drawn(
    unit: Unit,
    label: str,
    rule: str,
    initializer: Initializer,
    law: Distribution,
    confidence: float,
    level: float,
) -> Identified:
    scale, error = _scale(unit, law)
    p_value = fit(unit.values, law, unit.resolution).p_value
    if p_value < level:
        note = _pattern(unit) or f"nearest: {label}, which does not fit (p = {p_value:.1g})"
        return Identified(
            unit,
            label="unknown",
            rule="unknown",
            initializer=None,
            distribution=None,
            family="unknown",
            scale=float(unit.values.std()),
            error=math.nan,
            confidence=0.0,
            p_value=p_value,
            note=note,
        )
    return Identified(
        unit, label, rule, initializer, law, law.kind, scale, error, confidence, p_value
    )


def _scale(unit: Unit, law: Distribution) -> tuple[float, float]:
    """The scale of a distribution, and the standard error of its maximum-likelihood estimate."""
    n = unit.sums.n
    if law.kind == "uniform":
        half = (law.numbers[1] - law.numbers[0]) / 2
        # The largest of n: its deviation from the bound is exponential with mean half / n.
        return half, half / n
    if law.kind == "normal":
        return law.numbers[1], law.numbers[1] / math.sqrt(2 * n)
    std = law.numbers[1]
    # Fisher's information on sigma, the bounds taken as given: Var(z^2) / sigma^2 per entry.
    z = (unit.values - law.numbers[0]) / std
    spread = float(np.var(z**2)) or 2.0
    return std, std / math.sqrt(n * spread)


def _structured(unit: Unit) -> Identified:
    structure = unit.structure
    assert structure is not None
    label = structure.label()
    if isinstance(structure, Constant):
        family = label if label in ("zeros", "ones") else "constant"
        law: Distribution | None = Distribution.constant(structure.value)
        # A single number that was drawn at random has three digits with this probability.
        sure = 1.0 if unit.sums.n > 1 else 0.999
        return Identified(
            unit, label, label, structure, law, family, structure.value, 0.0, sure, 1.0
        )
    gain = float(getattr(structure, "gain", getattr(structure, "std", 1.0)))
    return Identified(unit, label, label, structure, None, structure.name, gain, 0.0, 1.0, 1.0)


def _pattern(unit: Unit) -> str:
    """What a tensor that no distribution fits looks like; empty if nothing is seen."""
    view = unit.view
    if view.ndim < 2 or unit.slot.shape[-1] < 2:
        return ""
    rows = view.reshape(-1, view.shape[-1])
    if len(rows) > 1 and bool((rows == rows[0]).all()):
        return "all rows are equal"
    half = rows.shape[1] // 2
    for first, second in (
        (rows[:, :half], rows[:, half : 2 * half]),
        (rows[:, ::2], rows[:, 1::2]),
    ):
        if first.shape == second.shape and bool(((first**2 + second**2 - 1).abs() < 1e-3).all()):
            return "a table of sines and cosines"
    return ""


def _rows(found: Sequence[Identified]) -> list[IdentifiedRow]:
    """A row per parameter; parts that differ have rows of their own."""
    by_slot: dict[str, list[Identified]] = {}
    for each in found:
        by_slot.setdefault(each.unit.slot.name, []).append(each)
    rows: list[IdentifiedRow] = []
    for name, parts in by_slot.items():
        if len({(each.label, each.distribution and each.distribution.key) for each in parts}) == 1:
            worst = min(parts, key=lambda each: each.confidence)
            rows.append(
                _row(worst, name, min(1.0, len(parts) * min(each.p_value for each in parts)))
            )
        else:
            rows += [_row(each, each.unit.name, each.p_value) for each in parts]
    return rows


def _row(each: Identified, name: str, p_value: float) -> IdentifiedRow:
    return IdentifiedRow(
        parameter=name,
        kind=each.unit.slot.kind,
        shape=each.unit.slot.shape,
        initializer=each.label,
        family=each.family,
        distribution=describe_law(each.distribution) if each.distribution else "",
        scale=each.scale,
        error=each.error,
        confidence=each.confidence,
        p_value=p_value,
        note=each.note,
    )


def _remarks(found: Sequence[Identified]) -> list[str]:
    """What the weights cannot show."""
    labels = {
        each.label
        for each in found
        if each.unit.slot.category == "weight"
        and each.label.startswith("normal(std=")
        and each.scale <= _MOST_UNCUT
    }
    if not labels:
        return []
    return [
        f"{', '.join(sorted(labels))}: trunc_normal_ with its default bounds of ±2 draws the same, as these "
        "bounds are far out"
    ]
