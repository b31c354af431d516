"""The page on verdicts names settings, fields and figures that exist."""

import dataclasses
import re
from pathlib import Path

import pytest

from initsearch.race.failures import failure_bound
from initsearch.search.settings import RaceSettings
from initsearch.search.verdict import Verdict

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = (REPOSITORY / "docs" / "verdict.md").read_text(encoding="utf-8")


def test_the_settings_that_it_names_exist() -> None:
    named = set(re.findall(r"`race\.(\w+)`", PAGE))
    assert {"margin", "alpha", "boundary", "max_seeds", "looks", "futility"} <= named
    assert named <= set(RaceSettings.model_fields)


@pytest.mark.parametrize(
    "name", ["against_baseline", "status", "winner", "recommended", "tie_set", "regret"]
)
def test_the_fields_that_it_names_are_in_the_verdict(name: str) -> None:
    assert f"`{name}`" in PAGE
    assert name in {field.name for field in dataclasses.fields(Verdict)}


def test_its_example_of_a_failure_rate_is_right() -> None:
    assert f"none of 12 is compatible with up to {100 * failure_bound(0, 12):.0f} %" in PAGE


def test_the_readme_links_to_it() -> None:
    assert "](docs/verdict.md)" in (REPOSITORY / "README.md").read_text(encoding="utf-8")
