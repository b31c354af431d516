"""Which candidate drew each unit: the few rules that together explain a model best.

The total to minimize is minus the log-likelihood of all units, plus the cost of each rule that is used, plus a
price for each group of layers in which it is used (a facility location problem). One rule that explains many
units pays its price once: units of one kind are judged together. A greedy search opens the rule with the
largest gain until none has one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from initsearch.audit.fit import Array
from initsearch.audit.laws import Candidates, Law

# The prices in nats: of one more rule in the model, and of a rule in one more group. About 1 in 400 and 1 in
# 20.
_PER_RULE = 6.0
# The price of far bounds for each unit. Among many units some have no entry beyond such bounds by chance, and
# bounds for these alone would pay.
_FAR = 1.5
_PER_GROUP = 3.0
#: Candidates whose log-likelihoods of a unit differ by less draw the same.
_SAME = 1e-6
#: Candidates of one family whose scales differ by less, as a share, count as one in the confidence.
_NEAR = 0.05
# Of two open rules that explain a unit equally well, the cheaper is taken.
_TIE = 1e-3


@dataclass(frozen=True)
class Choice:
    """What drew a unit.

    Attributes:
        law: The candidate's index; None for the framework's default.
        confidence: Its posterior probability among all candidates, from all units that it explains. Candidates
            of the same family whose scales for all of these agree to 5 % count as one.
    """

    law: int | None
    confidence: float


def choose(table: Candidates, laws: Sequence[Law]) -> list[Choice]:
    """The candidate of each unit."""
    default, _ = table.defaults()
    likely = np.vstack([default, *(table.log_likelihood(law) for law in laws)])
    far = np.array([0.0, *(_FAR if 2.0 < law.bound < math.inf else 0.0 for law in laws)])
    likely -= far[:, None]
    costs = _PER_RULE + np.array([0.0, *(law.cost for law in laws)])
    names = [unit.group for unit in table.units]
    order = {name: number for number, name in enumerate(dict.fromkeys(names))}
    groups = np.array([order[name] for name in names])
    alone = (likely - costs[:, None]).max(axis=0) - _PER_GROUP
    opened = _open(likely, costs, groups, alone)
    chosen = _assign(likely, costs, alone, opened)
    confidence = {
        law: _confidence(likely, costs, laws, law, np.flatnonzero(chosen == law))
        for law in set(chosen.tolist())
    }
    return [Choice(None if law == 0 else law - 1, confidence[law]) for law in chosen.tolist()]


def _open(likely: Array, costs: Array, groups: Array, alone: Array) -> list[int]:
    """The rules that pay, in the order of their gains."""
    current = alone.copy()
    opened: list[int] = []
    members = [np.flatnonzero(groups == group) for group in range(int(groups.max()) + 1)]
    while True:
        better = np.maximum(likely - current, 0.0)
        in_groups = np.stack([better[:, member].sum(axis=1) for member in members], axis=1)
        pays = np.maximum(in_groups - _PER_GROUP, 0.0)
        gains = pays.sum(axis=1) - costs
        gains[opened] = (pays.sum(axis=1) - 1e-9)[opened]  # only another group is to pay for
        best = int(gains.argmax())
        if gains[best] <= 1e-6:
            return list(dict.fromkeys(opened))
        for group, member in enumerate(members):
            if pays[best, group] > 0:
                current[member] = np.maximum(current[member], likely[best, member])
        opened.append(best)


def _assign(likely: Array, costs: Array, alone: Array, opened: Sequence[int]) -> Array:
    """The rule of each unit: an open one, or its own if that pays."""
    own = (likely - costs[:, None]).argmax(axis=0)
    if not opened:
        return np.asarray(own)
    among = likely[list(opened)]
    best = np.asarray(opened)[(among - _TIE * costs[list(opened), None]).argmax(axis=0)]
    return np.asarray(np.where(among.max(axis=0) >= alone, best, own))


def _confidence(
    likely: Array, costs: Array, laws: Sequence[Law], law: int, cluster: npt.NDArray[np.intp]
) -> float:
    """The posterior probability of a rule from the units that it explains."""
    values = likely[:, cluster]
    same = np.isclose(values, values[law], rtol=0, atol=_SAME).all(axis=1)
    if law > 0:
        chosen = laws[law - 1]
        for number, other in enumerate(laws, start=1):
            if (other.family, other.bound, other.center) == (
                chosen.family,
                chosen.bound,
                chosen.center,
            ):
                ratio = other.scales[cluster] / chosen.scales[cluster]
                same[number] |= bool((np.abs(ratio - 1) < _NEAR).all())
    scores = values.sum(axis=1) - costs
    others = np.where(same, -np.inf, scores - scores[law])
    return float(1 / (1 + np.exp(np.minimum(others, 700.0)).sum()))
