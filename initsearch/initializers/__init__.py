"""Initializers: each fills one tensor by a formula, and its fields are its tunables.

There is one family per file, a registry of names, and presets of one line each over the families. Begin reading
at `base.py` (what all initializers share), then `simple.py` and `scaling.py` (two families) and `registry.py`
(how a name becomes an initializer).
"""

from initsearch.initializers import presets as presets
from initsearch.initializers.activation_scaling import ActivationScaling as ActivationScaling
from initsearch.initializers.base import Initializer as Initializer
from initsearch.initializers.base import compute_fans as compute_fans
from initsearch.initializers.catalogue import catalogue_table as catalogue_table
from initsearch.initializers.class_prior import ClassPrior as ClassPrior
from initsearch.initializers.class_prior import FocalPrior as FocalPrior
from initsearch.initializers.depth import DepthScaled as DepthScaled
from initsearch.initializers.edge_of_chaos import EdgeOfChaos as EdgeOfChaos
from initsearch.initializers.edge_of_chaos import (
    critical_weight_variance as critical_weight_variance,
)
from initsearch.initializers.fixup import FixupScaled as FixupScaled
from initsearch.initializers.gains import gain as gain
from initsearch.initializers.gains import list_activations as list_activations
from initsearch.initializers.gate_biases import Chrono as Chrono
from initsearch.initializers.gate_biases import ForgetGate as ForgetGate
from initsearch.initializers.gradinit import GradInit as GradInit
from initsearch.initializers.identity import Dirac as Dirac
from initsearch.initializers.identity import Identity as Identity
from initsearch.initializers.layer_scaling import LayerScaling as LayerScaling
from initsearch.initializers.lsuv import LSUV as LSUV
from initsearch.initializers.mamba import MambaDecay as MambaDecay
from initsearch.initializers.mamba import MambaStep as MambaStep
from initsearch.initializers.metainit import MetaInit as MetaInit
from initsearch.initializers.metainit import gradient_quotient as gradient_quotient
from initsearch.initializers.mimetic import Mimetic as Mimetic
from initsearch.initializers.model_scaling import ModelScaling as ModelScaling
from initsearch.initializers.orthogonal import DeltaOrthogonal as DeltaOrthogonal
from initsearch.initializers.orthogonal import Orthogonal as Orthogonal
from initsearch.initializers.registry import InitializerSpec as InitializerSpec
from initsearch.initializers.registry import get_initializer as get_initializer
from initsearch.initializers.registry import list_initializers as list_initializers
from initsearch.initializers.registry import register as register
from initsearch.initializers.scaling import TorchDefault as TorchDefault
from initsearch.initializers.scaling import VarianceScaling as VarianceScaling
from initsearch.initializers.simple import Constant as Constant
from initsearch.initializers.simple import Normal as Normal
from initsearch.initializers.simple import Uniform as Uniform
from initsearch.initializers.siren import Siren as Siren
from initsearch.initializers.sparse import Sparse as Sparse
from initsearch.initializers.spectral import Spectral as Spectral
from initsearch.initializers.truncated import TruncatedNormal as TruncatedNormal
from initsearch.initializers.yolo import YoloHead as YoloHead
