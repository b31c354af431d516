"""The verdict: written, read back, and never contradicting itself."""

import dataclasses
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from initsearch.errors import ConfigError
from initsearch.race import BaselineGap, Decision, Race, RaceRules
from initsearch.search.verdict import (
    BaselineAnswer,
    Evidence,
    HeldOutScore,
    ImageCounts,
    SearchRow,
    Speed,
    Standing,
    Verdict,
)


def decided() -> Decision:
    """A race in which a candidate diverged once."""
    race = Race(["he_normal", "torch_default"], RaceRules(looks=(3,), max_seeds=3, margin=0.5))
    for seed, other in enumerate((0.5, math.nan, 0.7)):
        race.add_block(seed, {"he_normal": 0.9, "torch_default": other})
    return race.decide()


EVIDENCE = Evidence(
    request="12ab",
    race_request="34cd",
    images=ImageCounts(train=128, validation=64, test=300),
    alphas=(0.05, 0.05),
    races={"56ef": 0.05, "78ab": 0.05},
    # A gap of any size can hide behind two seeds: JSON has no infinity.
    looks=(replace(decided(), detectable_gap=math.nan, correlation=None),),
    rank_agreement={0.25: 0.4, 1 / 3: None, 2.0: -0.3},
    initial_loss={"he_normal": (2.3, 2.4)},
    final_val_loss={"he_normal": math.nan},
    search=(
        SearchRow(0, "he_normal", "he", "complete", "", 2.0, 0.97, {1.0: 0.9, 2.0: 0.97}, True),
        SearchRow(
            1, "zeros", "zeros", "diverged", "at step 3", 1.0, math.nan, {1.0: math.nan}, False
        ),
    ),
)


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
        "speed": Speed(0.4, 0.35, math.nan),
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
        "test": {
            "winner": HeldOutScore("he_normal", 0.98, {11: 0.98}),
            "baseline": HeldOutScore("torch_default", math.nan),
        },
        "evidence": EVIDENCE,
        "wall_seconds": 12.5,
        "cpu_seconds": 23.0,
        "versions": {"torch": "2.9"},
        "recommended": "he_normal",
        "against_baseline": BaselineAnswer(
            "beaten", ("he_normal",), (BaselineGap("he_normal", 2, 0.02, 0.01, 0.03, 0.003, True),)
        ),
        "regret": 0.0,
    }
    return Verdict(**{**plain, **changes})


def same(a: Any, b: Any) -> bool:
    """Equality in which NaN equals NaN, through dataclasses, mappings and sequences."""
    if dataclasses.is_dataclass(a) and type(a) is type(b):
        return same(vars(a), vars(b))
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
    assert same(before, after)
    assert [p.name for p in path.parent.iterdir()] == ["verdict.json"]


def test_the_file_has_the_documented_names_and_no_nan(tmp_path: Path) -> None:
    path = tmp_path / "verdict.json"
    odd = {"he_normal": np.array([1.0, np.nan])}
    verdict(evidence=replace(EVIDENCE, initial_loss=odd), cpu_seconds=math.inf).save(path)

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
    assert plain["evidence"]["initial_loss"] == {"he_normal": [1.0, None]}
    assert plain["cpu_seconds"] is None
    assert plain["evidence"]["rank_agreement"] == {"0.25": 0.4, str(1 / 3): None, "2": -0.3}
    assert plain["evidence"]["search"][1]["scores"] == {"1": None}
    assert plain["evidence"]["images"] == {"train": 128, "validation": 64, "test": 300}
    assert plain["test"]["baseline"] == {
        "name": "torch_default",
        "metric": "test_accuracy",
        "test_accuracy": None,
        "by_seed": {},
        **dict.fromkeys(("gap", "gap_low", "gap_high")),
    }
    assert plain["recommended"] == "he_normal"
    assert plain["against_baseline"]["status"] == "beaten"
    assert plain["against_baseline"]["gaps"][0]["low"] == 0.01
    assert "–" in path.read_text(encoding="utf-8")


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "verdict.json"
    verdict(sentence="the first").save(path)
    with pytest.raises(TypeError):
        verdict(sentence="the second", versions={"no": object()}).save(path)
    assert Verdict.load(path).sentence == "the first"
    assert [p.name for p in tmp_path.iterdir()] == ["verdict.json"]


def test_fields_of_a_later_version_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "verdict.json"
    plain = verdict().to_json()
    plain["candidates"][0]["mood"] = "good"
    path.write_text(json.dumps({**plain, "weather": "fine"}), encoding="utf-8")
    assert Verdict.load(path).winner == "he_normal"


def test_a_file_of_an_earlier_version_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "verdict.json"
    plain = verdict().to_json()
    for key in ("recommended", "against_baseline", "regret"):
        del plain[key]
    for key in ("gap_low", "gap_high", "p_adjusted", "failure_bound", "speed"):
        for candidate in plain["candidates"]:
            del candidate[key]
    path.write_text(json.dumps(plain), encoding="utf-8")
    read = Verdict.load(path)
    assert (read.recommended, read.against_baseline, read.regret) == (None, None, None)


def test_a_verdict_without_evidence_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "verdict.json"
    path.write_text(json.dumps(verdict().to_json() | {"evidence": {}}), encoding="utf-8")
    assert Verdict.load(path).evidence == Evidence()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "line 1 column 1"),
        ("{", "line 1 column 2"),
        ("\0\0\0", "line 1 column 1"),
        ("[]", "its content"),
        ('{"candidates": []}', "status: Field required"),
    ],
)
def test_a_damaged_file_is_one_line_of_error_with_the_remedy(
    tmp_path: Path, text: str, problem: str
) -> None:
    path = tmp_path / "verdict.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=problem) as error:
        Verdict.load(path)
    check_message(str(error.value), path)


def check_message(message: str, path: Path) -> None:
    assert "\n" not in message
    assert str(path) in message
    assert "delete it" in message
    assert "kept trainings" in message


@pytest.mark.parametrize(
    ("place", "broken"),
    [
        ("candidates.0", "he_normal"),
        ("candidates.0.scores", [1, 2]),
        ("candidates.0.mean", {}),
        ("candidates.0.scores", {"1": "x"}),
        ("candidates.0.scores", {"x": 1.0}),
        ("test.winner", 0.97),
        ("evidence.looks.0.comparisons", "none"),
        ("evidence.search.0.status", "lost"),
        ("status", "champion"),
        ("winner", "somebody"),
    ],
)
def test_a_value_of_the_wrong_kind_is_one_line_of_error_with_the_remedy(
    tmp_path: Path, place: str, broken: Any
) -> None:
    path = tmp_path / "verdict.json"
    plain = verdict().to_json()
    *above, last = (int(part) if part.isdecimal() else part for part in place.split("."))
    entry: Any = plain
    for part in above:
        entry = entry[part]
    entry[last] = broken
    path.write_text(json.dumps(plain), encoding="utf-8")
    with pytest.raises(ConfigError, match=re.escape(str(last))) as error:
        Verdict.load(path)
    check_message(str(error.value), path)


def test_a_missing_file_is_one_line_of_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the verdict file"):
        Verdict.load(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"status": "champion"}, "must be one of winner, tie, undecided"),
        ({"status": "tie"}, "exactly when its status is 'winner'"),
        ({"winner": None}, "exactly when its status is 'winner'"),
        ({"winner": "lecun"}, "winner must be one of its candidates"),
        ({"recommended": "lecun"}, "recommended must be one of its candidates"),
    ],
)
def test_status_and_winner_never_contradict(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        verdict(**changes)
