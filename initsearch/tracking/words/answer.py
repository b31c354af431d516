"""What a verdict answers, by keyword: is the default beaten, what to take, how fast and reliable it is."""

import math

from initsearch.race import BaselineGap
from initsearch.search.metric import METRICS
from initsearch.search.verdict import Standing, Verdict
from initsearch.tracking.words.number_format import format_of, level_text

#: So many candidates are listed with their intervals; the leaderboard has all.
LISTED = 3


def answer_lines(verdict: Verdict) -> list[tuple[str, str]]:
    """The answers by keyword: `default`, `take`, `speed`, `failures`; what is unknown is left out."""
    lines = [("default", default_line(verdict)), ("take", _take(verdict))]
    lines += [("speed", _speed(verdict)), ("failures", _failures(verdict))]
    return [(what, text) for what, text in lines if text]


def default_line(verdict: Verdict) -> str:
    """Whether the baseline is beaten, by which candidates and by how much, with the level of the intervals."""
    answer, baseline = verdict.against_baseline, verdict.baseline
    if answer is None or not answer.gaps:
        return ""
    level = f"{level_text(verdict.alpha)} for all {len(answer.gaps)} together, over all looks"
    if len(answer.gaps) == 1:
        level = f"{level_text(verdict.alpha)} over all looks"
    if answer.status == "beaten":
        beating = [gap for gap in answer.gaps if gap.beats]
        listed = ", ".join(_lead(verdict, gap) for gap in beating[:LISTED])
        more = f" and {len(beating) - LISTED} more" if len(beating) > LISTED else ""
        return f"{baseline} is beaten by {listed}{more} (interval: {level})"
    nearest = f"the largest lead over it: {_lead(verdict, answer.gaps[0])} (interval: {level})"
    if answer.status == "kept":
        return f"{baseline} is not beaten by more than the margin; {nearest}"
    return f"not shown whether {baseline} is beaten; {nearest}"


def _lead(verdict: Verdict, gap: BaselineGap) -> str:
    form = format_of(verdict.metric)
    interval = form.gap_interval(gap.low, gap.high)
    return f"{gap.name} {form.gap(gap.gap)}{form.gap_unit} [{interval}]"


def _take(verdict: Verdict) -> str:
    name = verdict.recommended
    if name is None:
        return ""
    default = ", the default" if name == verdict.baseline else ""
    if verdict.regret is None:
        return f"{name}{default}"
    form, level = format_of(verdict.metric), level_text(verdict.alpha)
    raced = len(verdict.candidates)
    if verdict.regret == 0.0:
        return f"{name}{default}: the best of the {raced} raced ({level} over all looks)"
    return (
        f"{name}{default}: no other of the {raced} raced is better by more than "
        f"{form.at_most(verdict.regret)}{form.gap_unit} ({level} over all looks)"
    )


def _speed(verdict: Verdict) -> str:
    """How soon the recommended candidate, or else the fastest one, reaches the default's final score."""
    known = [(one.name, one.speed) for one in verdict.candidates if one.speed is not None]
    if not known:
        return ""
    metric = METRICS.get(verdict.metric)
    what = "val_accuracy" if metric is not None and metric.whole_curve else verdict.metric
    label = format_of(what).label.removesuffix(" (%)")
    goal = f"the final {label} of {verdict.baseline}"
    faster = [(name, speed) for name, speed in known if speed.high < 1.0]
    if not faster:
        return f"no candidate is shown to reach {goal} in fewer steps"
    name, speed = min(faster, key=lambda one: (one[0] != verdict.recommended, one[1].share))
    interval = f"{level_text(verdict.alpha)} interval {speed.low:.2f}…{speed.high:.2f}"
    return f"{name} reaches {goal} in {speed.share:.2f} of the steps ({interval})"


def _failures(verdict: Verdict) -> str:
    """How often runs diverged; the recommended candidate too, if any other one did."""
    failing = [one for one in verdict.candidates if one.diverged]
    if not failing:
        return ""
    shown = [one for one in verdict.candidates if one.diverged or one.name == verdict.recommended]
    return f"{', '.join(map(failure_text, shown))} (one-sided 95 % bound of the rate)"


def failure_text(standing: Standing) -> str:
    """`he_normal diverged on 0 of 12 (up to 22 %)`."""
    text = f"{standing.name} diverged on {standing.diverged} of {standing.n_seeds}"
    bound = standing.failure_bound
    return text if math.isnan(bound) else f"{text} (up to {100 * bound:.0f} %)"
