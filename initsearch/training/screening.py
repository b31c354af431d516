"""Candidates that cannot learn are told before they are trained."""

from collections.abc import Sequence

from torch import Tensor, nn

from initsearch.signal import ExactFinding, exact_checks
from initsearch.tasks.data import ImageData, Split
from initsearch.training.job import Job

#: Training images that the checks see at a time.
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
    batches = parts.train.tensor_split(max(1, len(parts.train) // IMAGES))
    reasons = {}
    for candidate, member in zip(job.candidates, members, strict=True):
        found = _findings(member, data, batches[0])
        if any(one.check == "no_gradient" for one in found):
            # Units that are off for some images may be on for others: all of the block's have to agree.
            later = (_findings(member, data, batch) for batch in batches[1:])
            if not all(any(one.check == "no_gradient" for one in told) for told in later):
                found = [one for one in found if one.check != "no_gradient"]
        if found:
            reasons[candidate.name] = "; ".join(map(str, found))
    return reasons


def _findings(member: nn.Module, data: ImageData, index: Tensor) -> list[ExactFinding]:
    """What the exact checks find with some of the images."""
    batch = (data.normalize(data.train_x[index]).cpu(), data.train_y[index].cpu())
    return [found for found in exact_checks(member, batch) if found.check != "non_finite"]
