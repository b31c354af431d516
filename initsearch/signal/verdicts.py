"""One word for each layer, and why: soft signs, that do not condemn an initialization.

The words with their thresholds, the gravest first; a layer gets the first that holds:

- `exploding`: something in it is not finite.
- `symmetric`: all its units are one unit for good; see `exact_checks`.
- `saturated`: more than half of its activations are at a flat end (slope at most 5% of the
  steepest). Then most of the gradient is lost in this layer alone.
- `dead`: more than 90% of its units pass no gradient for any sample. Half of them is no sign: deep
  in a healthy ReLU net the samples look so alike that each unit is on for all or off for all.
- `exploding`: its pre-activations differ between samples by more than 1000 times what the input
  does (and more than 1000), or the gradient there is more than 1000 times the output's. Three
  decades are more than any healthy net needs: He's rule keeps both within one over 30 layers. What
  grows like that saturates a softmax here and overflows in a deeper net.
- `vanishing`: its pre-activations differ between samples by less than 1/1000 of what the input does
  (and less than 1/1000), or the gradient there is less than 1/1000 of the output's. Measured on
  ReLU nets of width 128: one whose signal had shrunk to 1/30 learned (Glorot, 10 layers), one at
  1/8000 did not (torch's default, 10 layers).
- `healthy`: none of these.
- `unseen`: neither its values nor a gradient there could be seen (the packed projection of
  `nn.MultiheadAttention` lies inside one operation), so that nothing is said.

What a deliberate start explains is healthy: a zero first layer, head or residual branch gives or
takes no signal until its first update, and a branch behind a gain near zero (LayerScale) little
until that has grown. The note says so.
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

#: A signal beyond this factor of the input's, or a gradient of the output's, has exploded; below
#: its inverse it has vanished.
DECADES = 1e3
#: A gain (LayerScale, a norm's weight) that starts no larger than this lets so little through that
#: what lies before it learns when it has grown.
SMALL = 1e-3
#: The share of activations at flat ends above which a layer is saturated.
SATURATED = 0.5
#: The share of units without a gradient above which a layer is dead.
DEAD = 0.9


@dataclass(frozen=True)
class Judged:
    """What there is to say of a layer.

    Attributes:
        verdict: One word; see `initsearch.signal.SignalReport`.
        reason: The number and the threshold that it broke; empty for a healthy layer.
        note: What else there is to know.
    """

    verdict: Word
    reason: str = ""
    note: str = ""


@dataclass(frozen=True)
class Starter:
    """A weight or a gain that starts at zero, or next to it.

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
    """What explains that nothing of the input comes in, or little gradient comes back."""

    forward: Starter | None = None
    backward: Starter | None = None


@dataclass(frozen=True)
class Levels:
    """What a layer's signal is compared with.

    Attributes:
        spread: How far the samples of the input lie apart; NaN if it is not known.
        gradient: The largest gradient norm at an output layer; NaN if there is none.
    """

    spread: float
    gradient: float


def judge(
    units: Units | None,
    flat: Flatness | None,
    gradient: float | None,
    levels: Levels,
    waits: Waits,
    finding: ExactFinding | None,
) -> Judged:
    """The verdict about one layer.

    Args:
        units: Its pre-activations, or its activations where those are not seen.
        flat: How flat its activation is.
        gradient: The norm of the gradient where `units` were measured.
        levels: What the two are compared with.
        waits: What explains a zero there, or a small gradient.
        finding: What the exact checks say of this layer.
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
    """What a layer's own numbers say."""
    if units is not None and not units.finite:
        return Judged("exploding", "it is not finite")
    if gradient is not None and not math.isfinite(gradient):
        return Judged("exploding", "the gradient there is not finite")
    if finding is not None and finding.check == "symmetric":
        return Judged("symmetric", "all its units are one unit, and stay so")
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
    """What its numbers say next to those of the input and the output; None if there are none."""
    if units is None and gradient is None:
        return None
    low, high = _bounds(levels.spread)
    spread = math.nan if units is None else units.spread
    ratio = math.nan if gradient is None or not levels.gradient else gradient / levels.gradient
    apart = f"samples differ by {spread:.2g} in it"
    small = f"its gradient is {ratio:.2g} of the output's"
    if spread > high:
        return Judged("exploding", f"{apart}; over {high:.4g}")
    if ratio > DECADES:
        return Judged("exploding", f"{small}; over {DECADES:g}")
    notes: list[str] = []
    if spread == 0.0 and waits.forward is not None:
        notes.append(f"gives nothing of the input until {waits.forward} has moved")
    elif spread < low:
        return Judged("vanishing", f"{apart}; under {low:.3g}")
    if ratio < 1 / DECADES:
        gain = waits.backward
        if gain is None or (ratio > 0.0 and gain.largest == 0.0):
            return Judged("vanishing", f"{small}; under {1 / DECADES:g}", "; ".join(notes))
        notes.append(f"{small} until {gain} has grown")
    return Judged("healthy", "", "; ".join(notes))


def _bounds(spread: float) -> tuple[float, float]:
    """Below and above which a signal has vanished or exploded.

    Both on the input's scale and on the scale of one, so that neither an input in raw units nor a
    model that scales it to one is held against the weights.
    """
    if not spread > 0.0:
        spread = 1.0
    return min(1.0, spread) / DECADES, max(1.0, spread) * DECADES


def late_starters(done: Pass, findings: Sequence[ExactFinding]) -> list[Starter]:
    """The weights and gains that start at zero, or next to it, and will be trained.

    None if the exact checks say that no gradient reaches anything: then they stay as they are.
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
    # What is neither a weight nor a norm's gain may be a gain of the user's, or no factor at all.
    return sorted(starters, key=lambda starter: (starter.category == "other", starter.step))


def waiting_for(done: Pass, call: LayerCall, starters: Sequence[Starter]) -> Waits:
    """What may keep a layer's input at zero and its gradient small."""
    here = done.trace.first_use.get(call.weight, 0)
    own = [each for each in starters if each.name == call.weight]
    before = [each for each in starters if each.step < here and not each.largest]
    behind = [each for each in starters if each.step > here and each not in own]
    return Waits(next(iter(own or before), None), next(iter(behind), None))
