"""What becomes of a parameter's values on the way to its layer: masked, multiplied, normalized, rounded.

Random values are sent along the path, once and at twice the scale. What arrives shows which entries are masked,
by which factor the others are multiplied, and whether the scale arrives at all.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor

from initsearch.layers.trace.layouts import Layout
from initsearch.layers.trace.paths import Path, arriving, entries

# What may differ between a scale that arrives unchanged and one that is measured on random values.
_TOLERANCE = 0.02
#: Notes on a scale that a scheme cannot set.
LOST = "its layer divides it by its own scale: the scale drawn does not arrive"
MIXED = "combined with other parameters or with data on its way: the scale drawn may not arrive"
UNKNOWN = "what becomes of it on the way to its layer could not be measured"
BENT = "it reaches its layer through a function that is not linear: the scale drawn may not arrive"


def with_arrival(layout: Layout, path: Path) -> Layout:
    """A layout with what becomes of the values on the way, measured on random ones.

    The factors of a product of parameters share its scale: nothing is measured for them.
    """
    if path.moves_only or path.is_factor or not path.parameter.is_floating_point():
        return layout
    size = float(path.parameter.detach().float().pow(2).mean().sqrt())
    size = size if 0 < size < math.inf else 1.0
    drawn = torch.randn(path.parameter.shape, generator=torch.Generator().manual_seed(0))
    values = (size * drawn).to(path.parameter)
    numbers = entries(path)
    try:
        once, twice = _sizes(arriving(path, values)), _sizes(arriving(path, 2 * values))
    except Exception as error:  # noqa: BLE001 - the model's own functions may refuse; the note says so
        return replace(layout, note=f"{UNKNOWN} ({type(error).__name__})")
    # What was sent for each entry; if that is not known, any of the values.
    sent = values.float().flatten()
    sent = sent[:1].new_full(once.shape, _rms(sent)) if numbers is None else sent[numbers]
    left = once != 0
    density = float(left.float().mean())
    if not density or not bool(torch.isfinite(twice).all()):
        return replace(layout, note=BENT)
    if not torch.allclose(twice, 2 * once, rtol=1e-3, atol=1e-3 * _rms(once)):
        growth = _rms(twice) / _rms(once)
        if growth < 1 + _TOLERANCE:
            return replace(layout, note=LOST)
        if abs(growth - 2) > 2 * _TOLERANCE:
            return replace(layout, note=BENT)
        density, left = 1.0, torch.ones_like(left)
    gain = _rms(once[left]) / _rms(sent[left])
    # A function such as rounding changes the scale a little, at random.
    return replace(layout, density=density, gain=1.0 if abs(gain - 1) <= _TOLERANCE else gain)


def _sizes(values: Tensor) -> Tensor:
    """The values; of complex ones their sizes, since real parts and imaginary parts both arrive."""
    return values.abs().float() if values.is_complex() else values.float()


def _rms(values: Tensor) -> float:
    return float(values.pow(2).mean().sqrt())
