"""How strong a verdict's evidence is, as the terminal and MLflow show it."""

import io
import re
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console
from studies import made_up_verdict

from initsearch.race import Decision
from initsearch.search.verdict import Evidence, ImageCounts, Verdict
from initsearch.tracking.words.strength import strength_lines, strength_metrics
from initsearch.tracking.words.summary import note, verdict_metrics
from initsearch.tracking.words.terminal import print_verdict

#: Only some of it is read.
LOOK = Decision(
    status=None,
    leader="he_normal",
    tie_set=("he_normal",),
    dropped=(),
    look=12,
    max_seeds=12,
    information=1.0,
    level=0.05,
    tie_level=0.05,
    alpha=0.05,
    margin=0.015,
    comparisons=(),
    p_pairs={},
    correlation=0.62,
    variance_removed=0.58,
    power=0.07,
    detectable_gap=0.0095,
    power_blocks=12,
)


def with_evidence(**changes: Any) -> Verdict:
    looks = (replace(LOOK, correlation=0.1), replace(LOOK, **changes))
    agreement = {1.0: 0.18, 2.0: 0.55, 3.0: None}
    return replace(made_up_verdict(), evidence=Evidence(looks=looks, rank_agreement=agreement))


def test_pairing_power_and_rungs_are_those_of_the_last_look() -> None:
    lines = dict(strength_lines(with_evidence()))
    assert list(lines) == ["pairing", "power", "rungs"]
    assert re.findall(r"[\d.]+\d", lines["pairing"]) == ["0.62", "58"]
    assert lines["power"] == "12 seeds detect a true lead of 0.95 points 80 % of the time"
    assert "Kendall's tau" in lines["rungs"]
    assert lines["rungs"].endswith("0.18 at epoch 1, 0.55 at epoch 2")


def test_images_are_counted_as_they_were_found() -> None:
    verdict = replace(made_up_verdict(), evidence=Evidence(images=ImageCounts(1248, 249, 300)))
    assert strength_lines(verdict) == [
        (
            "examples",
            "each seed trained on 1,248 and validated on 249; the test set has 300",
        )
    ]


def test_what_is_not_known_is_left_out() -> None:
    unknown = with_evidence(
        correlation=None, variance_removed=None, margin=0.0, detectable_gap=float("nan")
    )
    assert [what for what, _ in strength_lines(unknown)] == ["rungs"]
    assert strength_lines(replace(unknown, evidence=Evidence())) == []
    useless = dict(strength_lines(with_evidence(correlation=-0.1, variance_removed=-0.06)))
    assert "removed nothing" in useless["pairing"]


def test_terminal_and_mlflow_show_it() -> None:
    verdict = with_evidence()
    shown = io.StringIO()
    print_verdict(Console(file=shown, width=110), verdict)
    for what, text in strength_lines(verdict):
        assert f"{what:<8} {text[:60]}" in shown.getvalue()
        assert text in " ".join(shown.getvalue().split())
        assert f"- {what}: {text}" in note(verdict, "study")
    metrics = verdict_metrics(verdict)
    assert strength_metrics(verdict).items() <= metrics.items()
    assert metrics["evidence/rank_agreement_epoch_2"] == pytest.approx(0.55)
    assert "evidence/rank_agreement_epoch_3" not in metrics
    assert metrics["evidence/power_at_gap"] == pytest.approx(0.07)
