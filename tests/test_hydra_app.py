"""A Hydra app of the user gains the callback by an override, and the search by a command."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import OmegaConf

from initsearch import InitCallback, InitPlan, Space, search_app
from initsearch.errors import ConfigError
from initsearch.hydra_app import main
from initsearch.shipped_configs import app_conf_dir

REPOSITORY = Path(__file__).resolve().parents[1]
EXAMPLE = REPOSITORY / "scripts" / "hydra_app_example"
PLANS = sorted(file.stem for file in (app_conf_dir() / "initsearch" / "plan").glob("*.yaml"))
SPACES = sorted(file.stem for file in (app_conf_dir() / "initsearch" / "space").glob("*.yaml"))


@pytest.fixture
def app() -> Iterator[Any]:
    """Composes the example's configuration with overrides."""
    with initialize_config_dir(str(EXAMPLE / "configs"), version_base="1.3"):
        yield lambda *overrides: compose("train", list(overrides), return_hydra_config=False)
    GlobalHydra.instance().clear()


def test_the_callback_comes_by_one_override(app: Any) -> None:
    node = app("callbacks=[default,init]").callbacks
    assert set(node) == {"model_checkpoint", "early_stopping", "init"}
    callback = instantiate(node.init)
    assert isinstance(callback, InitCallback)
    assert callback.plan == InitPlan.from_spec("he_normal")
    assert callback.seed == 12345  # the app's own


@pytest.mark.parametrize("plan", PLANS)
def test_every_shipped_plan_is_the_initializer_of_its_name(app: Any, plan: str) -> None:
    node = app("callbacks=init", f"initsearch/plan@callbacks.init.plan={plan}").callbacks.init
    assert instantiate(node).plan == InitPlan.from_spec(plan)
    alone = OmegaConf.to_container(app(f"+initsearch/plan={plan}").initsearch.plan)
    assert InitPlan.from_spec(alone) == InitPlan.from_spec(plan)


def test_a_plan_file_replaces_the_group(app: Any, tmp_path: Path) -> None:
    InitPlan.from_spec("orthogonal").save(tmp_path / "winner.yaml")
    node = app("callbacks=init", f"callbacks.init.plan={tmp_path}/winner.yaml").callbacks.init
    assert instantiate(node).plan == InitPlan.from_spec("orthogonal")


@pytest.mark.parametrize("space", SPACES)
def test_every_shipped_space_is_a_space(app: Any, space: str) -> None:
    node = app(f"+initsearch/space={space}").initsearch.space
    assert Space.from_spec(OmegaConf.to_container(node)).size >= 4


def test_an_unknown_name_lists_the_known_ones(app: Any) -> None:
    with pytest.raises(HydraException, match="every_weight"):
        app("+initsearch/space=rellu")


def test_what_is_missing_is_an_error_of_one_line(app: Any) -> None:
    with pytest.raises(ConfigError, match=r"add \+initsearch/search=default"):
        search_app(app())
    with pytest.raises(ConfigError, match=r"search\.metric=val/acc"):
        search_app(app("+initsearch/search=default", "optimized_metric=null"))
    cfg = app("+initsearch/search=default", "~data")
    with pytest.raises(ConfigError, match=r"node 'data' .*search\.nodes\.data=NAME"):
        search_app(cfg)


def test_a_trainer_for_a_gpu_that_is_not_there_is_an_error_of_one_line(
    app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(EXAMPLE)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    gpu = ["trainer.accelerator=cuda", "trainer.default_root_dir=.", "callbacks=init"]
    with pytest.raises(ConfigError, match=r"trainer must .*trainer\.accelerator=cpu") as raised:
        search_app(app("+initsearch/search=default", *gpu))
    assert "\n" not in str(raised.value)


def failure(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as raised:
        main(words)
    assert raised.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_the_command_reports_a_wrong_folder_file_or_name_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("PROJECT_ROOT", "HYDRA_FULL_ERROR"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(sys, "argv", ["hydra_app"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert "--config-path=FOLDER" in failure(capsys)
    configs = f"--config-path={EXAMPLE / 'configs'}"
    assert "evaluate.yaml" in failure(capsys, configs, "--config-name", "evaluate")
    assert "every_weight" in failure(capsys, configs, "initsearch/space=rellu")


def run(folder: Path, *words: str) -> str:
    paths = os.pathsep.join((str(REPOSITORY), str(folder)))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *words], cwd=folder, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_example_searches_its_own_module_and_trains_with_a_plan(tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(EXAMPLE, project, ignore=shutil.ignore_patterns("__pycache__", "logs"))
    small = ["initsearch/search=quick", "initsearch/space=relu"]
    assert "as_built" in run(project, "-m", "initsearch.hydra_app", *small)
    (file,) = (project / "outputs").glob("*/verdict.json")
    verdict = json.loads(file.read_text())
    assert (verdict["architecture"], verdict["metric"]) == ("DigitsModule", "val/acc")
    means = {one["name"]: one["mean"] for one in verdict["candidates"]}
    # Torch's default shrinks a ReLU layer's signal by sqrt(6) (He et al. 2015): twelve of them learn nothing.
    assert means["as_built"] < 0.15
    assert max(means.values()) > means["as_built"] + 0.1
    assert (file.parent / "winner.yaml").exists()
    trained = run(project, "src/train.py", "callbacks=[default,init]")
    assert float(trained.rsplit(maxsplit=1)[1]) > means["as_built"] + 0.1
