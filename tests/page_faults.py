"""Counts how often this process allocates memory again that it had freed; run by other processes too."""

import resource
import sys

import torch

from initsearch.execution import keep_freed_memory

TAKE = 48 * 2**20  # bytes of a tensor; above 32 MB, glibc's own adapting of its threshold ends
TENSORS = 8


def page_faults() -> int:
    """Page faults of this process, by the kernel's own count, while it makes and frees the tensors."""
    for _ in range(
        32
    ):  # until the heap has found its size: it grows some six times, seldom more often
        torch.ones(TAKE, dtype=torch.uint8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(TENSORS):
        torch.ones(TAKE, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


if __name__ == "__main__":
    if sys.argv[1] == "keep":
        keep_freed_memory()
    sys.stdout.write(str(page_faults()))
