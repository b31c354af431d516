"""What happens in a forward pass: which layers run, in which order, and what consumes their outputs.

A pass is real: the model runs on a batch, or on an input guessed from its first layer, and is left as it was.
Begin reading with `forward.trace_forward`, whose module describes how a pass is followed; `record` has the
result, and `layouts` how a layer reads its weight.
"""

from initsearch.layers.trace.branches import BRANCH_PLACES as BRANCH_PLACES
from initsearch.layers.trace.branches import residual_branches as residual_branches
from initsearch.layers.trace.forward import trace_forward as trace_forward
from initsearch.layers.trace.record import LayerCall as LayerCall
from initsearch.layers.trace.record import Observer as Observer
from initsearch.layers.trace.record import Trace as Trace
from initsearch.layers.trace.record import Use as Use
