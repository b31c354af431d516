"""Candidates that cannot learn are told before they are trained."""

from collections.abc import Sequence

from torch import nn

from initsearch.signal import exact_checks
from initsearch.training.data import ImageData, Split
from initsearch.training.job import Job

#: Training images of the block that the checks see: enough for units that are rarely on.
IMAGES = 128


def screened(
    job: Job, members: Sequence[nn.Module], data: ImageData, parts: Split
) -> dict[str, str]:
    """Reasons by candidate, for those whose training is known to be in vain.

    Only the exact checks count: no gradient at all, or a hidden layer whose units are all one and the same
    for good. Signs that are merely bad condemn good initializations too. What is not finite is left to
    the training, which records it as the divergence that it is.

    Args:
        job: What is asked.
        members: The initialized models, on the CPU, in the order of the job's candidates.
        data: The images.
        parts: The block's split.
    """
    index = parts.train[:IMAGES]
    batch = (data.normalize(data.train_x[index]).cpu(), data.train_y[index].cpu())
    reasons = {}
    for candidate, member in zip(job.candidates, members, strict=True):
        found = [f for f in exact_checks(member, batch) if f.check != "non_finite"]
        if found:
            reasons[candidate.name] = "; ".join(map(str, found))
    return reasons
