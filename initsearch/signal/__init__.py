"""The signal: what a batch does to activations and gradients at step zero, layer by layer."""

from initsearch.signal._diagnose import diagnose
from initsearch.signal._exact import ExactFinding, exact_checks
from initsearch.signal._measure import Histogram
from initsearch.signal._report import LayerSignal, SignalReport

__all__ = [
    "ExactFinding",
    "Histogram",
    "LayerSignal",
    "SignalReport",
    "diagnose",
    "exact_checks",
]
