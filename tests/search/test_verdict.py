"""The verdict: written, read back, and never contradicting itself."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from initsearch.errors import ConfigError
from initsearch.search.verdict import Standing, Verdict


def standing(name: str = "he_normal", **changes: Any) -> Standing:
    plain: dict[str, Any] = {
        "name": name,
        "scheme": "he",
        "plan": {"rules": [{"where": {"activation": "relu"}, "weight": {"name": "he_normal"}}]},
        "lr": 0.1,
        "mean": 0.97,
        "std": 0.004,
        "ci_low": 0.965,
        "ci_high": 0.975,
        "scores": {11: 0.972, 12: math.nan},
        "gap_to_leader": 0.0,
        "p_value": None,
        "diverged": 1,
        "n_seeds": 2,
        "dropped_at": None,
    }
    return Standing(**{**plain, **changes})


def verdict(**changes: Any) -> Verdict:
    plain: dict[str, Any] = {
        "status": "winner",
        "winner": "he_normal",
        "baseline": "torch_default",
        "architecture": "convnet",
        "dataset": "digits",
        "requested_dataset": "mnist",
        "metric": "val_accuracy",
        "higher_is_better": True,
        "alpha": 0.05,
        "margin": 0.1,
        "n_seeds": 2,
        "candidates": (standing(), standing("torch_default", p_value=0.003, dropped_at=4)),
        "tie_set": ("he_normal",),
        "sentence": "he_normal beats every other scheme – by 2 points",
        "test": {"winner": {"accuracy": 0.98}, "baseline": {"accuracy": 0.96}},
        "evidence": {"looks": [{"look": 4, "p": 0.01}], "correlation": None},
        "wall_seconds": 12.5,
        "cpu_seconds": 23.0,
        "versions": {"torch": "2.9"},
    }
    return Verdict(**{**plain, **changes})


def same(a: Any, b: Any) -> bool:
    """Equality in which NaN equals NaN, through mappings and sequences."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple) and type(a) is type(b):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b or (isinstance(a, float) and isinstance(b, float) and a != a and b != b)


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    before = verdict()
    path = tmp_path / "study" / "verdict.json"
    before.save(path)
    after = Verdict.load(path)
    assert same(dataclasses.asdict(before), dataclasses.asdict(after))
    assert [p.name for p in path.parent.iterdir()] == ["verdict.json"]


def test_the_file_has_the_documented_names_and_no_nan(tmp_path: Path) -> None:
    path = tmp_path / "verdict.json"
    verdict(evidence={"power": math.inf, "gaps": np.array([1.0, np.nan])}).save(path)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    plain = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    assert set(plain) >= {
        *("status", "winner", "baseline", "architecture", "dataset", "metric", "alpha", "margin"),
        *("n_seeds", "candidates", "test", "wall_seconds", "cpu_seconds", "versions"),
    }
    assert set(plain["candidates"][0]) >= {
        *("name", "scheme", "plan", "mean", "std", "ci_low", "ci_high", "scores"),
        *("gap_to_leader", "p_value", "diverged"),
    }
    assert plain["candidates"][0]["scores"] == {"11": 0.972, "12": None}
    assert plain["evidence"] == {"power": None, "gaps": [1.0, None]}
    assert "–" in path.read_text(encoding="utf-8")


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "verdict.json"
    verdict(sentence="the first").save(path)
    with pytest.raises(TypeError):
        verdict(sentence="the second", evidence={"no": object()}).save(path)
    assert Verdict.load(path).sentence == "the first"
    assert [p.name for p in tmp_path.iterdir()] == ["verdict.json"]


def test_fields_of_a_later_version_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "verdict.json"
    plain = verdict().to_json()
    plain["candidates"][0]["mood"] = "good"
    path.write_text(json.dumps({**plain, "weather": "fine"}), encoding="utf-8")
    assert Verdict.load(path).winner == "he_normal"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot read"),
        ("[]", "holds no list of candidates"),
        ('{"status": "tie"}', "holds no list of candidates"),
        ('{"candidates": ["he"]}', "must be a mapping"),
        ('{"candidates": [{"name": "he"}]}', "lacks scheme"),
        ('{"candidates": []}', "lacks status, winner"),
    ],
)
def test_a_foreign_file_is_one_line_of_error(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "verdict.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message) as error:
        Verdict.load(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("broken", [{"scores": [1, 2]}, {"mean": {}}, {"scores": {"1": "x"}}])
def test_a_value_of_the_wrong_kind_is_one_line_of_error(
    tmp_path: Path, broken: dict[str, Any]
) -> None:
    path = tmp_path / "verdict.json"
    plain = verdict().to_json()
    plain["candidates"][0].update(broken)
    path.write_text(json.dumps(plain), encoding="utf-8")
    with pytest.raises(ConfigError, match="is no verdict file") as error:
        Verdict.load(path)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_one_line_of_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the verdict file"):
        Verdict.load(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"status": "champion"}, "must be one of winner, tie, undecided"),
        ({"status": "tie"}, "exactly when its status is 'winner'"),
        ({"winner": None}, "exactly when its status is 'winner'"),
        ({"winner": "lecun"}, "one of its candidates"),
    ],
)
def test_status_and_winner_never_contradict(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        verdict(**changes)
