"""What worker processes do with the machine's memory."""

import mmap
import os
import subprocess
import sys

import page_faults
import pytest
from page_faults import TAKE


@pytest.mark.slow
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
                [sys.executable, page_faults.__file__, how],
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
