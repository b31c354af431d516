"""The shipped architectures, one per file, and any `_target_` beside them.

`ModelSettings` is the config group `model`; `build_model` makes a new model of it for a shape of inputs.
Begin with `settings.py` for what can be configured and `mlp.py` for the shape of an architecture.
"""

from initsearch.tasks.models.activations import list_activations as list_activations
from initsearch.tasks.models.build import build_model as build_model
from initsearch.tasks.models.char_gpt import CharGPT as CharGPT
from initsearch.tasks.models.circular_cnn import CircularCNN as CircularCNN
from initsearch.tasks.models.convnet import ConvNet as ConvNet
from initsearch.tasks.models.mlp import MLP as MLP
from initsearch.tasks.models.plain_cnn import PlainCNN as PlainCNN
from initsearch.tasks.models.recurrent import Recurrent as Recurrent
from initsearch.tasks.models.resnet import ResNet as ResNet
from initsearch.tasks.models.settings import ModelSettings as ModelSettings
from initsearch.tasks.models.settings import list_models as list_models
from initsearch.tasks.models.siren import Siren as Siren
from initsearch.tasks.models.small_vit import SmallViT as SmallViT
