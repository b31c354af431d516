"""What the terminal shows: progress with and without a screen, and the verdict."""

import io
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from studies import made_up_verdict

from initsearch import InitCallback, InitPlan
from initsearch.search.tracker import Progress
from initsearch.search.verdict import HeldOutScore, Speed
from initsearch.tracking.words.progress_bar import SearchProgress
from initsearch.tracking.words.summary import note
from initsearch.tracking.words.terminal import print_verdict


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


def test_without_a_terminal_progress_is_a_line_from_time_to_time() -> None:
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
    # 180 in 30 s: the other 1,020 take 170 s.
    assert lines[1] == (
        "search: 15 %, 180 of 1,200 candidate-epochs, at most 2:50 min left, "
        "he_normal and 7 more, rung 1, seed 0"
    )
    assert [line.split(",")[0] for line in lines[1:4]] == [
        "search: 15 %",
        "search: 30 %",
        "search: 45 %",
    ]
    assert lines[4:] == ["a worker was started again"]
    assert "\x1b" not in output(shown)


def test_the_time_left_is_that_of_all_phases_together() -> None:
    clock = Clock()
    progress = SearchProgress(console(), clock=clock)
    progress.plan({"search": 10, "race": 40, "test": 2})
    progress.phase("search", total=10)
    assert progress.seconds_left is None
    clock.now += 5
    progress.advance(5)
    assert progress.seconds_left == pytest.approx(5 + 40 + 2)
    progress.skip(3)  # dropped: there is less to do, at the same pace
    assert progress.seconds_left == pytest.approx(2 + 40 + 2)
    # The search ends with 2 undone; fewer candidates than planned enter the race.
    progress.phase("race", total=20)
    assert progress.seconds_left == pytest.approx(20 + 2)
    clock.now += 20
    progress.advance(20)
    progress.phase("test", total=1)
    assert progress.seconds_left == pytest.approx(1)
    progress.advance(1)
    assert progress.seconds_left == 0


def test_results_that_are_kept_do_not_quicken_the_pace() -> None:
    clock = Clock()
    progress = SearchProgress(console(), clock=clock)
    progress.plan({"search": 100, "race": 100})
    progress.phase("search", total=100)
    clock.now += 1
    progress.skip(90)  # a resumed study finds them on disk at once
    assert progress.seconds_left is None
    clock.now += 9
    progress.advance(5)
    assert progress.seconds_left == pytest.approx(105 * 10 / 5)


def test_in_a_terminal_there_is_a_bar_that_goes_away() -> None:
    shown = console(terminal=True)
    with SearchProgress(shown, clock=Clock()) as progress:
        progress.plan({"search": 4, "race": 4})
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


def test_no_name_moves_the_cursor_or_is_taken_for_markup() -> None:
    for terminal in (False, True):
        shown, clock = console(terminal=terminal), Clock()
        with SearchProgress(shown, every=0, clock=clock) as progress:
            progress.phase("search", total=4)
            progress.training("[red]x\x1b[2J\r\u202e")
            clock.now += 1
            progress.advance(1)
            progress.message("no [b]y\x07")
        text = output(shown)
        assert r"[red]x\x1b[2J\r\u202e" in text
        assert r"no [b]y\x07" in text
        assert not set("\x07\u202e") & set(text)
        assert "\x1b[2J" not in text


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


def test_the_call_that_applies_the_winner_allows_the_code_that_it_names(tmp_path: Path) -> None:
    plan = InitPlan.from_spec(
        {
            "rules": [
                {"where": {"name": "stem.*"}, "weight": "torch.nn.init.zeros_", "bias": "zeros"},
                {"weight": {"name": "edge_of_chaos", "activation": "torch.nn.SiLU"}},
            ]
        }
    )
    verdict = made_up_verdict({"mine": 0.97, "torch_default": 0.96})
    mine, default = verdict.candidates
    verdict = replace(verdict, candidates=(replace(mine, plan=plan.spec()), default))
    plan.save(tmp_path / "winner.yaml")
    shown = console(300)
    print_verdict(shown, verdict, folder=tmp_path)
    (line,) = (text for text in output(shown).splitlines() if text.startswith("use it"))
    call = re.fullmatch(r"use it +Trainer\(callbacks=\[(.*)\]\)", line)
    assert call is not None
    assert "allow_code=['torch.nn.SiLU', 'torch.nn.init.zeros_']" in call[1]
    eval(call[1], {"InitCallback": InitCallback})
    assert call[1].replace(str(tmp_path / "winner.yaml"), "winner.yaml") in note(verdict, "study")


def test_a_long_name_is_broken_between_its_words_and_a_percentage_is_not_broken() -> None:
    name = "a_long_name_of_a_baseline_with_many_words_and_without_any_space_between_them"
    verdict = made_up_verdict({name: 0.97, "torch_default": 0.96}, status="undecided")
    for width in range(80, 111, 5):
        shown = console(width)
        print_verdict(shown, verdict)
        for line in output(shown).splitlines():
            text = line.strip("│ ")
            assert not text.startswith("%")
            # The words of the name end in _, or are its last one.
            for part in re.findall(r"a_long[a-z_]*$|^[a-z_]+them", text):
                assert part.endswith(("_", "them"))
                assert part.split("_")[0] in name.split("_")


def test_the_test_line_has_the_paired_gap_to_the_baseline_with_its_interval() -> None:
    shown, verdict = console(200), made_up_verdict()
    test = {"winner": HeldOutScore("he_normal", 0.9695, {}, 0.0064, 0.0051, 0.0078)}
    print_verdict(shown, replace(verdict, test=test | {"baseline": verdict.test["baseline"]}))
    line = "winner he_normal 96.95 % (+0.64 points to torch_default, 95 % interval 0.51…0.78); baseline"
    assert line in output(shown)


def test_the_terminal_says_whether_the_default_is_beaten_what_to_take_and_the_bounds() -> None:
    shown = console(300)
    print_verdict(shown, made_up_verdict(status="tie", diverged=("zeros",)))
    lines = dict(
        line.split(maxsplit=1) for line in output(shown).splitlines() if len(line.split()) > 1
    )
    assert lines["default"].startswith(
        "torch_default is beaten by he_normal +0.56 points [0.44…0.68], "
    )
    assert "95 % for all 8 together, over all looks" in lines["default"]
    # The bound of 0.123 points is rounded up.
    assert "no other of the 9 raced is better by more than 0.13 points" in lines["take"]
    assert lines["failures"].startswith(
        "he_normal diverged on 0 of 8 (up to 31 %), zeros diverged on 2 of 4"
    )


@pytest.mark.parametrize(
    ("speeds", "text"),
    [
        ({"a": (0.4, 0.35, 0.52), "b": (0.2, 0.1, 0.3)}, "a reaches the final validation accuracy of "
         "torch_default in 0.40 of the steps (95 % interval 0.35…0.52)"),
        ({"a": (0.4, 0.35, math.nan), "b": (0.2, 0.1, 0.3)}, "b reaches the final validation accuracy of "
         "torch_default in 0.20 of the steps (95 % interval 0.10…0.30)"),
        ({"a": (0.9, 0.8, 1.0)}, "no candidate is shown to reach the final validation accuracy of "
         "torch_default in fewer steps"),
    ],
)  # fmt: skip
def test_the_speed_of_the_recommended_candidate_or_else_of_the_fastest(speeds, text) -> None:
    verdict = made_up_verdict({"a": 0.97, "b": 0.969, "torch_default": 0.96})
    assert verdict.recommended == "a"
    standings = [
        replace(s, speed=Speed(*speeds[s.name]) if s.name in speeds else None)
        for s in verdict.candidates
    ]
    shown = console(200)
    print_verdict(shown, replace(verdict, candidates=tuple(standings)))
    assert f"speed    {text}" in output(shown)


def test_a_verdict_of_an_earlier_version_is_shown_without_answers() -> None:
    shown = console(80)
    earlier = {"recommended": None, "against_baseline": None, "regret": None}
    print_verdict(shown, replace(made_up_verdict(), **earlier))
    assert not re.search(r"^(default|take|failures) ", output(shown), re.MULTILINE)


def test_a_data_set_that_stepped_in_is_named() -> None:
    shown = console()
    print_verdict(shown, made_up_verdict(dataset="digits"))
    assert "Trained on digits: mnist was requested" in output(shown)


def test_no_plan_is_offered_where_none_was_written(tmp_path: Path) -> None:
    shown = console()
    print_verdict(shown, made_up_verdict(status="undecided"), folder=tmp_path)
    assert "winner.yaml" not in output(shown)


@pytest.mark.parametrize("no_color", [False, True])
def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch, no_color: bool) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    shown = Console(file=io.StringIO(), width=80, force_terminal=True)
    print_verdict(shown, made_up_verdict(dataset="digits"))
    with SearchProgress(shown, clock=Clock()) as progress:
        progress.phase("search", total=4)
        progress.advance(3)
    codes = {
        int(code)
        for found in re.findall(r"\x1b\[([\d;]*)m", output(shown))
        for code in found.split(";")
    }
    colors = {code for code in codes if 30 <= code <= 49 or 90 <= code <= 107}
    assert bool(colors) != no_color
    assert 1 in codes  # bold is no colour
