"""What a model consists of: each parameter's kind, fans and role, and the activation after its layer.

`layers.model` has what a model holds, `layers.trace` what happens in a forward pass; this room joins the two.
Begin reading with `describe`, which gives a `Slot` for each parameter; `assign_` fills a parameter by its slot.
"""

from initsearch.layers.description import describe as describe
from initsearch.layers.model import FILLED as FILLED
from initsearch.layers.model import PARTS as PARTS
from initsearch.layers.model import Fill as Fill
from initsearch.layers.model import ParameterPart as ParameterPart
from initsearch.layers.model import Slot as Slot
from initsearch.layers.model import assign_ as assign_
from initsearch.layers.model import is_absent as is_absent
from initsearch.layers.model import mark_filled as mark_filled
from initsearch.layers.model import preserved as preserved
from initsearch.layers.model import read as read
from initsearch.layers.model import tensors as tensors
from initsearch.layers.model import unwrap as unwrap
from initsearch.layers.rescaling import rescale_ as rescale_
from initsearch.layers.scale_learning import TrainingLoss as TrainingLoss
from initsearch.layers.scale_learning import learn_scales_ as learn_scales_
from initsearch.layers.trace import BRANCH_PLACES as BRANCH_PLACES
from initsearch.layers.trace import LayerCall as LayerCall
from initsearch.layers.trace import Observer as Observer
from initsearch.layers.trace import Trace as Trace
from initsearch.layers.trace import Use as Use
from initsearch.layers.trace import trace_forward as trace_forward
from initsearch.layers.twins import Twin as Twin
from initsearch.layers.twins import find_twins as find_twins
