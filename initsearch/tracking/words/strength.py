"""How much a verdict's evidence can bear, in plain words and as numbers: pairing, power, rungs."""

import math
from typing import Any

from initsearch.race.pairs import TARGET_POWER
from initsearch.search.verdict import Verdict
from initsearch.tracking.words.scale import scale_of


def strength_lines(verdict: Verdict) -> list[tuple[str, str]]:
    """What the verdict rests on, by keyword: `images`, `pairing`, ...; what is not known is left out."""
    lines = []
    last = _last_look(verdict)
    if images := verdict.evidence.get("images"):
        lines.append(
            (
                "images",
                f"each seed trained on {images['train']:,} and was judged by {images['validation']:,} others; "
                f"the test set has {images['test']:,}",
            )
        )
    correlation, removed = last.get("correlation"), last.get("variance_removed")
    if correlation is not None and removed is not None:
        spared = f"{100 * removed:.0f} %" if removed > 0 else "nothing"
        lines.append(
            (
                "pairing",
                f"scores on one seed correlate by {correlation:.2f}, so that sharing seeds removed "
                f"{spared} of the variance of a difference",
            )
        )
    if power := _power(verdict, last):
        lines.append(("power", power))
    agreement = verdict.evidence.get("rank_agreement") or {}
    told = [f"{tau:.2f} at epoch {epoch}" for epoch, tau in agreement.items() if tau is not None]
    if told:
        lines.append(
            ("rungs", f"they rank as the full budget does (Kendall's tau) by {', '.join(told)}")
        )
    return lines


def _power(verdict: Verdict, last: dict[str, Any]) -> str:
    gap = last.get("detectable_gap")
    if gap is None or not math.isfinite(gap):
        return ""
    scale = scale_of(verdict.metric)
    seen = f"{scale.text(gap)}{scale.gap_unit}"
    blocks = last.get("power_blocks", last["look"])
    return (
        f"{blocks} seeds find a winner with a chance of {100 * TARGET_POWER:.0f} % where it is truly "
        f"ahead by {seen}"
    )


def strength_metrics(verdict: Verdict) -> dict[str, float]:
    """The same as numbers, for MLflow: `evidence/correlation`, `evidence/power_at_gap`, ..."""
    last = _last_look(verdict)
    named = {
        "correlation": last.get("correlation"),
        "variance_removed": last.get("variance_removed"),
        "power_at_gap": last.get("power"),
        "detectable_gap": last.get("detectable_gap"),
    }
    agreement = verdict.evidence.get("rank_agreement") or {}
    named |= {f"rank_agreement_epoch_{epoch}": tau for epoch, tau in agreement.items()}
    return {
        f"evidence/{name}": float(value)
        for name, value in named.items()
        if value is not None and math.isfinite(value)
    }


def _last_look(verdict: Verdict) -> dict[str, Any]:
    looks = verdict.evidence.get("looks") or []
    return dict(looks[-1]) if looks else {}
