"""A user's own module with a test set and a learning rate in the space; the same verdict with two workers."""

import math
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from own_module import Blobs, Net, make_trainer
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import initsearch
from initsearch.errors import ConfigError, InitSearchError, ModelError
from initsearch.plan import InitPlan
from initsearch.tasks import Entry
from initsearch.tasks.lightning import LightningTask
from initsearch.tasks.lightning_fit import UsersFit

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
PLAN = InitPlan.from_spec("he_normal")
SPACE = {"groups": {"all": {"weight": ["he_normal", "orthogonal"]}}}


@pytest.fixture(autouse=True)
def seeds_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
        monkeypatch.setenv(name, "0")


class Small(Net):
    """A small step of SGD, at the rate of a hyperparameter; a test step."""

    def __init__(self, learning_rate: float = 0.05) -> None:
        super().__init__()
        self.save_hyperparameters()

    def test_step(self, batch: list[Tensor], batch_idx: int) -> None:
        x, y = batch
        self.log("test/loss", F.cross_entropy(self(x), y))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.hparams["learning_rate"])


class WithTest(Blobs):
    """A test set of its own."""

    def test_dataloader(self) -> DataLoader[Any]:
        noise = torch.Generator().manual_seed(1)
        x = torch.randn(14, 4, generator=noise, dtype=torch.float64)
        return DataLoader(TensorDataset(x, torch.arange(14) % 3), batch_size=7)


class Fixed(Small):
    """It does not read its hyperparameter."""

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.05)


def make_task(model: Any = Small, **given: Any) -> LightningTask:
    users = UsersFit(model, make_trainer(max_epochs=2), {"datamodule": WithTest()})
    return LightningTask.probed(users, "val/loss", mode="min", **given)


def users_own(seed: int, lr: float) -> dict[str, float]:
    """What the user would write."""
    pl.seed_everything(seed, workers=True, verbose=False)
    trainer = make_trainer(max_epochs=2, callbacks=[initsearch.InitCallback(PLAN, seed=seed)])
    net = Small(lr)
    trainer.fit(net, datamodule=WithTest())
    fitted = dict(trainer.callback_metrics)
    trainer.test(net, datamodule=WithTest(), verbose=False)
    both = {**fitted, **trainer.callback_metrics}
    return {name: float(value) for name, value in both.items()}


def test_rate_and_test_score_are_those_of_the_users_own_fit(tmp_path: Path) -> None:
    task = make_task(rates=(0.01, 0.3))
    own = users_own(4, 0.3)
    entry = Entry(PLAN, 0.3, str(tmp_path / "kept.ckpt"))
    (measured,) = task.train_together([entry], 4, [2.0]).measured
    assert measured[0].scores["val/loss"] == own["val/loss"]
    kept = task.test(entry, 4, 2.0)
    assert kept == {"test/loss": pytest.approx(own["test/loss"], rel=1e-12)}
    again = task.test(Entry(PLAN, 0.3), 4, 2.0)  # nothing was kept: it is trained again
    assert again == kept


def test_rates_in_lockstep_are_each_candidates_own() -> None:
    task = make_task(rates=(0.01, 0.3), engine="loop")
    entries = [Entry(PLAN, 0.01), Entry(PLAN, 0.3), Entry(PLAN)]
    together = task.train_together(entries, 4, [2.0]).measured
    assert [one[0].scores["val/loss"] for one in together] == [
        users_own(4, lr)["val/loss"] for lr in (0.01, 0.3, 0.05)
    ]


def test_a_function_sets_the_rate_of_a_module_that_has_no_name_for_it() -> None:
    def configure(module: Any, lr: float) -> None:
        module.configure_optimizers = lambda: torch.optim.SGD(module.parameters(), lr=lr)

    users = UsersFit(Net, make_trainer(max_epochs=1), {"datamodule": Blobs()}, configure=configure)
    task = LightningTask.probed(users, "val/loss", rates=(0.01, 0.3))
    scores = [
        task.train_together([Entry(PLAN, lr)], 0, [1.0]).measured[0][0].scores for lr in task.rates
    ]
    assert scores[0] != scores[1]


def search(folder: Path, **given: Any) -> initsearch.InitFindResult:
    options: dict[str, Any] = {
        "trainer": make_trainer(max_epochs=2),
        "datamodule": WithTest(),
        "metric": "val/loss",
        "mode": "min",
        "space": {**SPACE, "lr": [0.01, 0.1]},
        "n_trials": 4,
        "race": {"max_seeds": 2, "looks": (2,), "futility": 0.0},
        "search": {"seeds": 1},
        "output_dir": folder,
        "progress": False,
    }
    return initsearch.init_find(Small, **(options | given))


def _numbers(found: initsearch.InitFindResult) -> Any:
    verdict = found.verdict
    return (
        verdict.sentence,
        [(one.name, one.lr, dict(one.scores)) for one in verdict.candidates],
        {who: dict(one.by_seed) for who, one in verdict.test.items()},
    )


@pytest.mark.slow  # two studies, one of them with worker processes
def test_two_workers_reach_the_verdict_of_one_with_test_scores_and_rates(tmp_path: Path) -> None:
    one = search(tmp_path / "one")
    two = search(tmp_path / "two", workers=2)
    assert _numbers(one) == _numbers(two)
    assert "loop" in one.verdict.evidence.engines
    baseline = one.verdict.test["baseline"]
    assert baseline.metric == "test/loss"
    assert all(map(math.isfinite, baseline.by_seed.values()))
    assert set(baseline.by_seed) == set(one.verdict.candidates[0].scores)
    assert {candidate.lr for candidate in one.verdict.candidates} <= {0.01, 0.1}
    assert "On the test set (test/loss)" in str(one)


class NanLoss(Small):
    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("val/loss", torch.tensor(float("nan")))


class Checkpointed(Small):
    """It reads weights from a file that is not there."""

    def __init__(self) -> None:
        super().__init__()
        self.load_state_dict(torch.load("no-such-file.ckpt"))


@pytest.mark.parametrize(
    ("model", "given", "error", "words"),
    [
        (Fixed, {}, ConfigError, "space.lr must reach the optimizer.*configure="),
        (Net, {}, ConfigError, "no attribute or hyperparameter lr or learning_rate.*configure="),
        (Small, {"configure": 3}, ConfigError, "configure must be a function"),
        (Net, {"space": SPACE, "test_metric": "test/f1"}, ConfigError, r"define test_step\(\)"),
        (Small, {"engine": "fast"}, ConfigError, "unknown engine 'fast'"),
        (Checkpointed, {"space": SPACE}, ModelError, "no-such-file.ckpt"),
    ],
)
def test_a_mistake_is_one_line_before_any_candidate_trains(
    model: Any, given: dict[str, Any], error: type[InitSearchError], words: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=words) as raised:
        search_with(model, tmp_path / "out", given)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def search_with(model: Any, folder: Path, given: dict[str, Any]) -> initsearch.InitFindResult:
    options: dict[str, Any] = {
        "trainer": make_trainer(max_epochs=1),
        "datamodule": WithTest(),
        "metric": "val/loss",
        "mode": "min",
        "space": {**SPACE, "lr": [0.01, 0.1]},
        "output_dir": folder,
    }
    return initsearch.init_find(model, **(options | given))


def test_a_metric_that_is_not_a_number_and_fixed_weights_are_said_and_do_not_end_the_search() -> (
    None
):
    """The plan that is searched may be what makes it a number."""

    def built() -> NanLoss:
        torch.manual_seed(0)
        return NanLoss()

    nan, fixed = make_task(built).info().messages[1:]
    assert "val/loss is nan" in nan
    assert "same weights" in fixed
    assert len(make_task().info().messages) == 1


def test_a_test_step_that_logs_another_name_is_named_with_those_that_it_logs() -> None:
    task = make_task(test_metric="test/acc")
    with pytest.raises(ConfigError, match=r"test_metric.*'test/acc'.*test/loss"):
        task.test(Entry(PLAN), 0, 2.0)
