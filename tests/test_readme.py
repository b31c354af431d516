"""The README is correct: its commands, examples, tables and files."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir

from initsearch import InitPlan, Space
from initsearch.config import read_settings
from initsearch.initializers import catalogue_table
from initsearch.shipped_configs import conf_dir, shipped_sweeps

REPOSITORY = Path(__file__).resolve().parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands(program: str) -> list[list[str]]:
    """The overrides of each command of the README that runs this program."""
    lines = "".join(blocks("bash")).replace("&&", "\n").splitlines()
    found = [
        line.strip().removeprefix(program) for line in lines if line.strip().startswith(program)
    ]
    return [[w for w in shlex.split(rest, comments=True) if "=" in w] for rest in found]


def test_the_commands_compose() -> None:
    studies, diagnoses = commands("python -m initsearch "), commands("initsearch-diagnose ")
    assert len(studies) == 6
    assert len(diagnoses) == 1
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        for overrides in studies:
            read_settings(compose("config", overrides=overrides), overrides)
        for overrides in diagnoses:
            compose("diagnose", overrides=overrides)


EXAMPLE_NAMES = """
import functools, optuna, torch
from lightning import pytorch as pl
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
import initsearch
Trainer = functools.partial(pl.Trainer, accelerator="cpu", logger=False, enable_checkpointing=False)
class Net(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    def training_step(self, batch, _):
        return nn.functional.cross_entropy(self.body(batch[0]), batch[1])
    def validation_step(self, batch, _):
        self.log("val/acc", (self.body(batch[0]).argmax(1) == batch[1]).float().mean())
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)
class Data(pl.LightningDataModule):
    def train_dataloader(self):
        x = torch.randn(32, 4)
        return DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), 16)
    val_dataloader = train_dataloader
model, batch = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), torch.randn(16, 4)
with torch.device("meta"):
    meta_model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
space = initsearch.Space.from_spec({"groups": {"all": {"weight": ["he_normal", "lecun_normal"]}}})
trial = optuna.create_study().ask()
short = {"n_trials": 3, "race": {"max_seeds": 2, "looks": [2]}}
initsearch.init_find = functools.partial(initsearch.init_find, **short)
initsearch.InitPlan.from_spec("he_normal").save("outputs/<study>/winner.yaml")
"""


@pytest.mark.slow
def test_the_python_examples_run(tmp_path: Path) -> None:
    examples = blocks("python")
    assert len(examples) >= 3
    (tmp_path / "outputs" / "<study>").mkdir(parents=True)
    code = "\n".join([EXAMPLE_NAMES, *examples, "print(initsearch.get_initializer('my_scheme'))"])
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "signal.png").is_file()


def test_the_table_of_initializers_is_the_registry() -> None:
    assert catalogue_table().strip() in README, "run scripts/write_readme_table.py"
    # In a fresh interpreter: other tests register initializers of their own.
    command = "import initsearch; print(*initsearch.list_initializers())"
    names = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, check=True
    )
    for name in names.stdout.split():
        assert f"`{name}`" in README


def test_every_shipped_sweep_is_listed_and_every_listed_one_is_shipped() -> None:
    table = README.partition("| `+sweep=` |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", table)) == set(shipped_sweeps())


def test_the_plan_file_and_the_sweep_shown_are_valid() -> None:
    plan, sweep = (yaml.safe_load(block) for block in blocks("yaml"))
    assert len(InitPlan.from_spec(plan).rules) == 2
    assert len(Space.from_spec(sweep["space"]).groups) == 2


def test_the_pictures_and_scripts_that_it_names_exist() -> None:
    for path in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README):
        assert (REPOSITORY / path).is_file()
    for path in set(re.findall(r"scripts/\w+\.py", README)):
        assert (REPOSITORY / path).is_file()
