"""The script that counts false winners, as it is called."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "simulate_race.py"

pytestmark = pytest.mark.slow


def rates(*options: str) -> dict[str, float]:
    """The rate of false winners by rule, in percent."""
    command = [sys.executable, str(SCRIPT), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    head, *rows = done.stdout.splitlines()
    assert head.split()[:2] == ["case", "rule"]
    return {
        rule: float(row.split(rule)[1].split()[0])
        for row in rows
        for rule in ("old", "new")
        if f" {rule} " in row
    }


def test_the_script_compares_the_rules_on_the_same_races() -> None:
    found = rates("--races", "150", "--case", "one skewed 8:1")
    assert found["old"] > 8.0
    assert found["new"] < 0.7 * found["old"]
