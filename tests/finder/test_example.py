"""The ordinary project of `scripts/` gains the search with five lines, and trains better for it."""

import csv
import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from initsearch.plan import InitPlan

SCRIPT = Path(__file__).parents[2] / "scripts" / "own_module_example.py"
CLI = SCRIPT.with_name("cli_example.py")


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


@pytest.mark.slow
def test_a_project_with_lightning_cli_gains_the_search_by_its_configuration(tmp_path: Path) -> None:
    command = [sys.executable, str(CLI), "fit", "--config", str(CLI.with_suffix(".yaml"))]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.glob("outputs/*/verdict.json")
    verdict = json.loads(file.read_text())
    assert verdict["recommended"] in ("he_normal", "he_uniform")
    assert list(verdict["evidence"]["engines"]) == ["loop"]
    assert f"take {verdict['recommended']}" in " ".join(done.stdout.split())
    # The configuration is saved once, by the project's own fit.
    assert [file.name for file in tmp_path.rglob("config.yaml")] == ["config.yaml"]


@pytest.mark.parametrize(
    "script", [SCRIPT, CLI.with_suffix(".yaml")], ids=["in code", "by the CLI"]
)
def test_the_search_adds_five_lines(script: Path) -> None:
    marked = re.findall(r"# (\d)$", script.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert marked == ["1", "2", "3", "4", "5"]
