"""`import initsearch` loads little."""

import subprocess
import sys

import pytest


def loaded_after(code: str) -> set[str]:
    """The top-level packages that are loaded after running the code in a fresh interpreter."""
    text = f"{code}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


HEAVY = {
    "optuna",
    "lightning",
    "pytorch_lightning",
    "hydra",
    "mlflow",
    "torchvision",
    "sklearn",
    "matplotlib",
}


def test_import_alone_loads_nothing_heavy() -> None:
    assert not loaded_after("import initsearch") & (HEAVY | {"torch", "pandas"})


def test_a_race_needs_no_torch() -> None:
    code = """
import initsearch
scores = {"a": {0: 0.9, 1: 0.91, 2: 0.9, 3: 0.92}, "b": {0: 0.1, 1: 0.11, 2: 0.12, 3: 0.1}}
decision = initsearch.race.decide(scores)
assert (decision.status, decision.leader) == ("winner", "a")
"""
    loaded = loaded_after(code)
    assert {"numpy", "scipy"} <= loaded
    assert not loaded & (HEAVY | {"torch", "pandas", "pydantic"})


@pytest.mark.slow
def test_plans_need_only_torch() -> None:
    loaded = loaded_after("import initsearch; initsearch.InitPlan.from_spec('he_normal')")
    assert "torch" in loaded
    assert not loaded & HEAVY


@pytest.mark.slow
def test_the_callback_needs_neither_optuna_hydra_nor_mlflow() -> None:
    loaded = loaded_after("import initsearch; initsearch.InitCallback('he_normal')")
    assert "lightning" in loaded
    assert not loaded & {"optuna", "hydra", "mlflow"}


@pytest.mark.slow
def test_a_verdict_is_printed_without_mlflow() -> None:
    code = """
import initsearch.search.study
from initsearch.tracking import SearchProgress, TrackerGroup, prepare_store, print_verdict, ui_command
prepare_store("out"), ui_command("out")
"""
    loaded = loaded_after(code)
    assert {"rich", "optuna"} <= loaded
    assert not loaded & {"mlflow", "matplotlib"}
