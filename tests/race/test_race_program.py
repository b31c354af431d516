"""`python -m initsearch.race`: layouts of files, the table, the drawing and errors."""

import itertools
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from pressed import pressed
from scipy import stats

from initsearch.race.program import main
from initsearch.race.score_file import read_scores

pytestmark = pytest.mark.slow

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # deprecations inside its own dependencies
    from statsmodels.stats.multitest import multipletests

README = Path(__file__).resolve().parents[2] / "README.md"

# Symmetric noise of one size, without correlation: no lead is to be doubted, and the tests are those of SciPy.
TURN = 2 * np.pi * np.arange(12) / 12
NOISE = [np.sin(TURN), np.cos(2 * TURN), np.cos(3 * TURN), np.cos(5 * TURN)]
SHARED = 0.011 * np.cos(TURN)
SCORES = {
    name: dict(enumerate(np.round(mean + SHARED + 0.0042 * noise, 4).tolist()))
    for (name, mean), noise in zip(
        {"he": 0.97, "lecun": 0.966, "torch_default": 0.963, "zeros": 0.9}.items(),
        NOISE,
        strict=True,
    )
}
LONG = "candidate,seed,score\n" + "".join(
    f"{name},{seed},{score}\n" for name, by in SCORES.items() for seed, score in by.items()
)
BY_SEED = f"seed,{','.join(SCORES)}\n" + "".join(
    f"{seed},{','.join(str(by[seed]) for by in SCORES.values())}\n" for seed in range(12)
)
#: Two candidates that no number of seeds can separate.
OPEN = "seed,a,b\n" + "".join(
    f"{seed},{0.90 + 0.01 * (-1) ** seed:.2f},0.90\n" for seed in range(12)
)
BY_CANDIDATE = f"candidate,{','.join(map(str, range(12)))}\n" + "".join(
    f"{name},{','.join(map(str, by.values()))}\n" for name, by in SCORES.items()
)


@pytest.fixture
def program(tmp_path: Path, monkeypatch, capsys):
    """Runs the program on a file with this text; its exit status, output and errors."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(text: str, *options: str) -> tuple[int, str, str]:
        path = tmp_path / "scores.csv"
        path.write_text(text, encoding="utf-8")
        status = main([str(path), *options])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def columns(output: str) -> dict[str, list[str]]:
    """The table's cells by candidate."""
    table = output.split("\n\n")[1].splitlines()
    rows = [re.split(r"\s{2,}", line.strip()) for line in table]
    assert rows[0][:3] == ["candidate", "mean", "std"]
    return {row[0]: row[1:] for row in rows[1:]}


# --- files -----------------------------------------------------------------------------------------


def test_all_layouts_say_the_same(program) -> None:
    status, expected, errors = program(LONG, "--unit", "points")
    assert (status, errors) == (0, "")
    variants = {
        "by seed": BY_SEED,
        "by candidate": BY_CANDIDATE,
        "other order of columns, and one more": re.sub(
            r"(.*),(.*),(.*)", r"\2,\3,note,\1", LONG
        ).replace("note", "note", 1),
        "byte order mark": "\ufeff" + BY_SEED,
        "byte order mark inside": LONG.replace("he,0,", "\ufeffhe,0,", 1),
        "semicolons": BY_SEED.replace(",", ";"),
        "tabs": BY_CANDIDATE.replace(",", "\t"),
        "Windows line ends": LONG.replace("\n", "\r\n"),
        "blank lines": "\n\n" + LONG.replace("\n", "\n\n") + " \n,,\n",
        "separators at the end": BY_SEED.replace("\n", ",,\n"),
        "spaces": BY_SEED.replace(",", " , "),
        "quotes": LONG.replace("torch_default", '"torch_default"'),
        "capitals": LONG.replace("candidate,seed,score", "Candidate,SEED,Score"),
        "prefixed seeds": re.sub(r",(\d+)", r",seed_\1", BY_CANDIDATE, count=12),
    }
    for name, text in variants.items():
        assert program(text, "--unit", "points") == (0, expected, ""), name


@pytest.mark.parametrize("cell", ["nan", "NaN", "inf", "-inf", "Infinity", "diverged", "Diverged"])
def test_diverged_cells_are_results_and_empty_ones_are_not(program, cell: str) -> None:
    text = BY_SEED.replace(f"\n2,{SCORES['he'][2]},", f"\n2,{cell},")
    status, output, _ = program(text)
    assert status == 0
    assert columns(output)["he"][-1].endswith("(1 diverged)")
    status, output, errors = program(text.replace(f"\n2,{cell},", "\n2,,"))
    assert (status, output) == (1, "")
    assert "he has none for 2" in errors


def test_a_file_is_read_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    for text in (LONG, BY_SEED, BY_CANDIDATE):
        path.write_text(text, encoding="utf-8")
        assert read_scores(path) == SCORES


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no rows: its header must be candidate,seed,score"),
        ("\n \n", "has no rows"),
        ("name,run,accuracy\na,0,0.9\n", "the header must be candidate,seed,score.*got name,run"),
        ("seed\n0\n", "the header must be"),
        ("candidate,seed,accuracy\na,0,0.9\n", "the header must be"),
        ("seed,candidate,accuracy\n0,a,0.9\n", "the header must be"),
        (LONG.replace("0.9", "0.9x", 1), r"line 2: a score must be a number, got '0\.9x.*nan for"),
        (LONG.replace("he,3", "he,3.5", 1), r"line 5: a seed must be an integer, got '3\.5'"),
        (LONG.replace("he,3", ",3", 1), "line 5: a score needs the name of its candidate"),
        (LONG.replace("he,3", "he,2", 1), "line 5: he has a second score for seed 2"),
        (BY_SEED.replace("he,lecun", "he,he"), "line 2: he has a second score for seed 0"),
        (BY_SEED + "12,0.9\n", "line 14: the header has 5 columns, got 2 cells"),
        (BY_SEED + "12,0,0,0,0,0\n", "line 14: the header has 5 columns, got 6 cells"),
        ('candidate,seed,score\n"he,0,0.9\n', "check the quotes"),
        ("candidate,seed,score\n", r"two or more candidates: got \[\]"),
        ("seed,he\n0,0.9\n1,0.8\n", r"two or more candidates: got \['he'\]"),
        ("seed,he,lecun\n0,0.9,\n1,0.8,\n", "scores of lecun are empty"),
        ("seed,he,lecun\n0,0.9,0.8\n", "at least 4 seeds, for the first look: got 1"),
    ],
)
def test_a_bad_file_is_one_line_of_error(program, text: str, message: str) -> None:
    status, output, errors = program(text)
    assert (status, output) == (1, "")
    assert re.fullmatch(rf"error: .*{message}.*\n", errors), errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--alpha", "2"], "--alpha must lie between 0 and 0.5"),
        (["--alpha", "x"], "argument --alpha: invalid float value: 'x'"),
        (["--margin", "-1"], "--margin must be 0 or more"),
        (["--max-seeds", "1"], "--max-seeds must be at least 2"),
        (["--looks", "4;6"], "argument --looks: must be integers separated by commas"),
        (["--looks", "6,4"], "--looks must be increasing"),
        (["--futility", "1"], "--futility must be 0 or more and below 1"),
        (["--baseline", "torch"], "unknown baseline 'torch'.*torch_default"),
        (["--unit", "steps"], "argument --unit: invalid choice"),
        (["--best"], "unrecognized arguments: --best"),
    ],
)
def test_a_bad_option_is_one_line_of_error(program, options: list[str], message: str) -> None:
    status, output, errors = program(LONG, *options)
    assert (status, output) == (1, "")
    assert re.fullmatch(rf"error: .*{message}.*\n", errors), errors


def test_percentages_are_not_taken_for_shares(program) -> None:
    percent = re.sub(r",0\.(\d\d)(\d*)\n", r",\1.\2\n", LONG)
    assert program(percent)[0] == 0
    status, _, errors = program(percent, "--unit", "points")
    assert status == 1
    assert "--unit points needs shares of at most 1" in errors


def test_files_that_cannot_be_read_are_one_line_of_error(tmp_path: Path, capsys) -> None:
    encoded = tmp_path / "utf16.csv"
    encoded.write_text(LONG, encoding="utf-16")
    for path, message in (
        (tmp_path / "absent.csv", "cannot read"),
        (tmp_path, "cannot read"),
        (encoded, "is not a UTF-8 text file"),
    ):
        assert main([str(path)]) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1
        assert message in captured.err


# --- what is printed -------------------------------------------------------------------------------


def test_the_table_has_the_numbers_of_scipy(program) -> None:
    options = ("--looks", "12", "--max-seeds", "12", "--alpha", "0.1", "--unit", "points")
    _, output, _ = program(LONG, *options)
    rows = columns(output)
    he = 100 * np.array(list(SCORES["he"].values()))
    pairs = list(itertools.combinations(SCORES, 2))
    plain = [stats.ttest_rel(*(list(SCORES[n].values()) for n in pair)).pvalue for pair in pairs]
    adjusted = dict(zip(pairs, multipletests(plain, method="holm")[1], strict=True))
    for name, by_seed in SCORES.items():
        own = 100 * np.array(list(by_seed.values()))
        mean, std, interval, *rest = rows[name]
        expected = stats.ttest_1samp(own, 0.0).confidence_interval(0.9)
        assert float(mean) == pytest.approx(own.mean(), abs=0.0051)
        assert float(std) == pytest.approx(own.std(ddof=1), abs=0.0051)
        assert [float(end) for end in interval.split("…")] == pytest.approx(expected, abs=0.0051)
        if name == "he":
            assert rest == ["12"]
            continue
        gap, interval, p, seeds = rest
        test = stats.ttest_rel(he, own)
        assert float(gap) == pytest.approx((he - own).mean(), abs=0.0051)
        expected = test.confidence_interval(0.9)
        assert [float(end) for end in interval.split("…")] == pytest.approx(expected, abs=0.0051)
        holm = adjusted.get(("he", name)) or adjusted[name, "he"]
        if holm < 1e-4:
            assert p == "<0.0001"
        else:
            assert float(p) == pytest.approx(holm, rel=0.05)
        assert seeds == "12"


@pytest.mark.parametrize("options", [(), ("--margin", "0.01"), ("--lower-is-better",)])
def test_the_drawing_is_to_scale(program, options: tuple[str, ...]) -> None:
    looks = ("--looks", "12", "--baseline", "zeros")
    status, output, _ = program(LONG, *looks, *options)
    assert status == 0
    _, *bars, scale, legend = output.split("\n\n")[2].splitlines()
    margin = float(re.search(r"margin of (\S+)$", legend)[1])
    low, high = float(scale.split()[0]), float(scale.split()[-1])
    start, end = len(scale) - len(scale.lstrip()), len(scale)
    step = (high - low) / (end - start - 1)
    rows = {name.removesuffix(" (baseline)"): cells for name, cells in columns(output).items()}

    def shown(column: int) -> float:
        return low + (column - start) * step

    for bar in bars:
        gap, interval = rows[bar.split()[0]][3:5]
        ends = [float(value) for value in interval.split("…")]
        tolerance = 1.5 * step + 0.05 * (high - low)  # the ends of the scale have two digits
        assert shown(bar.index("●")) == pytest.approx(float(gap), abs=tolerance)
        assert shown(bar.index("│")) == pytest.approx(0.0, abs=tolerance)
        assert shown(bar.index("├")) == pytest.approx(ends[0], abs=tolerance)
        assert shown(bar.rindex("┤")) == pytest.approx(ends[1], abs=tolerance)
        if "░" in bar:
            assert shown(bar.index("░")) == pytest.approx(-margin, abs=tolerance)
    assert max(map(len, bars)) <= 80


def test_an_interval_far_wider_than_the_gaps_ends_in_an_arrow(program) -> None:
    text = "seed,a,b\n0,0.90,0.91\n1,0.90,0.88\n2,0.90,0.89\n3,0.90,0.90\n"
    bars = program(text, "--max-seeds", "32", "--looks", "4,32")[1].split("\n\n")[2]
    assert re.search(r"b\s+◂.*●.*▸", bars)


def test_the_sentence_comes_first_and_names_options(program) -> None:
    _, output, _ = program(LONG, "--unit", "points")
    assert output.startswith("winner: he beats ")
    assert " on scores.csv by at least " in output.splitlines()[0]
    _, output, _ = program(LONG, "--margin", "0.05")
    assert output.startswith("tie: he")
    _, output, _ = program(OPEN)
    assert output.startswith("undecided: 12 paired seeds")
    assert "a tie with --margin=" in output.splitlines()[0]
    assert "(--futility)" in program(OPEN, "--futility", "0.5")[1].splitlines()[0]


def test_seeds_that_no_look_used_are_reported(program) -> None:
    _, output, _ = program(OPEN, "--max-seeds", "5")
    assert output.startswith("undecided: 5 paired seeds")
    assert output.endswith("looks at 4, 5 seeds; 5 of 12 seeds used\n")
    _, output, _ = program(OPEN)
    assert output.endswith("looks at 4, 6, 8, 12 seeds\n")


def test_a_file_that_ends_between_two_looks_says_when_the_next_one_is(program) -> None:
    _, output, _ = program(OPEN, "--looks", "4,10,16", "--max-seeds", "20")
    assert output.startswith("not decided yet: 10 paired seeds")
    end = output.splitlines()[-2:]
    assert end[0].endswith("looks at 4, 10, 16, 20 seeds; 10 of 12 seeds used")
    assert end[1].startswith("not decided: the next look is at 16 seeds; add seeds")
    assert end[1].endswith("or pass --max-seeds 12 if no more were planned")


def test_a_baseline_is_marked_and_compared_on_all_seeds(program) -> None:
    _, output, _ = program(LONG, "--baseline", "zeros")
    assert columns(output)["zeros (baseline)"][-1] == columns(output)["he"][-1]
    assert int(columns(program(LONG)[1])["zeros"][-1]) < int(columns(output)["he"][-1])


def run_program(
    path: Path, *options: str, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "initsearch.race", path.name, *options],
        cwd=path.parent,
        env=os.environ | {"COLUMNS": "80"} | environment,
        capture_output=True,
        check=False,
    )


def test_a_terminal_without_unicode_gets_ascii(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(LONG.replace("zeros", "Nullen-Größe"), encoding="utf-8")
    plain = run_program(path, PYTHONIOENCODING="ascii")
    assert (plain.returncode, plain.stderr) == (0, b"")
    text = plain.stdout.decode("ascii")
    assert "Nullen-Gr??e" in text
    assert re.search(r"lecun +\S*\[.*\*.*\]", text)
    drawn = run_program(path, PYTHONIOENCODING="utf-8").stdout.decode("utf-8")
    assert "Nullen-Größe" in drawn
    # The separator of intervals is one character longer in ASCII, so the table's columns are wider.
    translated = drawn.translate(str.maketrans("░│─├┤●öß", ".|-[]*??")).replace("…", "..")
    assert text.split() == translated.split()


def test_an_error_is_one_line_and_an_exit_status_of_1(tmp_path: Path) -> None:
    done = run_program(tmp_path / "absent.csv")
    assert (done.returncode, done.stdout) == (1, b"")
    assert re.fullmatch(rb"error: cannot read absent\.csv: .*\n", done.stderr)


def test_the_example_in_the_readme_prints_what_it_says(tmp_path: Path) -> None:
    example = re.search(
        r"```csv\n(.*?)```\n\n```bash\npython -m initsearch\.race (\S+) (.*?)\n```\n\n```text\n(.*?)```",
        README.read_text(encoding="utf-8"),
        re.DOTALL,
    )
    assert example is not None
    text, name, options, printed = example.groups()
    (tmp_path / name).write_text(text, encoding="utf-8")
    done = run_program(tmp_path / name, *options.split(), PYTHONIOENCODING="utf-8")
    assert done.stdout.decode("utf-8") == printed


@pytest.mark.parametrize("at", [1, 10, 100])
def test_ctrl_c_in_the_first_moments_is_one_line(at: int) -> None:
    assert pressed(at, "initsearch.race", str(README)) == (130, "", "stopped\n")
