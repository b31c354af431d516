"""Residual branches, found in what a forward pass showed.

An addition (or difference) of two tensors joins a branch and its shortcut if both come of one
value. What lies on one side alone is compared: the side with the longer chain of weight layers is
the branch, the other (nothing, or a projection such as a downsampling 1x1 convolution) its
shortcut. Sums of sides that are equally long (token and position embeddings), that share a weight
(the two products of a recurrent cell), or of which the shorter carries what the longer does not
read (other values, a highway's gate) join no branch. A layer belongs to the first addition that it
leads to: of nested branches the outer one has what is left, and a shortcut's layers belong to none.

The last layer of a branch is the one whose zero would make the branch zero: the nearest before the
addition; past it may come norms, activations, and a gate that only scales (squeeze and excitation),
whose own layers are inner ones.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile

from initsearch.layers.trace.record import LayerCall, Side, Trace

#: Places in a branch: its last weight layers, its other ones, a norm after the last weight layer.
BRANCH_PLACES = ("inner", "last", "last_norm")


@dataclass(frozen=True)
class Branch:
    """A residual branch.

    Attributes:
        layers: The calls of its weight layers, by index, in execution order.
        last: Those of them that come last.
        norm: The parameters of the norm after the last; empty if there is none.
        depth: How many weight layers stand in its longest chain.
    """

    layers: tuple[int, ...]
    last: frozenset[int]
    norm: frozenset[str]
    depth: int


@dataclass(frozen=True)
class InBranch:
    """Where a parameter stands in a residual branch; fields as in `Slot`."""

    branch: str
    branch_layers: int


def residual_branches(found: Trace) -> list[Branch]:
    """The residual branches of a model, in the order of their additions."""
    # Calls that a pass in training mode showed besides come last, with that pass's own numbers.
    numbered = takewhile(lambda pair: pair[0] == pair[1].index, enumerate(found.calls))
    calls = [call for _, call in numbered]
    history = _histories(calls)
    taken: set[int] = set()
    branches: list[Branch] = []
    for sides in found.joins:
        branch = _branch(calls, history, taken, sides)
        if branch is not None:
            branches.append(branch)
    return branches


def places_in(branches: Sequence[Branch], calls: Sequence[LayerCall]) -> dict[str, InBranch]:
    """Where each parameter of a branch stands; what is used more than once, by its first use."""
    places: dict[str, InBranch] = {}
    for branch in branches:
        for index in branch.layers:
            place = InBranch("last" if index in branch.last else "inner", branch.depth)
            for name in calls[index].parameters:
                places.setdefault(name, place)
        for name in branch.norm:
            places.setdefault(name, InBranch("last_norm", branch.depth))
    return places


def _histories(calls: Sequence[LayerCall]) -> list[frozenset[int]]:
    """For each call, itself and all from which its input comes."""
    history: list[frozenset[int]] = []
    for call in calls:
        before = (history[source] for source in call.sources)
        history.append(frozenset({call.index}).union(*before))
    return history


def _branch(
    calls: Sequence[LayerCall],
    history: Sequence[frozenset[int]],
    taken: set[int],
    sides: tuple[Side, Side],
) -> Branch | None:
    reached = [_union(history, side.sources) for side in sides]
    common = reached[0] & reached[1]
    apart = [each - common for each in reached]
    own = [each - taken for each in apart]
    lasts = [_lasts(history, side.sources & mine) for side, mine in zip(sides, own, strict=True)]
    depths = [_depth(calls, mine, last) for mine, last in zip(own, lasts, strict=True)]
    if depths[0] == depths[1]:
        return None
    long, short = (0, 1) if depths[0] > depths[1] else (1, 0)
    if {calls[i].weight for i in own[long]} & {calls[i].weight for i in apart[short]}:
        return None
    reads = [_union([call.sources for call in calls], mine) & common for mine in apart]
    # What the shortcut carries, the branch's layers must read.
    carried = (sides[short].sources & common) | reads[short]
    if not carried <= reads[long]:
        return None
    reads_input = any(calls[i].reads_input for i in own[long])
    if not carried and not (sides[short].from_input and reads_input):
        return None
    taken |= own[0] | own[1]
    return Branch(tuple(sorted(own[long])), lasts[long], sides[long].norm, depths[long])


def _union(sets: Sequence[frozenset[int]], indices: Iterable[int]) -> frozenset[int]:
    return frozenset[int]().union(*(sets[i] for i in indices))


def _lasts(history: Sequence[frozenset[int]], ends: frozenset[int]) -> frozenset[int]:
    """Of the layers at a side's end, those that come of no other of them: the rest only scales."""
    return frozenset(end for end in ends if history[end] & ends == {end})


def _depth(calls: Sequence[LayerCall], own: frozenset[int], lasts: frozenset[int]) -> int:
    """The longest chain of a side's own layers that ends in its last."""
    length: dict[int, int] = {}
    for i in sorted(own):
        length[i] = 1 + max((length[s] for s in calls[i].sources if s in length), default=0)
    return max((length[last] for last in lasts), default=0)
