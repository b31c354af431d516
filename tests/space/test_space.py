"""Spaces: what Optuna sees, what is conditional, and that bad ones are told at once."""

import optuna
import pytest

from initsearch import InitPlan, Space, suggest_plan
from initsearch.errors import ConfigError

SPACE = {
    "groups": {
        "relu": {
            "where": {"activation": "relu"},
            "weight": {
                "variance_scaling": {
                    "factor": {"low": 0.5, "high": 4.0, "log": True},
                    "mode": ["fan_in", "fan_out"],
                },
                "orthogonal": {"gain": [1.0, 2.0]},
                "zeros": None,
            },
        },
        "head": {"where": {"role": "head"}, "weight": "glorot_uniform", "bias": ["zeros", "keep"]},
    },
    "lr": [0.1, 0.01],
}


def test_parameters_exist_only_where_their_scheme_is_chosen() -> None:
    space = Space.from_spec(SPACE)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    schemes = set()
    for _ in range(60):
        trial = study.ask()
        space.suggest(trial)
        scheme = trial.params["relu.scheme"]
        schemes.add(scheme)
        owned = {
            name for name in trial.params if name.startswith("relu.") and name != "relu.scheme"
        }
        assert (
            owned
            == {
                "variance_scaling": {"relu.variance_scaling.factor", "relu.variance_scaling.mode"},
                "orthogonal": {"relu.orthogonal.gain"},
                "zeros": set(),
            }[scheme]
        )
        # A scheme that stands alone is no choice, so it is no parameter.
        assert "head.scheme" not in trial.params
        assert {"head.bias", "lr"} <= set(trial.params)
        study.tell(trial, 0.0)
    assert schemes == {"variance_scaling", "orthogonal", "zeros"}


def test_a_trial_becomes_the_plan_that_its_parameters_say() -> None:
    trial = optuna.trial.FixedTrial(
        {
            "relu.scheme": "variance_scaling",
            "relu.variance_scaling.factor": 1.5,
            "relu.variance_scaling.mode": "fan_out",
            "head.bias": "keep",
            "lr": 0.01,
        }
    )
    expected = InitPlan.from_spec(
        {
            "rules": [
                {
                    "where": {"activation": "relu"},
                    "weight": {"name": "variance_scaling", "factor": 1.5, "mode": "fan_out"},
                    "bias": "zeros",
                },
                {"where": {"role": "head"}, "weight": "glorot_uniform", "bias": "keep"},
            ]
        }
    )
    assert suggest_plan(trial, SPACE) == expected


def test_a_log_range_is_one_for_optuna() -> None:
    study = optuna.create_study()
    trial = study.ask()
    Space.from_spec(
        {
            "groups": {
                "all": {"weight": {"normal": {"std": {"low": 1e-3, "high": 1.0, "log": True}}}}
            }
        }
    ).suggest(trial)
    assert trial.distributions == {
        "all.normal.std": optuna.distributions.FloatDistribution(1e-3, 1.0, log=True)
    }


def test_the_grid_is_every_trial_once_and_as_many_as_the_size_says() -> None:
    spec = {
        "groups": {
            "all": {
                "weight": {
                    "zeros": None,
                    "normal": {"std": [0.1, 1.0]},
                    "orthogonal": {"gain": {"low": 1, "high": 3}},
                }
            },
            "head": {"where": {"role": "head"}, "weight": ["zeros", "ones"]},
        },
        "lr": [0.1, 0.2],
    }
    space = Space.from_spec(spec)
    grid = list(space.grid())
    assert space.size == (1 + 2 + 3) * 2 * 2 == len(grid)
    assert len({tuple(sorted(point.items())) for point in grid}) == len(grid)
    plans = {str(space.suggest(optuna.trial.FixedTrial(point)).plan.spec()) for point in grid}
    assert len(plans) == 12


def test_the_grid_of_plans() -> None:
    space = Space.from_spec({"plans": {"he": "he_normal", "zero": "zeros"}})
    assert space.size == 2
    assert list(space.grid()) == [{"plan": "he"}, {"plan": "zero"}]


def test_another_space_has_another_key() -> None:
    other = {**SPACE, "lr": [0.1, 0.02]}
    assert Space.from_spec(SPACE).key() == Space.from_spec(SPACE).key()
    assert Space.from_spec(SPACE).key() != Space.from_spec(other).key()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "either groups or plans"),
        (
            {"groups": {"a": {"weight": "he_normal"}}, "plans": {"a": "zeros"}},
            "either groups or plans",
        ),
        ({"groups": {"a": {"weight": {}}}}, "at least one scheme"),
        ({"groups": {"a": {"weight": ["he_norml"]}}}, "he_normal"),
        ({"groups": {"a": {"weight": {"variance_scaling": {"factor": [0.0]}}}}}, "factor"),
        (
            {
                "groups": {
                    "a": {"weight": {"variance_scaling": {"factor": {"low": -1.0, "high": 1.0}}}}
                }
            },
            "factor",
        ),
        ({"groups": {"a": {"weight": {"variance_scaling": {"mode": ["fan_inn"]}}}}}, "fan_in"),
        ({"groups": {"a": {"weight": {"variance_scaling": {"factr": [1.0]}}}}}, "factr"),
        ({"groups": {"a": {"weight": {"normal": {"std": []}}}}}, "at least one choice"),
        (
            {"groups": {"a": {"weight": {"normal": {"std": {"low": 2.0, "high": 1.0}}}}}},
            "low <= high",
        ),
        (
            {"groups": {"a": {"weight": {"normal": {"std": {"low": 0, "high": 1, "log": True}}}}}},
            "low > 0",
        ),
        ({"groups": {"a": {"weight": "zeros", "wher": {}}}}, "where"),
        ({"groups": {"a": {"weight": "zeros", "where": {"rol": "head"}}}}, "role"),
        (
            {"groups": {"a": {"weight": "zeros", "where": "relu"}}},
            "where of space group 'a' must be",
        ),
        ({"groups": {"a": {"weight": "zeros"}}, "lr": 0}, "positive"),
        ({"group": {}}, "groups"),
        (5, "a space must be a mapping with groups or plans, but got 5"),
        ({"groups": 5}, "space.groups must be a mapping by name, but got 5"),
        ({"plans": ["he_normal"]}, "space.plans must be a mapping by name"),
        ({"plans": {"a": {"rules": [{"weigth": "zeros"}]}}}, "weight"),
    ],
)
def test_a_bad_space_is_told_in_one_line(spec: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        Space.from_spec(spec)
    assert "\n" not in str(raised.value)


def test_labels_name_what_varies_and_nothing_else() -> None:
    head = {"where": {"role": "head"}, "weight": "glorot_uniform"}
    spec = {
        "groups": {"relu": {"weight": {"normal": {"std": [0.1, 1.0]}, "zeros": None}}, "head": head}
    }
    point = {"relu.scheme": "normal", "relu.normal.std": 0.1}
    suggested = Space.from_spec(spec).suggest(optuna.trial.FixedTrial(point))
    assert (suggested.scheme, suggested.label) == ("normal", "normal(std=0.1)")
    spec["groups"]["head"] = {**head, "weight": ["glorot_uniform", "zeros"]}
    both = Space.from_spec(spec).suggest(optuna.trial.FixedTrial({**point, "head.scheme": "zeros"}))
    assert (both.scheme, both.label) == (
        "relu:normal head:zeros",
        "relu:normal(std=0.1) head:zeros",
    )


def test_a_range_of_one_value_asks_nothing_of_a_trial() -> None:
    weight = {"variance_scaling": {"factor": {"low": 3.0, "high": 3.0, "log": True}}}
    space = Space.from_spec({"groups": {"a": {"weight": weight}}, "lr": {"low": 0.1, "high": 0.1}})
    suggestion = space.suggest(optuna.trial.FixedTrial({}))
    assert suggestion.plan.spec()["rules"][0]["weight"]["factor"] == 3.0
    assert suggestion.lr == 0.1
    assert space.size == 1
