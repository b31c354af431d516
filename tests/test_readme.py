"""What the README says is so."""

import re
import subprocess
import sys
from pathlib import Path

import yaml

from initsearch import InitPlan, Space
from initsearch.config import shipped_sweeps
from initsearch.initializers import catalogue_table

REPOSITORY = Path(__file__).resolve().parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_table_of_initializers_is_the_registry() -> None:
    assert catalogue_table().strip() in README, "run scripts/write_readme_table.py"
    # In a fresh interpreter: other tests register initializers of their own.
    command = "import initsearch; print(*initsearch.list_initializers())"
    names = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, check=True
    )
    for name in names.stdout.split():
        assert f"`{name}`" in README


def test_every_shipped_sweep_is_listed_and_every_listed_one_is_shipped() -> None:
    table = README.partition("| `+sweep=` |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", table)) == set(shipped_sweeps())


def test_the_plan_file_and_the_sweep_shown_are_valid() -> None:
    plan, sweep = (yaml.safe_load(block) for block in blocks("yaml"))
    assert len(InitPlan.from_spec(plan).rules) == 2
    assert len(Space.from_spec(sweep["space"]).groups) == 2


def test_the_pictures_and_scripts_it_names_are_there() -> None:
    for path in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README):
        assert (REPOSITORY / path).is_file()
    for path in set(re.findall(r"scripts/\w+\.py", README)):
        assert (REPOSITORY / path).is_file()
