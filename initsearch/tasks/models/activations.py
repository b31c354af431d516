"""The activations that the models' `activation` setting names."""

from typing import Annotated

from torch import nn

from initsearch.errors import unknown_name
from initsearch.settings import one_of

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "selu": nn.SELU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
}
#: The type of a setting that names an activation.
ActivationName = Annotated[str, one_of("activation", ACTIVATIONS)]


def list_activations() -> list[str]:
    """The names that `make_activation` knows."""
    return sorted(ACTIVATIONS)


def make_activation(name: str) -> nn.Module:
    """A new activation module, with torch's own default parameters.

    Raises:
        ConfigError: There is no such activation.
    """
    if name not in ACTIVATIONS:
        raise unknown_name("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]()
