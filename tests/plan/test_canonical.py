"""The canonical form of plans: equal exactly if they fill a model with the same weights."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from initsearch.errors import ConfigError, ModelError
from initsearch.initializers import get_initializer
from initsearch.initializers.registry import entries
from initsearch.layers import describe
from initsearch.plan import InitPlan, list_plans


def mlp(*widths: int) -> nn.Module:
    layers: list[nn.Module] = []
    for one, other in itertools.pairwise(widths):
        layers += [nn.Linear(one, other), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def convnet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3)
    )


INPUTS: dict[Callable[[], nn.Module], torch.Tensor] = {
    convnet: torch.zeros(1, 1, 8, 8),
    lambda: mlp(6, 5, 3): torch.zeros(1, 6),
    lambda: mlp(4, 4, 4): torch.zeros(1, 4),
}


def form(plan: Any, model: nn.Module, batch: torch.Tensor) -> tuple[str, ...]:
    return InitPlan.from_spec(plan).canonical(describe(model, batch))


def weights(plan: Any, build: Callable[[], nn.Module], batch: torch.Tensor) -> torch.Tensor | None:
    """All parameters after the plan was applied; None if the model refuses it."""
    torch.manual_seed(3)
    model = build().double()
    try:
        InitPlan.from_spec(plan).apply(model, seed=5, batch=batch.double())
    except (ConfigError, ModelError):
        return None
    return nn.utils.parameters_to_vector(model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("build", INPUTS, ids=["convnet", "mlp", "square"])
def test_equal_forms_draw_the_same_weights_and_others_do_not(build) -> None:
    """Every name of the registry against every other one, by the weights that it draws.

    What is not drawn entry by entry (`sparse`, `identity`) has its own name as its form. On a small model it
    may equal another one, which is then not known.
    """
    batch = INPUTS[build]
    # Other tests of the process may have registered initializers of their own.
    # A name of a recipe, such as `siren`, means the whole recipe.
    builtin = [name for name, entry in entries() if entry.builtin and name not in list_plans()]
    names = [name for name in builtin if "batch" not in get_initializer(name).needs]
    drawn = {name: weights(name, build, batch) for name in names}
    forms = {name: form(name, build(), batch) for name in names if drawn[name] is not None}
    assert len(forms) > 30
    for one, other in itertools.combinations(forms, 2):
        same = torch.allclose(drawn[one], drawn[other], rtol=1e-9, atol=0.0)
        known = not any("name" in entry for entry in forms[one] + forms[other])
        assert same or forms[one] != forms[other], (one, other)
        assert not (same and known) or forms[one] == forms[other], (one, other)


TWINS: list[tuple[Any, Any]] = [
    ("he_normal", "msra"),
    ("he_normal", {"name": "variance_scaling", "factor": 2, "mode": "fan_in"}),
    ("he_normal", {"name": "activation_scaling", "activation": "relu"}),
    ("he_normal", {"name": "he_normal", "dialect": "keras", "distribution": "untruncated_normal"}),
    ("caffe", "keras_lecun_uniform"),
    ("zeros", {"name": "normal", "std": 0.0}),
    ("zeros", {"name": "uniform", "limit": 0.0}),
    ("zeros", {"name": "constant", "value": -0.0}),
    (
        "torch_default",
        {
            "rules": [
                {
                    "weight": {"name": "variance_scaling", "factor": 1 / 3, "uniform": True},
                    "bias": "torch_default",
                }
            ]
        },
    ),
    (
        "glorot_normal",
        {
            "rules": [
                {"where": {"role": "head"}, "weight": "glorot_normal", "bias": "zeros"},
                {"where": {"kind": "linear"}, "weight": "xavier_normal", "bias": "zeros"},
            ]
        },
    ),
]


@pytest.mark.parametrize(("one", "other"), TWINS)
def test_one_scheme_under_two_names_has_one_form(one, other) -> None:
    model, batch = mlp(6, 5, 3), torch.zeros(1, 6)
    assert form(one, model, batch) == form(other, model, batch)
    ours, theirs = (weights(plan, lambda: mlp(6, 5, 3), batch) for plan in (one, other))
    assert torch.allclose(ours, theirs, rtol=1e-9, atol=0.0)


def test_modes_are_one_on_square_layers_only() -> None:
    modes = [
        {"name": "variance_scaling", "factor": 1.0, "mode": mode}
        for mode in ("fan_in", "fan_out", "fan_avg", "fan_geo_avg")
    ]
    square, batch = mlp(4, 4, 4), torch.zeros(1, 4)
    assert len({form(mode, square, batch) for mode in modes}) == 1
    assert len({form(mode, mlp(6, 5, 3), torch.zeros(1, 6)) for mode in modes}) == 4


def test_a_truncation_and_a_bias_are_part_of_the_form() -> None:
    model, batch = mlp(6, 5, 3), torch.zeros(1, 6)
    he = form("he_normal", model, batch)
    assert he != form("keras_he_normal", model, batch)
    assert form("keras_he_normal", model, batch) != form("tf1_msra", model, batch)
    with_bias = {"rules": [{"weight": "he_normal", "bias": {"name": "constant", "value": 0.1}}]}
    assert he != form(with_bias, model, batch)


def test_rounding_alone_makes_no_two_forms() -> None:
    model, batch = mlp(7, 5, 3), torch.zeros(1, 7)
    rounded = {"name": "variance_scaling", "factor": math.sqrt(2.0) ** 2}
    assert form(rounded, model, batch) == form("he_normal", model, batch)
    near = {"name": "variance_scaling", "factor": 2.0 * (1 + 1e-6)}
    assert form(near, model, batch) != form("he_normal", model, batch)


def test_frozen_parameters_are_kept_by_every_plan() -> None:
    model, batch = mlp(6, 5, 3), torch.zeros(1, 6)
    for parameter in model[0].parameters():
        parameter.requires_grad_(False)
    rule = [{"where": {"role": "head"}, "weight": "he_normal", "bias": "zeros"}]
    assert form("he_normal", model, batch) == form({"rules": rule}, model, batch)
