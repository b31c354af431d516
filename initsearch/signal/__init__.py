"""The signal: activations and gradients on one batch at step zero, layer by layer.

`diagnose` runs a model forward and backward once and reports each layer with a verdict; `exact_checks` finds
proofs that training cannot succeed. Begin reading at `diagnosis.py` (the steps of a diagnosis), then
`observe.py` (what is measured) and `verdicts.py` (the thresholds).
"""

from initsearch.signal.diagnosis import diagnose as diagnose
from initsearch.signal.exact import ExactFinding as ExactFinding
from initsearch.signal.exact import exact_checks as exact_checks
from initsearch.signal.layer_signal import LayerSignal as LayerSignal
from initsearch.signal.measure import Histogram as Histogram
from initsearch.signal.report import SignalReport as SignalReport
