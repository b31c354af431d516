"""What `diagnose` returns: a row per layer, the exact findings, a table and a picture."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from initsearch.signal.exact import ExactFinding
from initsearch.signal.measure import Histogram
from initsearch.signal.verdicts import Word

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class LayerSignal:
    """One call of a weight layer at step zero. What could not be seen is None.

    The pre-activations are what the layer's activation reads: after a norm and after a residual add,
    where these come before it. Where no activation follows, they and the activations are the
    layer's output. A layer that brings its own activation (LSTM, GRU, RNN) shows its activations
    only. Units are channels of a convolution and features elsewhere.

    Attributes:
        layer: The layer's name; with (2), (3), ... for a module that is used again.
        operation: What ran (`linear`, `conv2d`, ...).
        activation: What follows; `none` where only other layers read it, empty where not known.
        units: How many units it has.
        pre_mean: Mean of the pre-activations.
        pre_std: Their standard deviation.
        pre_spread: How far the samples lie apart in them: the root mean square, over units, of each
            unit's standard deviation over samples and positions. Biases raise `pre_std`, not this.
        pre_dead: Share of units whose pre-activation is the same for all samples and positions:
            they tell nothing of the input.
        post_mean: Mean of the activations.
        post_std: Their standard deviation.
        post_dead: Share of units whose activation is the same for all samples and positions, as
            that of a ReLU unit which is off for all of them.
        saturated: Share of activations at a flat end of a bounded activation, where its slope is at
            most 5% of the steepest. It counts a pre-activation and its activation alike, for one is
            at a flat end where the other is.
        blocked: Share of units that pass no gradient on for any sample (slope at most 1e-4 of the
            steepest).
        output_std: Standard deviation of the bare output. Where it differs from `pre_std`, a norm
            (which hides the scale of the weights) or a shortcut came in between.
        weight_gradient: Norm of the loss's gradient with respect to the layer's weights.
        pre_gradient: Norm of the gradient with respect to the pre-activations.
        gradient_std: Standard deviation of that gradient's entries.
        gradient_ratio: `pre_gradient` over that of the next row that has one: under 1 where it
            shrinks on its way back to this layer. None in the last row.
        effective_rank: Of the activations: in how many directions they extend (exp of the entropy
            of the singular values, Roy and Vetterli 2007), over at most 256 samples and positions.
        rank_limit: What it could be at most.
        verdict: `healthy`, `vanishing`, `exploding`, `dead`, `symmetric` or `saturated` (`unseen`
            for a layer inside of one operation); see `SignalReport` for the thresholds.
        reason: The number and the threshold that it broke; empty for a healthy layer.
        note: What else there is to know.
        histogram: Of the pre-activations (of the activations where only those are seen).
    """

    layer: str
    operation: str
    activation: str
    units: int | None
    pre_mean: float | None
    pre_std: float | None
    pre_spread: float | None
    pre_dead: float | None
    post_mean: float | None
    post_std: float | None
    post_dead: float | None
    saturated: float | None
    blocked: float | None
    output_std: float | None
    weight_gradient: float | None
    pre_gradient: float | None
    gradient_std: float | None
    gradient_ratio: float | None
    effective_rank: float | None
    rank_limit: int | None
    verdict: Word
    reason: str = ""
    note: str = ""
    histogram: Histogram | None = field(default=None, repr=False)


# Column of the printed table -> field. What has no value in any row is left out.
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
    """What a batch does to activations and gradients before the first update.

    The verdicts are soft signs, with these thresholds (their reasons are in
    `initsearch.signal.verdicts`), the gravest first:

    - `exploding`: not finite; or samples differ by over 1000 times what they do in the input, or
      the gradient is over 1000 times the output's.
    - `symmetric`: all units are one unit for good.
    - `saturated`: over 50% of the activations are at a flat end.
    - `dead`: over 90% of the units pass no gradient for any sample.
    - `vanishing`: samples differ by under 1/1000 of what they do in the input, or the gradient is
      under 1/1000 of the output's.
    - `healthy`: none of these, or a zero that a weight which starts at zero explains.

    Attributes:
        rows: A row per call of a weight layer, in execution order.
        exact: What shows for certain that training cannot succeed; see `exact_checks`.
        model: The model's class.
        samples: Samples in the batch; None if that is not known.
        loss: The loss whose gradients are told, in words.
        loss_value: Its value.
        plan: The plan that was applied, in words; empty for none.
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
        """A matplotlib Figure: each layer's histogram of pre-activations on one common scale, the
        standard deviations of pre-activations and gradients over depth, and the verdicts.

        Made without pyplot: no backend or global state is touched. `figure.savefig(path)` writes
        it.
        """
        from initsearch.signal.figure import signal_figure

        return signal_figure(self)

    def __str__(self) -> str:
        columns = [name for name in _COLUMNS if _is_told(self.rows, name)]
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


def _is_told(rows: Sequence[LayerSignal], column: str) -> bool:
    """Whether a column says anything; the bare output's width does only where it differs."""
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
