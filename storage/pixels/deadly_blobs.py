"""Which stored files end a codec, so that what touches them again is refused at once, without another child.

Facts kept here:

- Known by blob: what is stored in place of a file, or corrected, has another name and is tried anew.
- Each process finds out by itself, and knows it until it ends; a program with better codecs starts with a clean slate.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from storage.errors import CodecEnded

logger = logging.getLogger(__name__)

MOST: Final = 10_000
"""Blobs that are remembered; the oldest are forgotten then."""


class DeadlyBlobs:
    """What is known of blobs; `DEADLY` is of this process."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._reasons: dict[str, str] = {}

    @contextmanager
    def heeded(self, blob: str) -> Iterator[None]:
        """Work on pixels of a blob.

        Raises
        ------
        CodecEnded
            It has ended a codec before, and nothing was done; or it has now.
        """
        reason = self._reasons.get(blob)
        if reason is not None:
            raise CodecEnded(reason)
        try:
            yield
        except CodecEnded as error:
            while len(self._reasons) >= self._most:
                self._reasons.pop(next(iter(self._reasons)), None)
            self._reasons[blob] = str(error)
            logger.error("the pixels of %s are not worked on any more until the next start: %s", blob, error)
            raise


DEADLY: Final = DeadlyBlobs()
