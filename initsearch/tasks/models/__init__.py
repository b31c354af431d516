"""The architectures that a search can be about, one per file, and any `_target_` besides."""

from initsearch.tasks.models.activations import list_activations as list_activations
from initsearch.tasks.models.build import architecture_label as architecture_label
from initsearch.tasks.models.build import architecture_name as architecture_name
from initsearch.tasks.models.build import build_model as build_model
from initsearch.tasks.models.build import list_models as list_models
from initsearch.tasks.models.convnet import ConvNet as ConvNet
from initsearch.tasks.models.mlp import MLP as MLP
from initsearch.tasks.models.plain_cnn import PlainCNN as PlainCNN
from initsearch.tasks.models.resnet import ResNet as ResNet
