"""Residual branches, found in a trace.

An addition (or difference) of two tensors joins a branch and its shortcut if both come from one value. The
layers that are on one side only are compared: the side with the longer chain of weight layers is the branch,
the other (empty, or a projection such as a downsampling 1x1 convolution) is its shortcut. An addition joins no
branch if its sides are equally long (token and position embeddings), if they share a weight (the two products
of a recurrent cell), or if the shorter side carries something that the longer does not read (other values, a
highway's gate). A layer belongs to the first addition after it: an outer branch has the layers that its inner
branches leave, and the layers of a shortcut belong to no branch.

The last layer of a branch is the one that would make the branch zero if it were zero: the nearest one before
the addition. Norms, activations and a gate that only scales (squeeze and excitation) may follow it; the gate's
own layers are inner ones.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from initsearch.layers.trace.record import LayerCall, Side, Trace

#: Places in a branch: a weight layer that is not the last, the last one, a norm after the last one.
BRANCH_PLACES = ("inner", "last", "last_norm")


@dataclass(frozen=True)
class Branch:
    """A residual branch.

    Attributes:
        layers: The calls of its weight layers, by index, in execution order.
        last: The last of them; several if parallel layers are added.
        norm: The parameters of the norm after the last layer; empty if there is none.
        depth: The number of weight layers in its longest chain.
    """

    layers: tuple[int, ...]
    last: frozenset[int]
    norm: frozenset[str]
    depth: int


@dataclass(frozen=True)
class InBranch:
    """The place of a parameter in a residual branch; fields as in `Slot`."""

    branch: str
    branch_layers: int
    branch_index: int


def residual_branches(found: Trace) -> list[Branch]:
    """The residual branches of a model, in the order of their additions."""
    calls = found.numbered
    history = _histories(calls)
    taken: set[int] = set()
    branches: list[Branch] = []
    for sides in found.joins:
        branch = _branch(calls, history, taken, sides)
        if branch is not None:
            branches.append(branch)
    return branches


def places_in(branches: Sequence[Branch], calls: Sequence[LayerCall]) -> dict[str, InBranch]:
    """The place of each parameter of a branch; if it is used more than once, of its first use."""
    places: dict[str, InBranch] = {}
    for number, branch in enumerate(branches):
        for index in branch.layers:
            place = InBranch("last" if index in branch.last else "inner", branch.depth, number)
            for name in calls[index].parameters:
                places.setdefault(name, place)
        for name in branch.norm:
            places.setdefault(name, InBranch("last_norm", branch.depth, number))
    return places


def _histories(calls: Sequence[LayerCall]) -> list[frozenset[int]]:
    """For each call, itself and all calls that its input depends on."""
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
    # The layers of the branch must read all that the shortcut carries.
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
    """The layers at the end of a side that depend on no other of them; the others only scale."""
    return frozenset(end for end in ends if history[end] & ends == {end})


def _depth(calls: Sequence[LayerCall], own: frozenset[int], lasts: frozenset[int]) -> int:
    """The longest chain of a side's own layers that ends in its last."""
    length: dict[int, int] = {}
    for i in sorted(own):
        length[i] = 1 + max((length[s] for s in calls[i].sources if s in length), default=0)
    return max((length[last] for last in lasts), default=0)
