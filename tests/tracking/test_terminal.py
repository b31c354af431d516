"""What the terminal shows: progress with and without a screen, and the verdict."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console
from studies import made_up_verdict

from initsearch.search.progress import Progress
from initsearch.tracking.words.terminal import SearchProgress, print_verdict


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def console(width: int = 80, *, terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)


def output(of: Console) -> str:
    assert isinstance(of.file, io.StringIO)
    return of.file.getvalue()


def test_without_a_screen_progress_is_a_line_now_and_then() -> None:
    clock, shown = Clock(), console()
    with SearchProgress(shown, every=30, clock=clock) as progress:
        progress.phase("search", total=1200)
        progress.training("he_normal and 7 more, rung 1, seed 0")
        for _ in range(10):
            clock.now += 10
            progress.advance(60)
        progress.message("a worker was started again")
    lines = output(shown).splitlines()
    assert lines[0] == "search: at most 1,200 candidate-epochs"
    # 60 in 10 s: after 30 s a sixth less than a fifth is done, and the rest takes 170 s.
    assert lines[1] == (
        "search: 15 %, 180 of 1,200 candidate-epochs, 2:50 min left, he_normal and 7 more, rung 1, seed 0"
    )
    assert [line.split(",")[0] for line in lines[1:4]] == [
        "search: 15 %",
        "search: 30 %",
        "search: 45 %",
    ]
    assert lines[4:] == ["a worker was started again"]
    assert "\x1b" not in output(shown)


def test_a_new_phase_counts_from_zero() -> None:
    clock = Clock()
    progress = SearchProgress(console(), clock=clock)
    progress.phase("search", total=10)
    clock.now += 5
    progress.advance(10)
    assert progress.seconds_left == 0
    progress.phase("race", total=8)
    assert progress.seconds_left is None
    clock.now += 6
    progress.advance(2)
    assert progress.seconds_left == pytest.approx(18)


def test_on_a_screen_there_is_a_bar_that_goes_away() -> None:
    shown = console(terminal=True)
    with SearchProgress(shown, clock=Clock()) as progress:
        progress.phase("race", total=4)
        progress.training("he_normal, " * 20)
        progress.advance(3)
        progress.message("a line that stays")
    text = output(shown)
    assert "75 %" in text
    assert "3 of 4 candidate-epochs" in text
    assert "a line that stays" in text
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert max(len(line) for line in re.split(r"[\r\n]+", plain)) <= 80
    assert text.rstrip().endswith("\x1b[2K")


def test_more_work_than_was_announced_stays_at_100_percent() -> None:
    clock, shown = Clock(), console()
    progress = SearchProgress(shown, every=0, clock=clock)
    progress.phase("search", total=3)
    clock.now += 1
    progress.advance(4)
    assert "100 %" in output(shown)
    assert progress.seconds_left == 0


def test_progress_keeps_off_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    with SearchProgress(every=0) as progress:
        shown: Progress = progress
        shown.phase("search", 2)
        shown.advance(1)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "search: 50 %" in captured.err


def test_the_verdict_stands_with_its_table_test_scores_and_commands(tmp_path: Path) -> None:
    folder = tmp_path / ("a long name " * 6).strip() / "convnet-1a2b"
    folder.mkdir(parents=True)
    (folder / "winner.yaml").write_text("rules: []\n")
    ui = f"mlflow ui --backend-store-uri 'sqlite:///{folder}/mlflow.db'"
    shown = console(width=80)
    verdict = made_up_verdict()
    print_verdict(shown, verdict, folder=folder, ui=ui)
    lines = output(shown).splitlines()
    # Whole, on one line, whatever the width: they are there to be copied.
    assert f"browse   {ui}" in lines
    assert f"files    {folder}" in lines
    assert any(f'InitCallback("{folder / "winner.yaml"}")' in line for line in lines)
    text = " ".join(line.strip("│ ") for line in lines)
    assert verdict.sentence in text
    assert "leader he_normal 96.95 %; baseline torch_default 96.31 %" in " ".join(text.split())
    assert any(line.startswith("lecun_normal") for line in lines)
    assert "in place" not in text
    assert "2:03 min (4:00 min of processor time)" in text


def test_a_data_set_that_stepped_in_is_named() -> None:
    shown = console()
    print_verdict(shown, made_up_verdict(dataset="digits"))
    assert "Trained on digits: mnist was asked for, but could not be had." in output(shown)


def test_no_plan_is_offered_where_none_was_written(tmp_path: Path) -> None:
    shown = console()
    print_verdict(shown, made_up_verdict(status="undecided"), folder=tmp_path)
    assert "winner.yaml" not in output(shown)
