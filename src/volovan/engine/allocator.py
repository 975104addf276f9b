"""Memory that is freed is kept for the next map: on a CPU, the difference between a pass over memory and none.

glibc asks the system for a block of more than 32 MiB at each allocation and gives it back at each release. Its pages
come zeroed, one fault for each 4 KiB: an addition of two maps of 51 MB took 21 ms so, and 4 ms with memory that was
kept (VAN-B2 at batch 8: 1.3 times as fast, training 1.1 times). So such blocks come from the heap, too, and up to 2 GiB
at its end stay. Peak memory stayed the same where it was measured.
"""

import os
import platform

MMAP_MAX, TRIM_THRESHOLD = -4, -1  # <malloc.h>
KEPT = 2**31 - 1
"""bytes at the end of the heap that are not given back; the largest that mallopt takes"""
SETTINGS = ("MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD")
"""of the user, who has chosen then"""


def keep_memory() -> bool:
    """Let glibc keep what is freed, in this process and those that it forks; whether it does.

    Other systems, and users that have set one of SETTINGS or VOLOVAN_MALLOC=default, keep what they have.
    """
    chosen = os.environ.get("VOLOVAN_MALLOC") == "default" or any(os.environ.get(name) for name in SETTINGS)
    if chosen or platform.libc_ver()[0] != "glibc":
        return False
    import ctypes

    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(MMAP_MAX, 0) and mallopt(TRIM_THRESHOLD, KEPT))
