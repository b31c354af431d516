"""The report of a plan that was applied to a model: a row per parameter, printed as a table."""

import math
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from initsearch.initializers import Initializer
from initsearch.layers import Slot, read

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ParameterRow:
    """One parameter, or one part of it, after a plan was applied.

    Attributes:
        parameter: Qualified name; with the part in brackets if rules fill its parts differently.
        kind: The kind of its layer.
        role: `first`, `hidden`, `head`, or empty.
        activation: The activation that follows the layer.
        shape: Its shape.
        fan_in: Inputs that reach one output of the module.
        fan_out: Outputs that one input of the module reaches.
        initializer: What filled it; `keep` if it was kept.
        rule: The number of the rule that applied, from 1; `None` for the plan's default.
        mean: The mean of its entries, after the fill.
        std: Their standard deviation (population), after the fill.
        note: Remarks.
    """

    parameter: str
    kind: str
    role: str
    activation: str
    shape: tuple[int, ...]
    fan_in: float
    fan_out: float
    initializer: str
    rule: int | None
    mean: float
    std: float
    note: str

    @classmethod
    def of(
        cls, model: nn.Module, slot: Slot, choice: Initializer | str, rule: int | None, note: str
    ) -> "ParameterRow":
        """The row of a parameter; its mean and deviation are computed in float32 or finer."""
        values, shape = read(model, slot), slot.shape
        if slot.part:
            values = slot.parts[0].view(values)
            shape = tuple(values.shape)
        values = _measurable(values)
        mean, std = _moments(values)
        return cls(
            parameter=slot.title,
            kind=slot.kind,
            role=slot.role or "",
            activation=slot.activation or "",
            shape=shape,
            fan_in=slot.fan_in,
            fan_out=slot.fan_out,
            initializer=choice if isinstance(choice, str) else choice.label(),
            rule=None if rule is None else rule + 1,
            mean=mean,
            std=std,
            note=note,
        )


@dataclass(frozen=True)
class InitReport:
    """A row per parameter, in the order in which the model uses them."""

    rows: tuple[ParameterRow, ...]
    seed: int

    def to_frame(self) -> "pd.DataFrame":
        """The rows as a pandas DataFrame."""
        import pandas as pd

        return pd.DataFrame([asdict(row) for row in self.rows])

    def __str__(self) -> str:
        titles = [field.name for field in fields(ParameterRow)]
        cells = [[_cell(getattr(row, title)) for title in titles] for row in self.rows]
        shown = [
            i for i, title in enumerate(titles) if title != "note" or any(row[i] for row in cells)
        ]
        widths = [max(len(line[i]) for line in [titles, *cells]) for i in range(len(titles))]
        lines = [
            "  ".join(line[i].ljust(widths[i]) for i in shown).rstrip() for line in [titles, *cells]
        ]
        return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return "default"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, tuple):
        return "x".join(str(size) for size in value)
    return str(value)


def _moments(values: Tensor) -> tuple[float, float]:
    """Mean and population standard deviation; 0 and 0 of nothing.

    On a CPU, a sum and a norm take a tenth of the time of `torch.std_mean`.
    """
    if not values.numel():
        return 0.0, 0.0
    flat = values.reshape(-1)
    mean, square = flat.mean().item(), torch.linalg.vector_norm(flat).item() ** 2 / len(flat)
    if mean * mean < square / 4 < math.inf:
        return mean, (square - mean * mean) ** 0.5
    # The difference above would lose digits. Deviations from the first entry lose none, and equal entries
    # have no spread at all.
    deviations = flat - flat[0]
    shift = deviations.mean()
    deviations -= shift
    return float(shift + flat[0]), float(deviations.norm()) / len(flat) ** 0.5


def _measurable(values: Tensor) -> Tensor:
    values = values.detach()
    if values.is_complex():
        values = torch.view_as_real(values)
    return values.to(torch.promote_types(values.dtype, torch.float32))
