"""What a C-STORE brings, as a file (PS3.10 7.1): preamble and file meta, which DIMSE leaves out, then the data set."""

from collections.abc import AsyncIterator
from typing import Final

from dicomweb.dimse.association import Message
from storage.dicom.elements import Dataset, Element
from storage.dicom.part10 import file_meta_bytes
from storage.dicom.vr import tag_of

_TITLES: Final = ("SourceApplicationEntityTitle", "SendingApplicationEntityTitle", "ReceivingApplicationEntityTitle")


async def received_file(message: Message, *, sender: str, receiver: str) -> AsyncIterator[bytes]:
    """Yield the file, in the transfer syntax of the message's presentation context, as its data set comes in.

    Parameters
    ----------
    message : Message
        A C-STORE request with a data set.
    sender, receiver : str
        AE titles.

    Standard
    --------
    PS3.10 7.1; checklist G-049.
    """
    assert message.data is not None
    yield file_meta_bytes(
        sop_class_uid=message.sop_class_uid,
        sop_instance_uid=message.sop_instance_uid,
        transfer_syntax_uid=message.context.transfer_syntax,
        extra=_titles(sender, sender, receiver),
    )
    async for chunk in message.data:
        yield chunk


def _titles(*titles: str) -> Dataset:
    values = {tag_of(keyword): title.encode("ascii", "replace") for keyword, title in zip(_TITLES, titles, strict=True)}
    return {tag: Element(tag, "AE", value, 0, len(value)) for tag, value in values.items() if value}
