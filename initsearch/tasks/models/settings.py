"""`ModelSettings`: the config group `model`, a shipped architecture or any `_target_`."""

import inspect
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, Self

from pydantic import Field, create_model, model_validator
from torch import nn

from initsearch.errors import ConfigError, unknown_name
from initsearch.settings import Settings, gathered
from initsearch.tasks.models.char_gpt import CharGPT
from initsearch.tasks.models.circular_cnn import CircularCNN
from initsearch.tasks.models.convnet import ConvNet
from initsearch.tasks.models.mlp import MLP
from initsearch.tasks.models.plain_cnn import PlainCNN
from initsearch.tasks.models.recurrent import Recurrent
from initsearch.tasks.models.resnet import ResNet
from initsearch.tasks.models.siren import Siren
from initsearch.tasks.models.small_vit import SmallViT

#: The architectures by name. Each takes the shape of an input, the width of
#: the output and its own settings.
MODELS: dict[str, Callable[..., nn.Module]] = {
    "mlp": MLP,
    "convnet": ConvNet,
    "plain_cnn": PlainCNN,
    "resnet": ResNet,
    "circular_cnn": CircularCNN,
    "small_vit": SmallViT,
    "recurrent": Recurrent,
    "char_gpt": CharGPT,
    "siren": Siren,
}
OWN_SETTINGS = ("name", "_target_", "arguments")


def list_models() -> list[str]:
    """The names of the shipped architectures."""
    return sorted(MODELS)


class ModelSettings(Settings):
    """The config group `model`; what is not listed here is passed to the model.

    Attributes:
        name: One of `list_models()`; beside a `_target_`, a label only.
        target: `_target_` in the configuration: the dotted path of a callable that builds an `nn.Module`.
        arguments: The model's own settings (`depth`, `width`, `activation`, ...).
    """

    name: str | None = None
    target: str | None = Field(None, alias="_target_")
    arguments: Mapping[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _gather_arguments(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        return gathered(values, OWN_SETTINGS)

    @model_validator(mode="after")
    def _check_shipped(self) -> Self:
        if not self.architecture:
            raise ConfigError(
                f"model must have a name ({', '.join(list_models())}) or a _target_ (a dotted path to "
                f"a callable that builds an nn.Module), but got {self.key()!r}"
            )
        if self.target is None:
            if self.name not in MODELS:
                raise unknown_name("model", self.name, MODELS)
            _arguments_of(MODELS[self.name]).parse("model", self.arguments)
        return self

    @property
    def architecture(self) -> str:
        """What to call the model: its `name`, else the last part of its `_target_`."""
        return self.name or (self.target or "").rpartition(".")[2]

    @property
    def label(self) -> str:
        """The model's name with what distinguishes it from others of the name: `mlp-30x128-relu`.

        Depth and width come first, then the other settings.
        """
        settings = {key: value for key, value in self.arguments.items() if value is not None}
        size = [str(settings.pop(key)) for key in ("depth", "width") if key in settings]
        rest = [
            value if isinstance(value, str) else f"{key}={value}" for key, value in settings.items()
        ]
        return "-".join([self.architecture, *(["x".join(size)] if size else []), *rest])

    def key(self) -> dict[str, Any]:
        """Plain data that determine the model, as the configuration has them."""
        named = {"name": self.name, "_target_": self.target}
        return {**{k: v for k, v in named.items() if v is not None}, **self.arguments}


def _arguments_of(model: Callable[..., nn.Module]) -> type[Settings]:
    """The settings of a shipped model, by the types and defaults of its own parameters.

    The first two, the shape of an input and the width of the output, come from the data.
    """
    own = islice(inspect.signature(model).parameters.values(), 2, None)
    fields: dict[str, Any] = {p.name: (p.annotation, p.default) for p in own}
    return create_model("ModelArguments", __base__=Settings, **fields)
