"""The wheel is complete, and works where it is installed."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "--wheel-dir", str(folder), str(REPOSITORY)],
        check=True,
    )  # fmt: skip
    (file,) = folder.glob("initsearch-*.whl")
    return file


def test_the_wheel_holds_every_config_and_module_and_nothing_else(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    conf = {
        f"initsearch/{p.relative_to(REPOSITORY)}" for p in (REPOSITORY / "conf").rglob("*.yaml")
    }
    package = REPOSITORY / "initsearch"
    modules = {str(p.relative_to(REPOSITORY)) for p in package.rglob("*.py")}
    # Without an __init__, so that other packages' plugins for Hydra are found beside it.
    plugins = {"hydra_plugins/initsearch_searchpath.py"}
    assert names == conf | modules | plugins | {"initsearch/py.typed"}


def test_the_wheel_gives_a_hydra_app_its_groups(wheel: Path, tmp_path: Path) -> None:
    site, configs = tmp_path / "site", tmp_path / "configs"
    (configs / "callbacks").mkdir(parents=True)
    (configs / "callbacks" / "default.yaml").write_text(
        "early_stopping: {_target_: builtins.dict}\n"
    )
    (configs / "train.yaml").write_text("defaults: [_self_, {callbacks: default}]\n")
    (tmp_path / "train.py").write_text(
        "import hydra, hydra_plugins.initsearch_searchpath as plugin\n"
        "@hydra.main(version_base='1.3', config_path='configs', config_name='train')\n"
        "def main(cfg):\n"
        "    print(plugin.__file__, cfg.callbacks.init._target_, cfg.callbacks.init.plan.name)\n"
        "main()\n"
    )
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)],
        check=True,
    )  # fmt: skip
    plan = "initsearch/plan@callbacks.init.plan=orthogonal"
    found = subprocess.run(
        [sys.executable, "train.py", "callbacks=[default,init]", plan, "hydra.run.dir=."],
        env={**os.environ, "PYTHONPATH": str(site)}, cwd=tmp_path, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert Path(found[0]).is_relative_to(site)
    assert found[1:] == ["initsearch.InitCallback", "orthogonal"]


def test_the_wheel_runs_a_sweep_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)],
        check=True,
    )  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(site)}
    where = subprocess.run(
        [sys.executable, "-c", "import initsearch.shipped_configs as c; print(c.__file__, c.conf_dir())"],
        env=environment, cwd=elsewhere, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert all(Path(path).is_relative_to(site) for path in where)
    subprocess.run(
        [sys.executable, "-m", "initsearch", "+sweep=relu_mlp", "data=digits", "data.train_size=200",
         "data.val_size=200", "n_trials=10", "max_epochs=1", "race.max_seeds=2", "workers=1"],
        env=environment, cwd=elsewhere, check=True, capture_output=True,
    )  # fmt: skip
    (verdict,) = (elsewhere / "outputs").glob("*/verdict.json")
    assert json.loads(verdict.read_text())["dataset"] == "digits"
    # It wrote only the output folder.
    assert [path.name for path in elsewhere.iterdir()] == ["outputs"]
