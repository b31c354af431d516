"""The report of `identify`: a row per parameter, a plan, and what is odd."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import yaml

from initsearch.plan import InitPlan

if TYPE_CHECKING:
    import pandas as pd

_TITLES = ("parameter", "shape", "initializer", "draws", "error", "confidence", "note")


@dataclass(frozen=True)
class IdentifiedRow:
    """What one parameter, or a part of it, was drawn from.

    Attributes:
        parameter: Qualified name; a part is named in brackets: `lstm.bias_ih_l0[forget]`.
        kind: The kind of its layer.
        shape: The parameter's shape.
        initializer: `he_normal(fan_out)`, `truncated_normal(std=0.02, ±2)`, `zeros`, `orthogonal`, ...;
            `unknown` if no candidate fits.
        family: `zeros`, `ones`, `constant`, `normal`, `uniform`, `truncated_normal`, `orthogonal`,
            `delta_orthogonal`, `identity`, `dirac`, `sparse` or `unknown`.
        distribution: What each entry was drawn from, in numbers; empty for structures such as `orthogonal`.
        scale: Standard deviation before any truncation, half the width of the range, gain, or value.
        error: The standard error of the maximum-likelihood estimate of the scale; 0 for exact structures.
        confidence: The posterior probability of this initializer among all candidates, given all parameters
            that it explains. Candidates whose scales agree to 5 % count as one.
        p_value: The probability of a worse fit, see `initsearch.audit.fit`.
        note: Remarks.
    """

    parameter: str
    kind: str
    shape: tuple[int, ...]
    initializer: str
    family: str
    distribution: str
    scale: float
    error: float
    confidence: float
    p_value: float
    note: str = ""


@dataclass(frozen=True)
class IdentifyReport:
    """What a model's weights were drawn from.

    Attributes:
        model: The model's class.
        rows: A row per parameter, in execution order; parts that differ have rows of their own.
        plan: A plan that draws the same. It keeps what no initializer draws.
        oddities: What is odd, a sentence each.
        remarks: What the weights cannot show, and what was not examined.
    """

    model: str
    rows: tuple[IdentifiedRow, ...]
    plan: InitPlan
    oddities: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def to_frame(self) -> "pd.DataFrame":
        """The rows as a pandas DataFrame."""
        import pandas as pd

        return pd.DataFrame([asdict(row) for row in self.rows])

    def __str__(self) -> str:
        cells = [_cells(row) for row in self.rows]
        shown = [
            i for i, title in enumerate(_TITLES) if title != "note" or any(row[i] for row in cells)
        ]
        lines = [list(_TITLES), *cells]
        widths = [max(len(line[i]) for line in lines) for i in range(len(_TITLES))]
        text = ["  ".join(line[i].ljust(widths[i]) for i in shown).rstrip() for line in lines]
        for title, sentences in (("odd", self.oddities), ("remarks", self.remarks)):
            if sentences:
                text += ["", f"{title}:", *(f"- {sentence}" for sentence in sentences)]
        text += [
            "",
            "plan that draws the same:",
            yaml.safe_dump(self.plan.spec(), sort_keys=False).rstrip(),
        ]
        return "\n".join(text)


def _cells(row: IdentifiedRow) -> list[str]:
    relative = abs(row.error / row.scale) if row.scale else 0.0
    return [
        row.parameter,
        "x".join(str(size) for size in row.shape),
        row.initializer,
        row.distribution,
        f"{100 * relative:.2g}%" if row.error else "",
        f"{row.confidence:.2f}" if row.family != "unknown" else "",
        row.note,
    ]
