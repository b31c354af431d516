"""What is reported before a race: the spread against its definition, the plan against simulated races."""

import math
import re
from collections.abc import Sequence

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from initsearch.command import conf_dir
from initsearch.config import read_settings
from initsearch.race import Race, RaceRules, plan
from initsearch.search.candidates import TrainedCandidate
from initsearch.search.metric import METRICS
from initsearch.search.racing.race_plan import plan_lines, spread_of_differences
from initsearch.training.job import Candidate, Curve, Point

ACCURACY = METRICS["val_accuracy"]


def searched(scores: np.ndarray | Sequence[Sequence[float]]) -> list[TrainedCandidate]:
    """Candidates with these scores at full budget: a row per candidate, a column per seed; NaN diverged."""
    found = []
    for number, row in enumerate(scores):
        one = TrainedCandidate(
            Candidate(f"c{number}", {}, lr=0.1, number=number), status="complete"
        )
        for seed, score in enumerate(row):
            points = (Point(4.0, 40, 1.0, {"val_accuracy": float(score)}),)
            lost = math.isnan(score)
            one.curves[seed] = Curve(one.name, seed, () if lost else points, 2.3, diverged=lost)
        found.append(one)
    return found


def test_the_spread_of_two_candidates_is_that_of_their_differences() -> None:
    scores = np.random.default_rng(0).normal(0.9, 0.01, (2, 5))
    expected = np.std(scores[0] - scores[1], ddof=1)
    assert spread_of_differences(searched(scores), ACCURACY) == pytest.approx(expected)


def test_the_spread_of_many_is_pooled_over_all_pairs() -> None:
    scores = np.random.default_rng(1).normal(0.9, 0.01, (4, 3))
    pairs = [np.var(scores[i] - scores[j], ddof=1) for i in range(4) for j in range(i)]
    expected = math.sqrt(np.mean(pairs))
    assert spread_of_differences(searched(scores), ACCURACY) == pytest.approx(expected)


def test_a_candidate_that_diverged_does_not_count() -> None:
    scores = np.random.default_rng(2).normal(0.9, 0.01, (3, 4))
    lost = np.vstack([scores, [0.9, math.nan, 0.8, 0.9]])
    whole = spread_of_differences(searched(scores), ACCURACY)
    assert spread_of_differences(searched(lost), ACCURACY) == pytest.approx(whole)


@pytest.mark.parametrize("scores", [[[0.9], [0.8]], [[0.9, 0.8]], []])
def test_a_single_seed_or_candidate_shows_no_spread(scores: list[list[float]]) -> None:
    assert math.isnan(spread_of_differences(searched(scores), ACCURACY))


def noisy(count: int, sd: float) -> list[TrainedCandidate]:
    """The sample's spread is exact: a paired difference has this standard deviation."""
    signs = np.array([1.0, -1.0])[None, :] * np.where(np.arange(count) % 2, 1.0, -1.0)[:, None]
    raw = 0.9 + signs
    unit = spread_of_differences(searched(raw), ACCURACY)
    return searched(0.9 + signs * sd / unit)


def test_a_margin_that_the_seeds_cannot_decide_is_reported_with_what_would_do() -> None:
    (line,) = plan_lines(noisy(4, 0.01), ACCURACY, RaceRules(margin=0.003, max_seeds=8), 5000)
    assert "4 candidates on up to 8 seeds" in line
    assert "standard deviation 1 point)" in line
    margin, seeds = re.search(
        r"race\.margin=([\d.]+) or more \(.*race\.max_seeds=(\d+)\)", line
    ).groups()
    for rules in (
        RaceRules(margin=float(margin) / 100, max_seeds=8),
        RaceRules(margin=0.003, max_seeds=int(seeds)),
    ):
        (line,) = plan_lines(noisy(4, 0.01), ACCURACY, rules, 5000)
        assert "show that equal candidates are a tie within" in line


def test_a_hopeless_margin_says_so() -> None:
    (line,) = plan_lines(noisy(4, 0.05), ACCURACY, RaceRules(margin=0.001), 5000)
    assert "takes more than 256 seeds" in line


def test_without_a_spread_the_line_says_which_one_the_race_can_stand() -> None:
    rules = RaceRules(margin=0.005, max_seeds=8)
    (line,) = plan_lines(searched([[0.9], [0.8], [0.7]]), ACCURACY, rules, None)
    most = float(re.search(r"of at most ([\d.]+) points", line)[1]) / 100
    for spread, decides in ((0.97 * most, True), (1.03 * most, False)):
        (line,) = plan_lines(noisy(3, spread), ACCURACY, rules, None)
        assert ("show that equal candidates are a tie within 0.5 points" in line) == decides


def test_a_margin_below_one_image_is_reported_with_the_margin_and_the_images_that_would_do() -> (
    None
):
    rules = RaceRules(margin=0.001, max_seeds=8)
    *_, line = plan_lines(noisy(2, 0.001), ACCURACY, rules, 250)
    assert "one of 250 validation examples" in line
    assert "race.margin=0.4 or more, or data.val_size=1000" in line
    for images in (1000, None):
        lines = plan_lines(noisy(2, 0.001), ACCURACY, rules, images)
        assert not any("validation examples" in one for one in lines)
    scores = searched([[0.9], [0.8]])
    for one in scores:
        point = Point(4.0, 40, 1.0, {"val_loss": 0.5})
        one.curves[0] = Curve(one.name, 0, (point,), 2.3)
    assert not any(
        "validation examples" in one for one in plan_lines(scores, METRICS["val_loss"], rules, 250)
    )


@pytest.mark.slow
def test_the_margin_that_it_names_decides_four_of_five_ties() -> None:
    (line,) = plan_lines(noisy(5, 0.01), ACCURACY, RaceRules(margin=0.003, max_seeds=8), None)
    margin = float(re.search(r"race\.margin=([\d.]+) or more", line)[1]) / 100
    rng, ties = np.random.default_rng(0), 0
    for _ in range(100):
        scores = 0.9 + 0.01 / math.sqrt(2) * rng.normal(size=(5, 8))
        race = Race([*"abcde"], RaceRules(margin=margin, max_seeds=8, futility=0.0))
        while race.next_look is not None:
            for block in range(len(race.seeds), race.next_look):
                race.add_block(block, dict(zip("abcde", scores[:, block].tolist(), strict=True)))
            decision = race.decide()
        ties += decision.status == "tie"
    assert 66 <= ties <= 97  # 80 % of 100, less 3.5 standard errors; not all of them


@pytest.mark.parametrize(
    ("sweep", "count", "sd"),
    [
        ("variance_scaling_presets", 11, 1.15),
        ("relu_mlp", 5, 0.55),
        ("gelu_mlp", 5, 0.61),
        ("tanh_mlp", 5, 0.47),
        ("sigmoid_mlp", 5, 0.48),
        ("selu_mlp", 5, 1.6),
    ],
)
def test_shipped_sweeps_can_show_a_tie(sweep: str, count: int, sd: float) -> None:
    """With the standard deviation (percentage points) of a paired difference that they have on MNIST."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        shipped = read_settings(compose("config", overrides=[f"+sweep={sweep}"])).race
    rules = shipped.rules(shipped.margin / 100)
    assert plan(rules, count, sd / 100).margin <= rules.margin


@pytest.mark.slow
def test_the_presets_end_in_a_tie_if_they_are_tied() -> None:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        shipped = read_settings(
            compose("config", overrides=["+sweep=variance_scaling_presets"])
        ).race
    names, rng, ties = [f"c{i}" for i in range(11)], np.random.default_rng(0), 0
    for _ in range(20):
        scores = 0.93 + 0.0115 / math.sqrt(2) * rng.normal(size=(11, shipped.max_seeds))
        race = Race(names, shipped.rules(shipped.margin / 100))
        while race.next_look is not None:
            for block in range(len(race.seeds), race.next_look):
                race.add_block(block, dict(zip(names, scores[:, block].tolist(), strict=True)))
            decision = race.decide()
        ties += decision.status == "tie"
    assert ties >= 11  # 80 % of 20, less three standard errors


def test_a_few_candidates_that_collapse_on_some_seeds_leave_the_spread_of_the_others() -> None:
    rng = np.random.default_rng(3)
    found = []
    for _ in range(40):
        scores = rng.normal(0.9, 0.01, (5, 4))
        scores[4] = rng.choice([0.1, 0.9], size=4, p=[0.5, 0.5])
        scores[4, :2] = 0.1, 0.9
        found.append(spread_of_differences(searched(scores), ACCURACY))
    # A difference of two of the others has a standard deviation of 0.014; all pairs together have one of 0.29.
    assert np.median(found) == pytest.approx(0.014, rel=0.4)
    assert max(found) < 0.05
