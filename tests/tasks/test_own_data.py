"""Data of one's own by `data._target_`, and a loss and a score of one's own for images."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from initsearch.config import read_settings
from initsearch.dotted import instantiated
from initsearch.errors import ConfigError, DataError, InitSearchError
from initsearch.plan import InitPlan
from initsearch.search.settings import StudySettings
from initsearch.shipped_configs import conf_dir
from initsearch.tasks import (
    CohortTask,
    ImageClassification,
    ModelSettings,
    OptimizerSettings,
    derive_seed,
)
from initsearch.tasks.data.examples import Examples
from initsearch.tasks.supervised import SupervisedTask
from initsearch.training import Candidate, TrainerSettings, TrainJob, run_job

HERE = __name__
X = torch.linspace(-1, 1, 180).reshape(60, 3)
CLASSES = torch.arange(60) % 3


@dataclass(frozen=True)
class Noise:
    scale: float

    def __call__(self, x: Tensor) -> Tensor:
        return x + self.scale


def pair(noise: Any = None) -> tuple[Tensor, Tensor]:
    return (X if noise is None else noise(X)), CLASSES


def four() -> list[Any]:
    return [X[:50].numpy(), X[:50, :1].numpy(), X[50:].numpy(), X[50:, :1].numpy()]


def dataset() -> TensorDataset:
    return TensorDataset(X.reshape(60, 1, 3, 1), CLASSES)


def tokens() -> tuple[Tensor, Tensor]:
    return CLASSES.reshape(12, 5), CLASSES.reshape(12, 5).roll(-1, 1)


def tokens_with_test() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return (*tokens(), *tokens())


def other_test() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return (*tokens(), tokens()[1], tokens()[0])


def examples() -> Examples:
    return Examples("mine", "1", X, X, X, X, kind="numbers", outputs=3, main="mse")


def text() -> str:
    return "x, y"


def uneven() -> tuple[Tensor, Tensor]:
    return X, CLASSES[1:]


def none() -> tuple[Tensor, Tensor]:
    return X[:0], CLASSES[:0]


def list_of_rows() -> list[list[float]]:
    return X.tolist()  # type: ignore[no-any-return]


def broken() -> None:
    raise RuntimeError("no\nserver")


def settings(*words: str) -> StudySettings:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return read_settings(compose("config", overrides=["+sweep=relu_mlp", *words]), list(words))


def supervised(*words: str) -> SupervisedTask:
    task = settings(*words).task
    assert isinstance(task, SupervisedTask)
    return task


@pytest.mark.parametrize(
    ("name", "kind", "shape", "outputs", "sizes", "metric"),
    [
        ("pair", "class", (3,), 3, (42, 8, 10), "val_accuracy"),
        ("dataset", "class", (1, 3, 1), 3, (42, 8, 10), "val_accuracy"),
        ("four", "numbers", (3,), 1, (42, 8, 10), "val_mse"),
        ("tokens", "tokens", (5,), 3, (9, 1, 2), "val_bits_per_token"),
        ("tokens_with_test", "tokens", (5,), 3, (10, 2, 12), "val_bits_per_token"),
        ("examples", "numbers", (3,), 3, (50, 10, 60), "val_mse"),
    ],
)
def test_what_a_target_gives_says_what_is_learned(
    name: str,
    kind: str,
    shape: tuple[int, ...],
    outputs: int,
    sizes: tuple[int, int, int],
    metric: str,
) -> None:
    task = supervised(f"+data._target_={HERE}.{name}", "optimizer.batch_size=4")
    found, info = task.examples, task.info()
    assert (found.kind, found.input_shape, found.outputs) == (kind, shape, outputs)
    assert tuple(info.sizes.values()) == sizes
    assert task.main_metric == metric
    assert info.dataset == ("mine" if name == "examples" else name)


def test_another_test_set_makes_other_data() -> None:
    one, other = (
        supervised(
            f"+data._target_={HERE}.{name}", "optimizer.batch_size=4", "data.name=mine"
        ).info()
        for name in ("tokens_with_test", "other_test")
    )
    assert one.contents != other.contents


def test_arguments_with_a_target_of_their_own_are_built_first() -> None:
    words = [f"+data._target_={HERE}.pair", f"+data.noise._target_={HERE}.Noise"]
    task = supervised(
        *words,
        "+data.noise.scale=0.5",
        "++data.train_size=30",
        "data.name=mine",
        "optimizer.batch_size=4",
    )
    together = torch.cat([task.examples.x, task.examples.test_x])
    assert torch.equal(together.sort(dim=0).values, X + 0.5)
    assert task.info().dataset == "mine"
    assert task.info().sizes["train"] == 30
    assert task.key()["data"]["arguments"] == {"noise": {"_target_": f"{HERE}.Noise", "scale": 0.5}}
    later = instantiated("x", {"_target_": f"{HERE}.Noise", "_partial_": True})
    assert later(2.0) == Noise(2.0)


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("text", DataError, ("gave a text", "(x, y)", "task._target_")),
        ("uneven", DataError, ("60 inputs and 59 targets",)),
        ("none", DataError, ("no examples",)),
        ("X", ConfigError, ("TypeError",)),
        ("list_of_rows", DataError, ("no pairs",)),
        ("broken", ConfigError, ("RuntimeError: no server", "under data")),
        ("nothing", ConfigError, ("nothing", "correct the path")),
    ],
)
def test_data_that_cannot_be_used_are_one_line(
    name: str, kind: type[InitSearchError], words: tuple[str, ...]
) -> None:
    with pytest.raises(kind) as error:
        supervised(f"+data._target_={HERE}.{name}").info()
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


@dataclass(frozen=True)
class OwnTask(SupervisedTask):
    data: Any = None
    model: Any = field(default_factory=lambda: ModelSettings(name="mlp"))
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    main_metric = "val_mse"


def test_a_task_of_ones_own_gets_the_data_of_their_target() -> None:
    words = (f"+task._target_={HERE}.OwnTask", f"+data._target_={HERE}.Noise", "+data.scale=2.0")
    task = settings(*words, "race.margin=1").task
    assert isinstance(task, OwnTask)
    assert task.data == Noise(2.0)


def smoothed(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output, target, label_smoothing=0.3)


def top_two(output: Tensor, target: Tensor) -> Tensor:
    return (output.topk(2).indices == target[:, None]).any(1).double().mean()


@pytest.mark.parametrize("engine", ["loop", "stacked"])
def test_images_are_trained_by_a_loss_and_scored_by_a_score_of_ones_own(engine: str) -> None:
    words = ["data=digits", "++data.train_size=60", "++data.val_size=40", "optimizer.batch_size=20"]
    own = [f"task.loss={HERE}.smoothed", f"metric={HERE}.top_two", "mode=max", "model.width=8"]
    found = settings(*words, *own, "optimizer.momentum=0.0")
    task = found.task
    assert isinstance(task, ImageClassification)
    assert found.metric in task.info().scores
    assert "val_loss" not in task.info().guess
    he = {"name": "he_normal"}
    candidates = tuple(Candidate(name, he, 0.1) for name in ("a", "b"))
    trainer = TrainerSettings(engine=engine, precision="64-true", autocast="none")
    asked: CohortTask = task
    result = run_job(TrainJob(task=asked, trainer=trainer, candidates=candidates, seed=4))
    assert result.engine == engine, result.reason
    torch.manual_seed(derive_seed("model", 4))
    net, block = task.build_model(), task.open(4, torch.device("cpu"))
    images = block.images
    InitPlan.from_spec(he).apply(net, seed=4, batch=images.normalize(images.train_x[:4]))
    net.double()
    for index in block.batches(0, 3):
        loss = smoothed(
            net(images.normalize(images.train_x[index], torch.float64)), images.train_y[index]
        )
        net.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in net.parameters():
                assert parameter.grad is not None
                parameter -= 0.1 * parameter.grad
    with torch.no_grad():
        output = net(images.normalize(images.train_x[block.validation], torch.float64))
    labels = images.train_y[block.validation]
    scores = result.curves[0].points[-1].scores
    assert scores == pytest.approx(
        {
            "val_accuracy": float((output.argmax(1) == labels).double().mean()),
            "val_loss": float(smoothed(output, labels)),
            found.metric: float(top_two(output, labels)),
        },
        rel=1e-8,
    )
    usual = replace(task, loss_name="auto", extra_score=None)
    assert usual.key() == replace(usual, loss_name="cross_entropy").key() != task.key()
