"""The architectures that a search can be about, one per file, and any `_target_` besides."""

from ._activations import list_activations as list_activations
from ._build import architecture_label as architecture_label
from ._build import architecture_name as architecture_name
from ._build import build_model as build_model
from ._build import list_models as list_models
from .convnet import ConvNet as ConvNet
from .mlp import MLP as MLP
from .plain_cnn import PlainCNN as PlainCNN
from .resnet import ResNet as ResNet
