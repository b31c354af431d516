"""A study that is killed at random moments loses nothing; 300 kills are made by the script itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_a_few_kills_lose_nothing_and_change_no_verdict() -> None:
    script = REPOSITORY / "scripts" / "random_kills.py"
    done = subprocess.run(
        [sys.executable, str(script), "--kills", "2"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].endswith("lost 0, doubled 0, wrong 0")
