"""Screening: candidates that cannot learn are found before they are trained."""

from collections.abc import Sequence

from torch import nn

from initsearch.signal import ExactFinding, exact_checks
from initsearch.tasks.base import Batch, BatchFormat, Block
from initsearch.training.job import Candidate

#: Training examples that the checks see at a time.
EXAMPLES = 128


def screened(
    candidates: Sequence[Candidate], members: Sequence[nn.Module], block: Block
) -> dict[str, str]:
    """Reasons by candidate name, for those that are known not to learn.

    Only the exact checks count: no gradient at all, or a hidden layer whose units stay identical. Merely bad
    signs would also condemn good initializations. Values that are not finite are left to the training, which
    records them as a divergence.

    Args:
        candidates: The cohort.
        members: The initialized models, on the CPU, in the same order.
        block: The batches of the cohort's seed.
    """
    raw = list(block.examples(EXAMPLES))
    first = block.ready(raw[0], BatchFormat())
    reasons = {}
    for candidate, member in zip(candidates, members, strict=True):
        found = _findings(member, first)
        if any(one.check == "no_gradient" for one in found):
            # Units that are off for some examples may be on for others: all of the block's must agree.
            later = (_findings(member, block.ready(one, BatchFormat())) for one in raw[1:])
            if not all(any(one.check == "no_gradient" for one in more) for more in later):
                found = [one for one in found if one.check != "no_gradient"]
        if found:
            reasons[candidate.name] = "; ".join(map(str, found))
    return reasons


def _findings(member: nn.Module, batch: Batch) -> list[ExactFinding]:
    """What the exact checks find with some of the examples."""
    return [found for found in exact_checks(member, batch) if found.check != "non_finite"]
