"""`assert_init`: its false alarms are as rare as it says, and real differences are found."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from initsearch import ConfigError, InitPlan, assert_init
from initsearch.audit.fit import entries_of, fit, resolution_of
from initsearch.initializers.distribution import Distribution


@pytest.fixture(autouse=True)
def seed() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


LAWS = {
    "normal": (Distribution.normal(0.0, 0.02), stats.norm(0, 0.02)),
    "uniform": (Distribution.uniform(-0.3, 0.3), stats.uniform(-0.3, 0.6)),
    "truncated": (
        Distribution.truncated_normal(0.0, 0.02, -2.0, 2.0),
        stats.truncnorm(-2, 2, 0, 0.02),
    ),
    "one_sided": (
        Distribution.truncated_normal(1.0, 0.5, 0.5, 3.0),
        stats.truncnorm(0.5, 3.0, 1.0, 0.5),
    ),
}
EXACT = torch.finfo(torch.float64).eps


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("n", [1, 2, 7, 300])
def test_p_values_of_scipy_s_draws_are_not_too_small(name: str, n: int) -> None:
    law, oracle = LAWS[name]
    rng = np.random.default_rng(7)
    rounds = 600
    p_values = np.array(
        [fit(oracle.rvs(n, random_state=rng), law, EXACT).p_value for _ in range(rounds)]
    )
    for level in (0.01, 0.1):
        # The share of rounds below a level is binomial with at most that probability.
        below = int((p_values <= level).sum())
        assert stats.binomtest(below, rounds, level, alternative="greater").pvalue > 1e-4


@pytest.mark.parametrize(
    ("other", "worst"),
    [
        (stats.norm(0, 0.021), "scale"),
        (stats.norm(0.002, 0.02), "mean"),
        (stats.uniform(-0.02 * math.sqrt(3), 0.04 * math.sqrt(3)), None),
        (stats.norm(0, 0.2), None),
    ],
)
def test_other_distributions_than_the_normal_are_found(other: Any, worst: str | None) -> None:
    values = other.rvs(8000, random_state=np.random.default_rng(1))
    result = fit(values, LAWS["normal"][0], EXACT)
    assert result.p_value < 1e-6
    assert worst is None or result.worst == worst


def test_a_bound_is_found_to_one_in_n() -> None:
    values = stats.uniform(-0.299, 0.598).rvs(20_000, random_state=np.random.default_rng(1))
    assert fit(values, LAWS["uniform"][0], EXACT).p_value < 1e-9
    outside = np.append(values, 0.31)
    assert fit(outside, LAWS["uniform"][0], EXACT).worst == "support"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("limit", [0.3, 0.02])
def test_rounded_types_fit(dtype: torch.dtype, limit: float) -> None:
    drawn = torch.empty(300, 300).uniform_(-limit, limit).to(dtype)
    law = Distribution.uniform(-limit, limit)
    assert fit(entries_of(drawn), law, resolution_of(drawn)).p_value > 1e-3


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 24, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(24 * 36, 50),
        nn.ReLU(),
        nn.Linear(50, 10),
    )


FILLS: dict[str, Callable[[Tensor], object]] = {
    "he_normal": lambda w: nn.init.kaiming_normal_(w),
    "he_uniform": lambda w: nn.init.kaiming_uniform_(w, nonlinearity="relu"),
    "glorot_uniform": lambda w: nn.init.xavier_uniform_(w),
    "orthogonal": lambda w: nn.init.orthogonal_(w),
    "zeros": lambda w: nn.init.zeros_(w),
}


@pytest.mark.parametrize("name", FILLS)
def test_only_the_plan_that_torch_s_functions_carry_out_fits(name: str) -> None:
    model = network()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            FILLS[name](parameter)
        else:
            nn.init.zeros_(parameter)
    assert_init(model, name)
    for other in FILLS.keys() - {name}:
        with pytest.raises(AssertionError, match="3 of 6 parameters do not fit"):
            assert_init(model, other)


def test_a_fresh_model_fits_its_framework_s_default() -> None:
    model = nn.ModuleList(
        [network(), nn.LSTM(8, 16), nn.MultiheadAttention(16, 2), nn.Embedding(50, 16)]
    )
    assert_init(model, "torch_default")


def test_the_message_names_the_parameter_and_what_was_expected() -> None:
    model = network()
    InitPlan.from_spec("he_normal").apply(model, seed=0)
    with torch.no_grad():
        model[3].weight.mul_(1.1)
    with pytest.raises(
        AssertionError, match=r"1 of 6.*\n.*3\.weight: he_normal draws from N\(0, .*scale"
    ):
        assert_init(model, "he_normal")


def test_alarms_are_no_more_frequent_than_the_level() -> None:
    model = nn.Sequential(nn.Linear(20, 30), nn.Tanh(), nn.Linear(30, 5))
    plan = InitPlan.from_spec("he_uniform")
    alarms = 0
    for seed in range(20):
        plan.apply(model, seed=seed)
        try:
            assert_init(model, plan, false_alarm=0.5)
        except AssertionError:
            alarms += 1
    assert stats.binomtest(alarms, 20, 0.5, alternative="greater").pvalue > 1e-3


def test_copies_of_one_draw_fail() -> None:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    with pytest.raises(AssertionError, match=r"has the same values as layers\.0"):
        assert_init(model, "torch_default")


def test_a_padding_row_must_be_zero() -> None:
    model = nn.Embedding(30, 8, padding_idx=2)
    plan = {"rules": [{"weight": "torch_default"}]}
    assert_init(model, plan)
    with torch.no_grad():
        model.weight[2] = 1.0
    with pytest.raises(AssertionError, match="padding_idx"):
        assert_init(model, plan)


def test_what_a_plan_keeps_is_not_checked() -> None:
    model = network()
    nn.init.constant_(model[0].weight, 7.0)
    assert_init(
        model,
        {"rules": [{"where": {"name": "0.*"}, "weight": "keep"}, {"weight": "torch_default"}]},
    )


@pytest.mark.parametrize("name", ["identity", "sparse"])
def test_structures_are_checked(name: str) -> None:
    model = nn.Sequential(nn.Linear(40, 40), nn.Linear(40, 20))
    InitPlan.from_spec(name).apply(model, seed=0)
    assert_init(model, name)
    with torch.no_grad():
        model[1].weight[:, 0] = 0.5
    with pytest.raises(AssertionError, match=r"1\.weight"):
        assert_init(model, name)


def test_dirac_and_delta_orthogonal_are_checked() -> None:
    for name in ("dirac", "delta_orthogonal"):
        model = nn.Conv2d(8, 16, 3)
        InitPlan.from_spec(name).apply(model, seed=0)
        assert_init(model, name)
        with torch.no_grad():
            model.weight[0, 0, 0, 0] = 0.5
        with pytest.raises(AssertionError, match="structure"):
            assert_init(model, name)


def test_an_initializer_without_a_distribution_is_an_error_and_so_is_a_level_out_of_range() -> None:
    with pytest.raises(ConfigError, match=r"lsuv.*keep"):
        assert_init(nn.Linear(4, 4), "lsuv")
    with pytest.raises(ConfigError, match="false_alarm must be above 0"):
        assert_init(nn.Linear(4, 4), "he_normal", false_alarm=0)
