"""The signal: what a batch does to activations and gradients at step zero, layer by layer."""

from initsearch.signal.diagnosis import diagnose
from initsearch.signal.exact import ExactFinding, exact_checks
from initsearch.signal.measure import Histogram
from initsearch.signal.report import LayerSignal, SignalReport

__all__ = [
    "ExactFinding",
    "Histogram",
    "LayerSignal",
    "SignalReport",
    "diagnose",
    "exact_checks",
]
