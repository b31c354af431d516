"""The script that counts false winners: it decides as a race does."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from initsearch.race import RaceRules

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "simulate_race.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("simulate_race", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["simulate_race"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("case", "rules"),
    [
        ("two tied at the top", RaceRules(futility=0.0)),
        ("collapse 10 %", RaceRules(futility=0.0)),
        ("lead of 2 sd, five", RaceRules(futility=0.0, max_seeds=6, boundary="moderated")),
        ("all dead but one", RaceRules(futility=0.0, max_seeds=6, diverged_score=0.1)),
    ],
)
def test_races_weighed_at_once_are_decided_as_single_ones(
    script: ModuleType, case: str, rules: RaceRules
) -> None:
    made_up, rng = script.CASES[case], np.random.default_rng(0)
    means = np.array(made_up.means)[:, None]
    scores = [means + script.SD * made_up.noise(rng, rules.max_seeds) for _ in range(6)]
    together = script.race_all(np.array(scores), rules)
    assert together == [script.race(one, rules) for one in scores]
