"""Tables, text, sequences and functions: what is loaded, and scores against a plain training loop."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_dir
from sklearn.metrics import balanced_accuracy_score, root_mean_squared_error
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn import functional as F

from initsearch.config import read_settings
from initsearch.errors import ConfigError, DataError, InitSearchError
from initsearch.plan import InitPlan
from initsearch.search.settings import StudySettings
from initsearch.shipped_configs import conf_dir
from initsearch.space import Space
from initsearch.tasks import CohortTask, ModelSettings, OptimizerSettings, derive_seed
from initsearch.tasks.base import LabelledBlock
from initsearch.tasks.data.examples import ExampleSettings, split_examples
from initsearch.tasks.objective import Objective, TargetScale
from initsearch.tasks.registry import build_task
from initsearch.tasks.sequence import adding_problem
from initsearch.tasks.streams import epoch_order
from initsearch.tasks.supervised import SupervisedTask
from initsearch.tasks.text import inventory
from initsearch.training import Candidate, TestJob, TrainerSettings, TrainJob, run_job

HERE = __name__
SIZES = {"train_size": 48, "val_size": 30}
SGD = {"name": "sgd", "lr": 0.05, "momentum": 0.9, "batch_size": 16}
MLP = {"name": "mlp", "depth": 1, "width": 8}
SEED, STEPS = 4, 5


def task(name: str, data: dict[str, Any], model: dict[str, Any], **more: Any) -> SupervisedTask:
    groups = {"task": {"name": name}, "data": data, "model": model, "optimizer": SGD, **more}
    built = build_task(groups)
    assert isinstance(built, SupervisedTask)
    return built


TASKS = {
    "sine": task("function", {"name": "sine", "points": 96, **SIZES}, MLP),
    "photo": task(
        "function",
        {"name": "photo", "side": 12, **SIZES},
        {"name": "siren", "width": 8, "omega": 3.0},
    ),
    "diabetes": task("tabular", {"name": "diabetes", **SIZES}, MLP),
    "wine": task("tabular", {"name": "wine", **SIZES}, MLP),
    "adding": task(
        "sequence",
        {"name": "adding", "length": 6, "count": 96, **SIZES},
        {"name": "recurrent", "width": 4},
    ),
    "digits by rows": task(
        "sequence", {"name": "digits", **SIZES}, {"name": "recurrent", "width": 4, "cell": "relu"}
    ),
    "inventory": task(
        "text",
        {"name": "inventory", "length": 12, "characters": 1300, **SIZES},
        {"name": "char_gpt", "depth": 1, "width": 8, "heads": 2},
    ),
}


def _losses(name: str, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    if name in ("wine", "digits by rows"):
        return F.cross_entropy(output, target)
    if name == "inventory":
        return F.cross_entropy(output.flatten(0, 1), target.flatten())
    return (output - target).square().mean()


def _standardised(values: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
    scaler = StandardScaler().fit(by.double().numpy())
    return torch.from_numpy(scaler.transform(values.double().numpy()))


@pytest.mark.parametrize("engine", ["loop", "stacked"])
@pytest.mark.parametrize("name", TASKS)
def test_scores_are_those_of_a_plain_loop(name: str, engine: str, tmp_path: Path) -> None:
    asked: CohortTask = TASKS[name]
    data, settings = TASKS[name].examples, TASKS[name].data
    split = split_examples(data, settings, SEED)
    x, y, test_x, test_y = data.x, data.y, data.test_x, data.test_y
    if name in ("diabetes", "wine"):
        x, test_x = (_standardised(values, data.x[split.train]) for values in (x, test_x))
    if y.is_floating_point():
        y, test_y = (_standardised(values, data.y[split.train]) for values in (y, test_y))
    if x.is_floating_point():
        x, test_x = x.double(), test_x.double()

    candidates = tuple(
        Candidate(plan, {"name": plan}, lr)
        for plan, lr in (("torch_default", 0.05), ("lecun_normal", 0.02))
    )
    common: dict[str, Any] = {
        "task": asked,
        "trainer": TrainerSettings(engine=engine, precision="64-true", autocast="none"),
        "candidates": candidates,
        "seed": SEED,
    }
    epochs = STEPS / 3
    result = run_job(TrainJob(**common, stop_epoch=epochs, state_dir=str(tmp_path)))
    states = {curve.candidate: str(curve.state) for curve in result.curves}
    tests = run_job(TestJob(**common, states=states, epochs=epochs)).curves
    if engine == "stacked" and name not in ("adding", "digits by rows"):
        assert result.engine == "stacked", result.reason

    for candidate, curve, tested in zip(candidates, result.curves, tests, strict=True):
        torch.manual_seed(derive_seed("model", SEED))
        model = asked.build_model()
        first = x[split.train[:2]]
        first = first.float() if first.is_floating_point() else first
        InitPlan.from_spec(candidate.plan).apply(model, seed=SEED, batch=first)
        model.double()
        optimizer = torch.optim.SGD(model.parameters(), candidate.lr, momentum=0.9)
        for step in range(STEPS):
            order = epoch_order(split.train, SEED, step // 3)
            index = order[step % 3 * 16 : (step % 3 + 1) * 16]
            loss = _losses(name, model(x[index]), y[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        for scores, prefix, inputs, target in (
            (curve.points[-1].scores, "val", x[split.val], y[split.val]),
            (tested.test, "test", test_x, test_y),
        ):
            with torch.no_grad():
                expected = float(_losses(name, model(inputs), target))
            assert scores is not None
            assert scores[f"{prefix}_loss"] == pytest.approx(expected, rel=1e-8)
        assert set(curve.points[-1].scores) == set(asked.info().scores)


def test_scores_of_classes_and_numbers_are_those_of_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    labels, logits = generator.integers(3, size=40), generator.normal(size=(40, 3))
    labels[:5] = 2
    one = TargetScale(torch.ones(1, dtype=torch.float64), 1.0)
    scores = Objective("class").scores(torch.from_numpy(logits), torch.from_numpy(labels), one)
    balanced = balanced_accuracy_score(labels, logits.argmax(1))
    assert scores["balanced_accuracy"] == pytest.approx(balanced)
    y, guess = generator.normal(size=(40, 1)), generator.normal(size=(40, 1))
    scale = TargetScale(torch.tensor([7.0], dtype=torch.float64), 70.0)
    scores = Objective("numbers").scores(torch.from_numpy(guess), torch.from_numpy(y), scale)
    rmse = root_mean_squared_error(7 * y, 7 * guess)
    assert scores["rmse"] == pytest.approx(rmse)
    assert scores["psnr"] == pytest.approx(20 * np.log10(70 / rmse))


@pytest.mark.parametrize("name", TASKS)
def test_a_guess_scores_what_the_best_constant_answer_scores(name: str) -> None:
    data, objective = TASKS[name].examples, TASKS[name].objective
    guess = objective.guess(data.y, data.outputs)
    if data.kind == "numbers":
        y = (data.y.double() - data.y.double().mean()) / data.y.double().std(correction=0)
        constant = torch.zeros_like(y)
        scale = TargetScale(
            data.y.double().std(dim=0, correction=0), float(data.y.max() - data.y.min())
        )
    else:
        y, scale = data.y, TargetScale(torch.ones(1), 1.0)
        shares = data.y.flatten().bincount(minlength=data.outputs).double() / data.y.numel()
        constant = shares.log().expand(*data.y.shape, data.outputs)
    scores = objective.scores(constant, y, scale)
    for score, value in guess.items():
        assert scores[score] == pytest.approx(value, rel=1e-6), score


def test_the_adding_problem_adds_the_two_marked_numbers() -> None:
    x, y = adding_problem(10, 50)
    numbers, marks = x.unbind(-1)
    assert (marks[:, :5].sum(1) == 1).all()
    assert (marks[:, 5:].sum(1) == 1).all()
    expected = [float(row[mark == 1].sum()) for row, mark in zip(numbers, marks, strict=True)]
    torch.testing.assert_close(y.flatten(), torch.tensor(expected))


def test_questions_of_the_inventory_are_answered_from_the_sentence_before() -> None:
    lines = inventory(3000).splitlines()[:-1]
    assert len(lines) > 30
    for line in lines:
        asked, answer = re.search(r"how many (\w+)\? (\d)\.$", line).groups()  # type: ignore[union-attr]
        assert re.search(rf"\b{answer} (\w+ )?{asked}\b", line.split(".")[0]), line


def test_the_target_of_a_character_is_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_text(", ".join(map(str, range(200))), encoding="utf-8")
    data = {"name": "text_file", "path": str(path), "length": 20}
    found = task("text", data, {"name": "char_gpt"}).examples
    windows, following = (
        ["".join(found.classes[code] for code in row) for row in torch.cat(both).tolist()]
        for both in ((found.x, found.test_x), (found.y, found.test_y))
    )
    text = path.read_text(encoding="utf-8")
    for window, later in zip(windows, following, strict=True):
        assert window[1:] == later[:-1]
        assert window + later[-1] in text
    assert sorted(map(text.find, windows)) == [20 * number for number in range(len(windows))]


def table(folder: Path) -> Path:
    generator = np.random.default_rng(0)
    rooms = generator.integers(1, 9, size=90)
    frame = pd.DataFrame(
        {
            "rooms": rooms,
            "place": generator.choice(["town", "village", "farm"], size=90),
            "garden": rooms > 4,
            "price": 1000.0 * rooms + generator.normal(size=90),
            "kind": np.where(rooms > 6, "villa", "house"),
        }
    )
    frame.to_csv(folder / "houses.csv", index=False)
    return folder / "houses.csv"


def test_a_table_is_read_with_its_words_as_columns_of_zeros_and_ones(tmp_path: Path) -> None:
    data = {"name": "table", "path": str(table(tmp_path)), "target": "price"}
    found = task("tabular", data, MLP).examples
    assert (found.kind, found.outputs, found.main) == ("numbers", 1, "rmse")
    assert found.input_shape == (1 + 1 + 3 + 2,)  # rooms, garden, places, kinds
    assert found.name == "table:houses"
    found = task("tabular", {**data, "target": "kind"}, MLP).examples
    assert (found.kind, found.classes) == ("class", ("house", "villa"))
    assert task("tabular", {**data, "target": "rooms"}, MLP).examples.kind == "class"
    regression = {**data, "target": "rooms", "kind": "regression"}
    assert task("tabular", regression, MLP).examples.kind == "numbers"


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"path": None}, ConfigError, ("data.path must be set", "data.path=table.csv")),
        ({"path": "none.csv"}, DataError, ("none.csv", "correct the path")),
        ({"target": None}, ConfigError, ("data.target must be the column", "data.target=kind")),
        ({"target": "prize"}, ConfigError, ("prize", "price")),
        ({"target": "flat"}, ConfigError, ("flat",)),
        ({"train_size": 500}, ConfigError, ("data.train_size", "at most 75", "lower them")),
    ],
)
def test_a_table_that_does_not_fit_is_one_line(
    change: dict[str, Any], kind: type[InitSearchError], words: tuple[str, ...], tmp_path: Path
) -> None:
    data = {"name": "table", "path": str(table(tmp_path)), "target": "price", **change}
    with pytest.raises(kind) as error:
        task("tabular", data, MLP).info()
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_missing_values_are_refused_with_their_column(tmp_path: Path) -> None:
    path = table(tmp_path)
    frame = pd.read_csv(path)
    frame.loc[3, "rooms"] = np.nan
    frame.to_csv(path, index=False)
    with pytest.raises(DataError, match="column 'rooms'"):
        task("tabular", {"name": "table", "path": str(path), "target": "price"}, MLP).info()


def settings(*words: str) -> StudySettings:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return read_settings(compose("config", overrides=list(words)), list(words))


TABULAR = ("+sweep=relu_mlp", "task=tabular")


@pytest.mark.parametrize(
    ("words", "metric", "margin"),
    [
        (("+sweep=relu_mlp", "data=digits", "race.margin=auto"), "val_accuracy", 0.1),
        ((*TABULAR, "data=wine", "race.margin=0.5"), "val_accuracy", 0.5),
        ((*TABULAR, "data=rare_classes", "race.margin=auto"), "val_balanced_accuracy", 0.1),
        (("+sweep=sine_regression",), "val_mse", 0.01),
        (("+sweep=siren_image", "race.margin=auto"), "val_psnr", 0.1),
    ],
)
def test_the_metric_and_its_margin_suit_the_task(
    words: tuple[str, ...], metric: str, margin: float
) -> None:
    found = settings(*words)
    assert (found.metric, found.race.margin) == (metric, margin)


def test_the_margin_of_an_error_is_in_its_own_unit() -> None:
    found = settings(*TABULAR, "data=diabetes", "race.margin=auto")
    spread = float(build_task(found.composed).examples.y.double().std(correction=0))  # type: ignore[union-attr]
    assert found.metric == "val_rmse"
    assert found.race.margin == pytest.approx(spread / 100)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((*TABULAR, "data=digits"), ("data must be of task=tabular", "task=image_classification")),
        (("+sweep=relu_mlp", "data=wine"), ("image_classification", "set task=tabular")),
        (("+sweep=relu_mlp", "task.loss=mse"), ("task.loss", "cross_entropy")),
        ((*TABULAR, "data=wine", "task.loss=mse"), ("task.loss", "cross_entropy")),
        ((*TABULAR, "data=wine", "metric=pkg.score"), ("mode must be max or min", "mode=max")),
    ],
)
def test_settings_that_do_not_fit_the_task_are_one_line(
    words: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError) as error:
        settings(*words).task.info()
    assert "\n" not in str(error.value)
    for part in expected:
        assert part in str(error.value)


def median_error(output: torch.Tensor, target: torch.Tensor) -> float:
    return float((output - target).abs().median())


def pinball(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    error = target - output
    return torch.maximum(0.9 * error, -0.1 * error).mean()


def test_a_loss_and_a_score_of_ones_own_are_used_by_their_dotted_paths() -> None:
    words = (*TABULAR, "data=diabetes", "metric=" + HERE + ".median_error", "mode=min")
    found = settings(*words, f"task.loss={HERE}.pinball", "race.margin=auto")
    assert (found.metric, found.mode) == (f"{HERE}.median_error", "min")
    assert found.metric in found.task.info().scores
    trained = run_job(
        TrainJob(
            task=found.task,
            trainer=found.trainer,
            candidates=(Candidate("he", {"name": "he_normal"}, 0.01),),
            seed=1,
        )
    )
    scores = trained.curves[0].points[-1].scores
    assert 0 < scores[found.metric] < float("inf")
    assert scores["val_loss"] != scores["val_mse"]


@dataclass(frozen=True)
class OwnTask(SupervisedTask):
    data: ExampleSettings = TASKS["sine"].data
    model: ModelSettings = TASKS["sine"].model
    optimizer: OptimizerSettings = TASKS["sine"].optimizer
    size: int = 0


def test_a_task_of_ones_own_is_built_from_its_target() -> None:
    words = (f"+task._target_={HERE}.OwnTask", "+task.size=3")
    found = settings("+sweep=sine_regression", *words)
    assert type(found.task) is OwnTask
    assert found.task.size == 3
    assert (found.metric, found.architecture) == ("val_mse", "mlp-1x8")
    for wrong, expected in (("OwnTask", "sise"), ("pinball", "pinball"), ("none", "none")):
        with pytest.raises(ConfigError, match=expected) as error:
            settings("+sweep=sine_regression", f"+task._target_={HERE}.{wrong}", "+task.sise=3")
        assert "\n" not in str(error.value)


def test_an_optimizer_is_named_by_its_target() -> None:
    words = ("+optimizer._target_=torch.optim.RMSprop", "optimizer.lr=0.01")
    found = settings("+sweep=relu_mlp", *words).task.optimizer  # type: ignore[attr-defined]
    assert type(found.build([nn.Parameter(torch.zeros(1))], found.lr)) is torch.optim.RMSprop
    assert (found.lr, found.arguments) == (0.01, {})


def test_a_sweep_knows_that_the_gates_of_a_layer_are_matched() -> None:
    space = Space.from_spec(
        {"plans": {"open": {"rules": [{"where": {"part": "forget_gate"}, "bias": "ones"}]}}}
    )
    assert space.without_effect(TASKS["adding"].slots()) == []
    group = {"where": {"part": "forget_gate"}, "weight": ["orthogonal", "glorot_uniform"]}
    space = Space.from_spec({"groups": {"gate": group, "rest": {"weight": ["he_normal"]}}})
    assert space.idle_groups(TASKS["adding"].slots()) == []


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("diabetes", {"name": "char_gpt"}),
        ("wine", {"name": "resnet"}),
        ("sine", {"name": "recurrent"}),
    ],
)
def test_a_model_for_other_inputs_is_refused_in_one_line(name: str, model: dict[str, Any]) -> None:
    of_images = task("tabular", {"name": "wine"}, model).model
    with pytest.raises(InitSearchError) as error:
        replace(TASKS[name], model=of_images).build_model()
    assert "\n" not in str(error.value)
    assert model["name"] in str(error.value)


def test_a_model_of_ones_own_takes_the_shape_of_the_data() -> None:
    own = {"_target_": f"{HERE}.Linear"}
    model = task("tabular", {"name": "wine"}, own).build_model()
    assert model(torch.zeros(2, 13)).shape == (2, 3)


class Linear(nn.Linear):
    def __init__(self, input_shape: tuple[int], num_classes: int) -> None:
        super().__init__(input_shape[0], num_classes)


@pytest.mark.parametrize("name", ["wine", "diabetes", "inventory"])
def test_a_plan_knows_the_targets_that_its_model_is_trained_on(name: str) -> None:
    asked: CohortTask = TASKS[name]
    block = asked.open(SEED, torch.device("cpu"))
    assert isinstance(block, LabelledBlock)
    y = TASKS[name].examples.y[split_examples(TASKS[name].examples, TASKS[name].data, SEED).train]
    if y.is_floating_point():
        torch.testing.assert_close(block.targets().mean(), torch.zeros((), dtype=torch.float64))
    else:
        assert torch.equal(block.targets(), y)
