"""The environment in which the C library of a process keeps memory it will need again."""

from typing import Final

KEEP_MEMORY: Final = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(128 << 20)}
"""glibc gives a frame's memory back to the kernel at once and takes it anew for the next one, page by page: a quarter
of the time of a worker that sends frames, half of that in which RLE is decoded. With these it keeps what it needs."""
