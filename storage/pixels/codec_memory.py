"""What both sides of `codec_children` know: how they speak of the memory they share."""

import struct
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

SHARED_BYTES: Final = 1 << 33
"""Of address space for streams and pixels; what is not written takes no memory."""
_STEP: Final = 4096
NUMBER: Final = struct.Struct("<i")
"""What is said to the process that forks: 0 for a new child, else the number of one that ended. The answer is the
number of the new one, or how the other ended (as `os.waitstatus_to_exitcode` says it); `NO_CHILD` for none."""
NO_CHILD: Final = -1

Place = tuple[int, str, Sequence[int]]
"""Where an array starts in the memory, its dtype and shape."""


def array_at(memory: Any, place: Place) -> NDArray[Any]:
    """Return the array that lies at a place of the memory, which it shares."""
    start, dtype, shape = place
    return np.ndarray(tuple(shape), dtype, memory, start)


def place_after(position: int) -> int:
    """Return where the next array starts."""
    return -(-position // _STEP) * _STEP


def time_limit(seconds: float) -> bytes:
    """Return the option of a socket that bounds how long is waited for something to be received."""
    return struct.pack("@ll", int(seconds) + 1, 0)
