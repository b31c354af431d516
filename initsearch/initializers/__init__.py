"""The mathematics: one family per file, a registry, presets of one line each."""

from initsearch.initializers import presets as presets
from initsearch.initializers._base import Initializer as Initializer
from initsearch.initializers._base import compute_fans as compute_fans
from initsearch.initializers._registry import InitializerSpec as InitializerSpec
from initsearch.initializers._registry import get_initializer as get_initializer
from initsearch.initializers._registry import list_initializers as list_initializers
from initsearch.initializers._registry import register as register
from initsearch.initializers.orthogonal import Orthogonal as Orthogonal
from initsearch.initializers.scaling import TorchDefault as TorchDefault
from initsearch.initializers.scaling import VarianceScaling as VarianceScaling
from initsearch.initializers.simple import Constant as Constant
from initsearch.initializers.simple import Normal as Normal
from initsearch.initializers.simple import Uniform as Uniform
from initsearch.initializers.truncated import TruncatedNormal as TruncatedNormal
