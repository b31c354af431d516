"""The signal of one layer at step zero: a row of the report."""

from dataclasses import dataclass, field

from initsearch.signal.measure import Histogram
from initsearch.signal.verdicts import Word


@dataclass(frozen=True)
class LayerSignal:
    """One call of a weight layer at step zero; a value that could not be observed is None.

    The pre-activations are the input of the layer's activation: after a norm and a residual addition, if
    these come first. If no activation follows, both pre-activations and activations are the layer's output.
    A layer with an activation of its own (LSTM, GRU, RNN) has activations only. Units are the channels of a
    convolution, and features elsewhere.

    Attributes:
        layer: The layer's name; with (2), (3), ... for a module that is called again.
        operation: The operation (`linear`, `conv2d`, ...).
        activation: The activation that follows; `none` if only other layers read the output, empty if unknown.
        units: The number of units.
        pre_mean: Mean of the pre-activations.
        pre_std: Their standard deviation.
        pre_spread: How much they differ between samples: the root mean square, over units, of each unit's
            standard deviation over samples and positions. Biases raise `pre_std`, but not this.
        pre_dead: Share of units whose pre-activation is the same for all samples and positions: they carry
            no information about the input.
        post_mean: Mean of the activations.
        post_std: Their standard deviation.
        post_dead: Share of units whose activation is the same for all samples and positions, such as a ReLU
            unit that is off for all of them.
        saturated: Share of activations at a flat end of a bounded activation, where the slope is at most 5%
            of the steepest.
        blocked: Share of units that pass no gradient for any sample (slope at most 1e-4 of the steepest).
        output_std: Standard deviation of the layer's own output. If it differs from `pre_std`, there is a
            norm (which hides the scale of the weights) or a shortcut in between.
        weight_gradient: Norm of the loss's gradient with respect to the layer's weights.
        pre_gradient: Norm of the gradient with respect to the pre-activations.
        gradient_std: Standard deviation of that gradient's entries.
        gradient_ratio: `pre_gradient` divided by that of the next row that has one: below 1 if the gradient
            shrinks on its way back to this layer. None in the last row.
        effective_rank: Number of directions in which the activations extend (exp of the entropy of the
            singular values, Roy and Vetterli 2007), over at most 256 samples and positions.
        rank_limit: The largest value that it could have.
        verdict: `healthy`, `vanishing`, `exploding`, `dead`, `symmetric` or `saturated`; `unseen` for a layer
            inside of one operation. See `SignalReport` for the thresholds.
        reason: The value and the threshold that it exceeds; empty for a healthy layer.
        note: Remarks.
        histogram: Of the pre-activations (of the activations if only those are known).
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
