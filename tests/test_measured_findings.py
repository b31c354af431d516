"""Known results on initializations, reproduced on MNIST over seeds: their direction and rough size.

Comments give the range measured over at least four seeds. The asserted bands are wider: rounding differs
between machines, and a short training amplifies it.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from initsearch.tasks import DataSettings, ImageClassification, ModelSettings, OptimizerSettings
from initsearch.training import Candidate, Curve, TrainerSettings, TrainJob, run_job
from initsearch.training.checkpoint import Checkpoint

pytestmark = [pytest.mark.mnist, pytest.mark.slow]

SEEDS = (11, 12)
CHANCE = 0.13  # a little above the share of a split's largest class
UNIT_NORMAL = {"name": "normal", "std": 1.0}
TIMES_001 = {"name": "normal", "std": 0.01}
ZERO_FIRST = {
    "rules": [
        {"where": {"role": "first"}, "weight": "zeros", "bias": "zeros"},
        {"where": {"role": "head"}, "weight": UNIT_NORMAL, "bias": "zeros"},
    ]
}


@pytest.fixture(autouse=True)
def denormals_are_zero() -> Iterator[None]:
    """Flush denormals: thirty layers at 0.01 produce them, and their arithmetic is five times slower."""
    torch.set_flush_denormal(True)
    yield
    torch.set_flush_denormal(False)


def train(
    root: Path,
    model: Mapping[str, Any],
    plans: Mapping[str, Any],
    seed: int,
    *,
    lr: float,
    momentum: float = 0.0,
    steps: int = 400,
    looks: tuple[int, ...] = (),
    precision: str = "32-true",
    state_dir: Path | None = None,
    **data: Any,
) -> dict[str, Curve]:
    """Train the plans on one block in batches of 100; validate at the looks and at the end."""
    stop = steps / 400
    sgd = {"name": "sgd", "momentum": momentum, "batch_size": 100}
    task = ImageClassification(
        data=DataSettings(name="mnist", root=str(root), train_size=40_000, val_size=5_000, **data),
        model=ModelSettings.parse("model", model),
        optimizer=OptimizerSettings.parse("optimizer", sgd),
    )
    job = TrainJob(
        task=task,
        trainer=TrainerSettings(engine="loop", precision=precision),
        candidates=tuple(Candidate(name, as_plan(plan), lr) for name, plan in plans.items()),
        seed=seed,
        stop_epoch=stop,
        eval_epochs=(*(look / 400 for look in looks), stop),
        state_dir=str(state_dir) if state_dir else None,
    )
    return {curve.candidate: curve for curve in run_job(job).curves}


def as_plan(spec: Any) -> dict[str, Any]:
    if isinstance(spec, dict) and "rules" in spec:
        return spec
    if spec == "torch_default":
        return {"rules": [{"weight": spec, "bias": spec}]}
    return {"rules": [{"weight": spec, "bias": "zeros"}]}


def accuracy(curve: Curve) -> float:
    return curve.points[-1].scores["val_accuracy"]


def best(curve: Curve) -> float:
    """The highest accuracy of all looks: with momentum in thirty layers, a single look is noisy."""
    return max(point.scores["val_accuracy"] for point in curve.points)


def is_stuck(curve: Curve) -> bool:
    """Whether it is at chance at every look, with the loss of a constant output."""
    at_log_10 = abs(curve.points[-1].scores["val_loss"] - math.log(10)) < 0.02
    return best(curve) < CHANCE and at_log_10 and not curve.diverged


@pytest.mark.parametrize("seed", SEEDS)
def test_a_zero_first_layer_learns_under_tanh_and_is_dead_under_relu(mnist_root, seed) -> None:
    for activation, lr in (("tanh", 0.1), ("relu", 0.5)):
        model = {"name": "mlp", "depth": 1, "width": 100, "activation": activation}
        plans = {"zero_first": ZERO_FIRST}
        curves = train(mnist_root, model, plans, seed, lr=lr, steps=600, scaling="unit")
        # tanh .937 to .940. ReLU at chance: its units start at zero and pass no gradient.
        if activation == "tanh":
            assert accuracy(curves["zero_first"]) > 0.9
        else:
            assert is_stuck(curves["zero_first"])


@pytest.mark.parametrize("seed", SEEDS)
def test_units_of_two_zero_layers_stay_identical_in_float64(mnist_root, tmp_path, seed) -> None:
    model = {"name": "mlp", "depth": 1, "width": 100, "activation": "sigmoid"}
    plans = {"both_zero": "zeros", "zero_first": ZERO_FIRST}
    curves = train(
        mnist_root, model, plans, seed, lr=0.5, steps=150, precision="64-true", state_dir=tmp_path,
        scaling="unit",
    )  # fmt: skip
    apart, moved = {}, {}
    for name, curve in curves.items():
        assert curve.state is not None
        first = next(
            w for w in Checkpoint.load(curve.state).model.values() if w.shape == (100, 784)
        )
        assert first.dtype == torch.float64
        moved[name] = float(first.abs().max())
        apart[name] = float((first - first[0]).abs().max())
    # They differ by 3e-16 at most. In float32, where the order of summation varies between units, they
    # differ by 2e-8 to 2e-7 at this point, and the difference grows.
    assert apart["both_zero"] < 1e-10
    assert moved["both_zero"] > 0.01
    assert apart["zero_first"] > 0.1
    # Like a single unit: .215 to .264, against .886 to .902
    assert accuracy(curves["both_zero"]) < 0.4
    assert accuracy(curves["zero_first"]) > accuracy(curves["both_zero"]) + 0.3


@pytest.mark.parametrize("seed", SEEDS)
def test_softmax_regression_learns_from_zeros_and_worse_from_unit_normal(mnist_root, seed) -> None:
    model = {"_target_": "softmax_regression.softmax_regression"}
    plans = {"zeros": "zeros", "ones": "ones", "unit_normal": UNIT_NORMAL}
    curves = train(mnist_root, model, plans, seed, lr=0.5, steps=1000, scaling="unit")
    # zeros and ones .906 to .913, unit normal .861 to .874
    assert accuracy(curves["zeros"]) > 0.9
    assert accuracy(curves["ones"]) == pytest.approx(accuracy(curves["zeros"]), abs=0.003)
    assert accuracy(curves["unit_normal"]) < accuracy(curves["zeros"]) - 0.02


@pytest.mark.parametrize("seed", SEEDS)
def test_a_convnet_is_stuck_at_001_and_learns_from_variance_scaling_and_lsuv(
    mnist_root, seed
) -> None:
    model = {"name": "convnet", "depth": 4, "width": 8, "activation": "relu"}
    xavier_head = {"where": {"role": "head"}, "weight": "tf1_xavier_uniform", "bias": "zeros"}
    scaled = {"where": {}, "weight": "tf1_variance_scaling", "bias": "zeros"}
    plans = {
        "times_0.01": TIMES_001,
        "variance_scaling_with_xavier": {"rules": [xavier_head, scaled]},
        # LSUV draws orthogonal matrices and rescales them, whatever the weights were.
        "lsuv": "lsuv",
    }
    setting = {"lr": 0.05, "scaling": "unit", "image_size": 14}  # a quarter of the pixels
    curves = train(mnist_root, model, plans, seed, steps=300, **setting)
    # Variance scaling .889 to .927, LSUV .927 to .942: ahead by .013 to .041 on each of six seeds. With
    # batches of 50 it was behind by .021 on one of four seeds, so a band is asserted, not an order.
    assert is_stuck(curves["times_0.01"])
    assert curves["times_0.01"].initial_loss == pytest.approx(math.log(10), abs=1e-4)
    unit = train(mnist_root, model, {"unit_normal": UNIT_NORMAL}, seed, steps=1, **setting)
    assert unit["unit_normal"].initial_loss > 1000  # 2010 to 7967
    scaling = accuracy(curves["variance_scaling_with_xavier"])
    assert scaling > 0.83
    assert accuracy(curves["lsuv"]) > max(0.85, scaling - 0.03)


@pytest.mark.parametrize("seed", SEEDS)
def test_ten_relu_layers_learn_from_glorot_and_not_from_the_default(mnist_root, seed) -> None:
    model = {"name": "mlp", "depth": 10, "width": 128, "activation": "relu"}
    plans = {"glorot": "glorot_normal", "default": "torch_default"}
    curves = train(mnist_root, model, plans, seed, lr=0.01, momentum=0.9, looks=(300, 350))
    # Glorot .901 to .939 at the last look, the default at chance
    assert best(curves["glorot"]) > 0.85
    assert is_stuck(curves["default"])


@pytest.mark.parametrize("seed", SEEDS)
def test_thirty_relu_layers_learn_from_he_alone_and_lsuv_rescues_the_default(
    mnist_root, seed
) -> None:
    model = {"name": "mlp", "depth": 30, "width": 128, "activation": "relu"}
    plans = {
        "he": "he_normal",
        "glorot": "glorot_normal",
        "default": "torch_default",
        "times_0.01": TIMES_001,
        "unit_normal": UNIT_NORMAL,
        "lsuv": "lsuv",
    }
    curves = train(
        mnist_root, model, plans, seed, lr=0.01, momentum=0.9, looks=(250, 300, 350)
    )  # fmt: skip
    # He .58 to .87 and LSUV .77 to .91 on six seeds, each trained by the loop and the stacked engine. The
    # engines differ only in rounding, which moves He from .84 to .62 on one seed (.39 at the last look).
    # N(0, 1) is not finite after two steps; the others stay at chance.
    for stuck in ("glorot", "default", "times_0.01"):
        assert is_stuck(curves[stuck]), stuck
    assert curves["unit_normal"].diverged
    assert best(curves["he"]) > 0.45
    assert best(curves["lsuv"]) > 0.55


@pytest.mark.parametrize("seed", SEEDS)
def test_selu_needs_lecun_or_the_gain_that_torch_gives_it(mnist_root, seed) -> None:
    model = {"name": "mlp", "depth": 32, "width": 128, "activation": "selu"}
    plans = {
        "lecun": "lecun_normal",
        "torch_gain": {"name": "variance_scaling", "factor": 0.5625, "mode": "fan_in"},
        "he": "he_normal",
        "default": "torch_default",
    }
    curves = train(
        mnist_root, model, plans, seed, lr=0.01, momentum=0.9, steps=300, looks=(200, 250)
    )
    # LeCun .890 to .906 and torch's gain of 3/4 .876 to .911 on six seeds. Which is ahead depends on the
    # seed, so no order is asserted. The default .11 to .21. He is not finite after a few steps.
    for good in ("lecun", "torch_gain"):
        assert best(curves[good]) > 0.8
        assert best(curves["default"]) < best(curves[good]) - 0.4
    assert curves["he"].diverged or best(curves["he"]) < best(curves["lecun"]) - 0.1
