"""What a model is made of: each parameter's kind, fans, role, and what activation follows it."""

from initsearch.layers._assign import Fill, assign_, read
from initsearch.layers._describe import describe
from initsearch.layers._preserve import preserved
from initsearch.layers._record import LayerCall, Observer, Trace, Use
from initsearch.layers._slots import Block, Slot
from initsearch.layers._trace import trace
from initsearch.layers._walk import unwrap

__all__ = [
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
    "trace",
    "unwrap",
]
