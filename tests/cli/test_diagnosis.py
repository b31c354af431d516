"""`initsearch-diagnose`: the table and the picture for shipped and own models, errors in one line."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pressed import pressed

from initsearch import diagnosis
from initsearch.model_report import DiagnosisSettings, look, name_draws

DIGITS = {"name": "digits", "train_size": 300, "val_size": 100}
MLP = {"name": "mlp", "depth": 3, "width": 32}


def looking_at(data: dict[str, Any], **settings: Any) -> DiagnosisSettings:
    return DiagnosisSettings.parse("", {"data": data, "model": MLP, **settings})


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["initsearch-diagnose", "data=digits", *arguments])
    diagnosis.main()


def test_the_table_and_the_picture(monkeypatch, capsys, tmp_path) -> None:
    picture = tmp_path / "new" / "signal.png"
    run(monkeypatch, "model=mlp", "model.depth=3", "+plan=he_normal", f"output={picture}")
    out = capsys.readouterr().out
    assert out.startswith("mlp-3x128-relu on digits, 64 images, seed 0, initialized by he_normal")
    assert out.count("healthy") == 4
    assert str(picture) in out
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "title", "loss"),
    [
        ("task=text data=inventory model=char_gpt plan=gpt2", "64 examples", "cross-entropy"),
        ("task=tabular data=diabetes model=mlp", "64 examples", "mean squared error"),
        ("task=tabular data=diabetes model=mlp task.loss=huber", "64 examples", "huber"),
        ("model=mlp plan={rules:[{where:{role:head},bias:class_prior}]}", "64 images", "entropy"),
        (
            "model=mlp +data._target_=sklearn.datasets.load_iris +data.return_X_y=true",
            "mlp-2x128-relu on load_iris, 64 examples",
            "cross-entropy",
        ),
    ],
)
def test_every_task_has_its_loss(monkeypatch, capsys, words: str, title: str, loss: str) -> None:
    data = [] if "data=" in words else ["data=digits"]
    monkeypatch.setattr(sys, "argv", ["initsearch-diagnose", *data, *words.split()])
    diagnosis.main()
    first = capsys.readouterr().out.splitlines()[0]
    assert title in first
    assert loss in first


def test_a_bad_plan_shows_in_the_verdicts(monkeypatch, capsys) -> None:
    run(monkeypatch, "model=mlp", "plan=zeros", "batch_size=32")
    out = capsys.readouterr().out
    assert "32 images" in out
    assert "dead" in out
    assert out.splitlines()[-1].startswith("no_gradient: ")


def test_a_user_s_own_model_and_plan_file(monkeypatch, capsys, tmp_path) -> None:
    (tmp_path / "my_diagnosed_net.py").write_text(
        "from torch import nn\n"
        "def build(num_classes: int) -> nn.Module:\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 9), nn.Tanh(), nn.Linear(9, num_classes))\n"
    )
    (tmp_path / "plan.yaml").write_text("rules:\n- weight: {name: normal, std: 30.0}\n")
    monkeypatch.chdir(tmp_path)
    run(monkeypatch, "~model", "+model._target_=my_diagnosed_net.build", "plan=plan.yaml")
    out = capsys.readouterr().out
    assert out.startswith("build on digits")
    assert re.search(r"^1 +tanh .* saturated ", out, flags=re.MULTILINE)


def test_a_plan_file_may_name_the_code_that_the_command_line_allows(
    monkeypatch, capsys, tmp_path
) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text("{name: torch.nn.init.constant_, val: 0.0}")
    with pytest.raises(SystemExit):
        run(monkeypatch, "model=mlp", f"plan={plan}")
    assert "allow_code=[torch.nn.init.constant_]" in capsys.readouterr().err
    run(monkeypatch, "model=mlp", f"plan={plan}", "allow_code=[torch.nn.init]")
    assert "no_gradient" in capsys.readouterr().out


@pytest.mark.parametrize("option", ["--identify", "identify=true"])
def test_what_the_weights_were_drawn_from_is_named(monkeypatch, capsys, option: str) -> None:
    run(monkeypatch, "model=mlp", "model.depth=2", "plan=he_normal", option)
    out = capsys.readouterr().out
    assert len(re.findall(r"^\S+weight +\S+ +he_normal ", out, flags=re.MULTILINE)) == 3
    assert "verdict" not in out


def test_an_identification_has_no_picture(monkeypatch, capsys) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, "model=mlp", "--identify", "output=signal.png")
    assert re.search("output .*identify", capsys.readouterr().err)


def test_a_look_is_a_function_of_its_seed_and_leaves_the_random_state() -> None:
    state = torch.get_rng_state()
    title, report = look(looking_at(DIGITS))
    assert torch.equal(state, torch.get_rng_state())
    torch.rand(3)
    assert look(looking_at(DIGITS)) == (title, report)
    assert look(looking_at(DIGITS, seed=1))[1] != report
    assert "as the framework draws it" in title


def test_a_stand_in_is_named(tmp_path) -> None:
    data = {"name": "mnist", "root": str(tmp_path), "download": False, "fallback": "digits"}
    for report in (look, name_draws):
        title, _ = report(looking_at(data))
        assert "digits (in place of mnist" in title


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plan=he_norml"], r"he_norml.*he_normal"),
        (["model=convnt"], r"unknown model 'convnt'.*convnet"),
        (["output=signal.jpgg"], r"output must end in .*\.png.*signal\.jpgg"),
        (["batch_size=1"], "batch_size must be greater than or equal to 2, but got 1"),
        (["seed=one"], "seed must be a valid integer, but got 'one'"),
        (["batchsize=3"], r"unknown setting 'batchsize': did you mean batch_size\?"),
        (["sweep=relu_mlp"], "unknown setting 'sweep'"),
        (["plan"], "write plan=VALUE"),
        (["+batchsize=3"], r"batchsize.*batch_size"),
        (["~model", "+model._target_=torchvision.models.resnet19"], "resnet19"),
    ],
)
def test_a_bad_setting_is_one_line(monkeypatch, capsys, arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, *arguments)
    assert stopped.value.code == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith("error: ")
    assert re.search(message, err), err


def test_an_output_that_cannot_be_written_is_one_line(monkeypatch, capsys, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit):
        run(monkeypatch, "model=mlp", f"output={tmp_path / 'file' / 'signal.png'}")
    assert "output must be a file that can be written" in capsys.readouterr().err


#: Runs the module as `python -m` does, with Ctrl-C at one of the modules that it looks for.
@pytest.mark.parametrize("at", [10, 100, 400])
def test_ctrl_c_in_the_first_moments_is_one_line(at: int) -> None:
    words = ("data=digits", "model=mlp")
    assert pressed(at, "initsearch.diagnosis", *words) == (130, "", "stopped\n")


@pytest.mark.slow
def test_it_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "initsearch.diagnosis", "data=digits", "model=mlp"],
        capture_output=True, text=True, check=False, cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "verdict" in done.stdout
    assert done.stderr == ""
