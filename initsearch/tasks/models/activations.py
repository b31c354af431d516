"""The activations that the models' `activation` setting names."""

from torch import nn

from initsearch.checks import check_choice

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


def list_activations() -> list[str]:
    """The names that `make_activation` knows."""
    return sorted(ACTIVATIONS)


def make_activation(name: str) -> nn.Module:
    """A new activation module, with torch's own default parameters.

    Raises:
        ConfigError: There is no such activation.
    """
    return ACTIVATIONS[check_choice("activation", name, ACTIVATIONS)]()
