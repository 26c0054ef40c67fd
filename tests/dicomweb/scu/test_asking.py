"""What we ask of other archives, asked of DCMTK's: C-ECHO, C-FIND, C-GET."""

import asyncio
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from dicomweb.dimse.errors import AssociationError, AssociationRejected, PeerTimeout, PeerUnreachable
from dicomweb.scu.calling import Caller, NotOffered, OperationFailed
from dicomweb.scu.echo import echo
from dicomweb.scu.find import find
from dicomweb.scu.get import get, storage_contexts
from dicomweb.scu.identifier import identifier, uids, value_of
from dicomweb.settings import Settings
from dicomweb.tls import server_context
from storage.ingest import Outcome
from storage.work.peers import Peer
from tests.builders import EXPLICIT_LE, ct_slice, dataset_only, dicom_file, new_uid, sop_instance_uid
from tests.dicomweb.gateway.serving import serving
from tests.dicomweb.scu.remote_archive import remote_archive
from tests.live_server import free_port

JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
CT = "1.2.840.10008.5.1.4.1.1.2"


@pytest.fixture
def caller() -> Caller:
    """We, with much patience."""
    return Caller(Settings(dimse_acse_timeout=60, dimse_timeout=60))


async def test_an_echo_comes_back(caller: Caller, tmp_path: Path) -> None:
    """C-ECHO of a peer that is there is 0000 and says how long it took (G-031)."""
    with remote_archive(tmp_path, 1) as peer:
        answer = await echo(caller, peer)
        assert answer.status == 0
        assert 0 < answer.seconds < 60
        with pytest.raises(AssociationRejected, match="called AE title"):
            await echo(caller, Peer("NOBODY", peer.host, peer.port))
    with pytest.raises(PeerUnreachable):
        await echo(caller, Peer("REMOTE", "127.0.0.1", free_port()))


async def test_a_peer_that_says_nothing_is_given_up() -> None:
    """A peer that takes the connection and is silent is a timeout of its own kind (G-010)."""

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        with pytest.raises(PeerTimeout):
            await echo(
                Caller(Settings(dimse_acse_timeout=1)), Peer("SILENT", "127.0.0.1", server.sockets[0].getsockname()[1])
            )


async def test_a_failure_of_the_peer_is_told(caller: Caller) -> None:
    """A status that is no success is raised with the status, and an operation nobody offers is known as such."""
    entity = AE("PEER")
    entity.add_supported_context(Verification)
    port = free_port()
    running = entity.start_server(
        ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_ECHO, lambda event: 0x0122)]
    )
    try:
        with pytest.raises(OperationFailed, match="0122"):
            await echo(caller, Peer("PEER", "127.0.0.1", port))
        with pytest.raises(NotOffered):
            async for _ in find(caller, Peer("PEER", "127.0.0.1", port), identifier("STUDY", {})):
                raise AssertionError
    finally:
        running.shutdown()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
async def test_a_peer_is_called_over_tls(archive: Any, tmp_path: Path) -> None:
    """A peer that speaks TLS is called over TLS, and only when an authority we believe vouches for it (G-017)."""
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=archive")
    command = ["openssl", "req", "-x509", *key, "-keyout", "one.pem", "-out", "certificate.pem"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "one.pem").write_text((tmp_path / "one.pem").read_text() + (tmp_path / "certificate.pem").read_text())
    ours = Settings(dimse_tls_certificate=tmp_path / "one.pem", dimse_tls_ca=tmp_path / "certificate.pem")
    async with serving(archive, tls=server_context(ours), dimse_acse_timeout=60) as served:
        secure = Peer("DICOMWEB", "127.0.0.1", served.port, tls=True)
        assert (await echo(Caller(ours), secure)).status == 0
        with pytest.raises(PeerUnreachable):
            await echo(Caller(Settings()), secure)
        with pytest.raises(AssociationError):
            await echo(Caller(ours), replace(secure, tls=False))


async def test_a_remote_archive_is_searched_at_every_level(caller: Caller, tmp_path: Path) -> None:
    """C-FIND yields matches as DICOM JSON, in Unicode, until the limit, then the search is cancelled (PS3.4 C.4.1)."""
    study, series = new_uid(), new_uid()
    files = [
        ct_slice(study=study, series=series, PatientName="Müller^Zoë", SpecificCharacterSet="ISO_IR 100")
        for _ in range(5)
    ]
    with remote_archive(tmp_path, 1, *files, ct_slice(PatientName="Other", PatientID="other")) as peer:
        (found,) = [one async for one in find(caller, peer, identifier("STUDY", {"PatientName": "M*"}))]
        assert value_of(found, "StudyInstanceUID") == study
        assert value_of(found, "PatientName") == "Müller^Zoë"
        (found,) = [one async for one in find(caller, peer, identifier("SERIES", {"StudyInstanceUID": study}))]
        assert value_of(found, "SeriesInstanceUID") == series
        images = identifier("IMAGE", {"StudyInstanceUID": study, "SeriesInstanceUID": series})
        assert len([one async for one in find(caller, peer, images)]) == 5
        assert len([one async for one in find(caller, peer, images, limit=2)]) == 2
        patients = [one async for one in find(caller, peer, identifier("PATIENT", {"PatientName": ""}))]
        assert len(patients) == 2


async def test_what_is_got_is_stored_as_the_peer_has_it(archive: Any, caller: Caller, tmp_path: Path) -> None:
    """C-GET brings every instance in the transfer syntax it has there, over one association (PS3.4 C.4.3, C.5.3).

    DCMTK sends all of a class in its first context and can convert nothing: what is compressed comes with those first.
    """
    study = new_uid()
    jpeg = dicom_file(
        transfer_syntax=JPEG_LOSSLESS, StudyInstanceUID=study, pixels=[b"\xff\xd8one\xff\xd9"], PatientID="P"
    )
    files = [ct_slice(study=study), ct_slice(study=study), jpeg]
    outcomes: list[Outcome] = []

    async def taken(outcome: Outcome) -> None:
        outcomes.append(outcome)

    with remote_archive(tmp_path, 1, *files) as peer:
        request = uids("STUDY", StudyInstanceUID=study)
        classes = [CT, SECONDARY_CAPTURE]
        progress = [one async for one in get(caller, peer, request, classes, archive, taken)]
        assert (progress[-1].completed, progress[-1].failed) == (2, 1)
        assert progress[-1].failed_uids == (sop_instance_uid(jpeg),)
        again = get(caller, peer, request, [SECONDARY_CAPTURE], archive, taken, compressed_first=True)
        progress = [one async for one in again]
    assert [outcome.status for outcome in outcomes] == ["stored"] * 3
    instances = await archive.instances(study)
    assert sorted(one.transfer_syntax_uid for one in instances) == [EXPLICIT_LE, EXPLICIT_LE, JPEG_LOSSLESS]
    (got,) = [one for one in instances if one.transfer_syntax_uid == JPEG_LOSSLESS]
    assert dataset_only(archive.blobs.path(got.blob).read_bytes()) == dataset_only(jpeg)
    meta = dcmread(archive.blobs.path(got.blob)).file_meta
    assert meta.SourceApplicationEntityTitle == meta.SendingApplicationEntityTitle == "REMOTE"
    assert meta.ReceivingApplicationEntityTitle == "DICOMWEB"


async def test_an_instance_we_refuse_is_a_failure_of_the_peers_operation(
    archive: Any, caller: Caller, tmp_path: Path
) -> None:
    """What the archive does not take is answered with its reason, and the rest comes all the same (G-043)."""
    study, uid = new_uid(), new_uid()
    await archive.store(ct_slice(study=study, series="1.2.3", instance=uid, PatientName="First"))
    files = [ct_slice(study=study, series="1.2.3", instance=uid, PatientName="Second"), ct_slice(study=study)]
    outcomes: list[Outcome] = []

    async def taken(outcome: Outcome) -> None:
        outcomes.append(outcome)

    with remote_archive(tmp_path, 1, *files) as peer:
        request = uids("STUDY", StudyInstanceUID=study)
        progress = [one async for one in get(caller, peer, request, [CT], archive, taken)]
    assert (progress[-1].completed, progress[-1].failed) == (1, 1)
    assert sorted(outcome.status for outcome in outcomes) == ["failed", "stored"]


def test_the_contexts_of_a_get_are_never_too_many() -> None:
    """At most 128 contexts, the plain syntaxes for every class, compressed ones alone while there is room (G-008)."""
    for count in range(1, 64):
        contexts = storage_contexts([f"1.2.{number}" for number in range(count)])
        assert len(contexts) <= 126
        assert {sop_class for sop_class, _ in contexts} == {f"1.2.{number}" for number in range(count)}
        first = [uid for sop_class, syntaxes in contexts for uid in syntaxes if sop_class == "1.2.0"]
        assert len(first) == len(set(first)) == 41
    assert all(len(syntaxes) == 1 for _, syntaxes in storage_contexts(["1.2.1", "1.2.2", "1.2.3"]))
