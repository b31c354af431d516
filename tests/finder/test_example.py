"""The ordinary project of `scripts/` gains the search with five lines, and trains better for it."""

import csv
import json
import re
import runpy
from pathlib import Path

import pytest

from initsearch.plan import InitPlan

SCRIPT = Path(__file__).parents[2] / "scripts" / "own_module_example.py"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_the_project_finds_an_initialization_that_beats_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")  # the script sets it: put back after the test
    monkeypatch.setenv("PL_SEED_WORKERS", "0")
    accuracy = runpy.run_path(str(SCRIPT))["main"]()
    (folder,) = [file.parent for file in tmp_path.glob("outputs/*/verdict.json")]
    verdict = json.loads((folder / "verdict.json").read_text())
    assert verdict["baseline"] == "as_built"
    # Torch's default shrinks a ReLU layer's signal by sqrt(6) (He et al. 2015): twelve of them learn nothing.
    means = {one["name"]: one["mean"] for one in verdict["candidates"]}
    assert means["as_built"] < 0.15
    assert verdict["recommended"] in ("he_normal", "he_uniform")
    assert means[verdict["recommended"]] > means["as_built"] + 0.1
    assert accuracy > 0.15
    plan = InitPlan.load(folder / "winner.yaml")
    assert [rule.where.activation for rule in plan.rules] == [("relu",)]
    with (folder / "leaderboard.csv").open() as file:
        assert {row["candidate"] for row in csv.DictReader(file)} >= {"as_built", "orthogonal"}
    assert f"take {verdict['recommended']}" in " ".join(capsys.readouterr().out.split())


def test_the_search_adds_five_lines() -> None:
    marked = re.findall(r"# (\d)$", SCRIPT.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert marked == ["1", "2", "3", "4", "5"]
