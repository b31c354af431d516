"""How strong a verdict's evidence is, in plain words and as numbers: pairing, power, rungs."""

import math

from initsearch.race import Decision
from initsearch.race.pairs import TARGET_POWER
from initsearch.search.verdict import Verdict
from initsearch.tracking.words.number_format import format_of


def strength_lines(verdict: Verdict) -> list[tuple[str, str]]:
    """What the verdict rests on, by keyword: `examples`, `pairing`, ...; what is unknown is left out."""
    lines = []
    last = _last_look(verdict)
    if (images := verdict.evidence.images) is not None:
        lines.append(
            (
                "examples",
                f"each seed trained on {images.train:,} and validated on {images.validation:,}; "
                f"the test set has {images.test:,}",
            )
        )
    if last is not None and last.correlation is not None and last.variance_removed is not None:
        removed = last.variance_removed
        spared = f"{100 * removed:.0f} %" if removed > 0 else "nothing"
        lines.append(
            (
                "pairing",
                f"scores on the same seed have a correlation of {last.correlation:.2f}: sharing seeds "
                f"removed {spared} of the variance of a difference",
            )
        )
    if last is not None and math.isfinite(last.detectable_gap):
        lines.append(("power", _power(verdict, last)))
    agreement = verdict.evidence.rank_agreement
    known = [
        f"{tau:.2f} at epoch {epoch:.3g}" for epoch, tau in agreement.items() if tau is not None
    ]
    if known:
        ranking = "Kendall's tau between the ranking at a rung and at the full budget"
        lines.append(("rungs", f"{ranking}: {', '.join(known)}"))
    return lines


def _power(verdict: Verdict, last: Decision) -> str:
    form = format_of(verdict.metric)
    lead = f"{form.text(last.detectable_gap)}{form.gap_unit}"
    return f"{last.power_blocks} seeds detect a true lead of {lead} {100 * TARGET_POWER:.0f} % of the time"


def strength_metrics(verdict: Verdict) -> dict[str, float]:
    """The same as numbers, for MLflow: `evidence/correlation`, `evidence/power_at_gap`, ..."""
    last = _last_look(verdict)
    named: dict[str, float | None] = {}
    if last is not None:
        named = {
            "correlation": last.correlation,
            "variance_removed": last.variance_removed,
            "power_at_gap": last.power,
            "detectable_gap": last.detectable_gap,
        }
    agreement = verdict.evidence.rank_agreement
    named |= {f"rank_agreement_epoch_{epoch:g}": tau for epoch, tau in agreement.items()}
    return {
        f"evidence/{name}": float(value)
        for name, value in named.items()
        if value is not None and math.isfinite(value)
    }


def _last_look(verdict: Verdict) -> Decision | None:
    return verdict.evidence.looks[-1] if verdict.evidence.looks else None
