"""A verdict as MLflow's parent run shows it: tags, metrics, a note, the leaderboard's columns."""

import math
from typing import Any

from initsearch.search.verdict import Standing, Verdict
from initsearch.tracking.words.answer import answer_lines
from initsearch.tracking.words.leaderboard import leaderboard_rows
from initsearch.tracking.words.number_format import format_of
from initsearch.tracking.words.strength import strength_lines, strength_metrics
from initsearch.tracking.words.tables import markdown_table, markdown_text
from initsearch.tracking.words.use_it import callback_call


def verdict_tags(verdict: Verdict) -> dict[str, str]:
    """What a search over studies shows as columns: verdict, winner, baseline, recommended, sentence, ..."""
    schemes = {standing.name: standing.scheme for standing in verdict.candidates}
    answer = verdict.against_baseline
    return {
        "architecture": verdict.architecture,
        "dataset": verdict.dataset,
        "requested_dataset": verdict.requested_dataset,
        "verdict": verdict.status,
        "winner": verdict.winner or "none",
        "winner_scheme": schemes.get(verdict.winner or "", "none"),
        "leader": verdict.candidates[0].name if verdict.candidates else "none",
        "baseline": verdict.baseline,
        "tie_set": ", ".join(verdict.tie_set),
        "recommended": verdict.recommended or "none",
        "recommended_scheme": schemes.get(verdict.recommended or "", "none"),
        "baseline_status": answer.status if answer else "none",
        "baseline_beaten_by": ", ".join(answer.beaten_by) if answer else "",
        "sentence": verdict.sentence,
    }


def verdict_metrics(verdict: Verdict) -> dict[str, float]:
    """The study's numbers, in units of the metric; what is not finite is left out.

    Returns:
        `leader_<metric>`, `baseline_<metric>`, `winner_<metric>` (if there is a winner),
        `gap_baseline_to_leader`, the largest lead over the baseline with its interval as `lead_over_baseline`,
        `lead_over_baseline_low` and `lead_over_baseline_high`, `regret`, the scores on the test set as
        `test/<who>/<what>`, `n_seeds`, `wall_seconds`, `cpu_seconds`, and the strength of the evidence as
        `evidence/<what>`.
    """
    by_name = {standing.name: standing for standing in verdict.candidates}
    metrics: dict[str, float] = {
        "n_seeds": verdict.n_seeds,
        "wall_seconds": verdict.wall_seconds,
        "cpu_seconds": verdict.cpu_seconds,
    }
    if verdict.candidates:
        metrics[f"leader_{verdict.metric}"] = verdict.candidates[0].mean
    if verdict.winner is not None:
        metrics[f"winner_{verdict.metric}"] = by_name[verdict.winner].mean
    if (baseline := by_name.get(verdict.baseline)) is not None:
        metrics[f"baseline_{verdict.metric}"] = baseline.mean
        metrics["gap_baseline_to_leader"] = baseline.gap_to_leader
    if (answer := verdict.against_baseline) is not None and answer.gaps:
        lead = answer.gaps[0]
        metrics["lead_over_baseline"] = lead.gap
        metrics["lead_over_baseline_low"] = lead.low
        metrics["lead_over_baseline_high"] = lead.high
    if verdict.regret is not None:
        metrics["regret"] = verdict.regret
    for who, score in verdict.test.items():
        metrics[f"test/{who}/{score.metric}"] = score.test_accuracy
        metrics[f"test/{who}/lead_over_baseline"] = score.gap
    metrics |= strength_metrics(verdict)
    return {key: value for key, value in metrics.items() if math.isfinite(value)}


def standing_metrics(standing: Standing) -> dict[str, float]:
    """A candidate's numbers in the race, for its own run."""
    metrics = {
        "race/mean": standing.mean,
        "race/std": standing.std,
        "race/ci_low": standing.ci_low,
        "race/ci_high": standing.ci_high,
        "race/gap_to_leader": standing.gap_to_leader,
        "race/gap_low": standing.gap_low,
        "race/gap_high": standing.gap_high,
        "race/failure_bound": standing.failure_bound,
        "race/n_seeds": float(standing.n_seeds),
        "race/diverged": float(standing.diverged),
    }
    if standing.p_value is not None:
        metrics["race/p_value"] = standing.p_value
    if standing.p_adjusted is not None:
        metrics["race/p_adjusted"] = standing.p_adjusted
    if standing.speed is not None:
        metrics["race/speed"] = standing.speed.share
    return {key: value for key, value in metrics.items() if math.isfinite(value)}


def leaderboard_columns(verdict: Verdict) -> dict[str, list[Any]]:
    """The leaderboard by column, in units of the metric, NaN as None (JSON has no NaN)."""
    rows = leaderboard_rows(verdict)
    return {
        key: [None if isinstance(v, float) and not math.isfinite(v) else v for v in column]
        for key, column in ((key, [row[key] for row in rows]) for key in rows[0])
    }


def note(verdict: Verdict, study: str) -> str:
    """The study's note in Markdown: the sentence, the table, what it rests on and how to use it."""
    margin = f"{verdict.margin:g}{format_of(verdict.metric).gap_unit}"
    lines = [f"**{markdown_text(verdict.sentence)}**", ""]
    if verdict.dataset != verdict.requested_dataset:
        lines += [
            f"Trained on **{markdown_text(verdict.dataset)}**: "
            f"{markdown_text(verdict.requested_dataset)} was requested, but is not available.",
            "",
        ]
    lines += [
        *(f"- {what}: {markdown_text(text)}" for what, text in answer_lines(verdict)),
        "",
        markdown_table(verdict, limit=20),
        "",
        f"Verdict: {verdict.status}; alpha {verdict.alpha:g}, margin {margin}, {verdict.n_seeds} paired "
        f"seeds. The framework's default is {markdown_text(verdict.baseline)}.",
        "",
        *(f"- {what}: {text}" for what, text in strength_lines(verdict)),
        "",
        f"Study `{study}` took {verdict.wall_seconds:.0f} s, and {verdict.cpu_seconds:.0f} s of processor "
        "time. The artifacts hold the figures, `verdict.json` and `winner.yaml`: the plan to take, which "
        f"`{callback_call(verdict, 'winner.yaml')}` applies.",
    ]
    return "\n".join(lines)
