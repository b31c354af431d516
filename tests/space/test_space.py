"""Spaces: what Optuna sees, what is conditional, and which ones are refused."""

from pathlib import Path

import optuna
import pytest
import yaml

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
        # A single scheme is no choice, and so no parameter.
        assert "head.scheme" not in trial.params
        assert {"head.bias", "lr"} <= set(trial.params)
        study.tell(trial, 0.0)
    assert schemes == {"variance_scaling", "orthogonal", "zeros"}


def test_a_trial_s_parameters_give_its_plan() -> None:
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
        ({"groups": {"a": {"weight": "zeros"}}, "lr": 0}, "space.lr must be > 0, but got 0"),
        ({"group": {}}, "groups"),
        (5, "a space must be a mapping, but got 5: .*groups"),
        ({"groups": 5}, "space.groups must be a mapping, but got 5"),
        ({"plans": ["he_normal"]}, "space.plans must be a mapping, but got"),
        ({"groups": {1: {"weight": "zeros"}}}, "a name in space.groups must be text, but got 1"),
        ({"plans": {None: "zeros"}}, "a name in space.plans must be text, but got None"),
        ({"plans": {" ": "zeros"}}, "without control characters, but got ' '"),
        ({"plans": {"a\x1b[31m": "zeros"}}, "without control characters"),
        ({"groups": {"a": {"weight": [None]}}}, "must be the name of an initializer, but got None"),
        (
            {"groups": {"a": {"weight": [{"he_normal": None}]}}},
            "must be the name of an initializer",
        ),
        ({"groups": {"a": {"weight": {"keep": {"std": [1]}}}}}, "'keep' has no tunables"),
        ({"groups": {"a": {"weight": {"normal": 5}}}}, "'normal' must be a mapping, but got 5"),
        ({"groups": {"a": {"weight": {"normal": {"std": [{"low": 1}]}}}}}, "names or numbers"),
        ({"groups": {"a": {"weight": {"normal": {"std": b"ab"}}}}}, "names or numbers"),
        ({"groups": {"a": {"weight": "zeros"}}, "lr": [0.1, 10**400]}, "space.lr must be > 0"),
        (
            {"groups": {"a": {"weight": "zeros"}}, "lr": {"low": 0.1, "high": 10**400}},
            "high must be",
        ),
        ({"groups": {"a": {"weight": "zeros"}}, "lr": {"low": 1, "high": 10**300}}, "write floats"),
        (
            {"groups": {"a": {"weight": "zeros"}}, "lr": {"low": 1, "high": 2, "log": "yes"}},
            "log must",
        ),
        ({"groups": {"a": {"weight": "zeros"}}, "default": "zeros"}, "default must be a mapping"),
        ({"plans": {"a": {"rules": [{"weigth": "zeros"}]}}}, "weight"),
    ],
)
def test_a_bad_space_is_refused_in_one_line(spec: dict, message: str) -> None:
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


def in_file(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "space.yaml"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "content",
    [yaml.safe_dump(spec, sort_keys=False) for spec in (SPACE, {"space": SPACE, "seed": 0})],
)
def test_a_file_holds_a_space_or_a_sweep(tmp_path: Path, content: str) -> None:
    path = in_file(tmp_path, content.encode())
    assert Space.from_spec(path) == Space.from_spec(str(path)) == Space.from_spec(SPACE)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"groups: !!timestamp x", "is not YAML"),
        (b"[" * 500, "nested too deeply"),
        (b"groups: \xff", "UTF-8"),
        (b"- groups", "must be a mapping, but got"),
        (b"plans: {on: zeros}", "must be text, but got True: write it in quotes"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        Space.from_spec(in_file(tmp_path, content))
    assert "space.yaml" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "space",
    [
        {"groups": {"all": {"weight": ["torch.nn.init.zeros_"]}}},
        {"groups": {"all": {"weight": "zeros", "bias": "torch.nn.init.zeros_"}}},
        {"plans": {"mine": "torch.nn.init.zeros_"}},
    ],
)
def test_a_file_names_code_only_if_that_is_allowed(tmp_path: Path, space: dict) -> None:
    path = in_file(tmp_path, yaml.safe_dump(space).encode())
    with pytest.raises(ConfigError, match="allow_code"):
        Space.from_spec(path)
    allowed = Space.from_spec(path, allow_code=("torch.nn.init",))
    assert allowed.key() == Space.from_spec(space).key()
    trial = optuna.create_study().ask()
    with pytest.raises(ConfigError, match="allow_code"):
        suggest_plan(trial, path)
    assert suggest_plan(trial, path, allow_code=("torch.nn.init",)) == suggest_plan(trial, space)


def test_a_plan_file_in_a_space_names_code_only_if_that_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    InitPlan.from_spec("torch.nn.init.zeros_").save(path)
    space = {"plans": {"mine": str(path)}}
    with pytest.raises(ConfigError, match=r"space plan 'mine'.*allow_code"):
        Space.from_spec(space)
    assert Space.from_spec(space, allow_code=("torch.nn.init.zeros_",)).size == 1


def one_group(*schemes: str) -> dict:
    return {"groups": {"all": {"weight": list(schemes)}}}


def test_a_stored_study_with_other_choices_is_refused_in_one_line(tmp_path: Path) -> None:
    # Optuna keeps the choices of a parameter for the whole study.
    storage = f"sqlite:///{tmp_path}/study.db"

    def run(space: dict, name: str) -> list[str]:
        study = optuna.create_study(storage=storage, study_name=name, load_if_exists=True)
        study.optimize(lambda trial: len(str(suggest_plan(trial, space).spec())), n_trials=2)
        return [trial.params["all.scheme"] for trial in study.trials if trial.values]

    assert len(run(one_group("he_normal", "zeros"), "first")) == 2
    with pytest.raises(ConfigError, match=r"all\.scheme: .*another study_name") as raised:
        run(one_group("he_normal", "zeros", "orthogonal"), "first")
    assert "\n" not in str(raised.value)
    assert len(run(one_group("he_normal", "zeros"), "first")) == 4
    assert len(run(one_group("he_normal", "zeros", "orthogonal"), "second")) == 2


def test_a_fixed_trial_without_the_value_is_refused_in_one_line() -> None:
    trial = optuna.trial.FixedTrial({})
    with pytest.raises(ConfigError, match=r"all\.scheme: .*give the trial a value") as raised:
        suggest_plan(trial, one_group("he_normal", "zeros"))
    assert "\n" not in str(raised.value)


BIASES = {
    "groups": {
        "all": {
            "weight": ["he_normal", "orthogonal"],
            "bias": {
                "constant": {"value": {"low": -5.0, "high": 0.5}},
                "normal": {"std": [0.01, 0.1], "mean": 0.25},
                "zeros": None,
            },
        }
    }
}


def test_a_bias_takes_all_that_a_weight_takes() -> None:
    space = Space.from_spec(BIASES)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = set()
    for _ in range(40):
        trial = study.ask()
        suggestion = space.suggest(trial)
        scheme = trial.params["all.bias"]
        seen.add(scheme)
        owned = {name for name in trial.params if name.startswith("all.bias.")}
        assert owned == {
            "constant": {"all.bias.constant.value"},
            "normal": {"all.bias.normal.std"},
        }.get(scheme, set())
        bias = suggestion.plan.spec()["rules"][0]["bias"]
        if scheme == "normal":
            std = trial.params["all.bias.normal.std"]
            assert bias == {"name": "normal", "std": std, "mean": 0.25}
            assert f"std={std:g}" in suggestion.label
        assert suggest_plan(optuna.trial.FixedTrial(trial.params), BIASES) == suggestion.plan
        study.tell(trial, 0.0)
    assert seen == {"constant", "normal", "zeros"}
    assert space.size == float("inf")


def test_the_grid_has_each_bias_with_its_own_tunables() -> None:
    spec = {"weight": ["zeros", "ones"], "bias": {"constant": {"value": [1.0, 2.0]}, "zeros": None}}
    space = Space.from_spec({"groups": {"all": spec}})
    trials = list(space.grid())
    assert len(trials) == space.size == 6
    plans = [
        suggest_plan(optuna.trial.FixedTrial(each), space).spec()["rules"][0] for each in trials
    ]
    assert len({str(plan) for plan in plans}) == 6
    assert {str(plan["bias"]) for plan in plans} == {
        "zeros",
        "ones",
        str({"name": "constant", "value": 2.0}),
    }


def test_one_bias_scheme_may_have_tunables_too() -> None:
    spec = {"weight": "he_normal", "bias": {"uniform": {"limit": [0.1, 0.2]}}}
    space = Space.from_spec({"groups": {"all": spec}})
    assert list(space.grid()) == [{"all.bias.uniform.limit": limit} for limit in (0.1, 0.2)]
    assert (
        "limit=0.1" in space.suggest(optuna.trial.FixedTrial({"all.bias.uniform.limit": 0.1})).label
    )


@pytest.mark.parametrize(
    ("bias", "message"),
    [
        ({}, "at least one scheme under bias"),
        ({"constant": {"valeu": 1.0}}, "value"),
        ({"normal": {"std": [-1.0]}}, "std"),
        ({"he_norml": None}, "he_normal"),
        ({"keep": {"value": 1.0}}, "no tunables"),
    ],
)
def test_a_bad_bias_is_refused_before_any_training(bias: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Space.from_spec({"groups": {"all": {"weight": "he_normal", "bias": bias}}})
