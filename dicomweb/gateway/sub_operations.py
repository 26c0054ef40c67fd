"""Counting the sub-operations of a C-MOVE or C-GET, and what their numbers mean; pure.

Facts kept here:

- Pending and cancelled responses say how many remain, final ones do not (PS3.4 C.4.2.1.6; G-095).
- 0000 when all went well; B000 when some failed or came with a warning; A702 when all failed; FE00 when cancelled
  before the last (PS3.4 C.4.2.3.1, Table C.4-2; G-097).
- The UIDs of what failed come with every response that ends it but success, without (0008,0005), and only when there
  are any (PS3.4 C.4.2.1.4.2; G-098).
- The counters are 16-bit numbers (PS3.7 E.1): where more remain, 65535 stands for that.
"""

from dataclasses import dataclass, field
from typing import Any, Final

from dicomweb.dimse.command_set import Value
from dicomweb.scu.store_operations import Sent
from storage.matching.attributes import tag_of

SUCCESS: Final = 0x0000
PENDING: Final = 0xFF00
CANCELLED: Final = 0xFE00
SOME_FAILED: Final = 0xB000
UNABLE_TO_COUNT: Final = 0xA701
UNABLE_TO_PERFORM: Final = 0xA702
UNKNOWN_DESTINATION: Final = 0xA801
_LARGEST: Final = 0xFFFF


@dataclass(slots=True)
class SubOperations:
    """How far a retrieval has come.

    Attributes
    ----------
    remaining, completed, failed, warned : int
        How many sub-operations are to come, went well, failed, and went with a warning.
    failed_uids : list of str
        SOP Instance UIDs of those that failed.
    reason : str
        Why the first of them failed.
    """

    remaining: int
    completed: int = 0
    failed: int = 0
    warned: int = 0
    failed_uids: list[str] = field(default_factory=list)
    reason: str = ""

    def count(self, sent: Sent) -> None:
        """Take in the result of one."""
        self.remaining -= 1
        if sent.has_failed:
            self.failed += 1
            self.failed_uids.append(sent.instance.sop_instance_uid)
            self.reason = self.reason or sent.error
        elif sent.is_warning:
            self.warned += 1
        else:
            self.completed += 1

    @property
    def final_status(self) -> int:
        """Status of the last response; when sub-operations remain, they were cancelled."""
        if self.remaining:
            return CANCELLED
        if self.failed and not self.completed and not self.warned:
            return UNABLE_TO_PERFORM
        return SOME_FAILED if self.failed or self.warned else SUCCESS

    def counters(self, status: int) -> dict[str, Value]:
        """Return the fields of a response with this status."""
        numbers = {
            "NumberOfCompletedSuboperations": self.completed,
            "NumberOfFailedSuboperations": self.failed,
            "NumberOfWarningSuboperations": self.warned,
        }
        if status in (PENDING, CANCELLED):
            numbers["NumberOfRemainingSuboperations"] = self.remaining
        return {keyword: min(number, _LARGEST) for keyword, number in numbers.items()}

    @property
    def identifier(self) -> dict[str, Any] | None:
        """The data set of the last response as a DICOM JSON object; None when nothing failed."""
        if not self.failed_uids:
            return None
        return {tag_of("FailedSOPInstanceUIDList"): {"vr": "UI", "Value": self.failed_uids}}
