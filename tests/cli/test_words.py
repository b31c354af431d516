"""Words of the command line: what is no setting is one line with what to write; the pages of `--help`."""

import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir

import initsearch
from initsearch import cli, diagnosis
from initsearch.shipped_configs import conf_dir, options_of, question_of, shipped_sweeps

SWEEP = "+sweep=relu_mlp"


def error_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str
) -> str:
    """The one line that a command prints before it has done anything."""
    monkeypatch.setattr(sys, "argv", ["initsearch", *words])
    monkeypatch.setattr(cli, "run", lambda config: pytest.fail("it ran"))
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 1
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    return line


def page_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str
) -> str:
    monkeypatch.setattr(sys, "argv", ["initsearch", *words])
    cli.main()
    out, err = capsys.readouterr()
    assert err == ""
    return out


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (["--sweep=relu_mlp"], r"write \+sweep=relu_mlp"),
        (["--n-trials", "5", SWEEP], "write n_trials=VALUE"),
        (["--verison"], "did you mean --version"),
        (["--cfg", "jib", SWEEP], "choose from 'job'"),
        (["--config-dir", "nowhere", SWEEP], "--config-dir must be a folder, but 'nowhere'"),
        (["+sweep", "relu_mlp"], r"write \+sweep=NAME .*relu_mlp"),
        (["relu_mlp"], r"write \+sweep=relu_mlp"),
        (["x"], "'x' must be name=value"),
        (["sweep=relu_mlp"], r"write \+sweep=relu_mlp"),
        (["+sweep="], "unknown sweep '': choose one of: .*relu_mlp"),
        (["=3"], "has no name"),
        ([SWEEP, "n_trial=5"], r"did you mean n_trials\?"),
        ([SWEEP, "lr=0.1"], "space.lr or optimizer.lr"),
        ([SWEEP, "max_seeds=4"], r"did you mean race.max_seeds\?"),
        ([SWEEP, "race.max_seed=4"], r"did you mean race.max_seeds\?"),
        ([SWEEP, "~nmae"], r"did you mean name\?"),
        ([SWEEP, "race={max_seed: 4}"], r"race has no 'max_seed'.*did you mean max_seeds\?"),
        (
            [SWEEP, "space.groups.hidden.weight={variance_scaling: {scale: [1, 2]}}"],
            r"weight.variance_scaling has no 'scale'.*write \+\+space.groups.hidden.weight=VALUE",
        ),
        ([SWEEP, "zzzz=3"], "unknown setting 'zzzz': choose one of: .*n_trials"),
        ([SWEEP, "race.looks=4,6,8"], r"write 'race.looks=\[4,6,8\]'"),
        ([SWEEP, "model=mlp,convnet"], "once for each of mlp,convnet$"),
        ([SWEEP, "trainer=null"], "unknown trainer 'null': choose one of: cpu, ddp, gpu"),
        ([SWEEP, "model=3"], "unknown model '3': .*convnet"),
        ([SWEEP, "model=mlpp"], r"unknown model 'mlpp': did you mean mlp"),
        ([SWEEP, "space={a: "], "value of space cannot be read"),
        ([SWEEP, "hydra.run.dir=/dev/null/x"], "'/dev/null/x'.*output_dir"),
    ],
)
def test_a_wrong_word_is_one_line_with_the_right_one(
    monkeypatch, capsys, tmp_path, words: list[str], remedy: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert re.search(remedy, error_of(monkeypatch, capsys, *words))
    assert not list(tmp_path.iterdir())


def test_an_error_shows_control_characters_escaped(monkeypatch, capsys) -> None:
    for word in ("x\x1b[31m", "+sweep=x\x1b[31m", "space={\x1b[31m", "x\x1b[31m=3"):
        line = error_of(monkeypatch, capsys, word)
        assert "\x1b" not in line
        assert r"\x1b[31m" in line


def test_a_name_of_a_baseline_has_no_control_characters(monkeypatch, capsys, tmp_path) -> None:
    (tmp_path / "sweep").mkdir()
    text = (
        '# @package _global_\nbaselines: [{"x\\e[31m": zeros}]\nspace: {plans: {he: he_normal}}\n'
    )
    (tmp_path / "sweep" / "mine.yaml").write_text(text)
    words = ["--config-dir", str(tmp_path), "+sweep=mine", "workers=1", f"output_dir={tmp_path}"]
    monkeypatch.setattr(sys, "argv", ["initsearch", *words])
    with pytest.raises(SystemExit):
        cli.main()
    (line,) = capsys.readouterr().err.splitlines()
    assert "a name in baselines must be text without control characters" in line


def test_a_sweep_file_that_is_not_yaml_is_one_line(monkeypatch, capsys, tmp_path) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "mine.yaml").write_text("# @package _global_\nname: [mine\n")
    line = error_of(monkeypatch, capsys, "--config-dir", str(tmp_path), "+sweep=mine")
    assert "mine.yaml" in line


def test_a_misspelt_setting_of_a_sweep_of_ones_own_is_named(monkeypatch, capsys, tmp_path) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "mine.yaml").write_text(
        "# @package _global_\nspace: {groups: {stem: {}}}\n"
    )
    words = ["--config-dir", str(tmp_path), "+sweep=mine", "space.groups.stemm=1"]
    assert "did you mean space.groups.stem?" in error_of(monkeypatch, capsys, *words)


@pytest.mark.parametrize("trainer", ["trainer=gpu", "trainer=ddp", "trainer.accelerator=mps"])
def test_a_missing_gpu_is_reported_before_anything_is_done(
    monkeypatch, capsys, tmp_path, trainer: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", functools.cache(lambda: False))
    words = [
        "initsearch",
        SWEEP,
        "data=digits",
        "workers=1",
        trainer,
        f"output_dir={tmp_path / 'out'}",
    ]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit):
        cli.main()
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(r"error: trainer.accelerator=\w+ needs a GPU.*use trainer=cpu", line)
    assert not list(tmp_path.iterdir())


def test_more_gpus_than_there_are_are_refused(monkeypatch, capsys, tmp_path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    words = [SWEEP, "data=digits", "workers=1", "trainer=gpu", f"output_dir={tmp_path}"]
    for devices in ("3", "[0,2]"):
        monkeypatch.setattr(sys, "argv", ["initsearch", *words, f"trainer.devices={devices}"])
        with pytest.raises(SystemExit):
            cli.main()
        (line,) = capsys.readouterr().err.splitlines()
        assert re.search(r"trainer.devices .* torch finds 2, but got .*trainer.devices=1", line)


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"], [SWEEP, "--help"]])
def test_the_page_has_examples_and_the_question_of_each_sweep(
    monkeypatch, capsys, words: list[str]
) -> None:
    page = page_of(monkeypatch, capsys, *words)
    assert "initsearch +sweep=relu_convnet" in page
    text = " ".join(page.split())
    for sweep in shipped_sweeps():
        assert f"{sweep} {question_of(sweep)}" in text
        assert question_of(sweep).endswith("?")
    assert max(map(len, page.splitlines())) <= 80


def test_the_page_names_settings_and_choices_that_exist(monkeypatch, capsys) -> None:
    page = page_of(monkeypatch, capsys, "--help")
    names = re.findall(r"^  ([\w.]+)= ", page, flags=re.MULTILINE)
    assert len(names) > 5
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        compose("config", overrides=[f"{name}=1" for name in names])
    text = re.sub(r"\|\s+", "|", page)
    for group in ("data", "model", "optimizer", "trainer"):
        (choices,) = re.findall(rf"^  {group}=(\S+)$", text, flags=re.MULTILINE)
        assert choices.split("|") == options_of(group)


def test_the_diagnosis_has_a_page_of_its_own_and_runs_without_words(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["initsearch-diagnose", "--help"])
    diagnosis.main()
    assert "output=signal.png" in capsys.readouterr().out
    ran: list[object] = []
    monkeypatch.setattr(sys, "argv", ["initsearch-diagnose"])
    monkeypatch.setattr(diagnosis, "run", ran.append)
    diagnosis.main()
    assert len(ran) == 1


def test_the_version_is_that_of_initsearch(monkeypatch, capsys) -> None:
    assert page_of(monkeypatch, capsys, "--version") == f"initsearch {initsearch.__version__}\n"


def test_the_page_is_printed_without_loading_any_library() -> None:
    program = (
        "import sys; sys.argv = ['initsearch', '--help']; from initsearch.cli import main; main();"
        "print(sorted({'torch', 'hydra', 'omegaconf', 'lightning', 'optuna', 'mlflow'} & {*sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, check=True, cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "[]"
