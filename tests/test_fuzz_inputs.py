"""Random plans, spaces and verdicts, as files and as mappings: each is read, or refused in one line."""

import runpy
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from initsearch import InitPlan

FUZZER = runpy.run_path(str(Path(__file__).resolve().parents[1] / "scripts" / "fuzz_inputs.py"))

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def quiet_optuna() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


@pytest.mark.parametrize("kind", FUZZER["KINDS"])
def test_every_input_is_read_or_refused(kind: str) -> None:
    counts, failures = FUZZER["fuzz"](kind, count=200, seed=1)
    assert failures == []
    # Neither half is empty: the inputs are not all broken in the same way.
    assert min(counts["read"], counts["refused"]) > 20


def test_the_fuzzer_reports_what_is_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(given: object) -> None:
        raise KeyError("first\nsecond")

    monkeypatch.setitem(FUZZER["KINDS"], "plan", (FUZZER["PLANS"], broken))
    counts, failures = FUZZER["fuzz"]("plan", count=3)
    assert not counts
    assert len(failures) == 3
    assert "KeyError" in failures[0]


def test_the_fuzzer_reports_a_file_that_reaches_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(path: Path) -> None:
        """As if the file named the code, and it were allowed."""
        InitPlan.from_spec("initsearch_trap.call")

    monkeypatch.setitem(FUZZER["KINDS"], "plan file", (FUZZER["PLANS"], careless))
    _, failures = FUZZER["fuzz"]("plan file", count=1)
    assert failures == ["plan file 0: the file reached Python code"]
