"""`InitFinder` searches at the start of a fit, which is then the fit that the plan alone would give."""

import copy
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from own_module import Blobs, Net, make_trainer

from initsearch import InitCallback, InitFinder
from initsearch.errors import ConfigError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning"),
]

SPACE = {"plans": {"he": "he_normal", "orthogonal": "orthogonal"}}


@pytest.fixture(autouse=True)
def seeds_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """`seed_everything` sets them: they are put back after each test."""
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
        monkeypatch.setenv(name, "0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all searches: creating it takes seconds."""
    return tmp_path_factory.mktemp("searches")


def finder(folder: Path, **given: Any) -> InitFinder:
    plain: dict[str, Any] = {"space": SPACE, "n_trials": 3, "race": {"max_seeds": 2, "looks": [2]}}
    options: dict[str, Any] = {"output_dir": folder / "out", "progress": False, **(plain | given)}
    return InitFinder("val/loss", "min", **options)


def test_the_fit_is_that_of_the_plan_that_was_found(folder: Path) -> None:
    net = Net()
    other = copy.deepcopy(net)
    searching = finder(folder)
    ends = []
    for model, callback in ((net, searching), (other, None)):
        if callback is None:
            assert searching.result is not None
            callback = InitCallback(searching.result.suggestion(), seed=0)
        pl.seed_everything(3, verbose=False)
        trainer = make_trainer(max_epochs=2, callbacks=[callback])
        loaders = Blobs()
        loaders.setup("fit")
        trainer.fit(model, loaders.train_dataloader(), loaders.val_dataloader())
        ends.append((model.epochs_seen, trainer.callback_metrics["val/loss"]))
    assert ends[0] == ends[1]
    for name, value in net.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])
    assert searching.result is not None
    assert {row["candidate"] for row in searching.result.results} == {
        "torch_default",
        "he",
        "orthogonal",
    }


def test_a_second_fit_continues_without_a_search(folder: Path) -> None:
    searching = finder(folder)
    net = Net()
    make_trainer(max_epochs=1, callbacks=[searching]).fit(net, datamodule=Blobs())
    found = searching.result
    assert found is not None
    trained = copy.deepcopy(net.state_dict())
    starts = []
    net.on_train_start = lambda: starts.append(copy.deepcopy(net.state_dict()))  # type: ignore[method-assign]
    make_trainer(max_epochs=1, callbacks=[searching]).fit(net, datamodule=Blobs())
    assert searching.result is found
    for name, value in starts[0].items():
        assert torch.equal(value, trained[name])


def test_a_plan_beside_the_search_is_refused(folder: Path) -> None:
    trainer = make_trainer(callbacks=[finder(folder), InitCallback("he_normal")])
    with pytest.raises(ConfigError, match=r"no InitCallback.*baselines="):
        trainer.fit(Net(), datamodule=Blobs())
