"""`SignalReport`, which `diagnose` returns: a row per layer, the exact findings, a table and a figure."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from initsearch.layers.loss import PROJECTION
from initsearch.signal.exact import ExactFinding
from initsearch.signal.layer_signal import LayerSignal

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


# Field by column of the printed table. A column without any value is left out.
_COLUMNS = {
    "layer": "layer",
    "activation": "activation",
    "bare std": "output_std",
    "pre mean": "pre_mean",
    "pre std": "pre_std",
    "spread": "pre_spread",
    "post mean": "post_mean",
    "post std": "post_std",
    "dead": "post_dead",
    "blocked": "blocked",
    "saturated": "saturated",
    "grad w": "weight_gradient",
    "grad pre": "pre_gradient",
    "ratio": "gradient_ratio",
    "rank": "effective_rank",
    "verdict": "verdict",
}
_TEXTS = frozenset({"layer", "activation", "verdict"})
_SHARES = frozenset({"dead", "blocked", "saturated"})


@dataclass(frozen=True)
class SignalReport:
    """Activations and gradients on one batch, layer by layer, before the first update.

    The verdicts are heuristics with these thresholds, the most severe first (for the reasons see
    `initsearch.signal.verdicts`):

    - `exploding`: not finite; or samples differ more than 1000 times as much as in the input, or the gradient
      is more than 1000 times the output's.
    - `symmetric`: all units stay identical.
    - `saturated`: more than 50% of the activations are at a flat end.
    - `dead`: more than 90% of the units pass no gradient for any sample.
    - `vanishing`: samples differ less than 1/1000 as much as in the input, or the gradient is less than
      1/1000 of the output's.
    - `healthy`: none of these, or explained by a weight that starts at zero.

    Between two layers that explode (or vanish), a factor of 32 suffices. Queries and keys, whose gradient
    passes a softmax, are compared with the largest gradient among the layers of their attention.

    Attributes:
        rows: A row per call of a weight layer, in execution order.
        exact: Proofs that training cannot succeed; see `exact_checks`.
        model: The model's class.
        samples: Samples in the batch; None if unknown.
        loss: The name of the loss whose gradients are shown.
        loss_value: Its value.
        plan: The name of the plan that was applied; empty for none.
    """

    rows: tuple[LayerSignal, ...]
    exact: tuple[ExactFinding, ...]
    model: str
    samples: int | None
    loss: str
    loss_value: float
    plan: str = ""

    def to_frame(self) -> "pd.DataFrame":
        """The rows as a pandas DataFrame, without the histograms."""
        import pandas as pd

        rows = [asdict(row) for row in self.rows]
        for row in rows:
            del row["histogram"]
        return pd.DataFrame(rows)

    def plot(self) -> "Figure":
        """A matplotlib figure of all layers.

        It shows each layer's histogram of pre-activations on one common scale, the standard deviations of
        pre-activations and gradients over depth, and the verdicts. It is made without pyplot and touches no
        global state; `figure.savefig(path)` writes it.
        """
        from initsearch.signal.figure import signal_figure

        value = f"{self.loss} {self.loss_value:.4g}"
        facts = (
            "" if self.samples is None else f"{self.samples} samples",
            self.plan,
            f"loss: {PROJECTION}" if self.loss == PROJECTION else value,
        )
        return signal_figure(self.rows, self.exact, self.model, ", ".join(filter(None, facts)))

    def __str__(self) -> str:
        columns = [name for name in _COLUMNS if _is_shown(self.rows, name)]
        lines = [columns, *([_cell(row, name) for name in columns] for row in self.rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
        remarks = [
            "",
            *("; ".join(text for text in (row.reason, row.note) if text) for row in self.rows),
        ]
        table: list[str] = []
        for line, remark in zip(lines, remarks, strict=True):
            cells = [
                cell.ljust(width) if name in _TEXTS else cell.rjust(width)
                for name, cell, width in zip(columns, line, widths, strict=True)
            ]
            table.append("  ".join([*cells, remark]).rstrip())
        return "\n".join([*table, *map(str, self.exact)])


def _is_shown(rows: Sequence[LayerSignal], column: str) -> bool:
    """Whether a column has a value; that of the layer's own output is shown only if it differs."""
    if column == "bare std":
        return any(
            row.output_std is not None
            and row.pre_std is not None
            and not math.isclose(row.output_std, row.pre_std, rel_tol=1e-3)
            for row in rows
        )
    return column in _TEXTS or any(getattr(row, _COLUMNS[column]) is not None for row in rows)


def _cell(row: LayerSignal, column: str) -> str:
    value: Any = getattr(row, _COLUMNS[column])
    if value is None or value == "":
        return "-"
    if isinstance(value, str):
        return value
    if column in _SHARES:
        return f"{value:.0%}"
    if column == "rank":
        return f"{value:.1f}/{row.rank_limit}" if math.isfinite(value) else "-"
    return f"{value:.2g}"
