"""What a model is made of: each parameter's kind, fans, role, and what activation follows it."""

from initsearch.layers.description import describe
from initsearch.layers.model.assign import Fill, assign_, read
from initsearch.layers.model.preserve import preserved
from initsearch.layers.model.slots import ParameterPart, Slot
from initsearch.layers.model.tensors import tensors
from initsearch.layers.model.walk import unwrap
from initsearch.layers.rescaling import rescale_
from initsearch.layers.trace.branches import BRANCH_PLACES
from initsearch.layers.trace.forward import trace_forward
from initsearch.layers.trace.record import LayerCall, Observer, Trace, Use

__all__ = [
    "BRANCH_PLACES",
    "Fill",
    "LayerCall",
    "Observer",
    "ParameterPart",
    "Slot",
    "Trace",
    "Use",
    "assign_",
    "describe",
    "preserved",
    "read",
    "rescale_",
    "tensors",
    "trace_forward",
    "unwrap",
]
