"""`import initsearch` loads little."""

import subprocess
import sys
from graphlib import CycleError, TopologicalSorter

import grimp


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


def test_plans_need_only_torch() -> None:
    loaded = loaded_after("import initsearch; initsearch.InitPlan.from_spec('he_normal')")
    assert "torch" in loaded
    assert not loaded & HEAVY


def test_the_callback_needs_neither_optuna_hydra_nor_mlflow() -> None:
    loaded = loaded_after("import initsearch; initsearch.InitCallback('he_normal')")
    assert "lightning" in loaded
    assert not loaded & {"optuna", "hydra", "mlflow"}


def test_a_verdict_is_printed_without_mlflow() -> None:
    code = """
import initsearch.search.study
from initsearch.tracking import SearchProgress, TrackerGroup, check_store, print_verdict, ui_command
check_store("out"), ui_command("out")
"""
    loaded = loaded_after(code)
    assert {"rich", "optuna"} <= loaded
    assert not loaded & {"mlflow", "matplotlib"}


def cycle_of(imports: dict[str, set[str]]) -> list[str]:
    """Modules of which each imports the next, and the last the first; empty if there are none."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_no_modules_import_each_other() -> None:
    # Imports within functions and those for type checkers count too: a reader follows them as well.
    graph = grimp.build_graph("initsearch", cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert len(imports) > 100
    assert cycle_of(imports) == []


def test_a_circle_of_imports_is_found() -> None:
    assert set(cycle_of({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})) == {"a", "b", "c"}
