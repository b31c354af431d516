"""`Identified`: what one unit was drawn from."""

from dataclasses import dataclass

from initsearch.audit.units import Unit
from initsearch.initializers import Initializer
from initsearch.initializers.distribution import Distribution


@dataclass(frozen=True, eq=False)
class Identified:
    """What a unit was drawn from.

    Attributes:
        unit: The parameter or its part.
        label: The name of its initializer; `unknown` if no candidate fits.
        rule: The name of the candidate that explains it and others.
        initializer: What a plan fills it with; None if that is unknown.
        distribution: What each entry was drawn from; None for structures and if it is unknown.
        family: `zeros`, `ones`, `constant`, `normal`, `uniform`, `truncated_normal`, `orthogonal`, ...
        scale: Standard deviation before any truncation, half the width of the range, gain, or value.
        error: The standard error of the maximum-likelihood estimate of the scale; 0 for exact structures.
        confidence: The posterior probability of the initializer among all candidates.
        p_value: Of the fit, see `initsearch.audit.fit`; 1 for exact structures.
        note: Remarks.
    """

    unit: Unit
    label: str
    rule: str
    initializer: Initializer | None
    distribution: Distribution | None
    family: str
    scale: float
    error: float
    confidence: float
    p_value: float
    note: str = ""
