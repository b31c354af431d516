"""`InitCallback`: the same weights as the plan alone gives, at the right moment, in both Lightnings."""

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning.pytorch
import pytest
import pytorch_lightning
import torch
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from initsearch import InitCallback, InitPlan
from initsearch.errors import ConfigError, ModelError

REPOSITORY = Path(__file__).resolve().parents[1]

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)`"),
    pytest.mark.filterwarnings("ignore:.*exists and is not empty"),
]


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def module(base: type, *, late: bool = False, rate: float = 0.0) -> Any:
    """A LightningModule of either namespace; with a rate of 0 its weights stay as they were set."""

    class Module(base):  # type: ignore[misc,valid-type]
        def __init__(self) -> None:
            super().__init__()
            self.example_input_array = torch.zeros(2, 6)
            if not late:
                self.net = net()

        def configure_model(self) -> None:
            if late and not hasattr(self, "net"):
                self.net = net()

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)

        def training_step(self, batch: list[Tensor], _: int) -> Tensor:
            return nn.functional.cross_entropy(self(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=rate)

    if not late:
        del Module.configure_model
    return Module()


def loader() -> DataLoader[Any]:
    x = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
    return DataLoader(TensorDataset(x, torch.arange(8) % 3), batch_size=4)


def trainer(namespace: Any, callback: InitCallback, **settings: Any) -> Any:
    plain = {"logger": False, "enable_checkpointing": False, **settings}
    return namespace.Trainer(
        accelerator="cpu", max_epochs=1, callbacks=[callback], enable_progress_bar=False,
        enable_model_summary=False, log_every_n_steps=1, **plain,
    )  # fmt: skip


def expected(plan: str, seed: int) -> dict[str, Tensor]:
    """What the plan alone makes of the same module."""
    other = module(lightning.pytorch.LightningModule)
    InitPlan.from_spec(plan).apply(other, seed=seed)
    return dict(other.state_dict())


def same(model: Any, weights: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("namespace", [lightning.pytorch, pytorch_lightning])
@pytest.mark.parametrize("late", [False, True], ids=["built", "configure_model"])
def test_the_weights_are_the_plans(namespace: Any, late: bool) -> None:
    model = module(namespace.LightningModule, late=late)
    callback = InitCallback("he_normal", seed=7)
    trainer(namespace, callback).fit(model, loader())
    assert same(model, expected("he_normal", 7))
    assert callback.report is not None
    assert len(callback.report.rows) == 4


def test_a_restored_checkpoint_wins(tmp_path: Path) -> None:
    first = module(lightning.pytorch.LightningModule, rate=0.1)
    run = trainer(lightning.pytorch, InitCallback("he_normal"))
    run.fit(first, loader())
    run.save_checkpoint(tmp_path / "last.ckpt")
    second = module(lightning.pytorch.LightningModule)
    resumed = trainer(lightning.pytorch, InitCallback("zeros"))
    resumed.fit(second, loader(), ckpt_path=tmp_path / "last.ckpt", weights_only=False)
    assert same(second, dict(first.state_dict()))


def test_a_second_fit_goes_on_with_the_weights_it_finds() -> None:
    model = module(lightning.pytorch.LightningModule, rate=0.1)
    callback = InitCallback("he_normal")
    trainer(lightning.pytorch, callback).fit(model, loader())
    trained = {name: value.clone() for name, value in model.state_dict().items()}
    for group in trained:
        assert not torch.equal(trained[group], expected("he_normal", 0)[group])
    frozen = module(lightning.pytorch.LightningModule)
    frozen.load_state_dict(trained)
    callback._initialized.add(frozen)
    trainer(lightning.pytorch, callback).fit(frozen, loader())
    assert same(frozen, trained)


def test_only_a_fit_initializes() -> None:
    model = module(lightning.pytorch.LightningModule)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    callback = InitCallback("zeros")
    trainer(lightning.pytorch, callback).predict(model, DataLoader(torch.zeros(4, 6)))
    assert same(model, before)
    assert callback.report is None


def test_it_says_what_it_did(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    logger = CSVLogger(tmp_path)
    with caplog.at_level(logging.INFO, logger="initsearch"):
        run = trainer(lightning.pytorch, InitCallback("he_normal", seed=3), logger=logger)
        run.fit(module(lightning.pytorch.LightningModule), loader())
    assert "net.0.weight" in caplog.text
    assert "he_normal" in (Path(logger.log_dir) / "hparams.yaml").read_text()


def test_lazy_parameters_and_bad_arguments_are_refused_in_one_line() -> None:
    model = module(lightning.pytorch.LightningModule)
    model.net = nn.Sequential(nn.LazyLinear(3))
    with pytest.raises(ModelError) as raised:
        trainer(lightning.pytorch, InitCallback("he_normal")).fit(model, loader())
    assert "\n" not in str(raised.value)
    with pytest.raises(ConfigError, match="he_normal"):
        InitCallback("he_norml")
    with pytest.raises(ConfigError, match="seed must be an integer"):
        InitCallback("he_normal", seed=0.5)  # type: ignore[arg-type]


def test_the_example_project_runs_and_the_plan_matters() -> None:
    accuracies = {}
    for plan in ("he_normal", "zeros"):
        done = subprocess.run(
            [sys.executable, str(REPOSITORY / "scripts" / "lightning_example.py"), plan],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        accuracies[plan] = float(done.stdout.rsplit(maxsplit=1)[1])
    assert accuracies["he_normal"] > 0.6
    assert accuracies["zeros"] < 0.2
