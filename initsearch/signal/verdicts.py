"""The verdict on each layer, one word with its reason: heuristics, which prove nothing.

The words with their thresholds, the most severe first; a layer gets the first that applies:

- `exploding`: one of its values is not finite.
- `symmetric`: all its units stay identical; see `exact_checks`.
- `saturated`: more than half of its activations are at a flat end (slope at most 5% of the steepest). Most of
  the gradient is then lost in this layer.
- `dead`: more than 90% of its units pass no gradient for any sample. Half of them would be normal: deep in a
  healthy ReLU net the samples look so alike that each unit is on for all or off for all.
- `exploding`: its pre-activations differ between samples more than 1000 times as much as the input (and by
  more than 1000), or the gradient there is more than 1000 times the output's. No healthy net needs three
  decades: He's rule keeps both within one over 30 layers. Such growth saturates a softmax, and overflows in
  a deeper net.
- `vanishing`: its pre-activations differ between samples less than 1/1000 as much as the input (and by less
  than 1/1000), or the gradient there is less than 1/1000 of the output's. Measured on ReLU nets of width 128:
  one whose signal had shrunk to 1/30 learned (Glorot, 10 layers), one at 1/8000 did not (torch's default, 10
  layers).
- `healthy`: none of these.
- `unseen`: neither its values nor its gradient could be observed (the packed projection of
  `nn.MultiheadAttention` is inside one operation), so there is no verdict.

Three rules look at more than one layer:

- A layer between two layers that explode (or vanish), by the paths of the model, explodes (or vanishes) as well
  if its own signal or gradient is off by the square root of the threshold, a factor of 32. In a net that grows
  by a constant factor per layer, the layers in the middle have half of the growth in the signal and half in the
  gradient.
- The gradients of queries and keys pass a softmax. At the start its weights are nearly equal, and moving one
  changes little: in a stock BERT (normal, std 0.02) they have 1/10 of the value's gradient and 1/2500 of the
  output's, and learn. So they vanish below 1/1000 of the largest gradient among the layers that the same
  attention reads, if that one has not vanished itself.
- An embedding that reads nothing of the input (positions, token types) is compared by its gradient only.

A layer that is explained by a deliberate start is healthy: a zero first layer, head or residual branch passes
no signal until its first update, and a branch with a gain near zero (LayerScale) little until the gain has
grown. The note says so.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from initsearch.layers import LayerCall, read
from initsearch.signal.exact import ExactFinding
from initsearch.signal.flatness import Flatness
from initsearch.signal.measure import Units
from initsearch.signal.passing import Pass

Word = Literal["healthy", "vanishing", "exploding", "dead", "symmetric", "saturated", "unseen"]

#: A signal larger than the input's by this factor, or a gradient larger than the output's, has exploded; one
#: smaller by this factor has vanished.
DECADES = 1e3
#: The largest initial gain (LayerScale, a norm's weight) of a branch that passes almost nothing: the layers
#: before it learn once the gain has grown.
SMALL = 1e-3
#: The share of activations at flat ends above which a layer is saturated.
SATURATED = 0.5
#: The share of units without a gradient above which a layer is dead.
DEAD = 0.9


@dataclass(frozen=True)
class Judged:
    """The verdict on a layer.

    Attributes:
        verdict: One word; see `initsearch.signal.SignalReport`.
        reason: The value and the threshold that it exceeds; empty for a healthy layer.
        note: Remarks.
    """

    verdict: Word
    reason: str = ""
    note: str = ""


@dataclass(frozen=True)
class Starter:
    """A weight or a gain that starts at or near zero.

    Attributes:
        name: Its parameter.
        step: When it is first used.
        largest: Its largest absolute value.
        category: What it is; see `Slot`.
    """

    name: str
    step: int
    largest: float
    category: str

    def __str__(self) -> str:
        return f"{self.name} (zero)" if not self.largest else f"{self.name} ({self.largest:.2g})"


@dataclass(frozen=True)
class Waits:
    """The late starters that explain a zero input, and a small gradient."""

    forward: Starter | None = None
    backward: Starter | None = None


@dataclass(frozen=True)
class Levels:
    """The references for a layer's signal.

    Attributes:
        spread: How much the samples of the input differ; NaN if unknown.
        gradient: The largest gradient norm at an output layer; NaN if there is none.
        attention: The largest gradient norm of a layer that the same attention reads; NaN if none does.
        factor: How far from them a signal or a gradient has exploded or vanished.
    """

    spread: float
    gradient: float
    attention: float = math.nan
    factor: float = DECADES

    def below(self, gradient: float) -> tuple[float, str]:
        """A gradient as a share of the one that it must not fall far below, and the name of that one."""
        if self.attention > 0.0 and self.attention >= self.gradient / self.factor:
            return gradient / self.attention, "the largest that its attention reads"
        return (gradient / self.gradient if self.gradient else math.nan), "the output's"


def judge(
    units: Units | None,
    flat: Flatness | None,
    gradient: float | None,
    levels: Levels,
    waits: Waits,
    finding: ExactFinding | None,
) -> Judged:
    """The verdict on one layer.

    Args:
        units: Its pre-activations, or its activations if only those are known.
        flat: How flat its activation is.
        gradient: The norm of the gradient with respect to the tensor of `units`.
        levels: The references for both.
        waits: What explains a zero input or a small gradient.
        finding: The finding of the exact checks on this layer.
    """
    return (
        _judge_values(units, flat, gradient, finding)
        or _judge_sizes(units, gradient, levels, waits)
        or Judged("unseen")
    )


def _judge_values(
    units: Units | None,
    flat: Flatness | None,
    gradient: float | None,
    finding: ExactFinding | None,
) -> Judged | None:
    """The verdict from a layer's own values; None if they are fine."""
    if units is not None and not units.finite:
        return Judged("exploding", "it is not finite")
    if gradient is not None and not math.isfinite(gradient):
        return Judged("exploding", "the gradient there is not finite")
    if finding is not None and finding.check == "symmetric":
        return Judged("symmetric", "all its units stay identical")
    if flat is not None and flat.saturated > SATURATED:
        share = f"{flat.saturated:.0%} of its activations are at a flat end"
        return Judged("saturated", f"{share}; over {SATURATED:.0%}")
    if flat is not None and flat.blocked > DEAD:
        share = f"{flat.blocked:.0%} of its units pass no gradient for any sample"
        return Judged("dead", f"{share}; over {DEAD:.0%}")
    return None


def _judge_sizes(
    units: Units | None, gradient: float | None, levels: Levels, waits: Waits
) -> Judged | None:
    """The verdict from a comparison with the input and the output; None without values."""
    if units is None and gradient is None:
        return None
    low, high = _bounds(levels)
    spread = math.nan if units is None else units.spread
    ratio = math.nan if gradient is None or not levels.gradient else gradient / levels.gradient
    share, reference = (math.nan, "") if gradient is None else levels.below(gradient)
    apart = f"samples differ by {spread:.2g} in it"
    small = f"its gradient is {share:.2g} of {reference}"
    if spread > high:
        return Judged("exploding", f"{apart}; over {high:.4g}")
    if ratio > levels.factor:
        return Judged(
            "exploding", f"its gradient is {ratio:.2g} of the output's; over {levels.factor:.4g}"
        )
    notes: list[str] = []
    if spread == 0.0 and waits.forward is not None:
        notes.append(f"passes nothing of the input until {waits.forward} has changed")
    elif spread < low:
        return Judged("vanishing", f"{apart}; under {low:.3g}")
    if share < 1 / levels.factor:
        gain = waits.backward
        if gain is None or (share > 0.0 and gain.largest == 0.0):
            return Judged("vanishing", f"{small}; under {1 / levels.factor:.3g}", "; ".join(notes))
        notes.append(f"{small} until {gain} has grown")
    return Judged("healthy", "", "; ".join(notes))


def _bounds(levels: Levels) -> tuple[float, float]:
    """The bounds below and above which a signal has vanished or exploded.

    They are relative both to the input's scale and to one: neither an input in raw units nor a model that
    rescales its input to one counts against the weights.
    """
    spread = levels.spread if levels.spread > 0.0 else 1.0
    return min(1.0, spread) / levels.factor, max(1.0, spread) * levels.factor


def late_starters(done: Pass, findings: Sequence[ExactFinding]) -> list[Starter]:
    """The weights and gains that start at or near zero and will be trained.

    Empty if the exact checks find that there is no gradient: then none of them ever changes.
    """
    if any(finding.check == "no_gradient" for finding in findings):
        return []
    starters: list[Starter] = []
    for name, slot in done.slots.items():
        if not slot.requires_grad or slot.category in ("bias", "norm_bias"):
            continue
        values = read(done.model, slot)
        largest = float(values.abs().max()) if values.numel() else 1.0
        if name in done.trace.first_use and largest <= (
            0.0 if slot.category == "weight" else SMALL
        ):
            starters.append(Starter(name, done.trace.first_use[name], largest, slot.category))
    # Last the parameters of unknown kind, which may be gains or no factors at all.
    return sorted(starters, key=lambda starter: (starter.category == "other", starter.step))


def waiting_for(done: Pass, call: LayerCall, starters: Sequence[Starter]) -> Waits:
    """The late starters that may keep a layer's input at zero and its gradient small."""
    here = done.trace.first_use.get(call.weight, 0)
    own = [each for each in starters if each.name == call.weight]
    before = [each for each in starters if each.step < here and not each.largest]
    behind = [each for each in starters if each.step > here and each not in own]
    return Waits(next(iter(own or before), None), next(iter(behind), None))
