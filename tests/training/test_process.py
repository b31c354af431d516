"""What worker processes do with the machine's memory."""

import mmap
import os
import subprocess
import sys

import pytest

TAKE = 48 * 2**20  # bytes of a tensor; above 32 MB, glibc's own adapting of its threshold ends
FAULTS = """
import resource, sys, torch
from initsearch.training.process import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
for _ in range(32):  # until the heap has found its size: it grows some six times, seldom more often
    torch.ones({take}, dtype=torch.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    torch.ones({take}, dtype=torch.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.usefixtures("glibc_235")
def test_kept_memory_is_taken_again_without_page_faults() -> None:
    """The kernel's own count: a tensor's pages are faulted in once, not each time it is made."""
    pages = TAKE // mmap.PAGESIZE
    # Another allocator, or glibc's with settings of the user's, is not what is tested.
    own = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")
    plain = {key: value for key, value in os.environ.items() if not key.startswith(own)}
    keep, give = (
        int(
            subprocess.run(
                [sys.executable, "-c", FAULTS.format(take=TAKE), how],
                capture_output=True,
                text=True,
                check=True,
                env=plain,
            ).stdout
        )
        for how in ("keep", "give back")
    )
    assert keep < pages / 10
    assert keep < give / 10
