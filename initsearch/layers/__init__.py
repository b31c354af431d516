"""What a model is made of: each parameter's kind, fans, role, and what activation follows it."""

from initsearch.layers._assign import Fill, assign_, read
from initsearch.layers._branches import BRANCH_PLACES
from initsearch.layers._describe import describe
from initsearch.layers._preserve import preserved
from initsearch.layers._record import LayerCall, Observer, Trace, Use
from initsearch.layers._rescale import rescale_
from initsearch.layers._slots import Block, Slot
from initsearch.layers._tensors import tensors
from initsearch.layers._trace import trace
from initsearch.layers._walk import unwrap

__all__ = [
    "BRANCH_PLACES",
    "Block",
    "Fill",
    "LayerCall",
    "Observer",
    "Slot",
    "Trace",
    "Use",
    "assign_",
    "describe",
    "preserved",
    "read",
    "rescale_",
    "tensors",
    "trace",
    "unwrap",
]
