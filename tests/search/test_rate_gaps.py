"""The leader against other schemes at each other's learning rate, from the scores of a search."""

from dataclasses import replace

import pytest

from initsearch.search.candidates import TrainedCandidate
from initsearch.search.metric import METRICS
from initsearch.search.racing.shortlist import missing_baseline
from initsearch.search.verdict.rates import best_rates, rate_gaps
from initsearch.training.job import Candidate

ACCURACY = METRICS["val_accuracy"]


def searched(scheme: str, lr: float, score: float, number: int) -> TrainedCandidate:
    candidate = Candidate(f"{scheme} lr={lr}", {}, lr=lr, number=number, scheme=scheme)
    return TrainedCandidate(candidate, status="complete", scores={4.0: score})


def test_a_gap_at_each_others_rate_is_the_difference_of_the_scores_there() -> None:
    tried = [
        ("fast", 0.1, 0.95),
        ("fast", 0.01, 0.80),
        ("slow", 0.1, 0.60),
        ("slow", 0.01, 0.90),
        ("half", 0.05, 0.70),
        ("same", 0.1, 0.85),
    ]
    candidates = [searched(*one, number) for number, one in enumerate(tried)]
    rates = best_rates(candidates, ACCURACY)
    (gap,) = rate_gaps(rates, "fast", ["fast", "slow", "half", "same"], ACCURACY)
    assert (gap.scheme, gap.other) == ("fast", "slow")
    assert gap.own == pytest.approx(0.05)
    # At the rate that suits the other one, the order is reversed.
    assert gap.gaps == pytest.approx({0.01: -0.10, 0.1: 0.35})
    # "half" never ran at a rate of the leader; "same" has the same best rate, which the race itself compares.
    assert rate_gaps(rates, "half", ["half", "same"], ACCURACY) == ()
    assert rate_gaps(rates, "never complete", ["fast"], ACCURACY) == ()


def test_a_baseline_that_failed_is_named_with_its_reason_and_its_stand_in() -> None:
    trained = searched("torch_default", 0.1, 0.0, 0)
    failed = replace(trained, status="failed", reason="RuntimeError: out of memory")
    others = [searched("he_normal", 0.1, 0.9, 1), searched("lecun_normal", 0.1, 0.8, 2)]
    text = missing_baseline([failed, *others], others, "torch_default")
    assert text == (
        "the baseline torch_default failed in the search (RuntimeError: out of memory) and is not in the "
        "race; he_normal lr=0.1 stands in its place"
    )
    assert missing_baseline(others, others, "he_normal") == ""
