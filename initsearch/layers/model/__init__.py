"""What a model holds: its modules, its parameters under all their names, and how each is stored.

It knows nothing of forward passes; `layers.trace` builds on it. Begin reading with `walk.parameters`, which
lists a model's parameters, and `kinds.nature_of`, which gives each its kind, fans and parts.
"""

from initsearch.layers.model.absent import is_absent as is_absent
from initsearch.layers.model.assign import Fill as Fill
from initsearch.layers.model.assign import assign_ as assign_
from initsearch.layers.model.assign import mark_filled as mark_filled
from initsearch.layers.model.assign import read as read
from initsearch.layers.model.deliberate import FILLED as FILLED
from initsearch.layers.model.kinds import PARTS as PARTS
from initsearch.layers.model.kinds import Nature as Nature
from initsearch.layers.model.kinds import nature_of as nature_of
from initsearch.layers.model.preserve import preserved as preserved
from initsearch.layers.model.slots import ParameterPart as ParameterPart
from initsearch.layers.model.slots import Slot as Slot
from initsearch.layers.model.tensors import tensors as tensors
from initsearch.layers.model.walk import NamedParameter as NamedParameter
from initsearch.layers.model.walk import parameters as parameters
from initsearch.layers.model.walk import unwrap as unwrap
from initsearch.layers.model.walk import walk as walk
