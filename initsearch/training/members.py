"""The models of a cohort: one per candidate, initialized by its plan."""

import torch
from torch import nn

from initsearch.plan import InitPlan
from initsearch.tasks.base import BatchFormat, Block, LabelledBlock
from initsearch.tasks.streams import derive_seed
from initsearch.training.job import Job

#: Training examples that a plan sees. Tracing the model takes two; LSUV and GradInit use all of them.
INIT_EXAMPLES = 64


def build_members(job: Job, block: Block) -> list[nn.Module]:
    """A model per candidate, initialized by its plan, on the CPU.

    Before the plans apply, all models of a block are equal: what a plan keeps is the same for every
    candidate, and what it draws scales the same noise. A candidate with a checkpoint keeps the framework's
    weights, which the checkpoint replaces.
    """
    targets = block.targets if isinstance(block, LabelledBlock) else None
    ready = block.ready(block.example(INIT_EXAMPLES), BatchFormat())
    batch = job.cohort_task.inputs(ready)
    members = []
    for candidate in job.candidates:
        torch.manual_seed(derive_seed("model", job.seed))
        model = job.cohort_task.build_model()
        if candidate.name not in job.states:
            plan = InitPlan.from_spec(candidate.plan)
            plan.apply(
                model,
                seed=job.seed,
                batch=batch,
                targets=targets,
                loss=job.cohort_task.loss,
                loss_batch=ready,
            )
        members.append(model)
    return members
