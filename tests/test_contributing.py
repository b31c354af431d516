"""CONTRIBUTING.md is correct: its floors are those of the import contract, and the files it names exist."""

import re
import runpy
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
CONTRIBUTING = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
CONTRACTS = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
    "importlinter"
]["contracts"]
SCRIPT = runpy.run_path(str(REPOSITORY / "scripts" / "draw_floors.py"))
#: The rooms of each floor of the contract, the ground floor first.
FLOORS = [{room.name for room in floor} for floor in SCRIPT["floors"]()]


def test_the_table_has_the_floors_of_the_contract() -> None:
    table = [set[str]() for _ in FLOORS]
    for number, rooms in re.findall(r"^\| (\d+) \| (.+?) \|", CONTRIBUTING, flags=re.MULTILINE):
        table[int(number)] |= set(re.findall(r"`(\w+/?)`", rooms))
    assert table == FLOORS


def test_every_module_stands_on_a_floor() -> None:
    package = REPOSITORY / "initsearch"
    packages = {f"{init.parent.name}/" for init in package.glob("*/__init__.py")}
    modules = {file.stem for file in package.glob("*.py")} - {"__init__", "__main__"}
    assert set().union(*FLOORS) == packages | modules


def test_a_library_that_few_rooms_may_import_is_forbidden_in_all_others() -> None:
    rooms = {name.strip("/") for floor in FLOORS for name in floor}
    (mlflow, hydra) = (
        {source.removeprefix("initsearch.") for source in contract["source_modules"]}
        for library in ("mlflow", "hydra")
        for contract in CONTRACTS
        if contract["name"].startswith("Only") and library in contract["forbidden_modules"]
    )
    assert rooms - mlflow == {"tracking"}
    assert rooms - hydra == {name.strip("/") for name in FLOORS[-1]}


def test_the_files_that_it_names_exist() -> None:
    links = re.findall(r"!\[[^]]*\]\(([^)]+)\)", CONTRIBUTING)
    files = re.findall(r"`((?:initsearch|tests|scripts|conf|\.ci)/[\w/.]*)`", CONTRIBUTING)
    assert len(files) > 15
    for path in {*links, *files}:
        assert (REPOSITORY / path).exists(), path


def test_every_benchmark_is_listed() -> None:
    listed = set(re.findall(r"scripts/(benchmark_\w+\.py)", CONTRIBUTING))
    assert listed == {path.name for path in (REPOSITORY / "scripts").glob("benchmark_*.py")}
