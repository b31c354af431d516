"""What a process that trains does with the memory that it frees."""

import ctypes
import sys

#: `mallopt`'s parameters and the largest value of an int (malloc.h of glibc, mallopt(3)).
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, LARGEST = -1, -3, 2**31 - 1
#: The largest M_MMAP_THRESHOLD that glibc before 2.35 accepts, on 64 bits (half of HEAP_MAX_SIZE).
LARGEST_OF_OLD = 32 * 2**20


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, as CUDA's allocator does: it is needed again soon.

    Each training step allocates and frees the same large tensors. By default glibc returns them to the
    kernel and gets them back page by page: 5 to 25 % of a step of a small convolutional net, and most where
    several processes train. The process then stays as large as it ever was. Other C libraries are left as
    they are.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
        # The second threshold only where the first was accepted: alone, it would freeze the first where it
        # is, and larger tensors would be mapped again each time.
        if mallopt is not None and (
            mallopt(M_MMAP_THRESHOLD, LARGEST) or mallopt(M_MMAP_THRESHOLD, LARGEST_OF_OLD)
        ):
            mallopt(M_TRIM_THRESHOLD, LARGEST)
