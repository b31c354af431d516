"""The leaderboard as rows, CSV, Markdown and a terminal's table; and how numbers are read."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from studies import SCHEMES, made_up_verdict

from initsearch.search.verdict import Evidence, SearchRow
from initsearch.tracking.words.scale import p_text, scale_of
from initsearch.tracking.words.tables import (
    leaderboard_rows,
    mark_of,
    markdown_table,
    rich_table,
    write_csv,
)


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
    assert lines[0].startswith("| candidate | verdict | validation accuracy (%) | interval |")
    first = verdict.candidates[0]
    interval = f"{100 * first.ci_low:.2f}…{100 * first.ci_high:.2f}"
    assert lines[2].startswith(rf"| a\|b | winner | {100 * first.mean:.2f} | {interval} |")
    assert lines[3].startswith("| torch_default (default) | behind | 79.9")
    assert lines[-1] == "… and 1 more"
    assert len(markdown_table(verdict).splitlines()) == 5


def test_the_table_fits_80_columns_and_names_everyone() -> None:
    lines = shown(made_up_verdict(diverged=("normal(std=1)",)))
    text = "\n".join(lines)
    assert max(map(len, lines)) <= 80
    for name in SCHEMES:
        assert sum(line.startswith(name + " ") for line in lines) == 1
    row = next(line.split() for line in lines if line.startswith("torch_default"))
    assert row[1:4] == ["behind", "96.52", "96.46…96.58"]
    assert row[4:] == ["0.56", "<0.001", "8"]
    assert lines[
        lines.index(next(x for x in lines if x.startswith("torch_default"))) + 1
    ].strip() == ("the default")
    assert "2 of 4 diverged" in text


def test_long_names_are_folded_not_lost() -> None:
    name = "variance_scaling(factor=2.0,mode=fan_avg,distribution=truncated_normal)"
    verdict = made_up_verdict({name: 0.9, "torch_default": 0.8})
    lines = shown(verdict)
    first = [line[: line.index(" ")] if " " in line else line for line in lines[2:]]
    assert name in "".join(first)
    mean = f"{100 * verdict.candidates[0].mean:.2f}"
    assert any("winner" in line and mean in line for line in lines)


def test_markup_in_names_is_no_markup() -> None:
    assert any(
        line.startswith("[red]x") for line in shown(made_up_verdict({"[red]x": 0.9, "y": 0.8}))
    )


def test_accuracy_is_read_in_percent_and_loss_as_it_is() -> None:
    accuracy, loss = scale_of("val_accuracy"), scale_of("val_loss")
    assert (accuracy.label, accuracy.text(0.97126), accuracy.gap(-0.0034)) == (
        "validation accuracy (%)",
        "97.13",
        "−0.34",
    )
    assert (loss.label, loss.text(2.302585), loss.gap(0.25), loss.width(0.0007382)) == (
        "validation loss",
        "2.303",
        "+0.25",
        "0.00074",
    )
    assert scale_of("learning_curve_area").factor == 100.0
    assert accuracy.gap(0.00001) == "0.00"
    assert accuracy.text(math.nan) == accuracy.gap(math.inf) == accuracy.width(math.nan) == "–"


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
