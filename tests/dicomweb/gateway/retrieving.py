"""pynetdicom asking for instances by C-MOVE and C-GET."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from pydicom import Dataset
from pynetdicom import AE, build_context, evt
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation, SOPClassExtendedNegotiation

from dicomweb.gateway.retrieve_scp import STUDY_ROOT_GET, STUDY_ROOT_MOVE
from storage.archive import Archive
from storage.work.peers import Peer
from tests.builders import EXPLICIT_LE, IMPLICIT_LE, dataset_of
from tests.dicomweb.scu.receiving import CT, TITLE, Receiver

Answer = tuple[Dataset, Dataset | None]
"""Status, with what else the command said; identifier."""

COUNTERS = ("Remaining", "Completed", "Failed", "Warning")


async def make_peer(archive: Archive, to: Receiver | int, title: str = TITLE, **attributes: Any) -> None:
    """Put a receiver into the table of peers."""
    port = to if isinstance(to, int) else to.port
    await archive.peers.put(Peer(title, "127.0.0.1", port, **attributes))


async def ask_move(port: int, keys: dict[str, Any], destination: str = TITLE, **options: Any) -> list[Answer]:
    """Send one C-MOVE, from another thread; returns all responses."""
    return await asyncio.to_thread(move, port, keys, destination, **options)


def move(
    port: int,
    keys: dict[str, Any],
    destination: str = TITLE,
    *,
    root: str = STUDY_ROOT_MOVE,
    syntax: str = EXPLICIT_LE,
    offered: bytes = b"",
    cancel_after: int | None = None,
    priority: int = 2,
) -> list[Answer]:
    """Send one C-MOVE over an association of its own; C-CANCEL after so many responses."""
    entity = AE("MOVER")
    entity.dimse_timeout = 60
    entity.add_requested_context(root, syntax)
    extended = SOPClassExtendedNegotiation()
    extended.sop_class_uid, extended.service_class_application_information = root, offered
    association = entity.associate(
        "127.0.0.1",
        port,
        ae_title="DICOMWEB",
        ext_neg=[extended] if offered else None,  # type: ignore[list-item]
    )
    assert association.is_established
    answers: list[Answer] = []
    try:
        responses = association.send_c_move(dataset_of(keys), destination, root, msg_id=7, priority=priority)
        for status, identifier in responses:
            answers.append((status, identifier or None))  # pynetdicom makes an empty one up
            if len(answers) == cancel_after:
                association.send_c_cancel(7, query_model=root)
        return answers
    finally:
        association.release()


async def ask_get(port: int, keys: dict[str, Any], **options: Any) -> tuple[list[Answer], dict[str, tuple[str, bytes]]]:
    """Send one C-GET, from another thread; returns all responses, and transfer syntax and data set by instance."""
    return await asyncio.to_thread(get, port, keys, **options)


def get(
    port: int,
    keys: dict[str, Any],
    *,
    root: str = STUDY_ROOT_GET,
    sop_classes: Iterable[str] = (CT,),
    syntaxes: Sequence[str] = (EXPLICIT_LE, IMPLICIT_LE),
    apart: bool = True,
    as_scp: bool = True,
    cancel_after: int | None = None,
    statuses: dict[str, int] | None = None,
) -> tuple[list[Answer], dict[str, tuple[str, bytes]]]:
    """Send one C-GET over an association of its own.

    Parameters
    ----------
    apart : bool
        Whether each transfer syntax has a context of its own.
    as_scp : bool
        Whether the SCP role is proposed for the storage classes.
    cancel_after : int, optional
        C-CANCEL is sent after so many instances.
    statuses : dict, optional
        What is answered to instances, by UID; 0000 otherwise.
    """
    entity = AE("GETTER")
    entity.dimse_timeout = 60
    contexts, roles = [build_context(root)], []
    for sop_class_uid in sop_classes:
        sets = [[syntax] for syntax in syntaxes] if apart else [list(syntaxes)]
        contexts += [build_context(sop_class_uid, some) for some in sets]
        role = SCP_SCU_RoleSelectionNegotiation()
        role.sop_class_uid, role.scu_role, role.scp_role = sop_class_uid, False, True
        roles.append(role)
    entity.requested_contexts = contexts
    received: dict[str, tuple[str, bytes]] = {}

    def store(event: Any) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        received[uid] = (str(event.context.transfer_syntax), event.request.DataSet.getvalue())
        if len(received) == cancel_after:
            event.assoc.send_c_cancel(7, query_model=root)
        return (statuses or {}).get(uid, 0)

    association = entity.associate(
        "127.0.0.1",
        port,
        ae_title="DICOMWEB",
        ext_neg=roles if as_scp else None,  # type: ignore[arg-type]
        evt_handlers=[(evt.EVT_C_STORE, store)],
    )
    assert association.is_established
    try:
        responses = association.send_c_get(dataset_of(keys), root, msg_id=7)
        return [(status, identifier or None) for status, identifier in responses], received
    finally:
        association.release()


def counters(status: Dataset) -> dict[str, int]:
    """The counters of a response, those that are there."""
    numbers = {name: status.get(f"NumberOf{name}Suboperations") for name in COUNTERS}
    return {name: number for name, number in numbers.items() if number is not None}


def concluded(answers: list[Answer], total: int) -> tuple[int, dict[str, int], list[str]]:
    """Check the pending responses; returns status, counters and failed UIDs of the last one."""
    *pending, (final, identifier) = answers
    assert pending or not total
    for status, nothing in pending:
        assert (status.Status, nothing) == (0xFF00, None)
        assert set(counters(status)) == set(COUNTERS)
        assert sum(counters(status).values()) == total
    failed = identifier.FailedSOPInstanceUIDList if identifier is not None else []
    if identifier is not None:
        assert list(identifier.keys()) == [0x00080058]
    return final.Status, counters(final), [failed] if isinstance(failed, str) else list(failed)
