"""What the shipped sweeps must find on MNIST: each runs as a user runs it, on fewer seeds."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.mnist, pytest.mark.slow]

REPOSITORY = Path(__file__).resolve().parents[1]


def run_sweep(name: str, mnist_root: Path, output_dir: Path, *overrides: str) -> dict[str, Any]:
    """The verdict of a sweep on MNIST, without the fallback to another data set."""
    command = [
        sys.executable, "-m", "initsearch", f"+sweep={name}", "data=mnist", f"data.root={mnist_root}",
        "data.fallback=null", f"output_dir={output_dir}", *overrides,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    (folder,) = (path.parent for path in output_dir.glob("*/verdict.json"))
    verdict: dict[str, Any] = json.loads((folder / "verdict.json").read_text())
    assert verdict["dataset"] == "mnist"
    return verdict


def means(verdict: dict[str, Any]) -> dict[str, float]:
    return {candidate["name"]: candidate["mean"] for candidate in verdict["candidates"]}


def test_a_zero_first_layer_beats_unit_normal_under_sigmoid(mnist_root, tmp_path) -> None:
    verdict = run_sweep("tf_mnist_tutorial", mnist_root, tmp_path, "race.max_seeds=3")
    by_name = means(verdict)
    # .944 to .946 against .885 to .887 on the test set, trained on all 60,000 images. The bands are wider,
    # for 10,000 training images.
    assert 0.91 < by_name["zero_then_normal"] < 0.96
    assert 0.83 < by_name["normal_then_normal"] < 0.91
    assert by_name["zero_then_zero"] < 0.80
    # On every seed, not only on average.
    scores = {c["name"]: c["scores"] for c in verdict["candidates"]}
    assert len(scores["zero_then_normal"]) == 3
    for seed, score in scores["zero_then_normal"].items():
        assert score > scores["normal_then_normal"][seed] + 0.02


def test_a_convnet_learns_from_variance_scaling_only(mnist_root, tmp_path) -> None:
    verdict = run_sweep("ltfn_convnet", mnist_root, tmp_path, "race.max_seeds=2")
    by_name = means(verdict)
    initial = verdict["evidence"]["initial_loss"]
    # Variance scaling .931 to .956 on four seeds; the others at chance or (unit normal) not finite.
    assert by_name["variance_scaling_with_xavier"] > 0.9
    scores = {c["name"]: c["scores"] for c in verdict["candidates"]}
    assert len(scores["variance_scaling_with_xavier"]) == 2
    for seed, score in scores["variance_scaling_with_xavier"].items():
        assert score > 0.85
        assert score > (scores["unit_normal"][seed] or 0.0) + 0.1
        assert scores["normal_times_0.01"][seed] < 0.2
    for loss in initial["normal_times_0.01"]:
        assert loss == pytest.approx(math.log(10), abs=1e-4)
    assert min(initial["unit_normal"]) > 1000
    # Stuck: it starts at log(10) and stays there.
    (stuck,) = (
        c for c in verdict["evidence"]["final_val_loss"].items() if c[0] == "normal_times_0.01"
    )
    assert stuck[1] == pytest.approx(math.log(10), abs=0.01)


def test_relu_convnet_drops_the_bad_schemes_and_the_rest_is_a_tie(mnist_root, tmp_path) -> None:
    # With the shipped settings (12 seeds, 1.5 points) one study in six ends undecided, by resampling of its
    # scores. With these settings, four studies (seeds 0 to 3) all ended in a tie, in half the time.
    settings = ("race.max_seeds=6", "race.margin=3")
    verdict = run_sweep("relu_convnet", mnist_root, tmp_path, *settings)
    searched = {row["name"]: row for row in verdict["evidence"]["search"]}
    best = max(row["score"] for row in searched.values() if row["raced"])
    # Unit normal is behind or diverges; times 0.01 it stays at chance.
    unit = searched["unit_normal"]
    assert unit["status"] == "diverged" or unit["score"] < best - verdict["margin"] / 100
    assert searched["small_normal"]["score"] < 0.2 < best - verdict["margin"] / 100
    assert verdict["status"] == "tie"
    assert verdict["winner"] is None
    assert len(verdict["tie_set"]) >= 2
    assert not {"unit_normal", "small_normal"} & set(verdict["tie_set"])
