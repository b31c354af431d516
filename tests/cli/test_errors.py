"""Bad input at the command line: one line, what is wrong and what to do, no traceback."""

import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from initsearch import cli

DIGITS = ["+sweep=relu_mlp", "data=digits", "data.train_size=200", "data.val_size=100"]


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> str:
    """The error that the command line prints for these arguments."""
    monkeypatch.setattr(sys, "argv", ["initsearch", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 1
    err = capsys.readouterr().err
    assert "Traceback" not in err
    errors = [line for line in err.splitlines() if line.strip()]
    assert len(errors) == 1, err
    assert errors[0].startswith("error: ")
    return errors[0]


def test_a_store_that_cannot_be_opened_is_reported_before_anything_is_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        database.execute("CREATE TABLE recipes (name TEXT)")  # another program's
    error = run(monkeypatch, capsys, *DIGITS, "workers=1", f"output_dir={tmp_path}")
    assert "must be MLflow's database" in error
    assert "choose another" in error
    # Beside it only the lock under which the store was looked at.
    assert {path.name for path in tmp_path.iterdir()} <= {"mlflow.db", ".mlflow.db.lock"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["+sweep=relu_convnt"], r"unknown sweep 'relu_convnt'.*relu_convnet"),
        (["+sweep=relu_mlp", "data=mnst"], r"unknown data 'mnst'.*mnist"),
        (["+sweep=relu_mlp", "model=mlpp"], r"unknown model 'mlpp'.*mlp"),
        ([], r"space must not be empty.*relu_convnet"),
        ([*DIGITS, "n_trials=0"], r"n_trials must be .*1, but got 0: the default is 16"),
        ([*DIGITS, "n_trial=3"], r"unknown setting 'n_trial': did you mean n_trials\?"),
        ([*DIGITS, "name="], "name must not be empty, but got ''"),
        ([*DIGITS, "baselines=[he_norml]"], r"he_norml.*he_normal"),
        ([*DIGITS, "+space.groups.hidden.weight.he_norml={}"], r"he_norml.*he_normal"),
        (
            [*DIGITS, "space.groups.hidden.weight={variance_scaling: {mode: fan_inn}}"],
            r"fan_inn.*fan_in",
        ),
        ([*DIGITS, "space.groups.hidden.weight={variance_scaling: {factor: 0}}"], r"factor.*0"),
        ([*DIGITS, "space.groups.hidden.weight={variance_scaling: {factor: -1}}"], r"factor.*-1"),
        ([*DIGITS, "space.groups=null"], "either groups or plans"),
        ([*DIGITS, "space=5"], "a space must be a mapping, but got 5"),
        ([*DIGITS, "optimizer=sgdd"], r"unknown optimizer 'sgdd'.*sgd"),
        ([*DIGITS, "optimizer.name=sgdd"], r"unknown optimizer 'sgdd'.*sgd"),
        ([*DIGITS, "trainer=cpuu"], r"unknown trainer 'cpuu'.*cpu"),
        (
            [*DIGITS, "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "workers=2"],
            "workers must be 1 where one training spreads over several devices, but got 2",
        ),
        ([*DIGITS, "model.activation=rellu"], r"rellu.*relu"),
        ([*DIGITS, "metric=val_acc"], r"val_acc.*val_accuracy"),
        ([*DIGITS, "search.sampler=tpee"], r"tpee.*tpe"),
        ([*DIGITS, "race.alpha=2"], "alpha"),
        ([*DIGITS, "seed=one"], r"seed must be a valid integer, but got 'one'"),
        ([*DIGITS, "optimizer.lr=-1"], "optimizer.lr must be greater than 0, but got -1"),
        (
            [*DIGITS, "max_epochs=abc"],
            r"max_epochs must be .*number, but got 'abc': the default is 4",
        ),
        ([*DIGITS, "max_epochs=.inf"], r"max_epochs must be .*number"),
        ([*DIGITS, "race.looks=4"], "race.looks must be a list"),
        ([*DIGITS, "race.looks=[8,4]"], "race.looks must be increasing, from 2 up"),
        ([*DIGITS, "race.alpha=0.5"], "race.alpha must lie between 0 and 0.5"),
        ([*DIGITS, "race.futility=1"], "race.futility must be 0 or more and below 1"),
        (
            [*DIGITS, "race.margin=null"],
            r"race.margin must be .*number, but got None: the default is 0.1",
        ),
        ([*DIGITS, "search=null"], "search must be a mapping of settings"),
        ([*DIGITS, "baselines=5"], "baselines must be a list of plans"),
        ([*DIGITS, "~name"], "name must be set"),
        ([*DIGITS, "search.seeds=1001"], r"search.seeds must be .*1000, but got 1001"),
        ([*DIGITS, "search.screen=1"], r"search.screen must be .*boolean, but got 1"),
        ([*DIGITS, "+n_trails=3"], r"n_trails.*n_trials"),
        (
            [
                *DIGITS,
                "space.groups.hidden.where.activation=reelu",
                "space.groups.head.where.role=hed",
            ],
            r"hed|reelu",
        ),
    ],
)
def test_a_bad_setting_is_one_line(
    monkeypatch, capsys, tmp_path, arguments: list[str], message: str
) -> None:
    line = run(monkeypatch, capsys, *arguments, f"output_dir={tmp_path}")
    assert re.search(message, line), line


@pytest.mark.parametrize(
    "where", [["baselines=[{plan}]"], ["~space.groups", "+space.plans.mine={plan}"]]
)
def test_a_plan_file_that_names_code(monkeypatch, capsys, tmp_path, where: list[str]) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text("default: {weight: torch.nn.init.zeros_}")
    arguments = [argument.format(plan=plan) for argument in where]
    line = run(monkeypatch, capsys, *DIGITS, *arguments, f"output_dir={tmp_path}")
    assert "allow_code=[torch.nn.init.zeros_]" in line


@pytest.mark.slow
def test_a_model_that_cannot_be_built(monkeypatch, capsys, tmp_path) -> None:
    line = run(
        monkeypatch, capsys, *DIGITS, "~model.depth", "~model.width", "~model.activation", "~model.name",
        "+model._target_=torchvision.models.resnet19", f"output_dir={tmp_path}", "workers=1",
    )  # fmt: skip
    assert "resnet19" in line


LEAVES = """
import sys
import torch
if {on_import}:
    sys.exit()
def fill(tensor):
    sys.exit()
class Net(torch.nn.Linear):
    def __init__(self):
        sys.exit()
"""


@pytest.mark.parametrize(
    ("on_import", "arguments"),
    [
        (True, ["baselines=[leaves_early.fill,torch_default]"]),
        (True, ["~space.groups", "+space.plans.a=leaves_early.fill"]),
        (
            False,
            [
                *("~model.depth", "~model.width", "~model.activation", "~model.name"),
                "+model._target_=leaves_early.Net",
            ],
        ),
    ],
    ids=["import of a baseline", "import of a plan", "model"],
)
def test_code_that_leaves_the_program_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    on_import: bool,
    arguments: list[str],
) -> None:
    """A script would take exit status 0 for success."""
    (tmp_path / "leaves_early.py").write_text(LEAVES.format(on_import=on_import))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "leaves_early", raising=False)
    line = run(
        monkeypatch, capsys, *DIGITS, *arguments, "workers=0", f"output_dir={tmp_path / 'out'}"
    )
    assert re.search(r"SystemExit|called sys\.exit", line)
    assert "leaves_early" in line


def test_a_data_set_that_is_nowhere(monkeypatch, capsys, tmp_path) -> None:
    line = run(
        monkeypatch, capsys, "+sweep=relu_mlp", "data.fallback=null", "data.download=false",
        f"data.root={tmp_path}", f"output_dir={tmp_path / 'out'}",
    )  # fmt: skip
    assert "data.root" in line
    assert "digits" in line


def test_an_output_dir_that_cannot_be_written(monkeypatch, capsys, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    line = run(monkeypatch, capsys, *DIGITS, f"output_dir={tmp_path / 'file'}")
    assert "output_dir" in line


def test_an_empty_output_dir_is_not_the_current_folder(monkeypatch, capsys, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    line = run(monkeypatch, capsys, *DIGITS, "workers=0", "output_dir=")
    assert "output_dir must be the path of a folder; the current one is output_dir=." in line
    assert not list(tmp_path.iterdir())


def test_the_program_itself_ends_with_one_line_and_status_1(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "initsearch", "+sweep=nothing", f"output_dir={tmp_path}"],
        capture_output=True, text=True, check=False, cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (
            "{tanh: {where: {activation: reelu}, weight: [he_normal, zeros]}}",
            "match a layer of mlp.*reelu.*followed by relu; change space.groups.tanh.where",
        ),
        # Another group matches: the candidates of this one would still differ in name only.
        (
            "{gelu: {where: {activation: gelu}, weight: [he_normal, zeros]}, "
            "head: {where: {role: head}, weight: [zeros, ones]}}",
            r"'gelu' must match.*followed by relu.*\(~space.groups.gelu\)",
        ),
        (
            "{all: {where: {kind: linear}, weight: [he_normal, ones]}, "
            "head: {where: {role: head}, weight: [zeros, ones]}}",
            "'head' must match.*groups before it.*put it before them",
        ),
    ],
)
def test_a_group_whose_choices_change_nothing_of_this_model(
    monkeypatch, capsys, tmp_path, groups: str, message: str
) -> None:
    line = run(
        monkeypatch, capsys, *DIGITS, "~space.groups", f"+space.groups={groups}", f"output_dir={tmp_path}"
    )  # fmt: skip
    assert re.search(message, line), line
