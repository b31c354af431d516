"""The main job as a user runs it: every shipped sweep, Ctrl-C, resuming, what is printed and what is left."""

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from PIL import Image
from pressed import pressed

from initsearch import cli
from initsearch.config import read_settings
from initsearch.plan import InitPlan
from initsearch.search.settings import StudySettings
from initsearch.search.study import Study
from initsearch.search.verdict import Verdict
from initsearch.shipped_configs import conf_dir, shipped_sweeps
from initsearch.tasks import ImageClassification
from initsearch.tasks.models import build_model
from initsearch.tasks.models.activations import ACTIVATIONS
from initsearch.tracking import MlflowTracker
from initsearch.training.cohort import CohortModule

REPOSITORY = Path(__file__).resolve().parents[2]
SMALL_DIGITS = ["data=digits", "data.train_size=200", "data.val_size=100"]
#: At least a batch of each sweep.
SMALL_OTHERS = ["data.train_size=300", "data.val_size=100"]
#: Trained in this process: it is as fast as can be, and what tests patch holds.
BRIEF = ["n_trials=4", "max_epochs=1", "race.max_seeds=2", "workers=0"]
#: The sweeps of images; the others choose a task of their own.
IMAGE_SWEEPS = [
    name
    for name in shipped_sweeps()
    if "override /task" not in (conf_dir() / "sweep" / f"{name}.yaml").read_text()
]
STOPPED = "stopped: run the same command again to resume"


@pytest.fixture(scope="module")
def shared_output(tmp_path_factory) -> Path:
    """One output folder for many studies, as users have it; MLflow has made its tables there."""
    folder = tmp_path_factory.mktemp("output")
    MlflowTracker.in_folder(folder).close()
    return folder


@pytest.fixture
def here(monkeypatch, tmp_path) -> Path:
    """An empty current folder; what a run leaves in it beside `out` is litter."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))  # the command adds the current folder
    return folder


@pytest.fixture
def out(shared_output, here, tmp_path_factory) -> Path:
    """The folder `out` in the current one, with nothing in it but MLflow's empty tables.

    To make them takes MLflow longer than a small study takes; test_mlflow_store creates them from scratch.
    """
    (here / "out").mkdir()
    with (
        contextlib.closing(sqlite3.connect(shared_output / "mlflow.db")) as made,
        contextlib.closing(sqlite3.connect(here / "out" / "mlflow.db")) as copy,
    ):
        made.backup(copy)
        for table in ("tags", "params", "metrics", "latest_metrics", "runs"):
            copy.execute(f"delete from {table}")
        copy.commit()
    return here / "out"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["initsearch", *arguments])
    cli.main()


def only_study(output_dir: Path, name: str = "") -> Path:
    (folder,) = (path.parent for path in output_dir.glob(f"{name}*/verdict.json"))
    return folder


def words(text: str) -> str:
    """Text without the frame around it and the lines' ends in it."""
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", text).split())


@pytest.mark.parametrize("sweep", shipped_sweeps())
def test_a_shipped_sweep_composes_and_says_what_it_teaches(sweep: str) -> None:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        settings = read_settings(compose("config", overrides=[f"+sweep={sweep}"]))
    assert settings.name == sweep
    if sweep in IMAGE_SWEEPS:
        assert images(settings).data.fallback == "digits"
    lines = (conf_dir() / "sweep" / f"{sweep}.yaml").read_text().splitlines()
    assert lines[0] == "# @package _global_"
    assert re.match(r"# [A-Z\w][\w ,:'()-]{20,}", lines[1]), lines[1]
    assert f"#   python -m initsearch +sweep={sweep}" in lines


@pytest.mark.parametrize(
    ("overrides", "workers"),
    [
        ([], 3),
        (["trainer.strategy=ddp"], 1),
        (["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"], 1),
        (["trainer=gpu"], 5),
        (["trainer=gpu", "trainer.devices=[0,2]"], 1),
        (["trainer=gpu", "workers=8"], 8),
    ],
    ids=str,
)
def test_as_many_workers_as_there_are_places_to_train(monkeypatch, overrides, workers: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 5)
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        settings = read_settings(compose("config", overrides=["+sweep=relu_mlp", *overrides]))
    assert settings.workers == workers


@pytest.mark.slow
@pytest.mark.parametrize("sweep", shipped_sweeps())
def test_a_shipped_sweep_runs_to_its_verdict(
    monkeypatch, capsys, here, shared_output, sweep: str
) -> None:
    # One baseline, so that candidates of the sweep's own space are among the few that are tried.
    few = ["baselines=[torch_default]", "search.seeds=1", f"output_dir={shared_output}"]
    small = SMALL_DIGITS if sweep in IMAGE_SWEEPS else SMALL_OTHERS
    run(monkeypatch, f"+sweep={sweep}", *small, *BRIEF, *few)
    folder = only_study(shared_output, sweep)
    verdict = Verdict.load(folder / "verdict.json")
    assert sweep not in IMAGE_SWEEPS or verdict.dataset == "digits"
    rows = verdict.evidence.search
    assert len(rows) == 4
    assert {row.scheme for row in rows} > {"torch_default"}
    plans = {standing.name: standing.plan for standing in verdict.candidates}
    assert InitPlan.load(folder / "winner.yaml").spec() == plans[verdict.recommended]
    names = {path.name for path in folder.iterdir()} - {"engine.json"}
    assert names == {
        "elapsed.json", "figures", "jobs", "leaderboard.csv", "settings.json", "verdict.json",
        "winner.yaml",
    }  # fmt: skip
    assert list((folder / "figures").glob("*.png"))
    printed = capsys.readouterr().out
    assert verdict.sentence in words(printed)
    assert str(folder) in printed
    (command,) = re.findall(r"mlflow ui --backend-store-uri (\S+)", printed)
    assert command == f"sqlite:///{shared_output / 'mlflow.db'}"
    assert list(here.iterdir()) == []


@pytest.mark.slow
def test_a_finished_study_prints_its_verdict_and_trains_nothing(
    monkeypatch, capsys, here, out
) -> None:
    command = ["+sweep=relu_mlp", *SMALL_DIGITS, *BRIEF, "output_dir=out"]
    run(monkeypatch, *command)
    first = capsys.readouterr().out
    assert [path.name for path in here.iterdir()] == ["out"]
    before = everything(here)
    monkeypatch.setattr(Study, "run", None)
    monkeypatch.setattr(MlflowTracker, "in_folder", None)  # nor is MLflow used
    run(monkeypatch, *command)
    assert capsys.readouterr().out == first
    assert everything(here) == before


def everything(folder: Path) -> dict[Path, bytes]:
    return {
        path: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(".db")
    }


@pytest.mark.slow
def test_ctrl_c_in_the_midst_of_training(monkeypatch, capsys, here, out) -> None:
    """With one worker it hits Lightning's own handling of it."""
    command = ["+sweep=relu_mlp", *SMALL_DIGITS, *BRIEF, "output_dir=out"]
    steps = [0]
    step = CohortModule.training_step

    def interrupted(module: CohortModule, *batch: object) -> None:
        steps[0] += 1
        if steps[0] == 8:
            signal.raise_signal(signal.SIGINT)
        step(module, *batch)

    monkeypatch.setattr(CohortModule, "training_step", interrupted)
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, *command)
    assert stopped.value.code == 130
    assert capsys.readouterr().err.splitlines()[-1] == STOPPED
    assert "interrupted" in ends_of_runs(out) <= {"interrupted", "pruned"}
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    run(monkeypatch, *command)
    assert only_study(out)
    assert ends_of_runs(out) <= {"complete", "pruned", "diverged"}
    assert [path.name for path in here.iterdir()] == ["out"]


def ends_of_runs(output_dir: Path) -> set[str]:
    """What the runs' tag `status` says, of runs that MLflow has as ended."""
    with sqlite3.connect(output_dir / "mlflow.db") as database:
        assert not list(database.execute("select 1 from runs where status = 'RUNNING'"))
        return {end for (end,) in database.execute("select value from tags where key = 'status'")}


@pytest.mark.slow
def test_ctrl_c_ends_the_program_and_its_workers(monkeypatch, here, out) -> None:
    """A terminal sends it to all processes of the program at once."""
    command = [
        "+sweep=relu_mlp", "data=digits", "data.train_size=600", "n_trials=6", "max_epochs=2",
        "search.cohort_size=2", "race.max_seeds=2", "output_dir=out",
    ]  # fmt: skip
    program = subprocess.Popen(
        [sys.executable, "-m", "initsearch", *command, "workers=2"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        while not (kept := sorted(here.glob("out/*/jobs/*.json"))):
            assert program.poll() is None, program.communicate()
            time.sleep(0.05)
        os.killpg(program.pid, signal.SIGINT)
        stdout, stderr = program.communicate(timeout=60)
    finally:
        program.kill()
    assert program.returncode == 130
    assert stdout == ""
    assert stderr.splitlines()[-1] == STOPPED
    assert "Traceback" not in stderr
    wait_for_the_end_of(program.pid)
    assert not list(here.glob("out/*/verdict.json"))
    assert [path.name for path in here.iterdir()] == ["out"]

    written = {path: path.stat().st_mtime_ns for path in kept}
    run(monkeypatch, *command, "workers=0")
    assert {path: path.stat().st_mtime_ns for path in kept} == written
    assert ends_of_runs(out) <= {"complete", "pruned", "diverged"}
    assert only_study(out)


@pytest.mark.slow
@pytest.mark.parametrize("at", [1, 10, 100, 400])
def test_ctrl_c_in_the_first_moments_is_one_line(here, at: int) -> None:
    words = ("+sweep=relu_mlp", *SMALL_DIGITS, "output_dir=out")
    assert pressed(at, "initsearch", *words) == (130, "", f"{STOPPED}\n")
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    "module", ["initsearch.__main__", "initsearch.diagnosis", "initsearch.race.__main__"]
)
def test_little_is_loaded_before_ctrl_c_is_one_line(module: str) -> None:
    code = f"import sys; old = {{*sys.modules}}; import {module}; print(*{{*sys.modules}} - old)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "initsearch" in loaded
    assert not loaded & {
        "importlib_metadata",
        "email",
        "zipfile",
        "pathlib",
        "hydra",
        "torch",
        "scipy",
    }


def test_a_program_that_is_to_ignore_ctrl_c_ignores_it() -> None:
    """As a shell's background jobs are."""
    code = """
import signal
from initsearch.ctrl_c import exit_at_interrupt
signal.signal(signal.SIGINT, signal.SIG_IGN)
exit_at_interrupt("stopped")
signal.raise_signal(signal.SIGINT)
print("continued")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("continued\n", "")


def test_a_second_ctrl_c_while_the_program_ends_prints_nothing() -> None:
    code = """
import atexit, signal, sys
from initsearch import cli
atexit.register(signal.raise_signal, signal.SIGINT)
cli.main = lambda: sys.exit(130)
cli.program()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.slow
def test_ctrl_c_while_the_program_is_loading(here) -> None:
    program = subprocess.Popen(
        [sys.executable, "-m", "initsearch", "+sweep=relu_mlp", *SMALL_DIGITS, "output_dir=out"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        maps = Path(f"/proc/{program.pid}/maps")
        while "libtorch" not in maps.read_text():
            assert program.poll() is None, program.communicate()
            time.sleep(0.01)
        program.send_signal(signal.SIGINT)
        stdout, stderr = program.communicate(timeout=60)
    finally:
        program.kill()
    assert (stdout, stderr) == ("", f"{STOPPED}\n")
    assert program.returncode == 130
    assert not list(here.iterdir())


def wait_for_the_end_of(session: int) -> None:
    """Wait until no process of a session is left; the test's own limit of patience is a minute."""
    for _ in range(600):
        left = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                left.append(stat.parent.name)
        if not left:
            return
        time.sleep(0.1)
    pytest.fail(f"orphans: {left}")


@pytest.mark.slow
def test_images_in_folders(monkeypatch, capsys, out, tmp_path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for label, brightness in (("dark", 60), ("light", 190)):
        (tmp_path / "pets" / label).mkdir(parents=True)
        for number in range(60):
            pixels = rng.normal(brightness, 20, (8, 8, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pets" / label / f"{number}.png")
    run(
        monkeypatch, "+sweep=relu_convnet", "data=image_folder", f"data.root={tmp_path / 'pets'}",
        "data.train_size=64", "data.val_size=32", "optimizer.batch_size=16", *BRIEF, "output_dir=out",
    )  # fmt: skip
    verdict = json.loads((only_study(out) / "verdict.json").read_text())
    assert verdict["dataset"] == verdict["requested_dataset"] == "image_folder:pets"
    # Any model that learns distinguishes dark from light.
    assert max(candidate["mean"] for candidate in verdict["candidates"]) > 0.9
    assert verdict["sentence"] in words(capsys.readouterr().out)


@pytest.mark.slow
def test_a_fallback_is_named_wherever_results_are(monkeypatch, capsys, out, tmp_path) -> None:
    small = ["data.train_size=200", "data.val_size=100", "output_dir=out"]
    run(
        monkeypatch, "+sweep=relu_mlp", "data.download=false", f"data.root={tmp_path / 'nowhere'}",
        *small, *BRIEF,
    )  # fmt: skip
    printed = capsys.readouterr()
    assert "training on digits instead" in printed.err
    assert "Trained on digits: mnist was requested" in words(printed.out)
    folder = only_study(out)
    verdict = Verdict.load(folder / "verdict.json")
    assert (verdict.dataset, verdict.requested_dataset) == ("digits", "mnist")
    assert "digits" in verdict.sentence
    assert "-digits-" in folder.name
    with sqlite3.connect(out / "mlflow.db") as database:
        query = "select key, value from tags where key in ('dataset', 'requested_dataset')"
        assert set(database.execute(query)) == {
            ("dataset", "digits"),
            ("requested_dataset", "mnist"),
        }


def chosen(*overrides: str) -> StudySettings:
    """The settings that the command line comes to."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return read_settings(compose("config", overrides=list(overrides)), overrides)


def test_plan_files_may_name_the_code_that_the_command_line_allows(tmp_path) -> None:
    plan = tmp_path / "plan.yaml"
    InitPlan.from_spec("torch.nn.init.zeros_").save(plan)
    settings = chosen(
        "+sweep=relu_mlp", "~space.groups", f"+space.plans.mine={plan}", "allow_code=[torch.nn.init]",
        f"baselines=[he_normal,{{named: {plan}}}]",
    )  # fmt: skip
    assert settings.space.plans is not None
    assert settings.space.plans["mine"].code == ("torch.nn.init.zeros_",)
    assert settings.baselines["named"] == settings.space.plans["mine"]


def images(settings: StudySettings) -> ImageClassification:
    assert isinstance(settings.task, ImageClassification)
    return settings.task


@pytest.mark.slow
@pytest.mark.parametrize("model", ["mlp", "convnet", "plain_cnn", "resnet", "torchvision_resnet18"])
@pytest.mark.parametrize("sweep", IMAGE_SWEEPS)
def test_a_model_that_is_chosen_has_settings_of_its_own(sweep: str, model: str) -> None:
    settings = images(chosen(f"+sweep={sweep}", f"model={model}")).model
    asked = settings.key()
    plain = yaml.safe_load((conf_dir() / "model" / f"{model}.yaml").read_text())
    assert asked.keys() == plain.keys()
    own = {"activation", *(key for key in plain if key in ("num_classes",))}
    assert {k: v for k, v in asked.items() if k not in own} == {
        k: v for k, v in plain.items() if k not in own
    }
    build_model(settings, (1, 28, 28), 10)


def test_the_command_line_overrides_a_chosen_group_and_an_own_class_takes_nothing_else() -> None:
    asked = images(chosen("+sweep=deep_relu_mlp", "model=mlp", "model.width=7")).model.arguments
    assert (asked["width"], asked["activation"]) == (7, "relu")
    assert asked["depth"] < 30
    own = chosen("+sweep=relu_mlp", "+model._target_=torch.nn.Flatten", "+model.start_dim=1")
    assert images(own).model.key() == {"_target_": "torch.nn.Flatten", "start_dim": 1}
    adam = chosen("+sweep=tf_mnist_tutorial", "optimizer=adam").task.optimizer
    sgd = chosen("+sweep=tf_mnist_tutorial").task.optimizer
    assert "momentum" not in adam.arguments
    assert (adam.lr, adam.batch_size) == (0.001, sgd.batch_size)


def has_an_activation(sweep: str) -> bool:
    """Whether the sweep's model has a setting for it; the one of a vision transformer is fixed."""
    model = re.search(r"override /model: (\w+)", (conf_dir() / f"sweep/{sweep}.yaml").read_text())
    return not model or "activation:" in (conf_dir() / f"model/{model[1]}.yaml").read_text()


@pytest.mark.parametrize(
    ("sweep", "activation"),
    [
        *(("relu_mlp", name) for name in ACTIVATIONS),
        *((name, "gelu") for name in filter(has_an_activation, IMAGE_SWEEPS)),
    ],
)
def test_a_shipped_sweep_varies_the_layers_of_any_activation(sweep: str, activation: str) -> None:
    settings = chosen(f"+sweep={sweep}", f"model.activation={activation}", *SMALL_DIGITS)
    slots = settings.task.slots()
    assert settings.space.idle_groups(slots) == []
    assert settings.space.without_effect(slots) == []


def test_an_edited_plan_file_and_another_folder_of_images_make_another_study(tmp_path) -> None:
    plan = tmp_path / "plan.yaml"
    asked = ("+sweep=relu_mlp", f"baselines=[torch_default,{{mine: '{plan}'}}]")
    names = []
    for scheme in ("he_normal", "zeros"):
        InitPlan.from_spec(scheme).save(plan)
        names.append(chosen(*asked).identity())
    assert names[0] != names[1]
    one, other = (
        chosen("+sweep=relu_mlp", f"data.root={root}").identity() for root in ("a", "./a")
    )
    assert one == other


@pytest.mark.slow
def test_a_wrong_device_spoils_no_study(monkeypatch, capsys, here) -> None:
    asked = ["initsearch", "+sweep=relu_mlp", *SMALL_DIGITS, *BRIEF, "output_dir=out"]
    monkeypatch.setattr(sys, "argv", [*asked, "trainer.accelerator=no_such_thing"])
    with pytest.raises(SystemExit):
        cli.main()
    assert "unknown trainer.accelerator 'no_such_thing'" in capsys.readouterr().err.splitlines()[-1]
    monkeypatch.setattr(sys, "argv", asked)
    cli.main()
    (verdict,) = Path("out").glob("*/verdict.json")
    assert {row.status for row in Verdict.load(verdict).evidence.search} & {"complete"}
