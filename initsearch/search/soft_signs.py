"""Soft signs: what a few steps of training show of a candidate. They put work in order, no more.

After twenty steps at its own learning rate, a small model that will fail still stands at the loss of a guess,
and one that will succeed has left it; the loss that it started from tells neither. But a sign is no proof: a
scheme that starts slowly may win in the end, so that nothing is dropped for it.
"""

from collections.abc import Sequence

from initsearch.search.records import Record

#: A loss above this share of a guess's has not moved: in measurements, failures stayed at 2.30, a guess
#: among ten classes, and successes came to 2.18 or less.
STILL = 0.97


def sign_of(loss: float, start: float, guess: float | None, steps: int) -> str:
    """What a probe shows, in plain words.

    Args:
        loss: Training loss on its last batch.
        start: Training loss on its first batch.
        guess: Training loss of a model that has learned nothing; None: it is not known.
        steps: Number of steps of the probe.
    """
    losses = f"loss {start:.3g} to {loss:.3g} in {steps} steps"
    if guess is None:
        return losses
    return f"{'learning' if moves(loss, guess) else 'no better than a guess yet'}: {losses}"


def moves(loss: float, guess: float | None) -> bool:
    """Whether a loss is below that of a guess by more than a few percent; true if that is not known."""
    return guess is None or loss < STILL * guess


def in_order(records: Sequence[Record], guess: float | None) -> list[list[Record]]:
    """The records in the order in which to train them: those that learn, then the others.

    Args:
        records: Candidates after their probe.
        guess: Training loss of a model that has learned nothing; None: it is not known.

    Returns:
        One or two groups, none of them empty, each by loss.
    """
    ranked = sorted(records, key=lambda record: record.probe_loss)
    groups = [
        [record for record in ranked if moves(record.probe_loss, guess) is wanted]
        for wanted in (True, False)
    ]
    return [group for group in groups if group]
