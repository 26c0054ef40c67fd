"""The data set of a request, decoded.

Facts this module keeps:

- Every association shares one event loop: what takes more than some milliseconds is decoded in a thread, and a request
  that is too much costs its sender that request, nobody else anything.
- What the data set inflates to has the limit of what may be sent: deflating buys nothing.
"""

import asyncio
from typing import Final

from dicomweb.dimse.message import Message
from storage.dicom.data_set import Bounds, Decoded, read
from storage.dicom.part10 import encoding_of
from storage.errors import LimitExceeded

AT_ONCE: Final = 32 << 10
"""Bytes that are decoded on the event loop; starting a thread takes longer than most identifiers."""


async def decoded(message: Message, bounds: Bounds) -> Decoded | None:
    """Return the data set of a message; None when it has none.

    Raises
    ------
    InvalidDicom
        It cannot be read.
    LimitExceeded
        It is too long, or has too many elements or values.
    """
    if message.data is None:
        return None
    try:
        raw = await message.data.read(bounds.length)
    except ValueError:
        raise LimitExceeded(f"The data set is longer than {bounds.length} bytes.") from None
    syntax = message.context.transfer_syntax
    if len(raw) <= AT_ONCE and not encoding_of(syntax).deflated:
        return read(raw, syntax, bounds)
    return await asyncio.to_thread(read, raw, syntax, bounds)
