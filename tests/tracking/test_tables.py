"""The leaderboard as rows, CSV, Markdown and a terminal's table; and how numbers are read."""

import csv
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from studies import SCHEMES, made_up_verdict

from initsearch.search.verdict import Evidence, SchemeRate, SearchRow
from initsearch.tracking.words.leaderboard import (
    footnotes,
    leaderboard_rows,
    mark_of,
    write_csv,
)
from initsearch.tracking.words.number_format import format_of, p_text
from initsearch.tracking.words.summary import note
from initsearch.tracking.words.tables import markdown_table, rich_table


def shown(verdict, width: int = 80) -> list[str]:
    console = Console(width=width, force_terminal=False, color_system=None)
    with console.capture() as captured:
        console.print(rich_table(verdict))
    return captured.get().splitlines()


def test_the_csv_holds_what_the_verdict_holds(tmp_path: Path) -> None:
    verdict = made_up_verdict(diverged=("zeros",))
    path = write_csv(leaderboard_rows(verdict), tmp_path / "new" / "leaderboard.csv")
    with path.open(newline="", encoding="utf-8") as stream:
        read = list(csv.DictReader(stream))
    assert [row["candidate"] for row in read] == [s.name for s in verdict.candidates]
    for row, standing in zip(read, verdict.candidates, strict=True):
        assert float(row["mean"]) == standing.mean
        assert float(row["gap_to_leader"]) == standing.gap_to_leader
        assert row["p_value"] == ("" if standing.p_value is None else str(standing.p_value))
        assert json.loads(row["plan"]) == standing.plan
        assert int(row["diverged"]) == standing.diverged
        assert row["baseline"] == str(standing.name == "torch_default")
    assert [path.name for path in path.parent.iterdir()] == ["leaderboard.csv"]


@pytest.mark.parametrize(
    ("status", "marks"),
    [
        ("winner", {"winner": 1, "behind": 8}),
        ("tie", {"tied": 4, "behind": 5}),
        ("undecided", {"undecided": 4, "behind": 5}),
    ],
)
def test_marks_say_where_the_verdict_leaves_a_candidate(status: str, marks: dict[str, int]) -> None:
    verdict = made_up_verdict(status=status)
    found = [mark_of(verdict, standing) for standing in verdict.candidates]
    assert {mark: found.count(mark) for mark in found} == marks


def test_markdown_escapes_and_cuts() -> None:
    verdict = made_up_verdict({"a|b": 0.9, "torch_default": 0.8, "zeros": 0.1})
    lines = markdown_table(verdict, limit=2).splitlines()
    headings = "| candidate | verdict | validation accuracy (%) | 95 % interval of the mean | gap (points) |"
    assert lines[0].startswith(headings)
    first = verdict.candidates[0]
    interval = f"{100 * first.ci_low:.2f}…{100 * first.ci_high:.2f}"
    assert lines[2].startswith(rf"| a\|b | winner | {100 * first.mean:.2f} | {interval} |")
    assert lines[3].startswith("| torch_default (default) | behind | 79.9")
    assert "… and 1 more" in lines
    assert markdown_table(verdict).splitlines()[4].startswith("| zeros |")


def test_the_table_fits_80_columns_and_names_everyone() -> None:
    lines = shown(made_up_verdict(diverged=("normal(std=1)",)))
    text = "\n".join(lines)
    assert max(map(len, lines)) <= 80
    for name in SCHEMES:
        assert sum(line.startswith(name + " ") for line in lines) == 1
    row = next(line.split() for line in lines if line.startswith("torch_default"))
    assert row[1:] == ["behind", "96.52", "0.56", "0.44…0.68", "<0.001", "8"]
    assert "adjusted" in text
    assert lines[
        lines.index(next(x for x in lines if x.startswith("torch_default"))) + 1
    ].strip() == ("the default")
    assert "2 of 4 diverged" in text


LONG_NAMES = (
    "variance_scaling(factor=2.0,mode=fan_avg,distribution=truncated_normal)",
    "relu:variance_scaling(factor=1.5, mode=fan_in) head:zeros lr=0.0125",
    "orthogonal_with_a_very_long_name_of_many_words",
)


@pytest.mark.parametrize("name", LONG_NAMES)
@pytest.mark.parametrize("width", [80, 100])
def test_a_long_name_is_broken_between_words_and_not_lost(name: str, width: int) -> None:
    verdict = made_up_verdict({name: 0.9, "torch_default": 0.8})
    lines = shown(verdict, width)
    assert max(map(len, lines)) <= width
    end = next(line for line in lines if "winner" in line).index("winner")
    pieces = [line[:end].strip() for line in lines[2:]]
    pieces = pieces[: pieces.index("torch_default")]
    assert "".join(pieces).replace(" ", "") == name.replace(" ", "")
    assert all(piece[-1] in ",(:=_ " or piece == pieces[-1] or " " in name for piece in pieces)
    words = re.findall(r"[a-z]+|[\d.]+", name)
    assert re.findall(r"[a-z]+|[\d.]+", "\n".join(pieces)) == words


def test_markup_and_control_characters_in_names_are_shown_as_they_are_written() -> None:
    odd = "[red]x\x1b[2J|*"
    verdict = made_up_verdict({odd: 0.9, "y": 0.8})
    assert any(line.startswith(r"[red]x\x1b[2J|*") for line in shown(verdict))
    markdown = note(replace(verdict, sentence=f"{odd} wins"), "study")
    assert "\x1b" not in markdown
    assert r"\[red\]x\\x1b\[2J\|\*" in markdown


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r="])
def test_no_cell_of_the_csv_is_a_formula(tmp_path: Path, start: str) -> None:
    odd = f"{start}HYPERLINK(1)"
    verdict = made_up_verdict({odd: 0.9, "y": 0.8})
    gaps = [replace(verdict.candidates[0], gap_to_leader=-0.25), *verdict.candidates[1:]]
    rows = leaderboard_rows(replace(verdict, candidates=tuple(gaps)))
    text = write_csv(rows, tmp_path / "leaderboard.csv").read_text()
    first = next(csv.DictReader(text.splitlines()))
    assert first["candidate"][0] in "'\\"
    assert first["candidate"].endswith("HYPERLINK(1)")
    assert first["gap_to_leader"] == "-0.25"  # a number stays one
    cells = [cell for row in csv.reader(text.splitlines()) for cell in row]
    assert not [cell for cell in cells if cell[:1] in tuple("=+@\t\r")]


def test_a_gap_on_other_seeds_than_the_means_has_a_footnote() -> None:
    verdict = made_up_verdict()  # those far behind were dropped half-way
    dropped = [s.name for s in verdict.candidates if s.dropped_at is not None]
    lines = shown(verdict)
    starred = [line.split()[0] for line in lines if re.search(r"\d\*", line)]
    assert starred == dropped
    assert sum(line.startswith("* gap on the seeds") for line in lines) == 1
    assert "\n* gap on" not in markdown_table(verdict)  # a star begins a list in Markdown
    assert footnotes(verdict)[0].removeprefix("* ") in markdown_table(verdict)
    same = made_up_verdict({"a": 0.97, "torch_default": 0.96})
    assert not any(line.startswith("*") for line in footnotes(same))
    assert "*" not in "".join(shown(same))


def test_the_footnotes_name_the_level_of_each_number() -> None:
    for alpha, status, levels in (
        (0.05, "winner", ["95 %"]),
        (0.05, "tie", ["95 %", "90 %"]),
        (0.01, "undecided", ["99 %"]),
    ):
        verdict = replace(made_up_verdict(status=status), alpha=alpha)
        text = " ".join(" ".join(shown(verdict)).split())
        assert re.findall(r"\d+ %", " ".join(footnotes(verdict))) == levels
        assert "over all looks" in text
        assert "Holm" in text


def test_the_markdown_table_has_the_lead_over_the_default() -> None:
    verdict = made_up_verdict({"a": 0.97, "torch_default": 0.966}, diverged=("torch_default",))
    lines = markdown_table(verdict).splitlines()
    cells = [cell.strip() for cell in lines[2].split("|")]
    gap = verdict.against_baseline.gaps[0]
    assert cells[-3] == f"+{100 * gap.gap:.2f} \\[{100 * gap.low:.2f}…{100 * gap.high:.2f}\\]"
    assert "| 2 of 8 (up to 66 %) |" in lines[3]


def test_accuracy_is_read_in_percent_and_loss_as_it_is() -> None:
    accuracy, loss = format_of("val_accuracy"), format_of("val_loss")
    assert (accuracy.label, accuracy.text(0.97126), accuracy.gap(-0.0034)) == (
        "validation accuracy (%)",
        "97.13",
        "−0.34",
    )
    assert (loss.label, loss.text(2.302585), loss.gap(0.25)) == (
        "validation loss",
        "2.303",
        "+0.25",
    )
    assert format_of("learning_curve_area").factor == 100.0
    assert accuracy.gap(0.00001) == "0.00"
    assert accuracy.text(math.nan) == accuracy.gap(math.inf) == "–"


def test_the_interval_of_an_accuracy_stays_within_0_and_100() -> None:
    accuracy, loss = format_of("val_accuracy"), format_of("val_loss")
    assert accuracy.interval(-0.02, 1.013) == "0.00…100.00"
    assert accuracy.interval(0.5, math.nan) == "50.00…–"
    assert loss.interval(-0.1, 5.0) == "-0.1…5"
    assert format_of("steps_to_target").interval(-3.0, 9.0) == "0…9"
    assert accuracy.gap_interval(-3.0, 0.005) == "−100.00…0.50"
    assert loss.gap_interval(-3.0, 0.5) == "−3…0.5"
    assert accuracy.gap_interval(math.nan, math.nan) == "–"
    verdict = made_up_verdict({"a": 0.9995, "torch_default": 0.0005}, spread=0.002)
    assert verdict.candidates[0].ci_high > 1
    assert verdict.candidates[1].ci_low < 0
    text = markdown_table(verdict)
    assert "…100.00" in text
    assert "0.00…" in text
    for text in ("\n".join(shown(verdict)), markdown_table(verdict)):
        assert "100.1" not in text


def test_p_values_are_read_with_three_decimals() -> None:
    assert [p_text(p) for p in (None, math.nan, 0.0004, 0.0123, 1.0)] == [
        "",
        "",
        "<0.001",
        "0.012",
        "1.000",
    ]


def test_what_the_search_dropped_stands_behind_the_race() -> None:
    verdict = made_up_verdict({"he_normal": 0.97, "torch_default": 0.96})
    rows = [
        ("he_normal", "he", "complete", "", 3.0, 0.97, {1.0: 0.93, 3.0: 0.97}, True),
        ("torch_default", "torch_default", "complete", "", 3.0, 0.96, {3.0: 0.96}, True),
        ("zeros", "zeros", "pruned", "rung 1", 1.0, 0.11, {1.0: 0.11}, False),
        (
            "normal(std=1)",
            "normal",
            "diverged",
            "NaN at step 9",
            1.0,
            math.nan,
            {1.0: math.nan},
            False,
        ),
        ("he_uniform", "he", "complete", "", 3.0, 0.95, {3.0: 0.95}, False),
    ]
    search = tuple(SearchRow(number, *row) for number, row in enumerate(rows))
    verdict = replace(verdict, evidence=Evidence(search=search))
    board = leaderboard_rows(verdict)
    assert [(row["rank"], row["candidate"], row["mark"]) for row in board[2:]] == [
        (3, "he_uniform", "complete"),
        (4, "zeros", "pruned"),
        (5, "normal(std=1)", "diverged"),
    ]
    # Against the leader at the same epoch, not at the end.
    assert board[3]["gap_to_leader"] == pytest.approx(0.93 - 0.11)
    assert math.isnan(board[4]["gap_to_leader"])
    assert board[4]["reason"] == "NaN at step 9"
    assert len({tuple(row) for row in board}) == 1


def test_a_scheme_is_listed_with_all_its_names() -> None:
    verdict = made_up_verdict()
    standings = [
        replace(standing, also_named=("msra", "by_hand"))
        if standing.name == "he_normal"
        else standing
        for standing in verdict.candidates
    ]
    verdict = replace(verdict, candidates=tuple(standings))
    (line,) = (line for line in markdown_table(verdict).splitlines() if "| he_normal" in line)
    assert "he_normal (also msra, by_hand)" in line
    assert "also msra, by_hand" in " ".join("\n".join(shown(verdict)).split())
    (row,) = (row for row in leaderboard_rows(verdict) if row["candidate"] == "he_normal")
    assert row["also_named"] == "msra, by_hand"
    assert any(text.startswith("also:") for text in footnotes(verdict))
    assert not any(text.startswith("also:") for text in footnotes(made_up_verdict()))


def test_twins_of_a_dropped_candidate_are_no_candidates_of_their_own() -> None:
    """Two repeat the first: one under another name, one under its own."""
    twins = ((0, "caffe lr=0.1", None), (1, "keras lr=0.1", 0), (2, "caffe lr=0.1 #2", 0))
    rows = tuple(
        SearchRow(
            number,
            name,
            "caffe",
            "pruned",
            "behind",
            1.0,
            0.5,
            {1.0: 0.5},
            False,
            lr=0.1,
            twin_of=of,
        )
        for number, name, of in twins
    )
    verdict = replace(made_up_verdict(), evidence=Evidence(search=rows))
    (row,) = leaderboard_rows(verdict)[len(verdict.candidates) :]
    assert (row["candidate"], row["also_named"], row["lr"]) == ("caffe lr=0.1", "keras lr=0.1", 0.1)


def test_the_best_learning_rate_of_each_scheme_is_below_the_table() -> None:
    rates = (
        SchemeRate("he_normal", 0.05, 0.9, {0.05: 0.9, 0.1: 0.8}, (0.05, 0.1)),
        SchemeRate("zeros", 0.1, 0.5, {0.1: 0.5}, (0.05, 0.1)),
    )
    verdict = replace(made_up_verdict(), evidence=Evidence(rates=rates))
    assert footnotes(verdict)[-1].endswith("he_normal 0.05, zeros 0.1")
    assert "he_normal 0.05, zeros 0.1" in " ".join("\n".join(shown(verdict)).split())
