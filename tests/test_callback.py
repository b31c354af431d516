"""`InitCallback` applies the plan's weights at the right moment, in both namespaces of Lightning."""

import importlib
import json
import logging
import os
import pickle
import runpy
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
    """A LightningModule of either namespace; a learning rate of 0 keeps its initial weights."""

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
            return torch.optim.SGD(self.parameters(), lr=self.rate)

    if not late:
        del Module.configure_model
    made = Module()
    made.rate = rate
    return made


def loader() -> DataLoader[Any]:
    x = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
    return DataLoader(TensorDataset(x, torch.arange(8) % 3), batch_size=4)


def trainer(namespace: Any, callback: InitCallback, **settings: Any) -> Any:
    plain = {"logger": False, "enable_checkpointing": False, "max_epochs": 1, **settings}
    return namespace.Trainer(
        accelerator="cpu", callbacks=[callback], enable_progress_bar=False,
        enable_model_summary=False, log_every_n_steps=1, **plain,
    )  # fmt: skip


def expected(plan: str, seed: int) -> dict[str, Tensor]:
    """The weights that the plan alone gives the same module."""
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


@pytest.mark.parametrize("namespace", [lightning.pytorch, pytorch_lightning])
@pytest.mark.parametrize("late", [False, True], ids=["built", "configure_model"])
def test_a_restored_checkpoint_wins(tmp_path: Path, namespace: Any, late: bool) -> None:
    first = module(namespace.LightningModule, late=late, rate=0.1)
    run = trainer(namespace, InitCallback("he_normal"))
    run.fit(first, loader())
    run.save_checkpoint(tmp_path / "last.ckpt")
    assert not same(first, expected("he_normal", 0))
    second = module(namespace.LightningModule, late=late)
    resumed = trainer(namespace, InitCallback("zeros"), max_epochs=2)
    # The second epoch trains at the checkpoint's learning rate, which the optimizer's state restores.
    seen = []
    second.on_train_start = lambda: seen.append(same(second, dict(first.state_dict())))
    resumed.fit(second, loader(), ckpt_path=tmp_path / "last.ckpt", weights_only=False)
    assert seen == [True]
    assert resumed.global_step == 4


@pytest.mark.parametrize("late", [False, True], ids=["built", "configure_model"])
def test_a_second_fit_continues_from_the_current_weights(late: bool) -> None:
    model = module(lightning.pytorch.LightningModule, late=late, rate=0.1)
    callback = InitCallback("he_normal")
    trainer(lightning.pytorch, callback).fit(model, loader())
    trained = {name: value.clone() for name, value in model.state_dict().items()}
    for name, value in expected("he_normal", 0).items():
        assert not torch.equal(trained[name], value)
    model.rate = 0.0
    trainer(lightning.pytorch, callback).fit(model, loader())
    assert same(model, trained)
    # Another module is initialized: cross-validation trains several modules with one callback.
    other = module(lightning.pytorch.LightningModule, late=late)
    trainer(lightning.pytorch, callback).fit(other, loader())
    assert same(other, expected("he_normal", 0))


def test_a_fit_that_failed_before_the_model_was_built_can_be_repeated(tmp_path: Path) -> None:
    model = module(lightning.pytorch.LightningModule, late=True)

    class Failing(InitCallback):
        """Fails as if the module's `setup`, which follows, found no data."""

        def setup(self, *arguments: Any, **named: Any) -> None:
            super().setup(*arguments, **named)
            raise FileNotFoundError("no data today")

    failing, callback, logger = Failing("zeros"), InitCallback("he_normal"), CSVLogger(tmp_path)
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            trainer(lightning.pytorch, failing).fit(model, loader())
    trainer(lightning.pytorch, callback, logger=logger).fit(model, loader())
    assert same(model, expected("he_normal", 0))
    assert failing.report is None
    assert "configure_model" not in vars(model)


def test_only_a_fit_initializes() -> None:
    model = module(lightning.pytorch.LightningModule)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    callback = InitCallback("zeros")
    trainer(lightning.pytorch, callback).predict(model, DataLoader(torch.zeros(4, 6)))
    assert same(model, before)
    assert callback.report is None


def test_it_logs_its_report_and_plan(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    logger = CSVLogger(tmp_path)
    with caplog.at_level(logging.INFO, logger="initsearch"):
        run = trainer(lightning.pytorch, InitCallback("he_normal", seed=3), logger=logger)
        run.fit(module(lightning.pytorch.LightningModule), loader())
    assert "net.0.weight" in caplog.text
    assert "he_normal" in (Path(logger.log_dir) / "hparams.yaml").read_text()


def test_a_logger_that_refuses_the_seed_of_another_fold_does_not_end_the_fit(
    tmp_path: Path,
) -> None:
    """MLflow's params cannot change: the second fold of a cross-validation logs to the run of the first."""

    class Immutable(CSVLogger):
        def log_hyperparams(self, params: dict[str, Any] | None = None) -> None:
            if params and params.get("initsearch", {}).get("seed"):
                raise ValueError("Changing param values is not allowed.\nold_value: 0")
            super().log_hyperparams(params)

    logger = Immutable(tmp_path)
    for seed in (0, 1):
        model = module(lightning.pytorch.LightningModule)
        run = trainer(lightning.pytorch, InitCallback("he_normal", seed=seed), logger=logger)
        if seed:
            with pytest.warns(
                UserWarning, match=r"Immutable .* seed=1 .*Changing param.* run of its own"
            ):
                run.fit(model, loader())
        else:
            run.fit(model, loader())
        assert same(model, expected("he_normal", seed))


@pytest.mark.parametrize(
    ("layer", "remedy"),
    [
        (lambda: nn.LazyLinear(3), "lazy"),
        (lambda: nn.Linear(6, 3, device="meta"), "meta"),
    ],
    ids=["lazy", "meta"],
)
def test_parameters_without_values_are_refused_in_one_line(layer: Any, remedy: str) -> None:
    model = module(lightning.pytorch.LightningModule)
    model.net = nn.Sequential(layer())
    callback = InitCallback("he_normal")
    with pytest.raises(ModelError) as raised:
        # Without a fit: Lightning's own cleanup after the error fails on meta tensors.
        callback.setup(trainer(lightning.pytorch, callback), model, "fit")
    assert "\n" not in str(raised.value)
    assert remedy in str(raised.value)


def test_bad_arguments_are_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="he_normal"):
        InitCallback("he_norml")
    with pytest.raises(ConfigError, match="seed must be an integer"):
        InitCallback("he_normal", seed=0.5)  # type: ignore[arg-type]


def test_it_can_be_sent_to_another_process() -> None:
    sent = pickle.loads(pickle.dumps(InitCallback("he_normal", seed=5)))
    model = module(lightning.pytorch.LightningModule)
    trainer(lightning.pytorch, sent).fit(model, loader())
    assert same(model, expected("he_normal", 5))


@pytest.mark.parametrize("namespace", [lightning.pytorch, pytorch_lightning])
@pytest.mark.parametrize("form", ["name", "file", "mapping"])
def test_lightning_s_command_line_accepts_it(
    tmp_path: Path, monkeypatch, namespace: Any, form: str
) -> None:
    monkeypatch.chdir(tmp_path)
    InitPlan.from_spec("he_normal").save("plan.yaml")
    mapping = {
        "class_path": "initsearch.InitCallback",
        "init_args": {"plan": {"name": "he_normal"}},
    }
    Path("config.yaml").write_text(json.dumps({"trainer": {"callbacks": [mapping]}}))
    added = "--trainer.callbacks+=initsearch.InitCallback"
    plan = {
        "name": [added, "--trainer.callbacks.plan=he_normal"],
        "file": [added, "--trainer.callbacks.plan=plan.yaml"],
        "mapping": ["--config=config.yaml"],
    }[form]
    cli = importlib.import_module(f"{namespace.__name__}.cli")
    kind = type(module(namespace.LightningModule))
    kind.train_dataloader = lambda self: loader()
    kind.rate = 0.0
    quiet = {
        "accelerator": "cpu", "max_epochs": 1, "logger": False, "enable_checkpointing": False,
        "enable_progress_bar": False, "enable_model_summary": False, "log_every_n_steps": 1,
    }  # fmt: skip
    arguments = [
        "fit",
        "--seed_everything=0",
        *(f"--trainer.{name}={str(value).lower()}" for name, value in quiet.items()),
        *plan,
        *(["--trainer.callbacks.seed=11"] if form != "mapping" else []),
    ]
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # Lightning's, of its own calls
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
    done = cli.LightningCLI(kind, save_config_callback=None)
    assert same(done.model, expected("he_normal", 11 if form != "mapping" else 0))


@pytest.mark.parametrize("name", ["initsearch.InitCallback", "InitCallback"])
def test_lightning_s_command_line_reports_a_mistyped_plan_in_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    added = [f"--trainer.callbacks+={name}", "--trainer.callbacks.plan=he_norml"]
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # Lightning's, of its own calls
    monkeypatch.setattr(sys, "argv", ["train.py", "fit", "--seed_everything=0", *added])
    cli = importlib.import_module("lightning.pytorch.cli")
    with pytest.raises(SystemExit) as raised:
        cli.LightningCLI(type(module(lightning.pytorch.LightningModule)))
    assert str(raised.value).startswith(
        "error: InitCallback: unknown initializer or plan 'he_norml'"
    )
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_all_ranks_of_ddp_start_with_the_same_weights(tmp_path: Path) -> None:
    """Compared before DDP broadcasts the weights of rank 0, which would hide a difference."""
    subprocess.run(
        [sys.executable, str(Path(__file__).with_name("callback_ddp.py")), str(tmp_path)],
        capture_output=True, text=True, check=True, cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    weights = expected("he_normal", 3)
    for rank in range(2):
        found = torch.load(tmp_path / f"rank{rank}.pt")
        assert all(torch.equal(value, weights[name]) for name, value in found["weights"].items())
        assert found["rows"] == 4
    assert found["logged"] == 0  # only rank 0 logs


@pytest.mark.slow
def test_the_example_project_runs_and_the_plan_matters(capsys) -> None:
    script = REPOSITORY / "scripts" / "lightning_example.py"
    done = subprocess.run(
        [sys.executable, str(script), "he_normal"],
        capture_output=True, text=True, check=True, cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert "hidden.0.weight" in done.stdout
    assert float(done.stdout.rsplit(maxsplit=1)[1]) > 0.6
    # In this process for speed: all imports are loaded.
    runpy.run_path(str(script))["main"]("zeros")
    assert float(capsys.readouterr().out.rsplit(maxsplit=1)[1]) < 0.2
