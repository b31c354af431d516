"""Parameters of state-space models: decays that are counted, and biases that give log-uniform steps."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from initsearch.audit.short_numbers import shortest_within
from initsearch.initializers import Initializer, MambaDecay, MambaStep

# Fewer entries do not show a range, or that a sequence is counted.
_FEWEST_STEPS, _FEWEST_DECAYS = 32, 4
# An end of the range is not seen to this factor of the mean distance between entries, with probability e^-12.
_BEYOND = 12.0
# Steps of time are far below one; a bias that is drawn from a range of its own has other ends.
_LONGEST = 0.5
# Kolmogorov's distance, times the root of the number of entries; larger with probability 1e-6.
_DISTANCE = 2.7


def state_space(view: Tensor) -> Initializer | None:
    """`mamba_decay` or `mamba_step`, if a tensor has its form; None for any other."""
    if view.ndim and view.shape[-1] >= _FEWEST_DECAYS:
        counted = torch.arange(1, view.shape[-1] + 1, device=view.device).log().to(view.dtype)
        close = 4 * torch.finfo(view.dtype).eps * math.log(view.shape[-1])
        if bool(((view - counted).abs() <= close).all()):
            return MambaDecay()
    if view.ndim != 1 or len(view) < _FEWEST_STEPS or bool((view >= 0).any()):
        return None
    steps = F.softplus(view.double()).log().sort().values
    margin = _BEYOND * float(steps[-1] - steps[0]) / len(steps)
    rounding = 16 * torch.finfo(view.dtype).eps * float(steps.abs().max())
    ends = [math.exp(float(steps[0]) - margin), math.exp(float(steps[-1]) + margin)]
    low, few = shortest_within(ends[0], math.exp(float(steps[0]) + rounding))
    high, more = shortest_within(math.exp(float(steps[-1]) - rounding), ends[1])
    if few > 1 or more > 1 or not low < high < _LONGEST:
        return None
    places = (steps - math.log(low)) / math.log(high / low)
    even = torch.linspace(0, 1, len(steps), dtype=places.dtype, device=places.device)
    if float((places - even).abs().max()) * math.sqrt(len(steps)) > _DISTANCE:
        return None
    return MambaStep(low, high, min(MambaStep.dt_floor, low))
