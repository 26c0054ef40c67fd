"""Storage commitments in the database: kept, claimed, checked against the files, put off, parked, sent again."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from storage.archive import Archive
from storage.errors import NotFound
from storage.upkeep.commitment_check import CommitmentCheck
from storage.work import commitments
from storage.work.commitments import Commitment, Commitments, NotYetChecked, Reference
from storage.work.commitments_asked import Answer, CommitmentsAsked
from tests.builders import ct_slice, new_uid, sop_instance_uid

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
VERIFICATION = "1.2.840.10008.1.1"
AT_ONCE = timedelta(0)
HOUR = timedelta(hours=1)


def supports(sop_class_uid: str) -> bool:
    return sop_class_uid != VERIFICATION


async def stored(archive: Archive, **attributes: Any) -> Reference:
    file = ct_slice(**attributes)
    assert (await archive.store(file)).status == "stored"
    return Reference(CT, sop_instance_uid(file))


async def examine(archive: Archive, *references: Reference) -> list[int]:
    check = CommitmentCheck(archive, supports)
    try:
        return await check.examine(references)
    finally:
        check.close()


async def blob_of(archive: Archive, reference: Reference) -> Any:
    statement = "SELECT blob FROM instances WHERE sop_instance_uid = $1"
    return archive.blobs.path(await archive.pool.fetchval(statement, reference.sop_instance_uid))


async def reporting(table: Commitments, requester: str = "CT1", references: int = 1) -> Commitment:
    """A commitment that was checked, all sound."""
    given = [Reference(CT, new_uid()) for _ in range(references)]
    number = await table.add(new_uid(), requester, "DICOMWEB", given)
    claimed = await table.claim("checking")
    assert claimed is not None and claimed.id == number
    await table.record_checks(number, {place: 0 for place, _ in await table.to_check(number, 1000)})
    await table.finish_step(number, "reporting")
    return await table.get(number)


async def test_a_sound_instance_is_committed_to(archive: Archive) -> None:
    """An instance whose file reads back as it was received has no failure reason (PS3.4 J.3.3.1.2)."""
    assert await examine(archive, *[await stored(archive) for _ in range(3)]) == [0, 0, 0]


async def test_an_instance_that_is_not_here_fails_with_0112(archive: Archive) -> None:
    """No such object instance (PS3.3 C.14.1.1; G-128)."""
    assert await examine(archive, Reference(CT, new_uid()), await stored(archive)) == [0x0112, 0]


async def test_an_instance_of_another_class_fails_with_0119(archive: Archive) -> None:
    """The class asked for is not the one it was stored with (PS3.3 C.14.1.1; G-128)."""
    reference = await stored(archive)
    assert await examine(archive, reference._replace(sop_class_uid=MR)) == [0x0119]


async def test_a_class_that_cannot_be_stored_fails_with_0122(archive: Archive) -> None:
    """Referenced SOP class not supported (PS3.3 C.14.1.1; G-128)."""
    assert await examine(archive, Reference(VERIFICATION, new_uid())) == [0x0122]


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
async def test_a_damaged_file_fails_with_0110(archive: Archive, damage: str) -> None:
    """What cannot be read back as it was stored is not committed to (PS3.3 C.14.1.1; G-128, G-134)."""
    sound, damaged = await stored(archive), await stored(archive)
    path = await blob_of(archive, damaged)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.unlink()
    if damage != "gone":
        path.write_bytes(data if damage == "flipped" else data[:-1])
    assert await examine(archive, sound, damaged) == [0, 0x0110]


async def test_every_copy_of_an_instance_must_be_sound(archive: Archive) -> None:
    """An instance in two studies is committed to when both files are sound: the requester may mean either."""
    instance = new_uid()
    first = await stored(archive, instance=instance)
    await archive.store(ct_slice(instance=instance))
    assert await examine(archive, first) == [0]
    (await blob_of(archive, first)).unlink()
    assert await examine(archive, first) == [0x0110]


async def test_a_file_replaced_meanwhile_is_read_under_its_new_name(archive: Archive) -> None:
    """A look-up that has gone stale is not taken for damage."""
    reference = await stored(archive)
    path = await blob_of(archive, reference)
    check = CommitmentCheck(archive, supports)
    looked_up = check._stored

    async def replaced(instances: Any) -> Any:
        found = await looked_up(list(instances))
        if path.exists():
            moved = path.with_name("moved.dcm")
            path.rename(moved)
            name = str(moved.relative_to(archive.blobs.root))
            await archive.pool.execute("UPDATE instances SET blob = $1", name)
        return found

    check._stored = replaced  # type: ignore[method-assign]
    try:
        assert await check.examine([reference]) == [0]
    finally:
        check.close()


async def test_a_request_is_kept_with_its_instances_in_order(archive: Archive) -> None:
    """What an N-ACTION asked for is in the database when it is answered (PS3.4 J.3.2.1.3; G-122)."""
    table = Commitments(archive.pool)
    references = [Reference(CT, new_uid()) for _ in range(50)]
    number = await table.add("1.2.3", "CT1", "DICOMWEB", references)
    kept = await table.get(number)
    assert (kept.state, kept.transaction_uid, kept.requester, kept.number_of_instances) == (
        *("checking", "1.2.3", "CT1"),
        50,
    )
    assert [(one.sop_class_uid, one.sop_instance_uid) for one in await table.references(number)] == references


async def test_a_transaction_uid_is_used_once_by_a_requester(archive: Archive) -> None:
    """A second request with it fails with 0131 throughout, the first goes on; another requester's does too (G-128)."""
    table = Commitments(archive.pool)
    reference = Reference(CT, new_uid())
    first = await table.add("1.2.3", "CT1", "DICOMWEB", [reference])
    second = await table.add("1.2.3", "CT1", "DICOMWEB", [reference])
    third = await table.add("1.2.3", "CT2", "DICOMWEB", [reference])
    assert [(await table.get(number)).state for number in (first, second, third)] == [
        *("checking", "reporting", "checking")
    ]
    assert [one.failure_reason for one in await table.references(second)] == [0x0131]
    assert (await table.get(second)).number_failed == 1


async def test_the_same_transaction_at_the_same_time_is_kept_once(archive: Archive) -> None:
    """Of requests that race with one Transaction UID one is checked, the others are duplicates."""
    table = Commitments(archive.pool)
    given = ("1.2.3", "CT1", "DICOMWEB", [Reference(CT, new_uid())])
    await asyncio.gather(*(table.add(*given) for _ in range(6)))
    assert sorted(one.duplicate for one in await table.newest()) == [False] + 5 * [True]


async def test_a_commitment_is_claimed_by_one_process(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process follows only when the claim has run out or was given back."""
    first, second = Commitments(archive.pool), Commitments(archive.pool)
    number = await first.add("1.2.3", "CT1", "DICOMWEB", [Reference(CT, new_uid())])
    assert await first.claim("checking") is not None
    assert await second.claim("checking") is None
    await first.release([number])
    assert await second.claim("checking") is not None
    assert await first.claim("checking") is None
    monkeypatch.setattr(commitments, "CLAIM", AT_ONCE)
    await second.extend_claims()
    assert await first.claim("checking") is not None
    await second.finish_step(number, "reporting")  # its claim is gone
    assert (await first.get(number)).state == "checking"


async def test_a_check_goes_on_where_another_stopped(archive: Archive) -> None:
    """What was found is kept instance by instance."""
    table = Commitments(archive.pool)
    references = [Reference(CT, new_uid()) for _ in range(5)]
    number = await table.add("1.2.3", "CT1", "DICOMWEB", references)
    await table.record_checks(number, {1: 0, 2: 0x0112})
    assert [place for place, _ in await table.to_check(number, 2)] == [3, 4]
    await table.fail_unchecked(number)
    assert [one.failure_reason for one in await table.references(number)] == [0, 0x0112, 0x0110, 0x0110, 0x0110]


async def test_others_are_asked_only_about_what_is_sound_here(archive: Archive) -> None:
    """When everything failed already, reporting is next (G-136)."""
    table = Commitments(archive.pool)
    for reason, state in ((0, "asking"), (0x0112, "reporting")):
        number = await table.add(new_uid(), "CT1", "DICOMWEB", [Reference(CT, new_uid())])
        await table.claim("checking")
        await table.record_checks(number, {1: reason})
        await table.finish_step(number, "asking")
        assert (await table.get(number)).state == state


async def test_reports_are_claimed_by_requester_when_they_are_due(archive: Archive) -> None:
    """A report that was put off waits for its time, unless the requester comes by itself (G-131, G-132)."""
    table = Commitments(archive.pool)
    one, two = await reporting(table), await reporting(table, "CT2")
    assert await table.requester_to_report_to() == "CT1"
    assert await table.requester_to_report_to(other_than=["CT1"]) == "CT2"
    assert [claimed.id for claimed in await table.claim_reports("CT1")] == [one.id]
    await table.put_off(one.id, "offline", HOUR, HOUR)
    assert await table.claim_reports("CT1") == []
    assert [claimed.id for claimed in await table.claim_reports("CT1", early=True)] == [one.id]
    await table.record_delivery(one.id, "next")
    assert (await table.get(one.id)).state == "reported"
    assert (await table.get(two.id)).state == "reporting"


async def test_a_report_that_never_arrives_is_parked_and_sent_again_by_hand(archive: Archive) -> None:
    """Given up after the time set, from the first failure; a person starts it anew (G-132)."""
    table = Commitments(archive.pool)
    number = (await reporting(table)).id
    for expected in ("reporting", "parked"):
        await table.claim_reports("CT1")
        await table.put_off(number, "connection refused", AT_ONCE, AT_ONCE)
        commitment = await table.get(number)
        assert (commitment.state, commitment.problem) == (expected, "connection refused")
    assert await table.claim_reports("CT1", early=True) == []
    assert [one.id for one in await table.newest(states=["parked"])] == [number]
    again = await table.resend(number)
    assert (again.state, again.attempts, again.give_up_at) == ("reporting", 0, None)
    assert [one.id for one in await table.claim_reports("CT1")] == [number]


async def test_only_what_has_a_report_is_sent_again(archive: Archive) -> None:
    """Resending names what is wrong: no such commitment, or not checked yet."""
    table = Commitments(archive.pool)
    number = await table.add("1.2.3", "CT1", "DICOMWEB", [Reference(CT, new_uid())])
    with pytest.raises(NotYetChecked, match="checking"):
        await table.resend(number)
    with pytest.raises(NotFound):
        await table.resend(number + 1)


async def test_reported_commitments_are_forgotten_after_a_month(archive: Archive) -> None:
    """The tables do not grow for ever."""
    table = Commitments(archive.pool)
    old, new = await reporting(table), await reporting(table)
    for commitment in (old, new):
        await table.record_delivery(commitment.id, "new")
    await archive.pool.execute("UPDATE commitments SET reported_at = now() - interval '31 days' WHERE id = $1", old.id)
    await table.forget_old()
    assert [one.id for one in await table.newest()] == [new.id]
    assert await table.references(old.id) == []


async def test_parked_commitments_are_forgotten_after_three_months(archive: Archive) -> None:
    """A person has time to find out why a report was not taken (G-132)."""
    table = Commitments(archive.pool)
    old, new = (await reporting(table)).id, (await reporting(table)).id
    for age, number in ((91, old), (89, new)):
        statement = "UPDATE commitments SET state = 'parked', give_up_at = now() - $1 * interval '1 day' WHERE id = $2"
        await archive.pool.execute(statement, age, number)
    await table.forget_old()
    assert [one.id for one in await table.newest()] == [new]


async def test_commitments_are_listed_newest_first_page_by_page(archive: Archive) -> None:
    """A list continues before the last one shown."""
    table = Commitments(archive.pool)
    numbers = [await table.add(new_uid(), "CT1", "DICOMWEB", [Reference(CT, new_uid())]) for _ in range(5)]
    page = await table.newest(limit=3)
    assert [one.id for one in page] == numbers[:1:-1]
    assert [one.id for one in await table.newest(before=page[-1].id)] == numbers[1::-1]


async def test_an_answer_to_what_we_asked_is_kept(archive: Archive) -> None:
    """The process that waits finds what another one was told; nobody waits for an unknown transaction."""
    table = CommitmentsAsked(archive.pool)
    await table.ask("1.2.3", "VNA")
    assert await table.answer("1.2.3") is None
    answer = Answer(frozenset({"1.5", "1.6"}), {"1.7": 0x0112})
    assert await table.record("1.2.3", answer)
    assert not await table.record("1.2.4", answer)
    assert await table.answer("1.2.3") == answer
