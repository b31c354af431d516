"""A damaged file of an interrupted study costs time: the study resumes to the same verdict."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from study_runs import Call, Listener, numbers, run, settings

pytestmark = pytest.mark.slow

#: A study whose training is real, and takes a second.
SMALL: dict[str, Any] = {"n_trials": 6, "search": {"seeds": 1}, "race": {"max_seeds": 3}}

DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "cut": lambda data: data[: len(data) - max(1, len(data) // 3)],
    "empty": lambda data: b"",
    "zeros": lambda data: bytes(len(data)),
    "garbage": lambda data: random.Random(0).randbytes(len(data)),
    "deleted": lambda data: None,
}


def between_rungs(call: Call) -> bool:
    return call[0] == "training" and call[1][0].endswith("to epoch 1")


def in_the_race(call: Call) -> bool:
    name, arguments = call
    return name == "measure" and any("/seed_1001" in one.key for one in arguments[1])


def interrupted(folder: Path, stop: Callable[[Call], bool]) -> list[Path]:
    """Run a study until a call; its files, relative to the folder."""
    with pytest.raises(KeyboardInterrupt):
        run(settings(folder, **SMALL), Listener(stop))
    files = [f.relative_to(folder) for f in sorted(folder.rglob("*")) if f.is_file()]
    return [file for file in files if file.suffix != ".lock"]


def damage(file: Path, kind: str) -> None:
    content = DAMAGES[kind](file.read_bytes())
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize("stop", [between_rungs, in_the_race])
@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_file_changes_no_verdict(
    tmp_path: Path, kind: str, stop: Callable[[Call], bool]
) -> None:
    truth = numbers(run(settings(tmp_path / "whole", **SMALL)))
    files = interrupted(tmp_path / "stopped", stop)
    kinds = {file.suffix for file in files}
    assert {".json", ".journal"} <= kinds
    assert (".pt" in kinds) is (stop is between_rungs) or stop is in_the_race
    for file in files:
        shutil.rmtree(tmp_path / "resumed", ignore_errors=True)
        shutil.copytree(tmp_path / "stopped", tmp_path / "resumed")
        damage(tmp_path / "resumed" / file, kind)
        resumed = run(settings(tmp_path / "resumed", **SMALL))
        assert numbers(resumed) == truth, f"{file} {kind}"


@pytest.mark.parametrize("kind", DAMAGES)
def test_all_files_damaged_at_once_change_no_verdict(tmp_path: Path, kind: str) -> None:
    truth = numbers(run(settings(tmp_path / "whole", **SMALL)))
    for file in interrupted(tmp_path / "stopped", between_rungs):
        damage(tmp_path / "stopped" / file, kind)
    assert numbers(run(settings(tmp_path / "stopped", **SMALL))) == truth


@pytest.mark.parametrize("kind", ["cut", "empty", "zeros", "garbage"])
def test_a_damaged_verdict_is_given_again(tmp_path: Path, kind: str) -> None:
    asked = settings(tmp_path, **SMALL)
    truth = numbers(run(asked))
    (file,) = tmp_path.glob("*/verdict.json")
    damage(file, kind)
    listener = Listener()
    assert numbers(run(asked, listener)) == truth
    assert any(
        "verdict.json" in text and "damaged" in text for (text,) in listener.heard("message")
    )


def test_another_study_can_use_a_journal_with_a_torn_last_line(tmp_path: Path) -> None:
    run(settings(tmp_path, **SMALL))
    journal = tmp_path / "optuna.journal"
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-7])
    listener = Listener()
    run(settings(tmp_path, **SMALL, seed=1), listener)
    assert journal.read_bytes().startswith(whole[: whole[:-7].rindex(b"\n") + 1])
    assert any("optuna.journal" in text for (text,) in listener.heard("message"))
    assert (tmp_path / "optuna.journal.damaged").read_bytes() == whole[:-7]
