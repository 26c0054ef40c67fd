"""Retrieving frames (PS3.18 10.4.1.6)."""

import os
from typing import Any

import httpx2
import numpy as np
import pytest

from dicomweb.http.problems import RequestRefused
from dicomweb.http.wado.frames import MOST_FRAMES, MOST_REPEATS, frame_numbers
from dicomweb.version import build
from tests.builders import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT_LE,
    IMPLICIT_LE,
    ct_slice,
    dicom_file,
    encapsulated,
    multi_frame,
)
from tests.dicomweb.http.wado.test_instances import stored
from tests.dicomweb.loopback import listening
from tests.dicomweb.parts import parts_of
from tests.pixels import gray_frame

OHIF = {"Accept": "multipart/related; type=application/octet-stream; transfer-syntax=*"}
OCTETS = f"application/octet-stream; transfer-syntax={EXPLICIT_LE}"
PLAIN = f"{OCTETS}; samples=plain"
RLE = "1.2.840.10008.1.2.5"
JPEG = "1.2.840.10008.1.2.4.50"
JPEG_LS = "1.2.840.10008.1.2.4.80"
MPEG4 = "1.2.840.10008.1.2.4.102"


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("1", (1,)), ("3,1,1", (3, 1, 1)), ("1-4", (1, 2, 3, 4)), ("7,2-3,01", (7, 2, 3, 1)), ("1, 2", (1, 2))],
)
def test_a_frame_list_is_numbers_and_ranges(text: str, numbers: tuple[int, ...]) -> None:
    """Served as asked, in the order asked for (D-040, D-041)."""
    assert frame_numbers(text) == numbers


@pytest.mark.parametrize(
    "text",
    [
        *("0", "", "a", "-1", "1,,2", "1-", "4-2", "1.0", "0-3", "1;2", "٣", f"1-{MOST_FRAMES + 1}", "9" * 30),
        *("1," * MOST_REPEATS + "1,1", "1-90,1-90,1-90"),  # the same ones again and again
    ],
)
def test_what_is_no_frame_number_is_a_400(text: str) -> None:
    """Frame 0, words and floods are refused before anything is read (D-042)."""
    with pytest.raises(RequestRefused) as refused:
        frame_numbers(text)
    assert refused.value.status_code == 400


async def test_the_request_of_ohif(archive: Any, client: httpx2.AsyncClient) -> None:
    """Status 200, `Content-Type:` spelt so with the transfer syntax, CRLF, closing boundary (D-044, D-045, A-084)."""
    file = ct_slice()
    (path,) = await stored(archive, file)
    answer = await client.get(f"{path}/frames/1", headers=OHIF)
    (part,) = parts_of(answer)
    assert part.body == file[-64 * 64 * 2 :]
    assert part.headers["Content-Type"] == OCTETS
    assert part.headers["Content-Location"] == f"http://archive.test{path}/frames/1"
    assert answer.headers["content-length"] == str(len(answer.content))
    assert answer.headers["cache-control"] == "private, max-age=31536000"


@pytest.mark.parametrize("frame", [2, 3])
async def test_part_of_a_frame_is_not_passed_off_as_one(archive: Any, client: httpx2.AsyncClient, frame: int) -> None:
    """Promise 1: a stored file that lost its end is an error that says so, not a short picture kept for a year."""
    (path,) = await stored(archive, multi_frame(3))
    (file,) = [archive.blobs.path(name) for name in archive.blobs.names()]
    os.truncate(file, file.stat().st_size - 16 * 16 * 2 - 10)
    assert (await client.get(f"{path}/frames/1", headers=OHIF)).status_code == 200
    answer = await client.get(f"{path}/frames/{frame}", headers=OHIF)
    assert (answer.status_code, answer.headers["cache-control"]) == (500, "no-store")
    assert "cut short" in answer.text


async def test_frames_of_an_instance_that_was_cut_off_are_asked_for_again(
    archive: Any, client: httpx2.AsyncClient
) -> None:
    """A-119: the whole of it may come yet; the rest of a frame then reaches who has seen a part of it."""
    whole = encapsulated([b"\xff\xd8" + bytes(500) + b"\xff\xd9"])
    (path,) = await stored(archive, whole[:-200])
    for resource in ("frames/1", "bulkdata/7FE00010"):
        part = await client.get(f"{path}/{resource}", headers=OHIF)
        assert part.status_code == 200
        assert part.headers["cache-control"] == "private, no-cache"
    await stored(archive, whole)
    answer = await client.get(f"{path}/frames/1", headers=OHIF | {"If-None-Match": part.headers["etag"]})
    assert (answer.status_code, len(parts_of(answer)[0].body)) == (200, 504)
    assert answer.headers["cache-control"] == "private, max-age=31536000"


@pytest.mark.parametrize("transfer_syntax", [EXPLICIT_LE, IMPLICIT_LE, BIG_ENDIAN, DEFLATED])
@pytest.mark.parametrize("bits", [8, 16])
async def test_native_frames_are_little_endian(
    archive: Any, client: httpx2.AsyncClient, transfer_syntax: str, bits: int
) -> None:
    """Whatever the stored byte order, samples are little endian and labelled so (D-043, D-046, D-054)."""
    (path,) = await stored(archive, multi_frame(3, bits=bits, transfer_syntax=transfer_syntax))
    parts = parts_of(await client.get(f"{path}/frames/3,1", headers=OHIF))
    kind = "<u2" if bits == 16 else "u1"
    assert [set(np.frombuffer(part.body, kind)) for part in parts] == [{3}, {1}]
    assert all(len(part.body) == 16 * 16 * bits // 8 for part in parts)
    assert {part.headers["Content-Type"] for part in parts} == {OCTETS}


async def test_single_bit_frames_start_at_a_byte(archive: Any, client: httpx2.AsyncClient) -> None:
    """Frames of 5 x 5 bits are shifted to byte boundaries (D-051, D-052)."""
    (path,) = await stored(archive, multi_frame(3, bits=1, rows=5, columns=5))
    parts = parts_of(await client.get(f"{path}/frames/1-3", headers=OHIF))
    bits = [np.unpackbits(np.frombuffer(part.body, "u1"), bitorder="little")[:25].tolist() for part in parts]
    assert bits == [[1] * 25, [0] * 25, [1] * 25]


@pytest.mark.parametrize("table", ["basic", "empty", "extended"])
async def test_compressed_frames_come_as_stored(archive: Any, client: httpx2.AsyncClient, table: Any) -> None:
    """A part is the pure codestream of its frame, under its own media type (D-045, D-048, D-049)."""
    frames = [b"\xff\xd8first\xff\xd9 ", b"\xff\xd8second.\xff\xd9"]
    (path,) = await stored(archive, encapsulated(frames, transfer_syntax=JPEG_LS, offset_table=table))
    parts = parts_of(await client.get(f"{path}/frames/2,1", headers=OHIF))
    assert [part.body.rstrip(b"\0 ") for part in parts] == [frames[1].rstrip(), frames[0].rstrip()]
    assert {part.headers["Content-Type"] for part in parts} == {f"image/jls; transfer-syntax={JPEG_LS}"}


async def test_one_frame_may_come_without_multipart(archive: Any, client: httpx2.AsyncClient) -> None:
    """Single part under its own type, for exactly one frame (D-047, A-033)."""
    frame = b"\xff\xd8only\xff\xd9"
    (path,) = await stored(archive, encapsulated([frame, frame], transfer_syntax=JPEG))
    answer = await client.get(f"{path}/frames/1", headers={"Accept": "image/jpeg"})
    assert answer.status_code == 200 and answer.content == frame
    assert answer.headers["content-type"] == f"image/jpeg; transfer-syntax={JPEG}"
    assert answer.headers["content-length"] == str(len(frame))
    assert answer.headers["content-location"].endswith("/frames/1")
    several = await client.get(f"{path}/frames/1,2", headers={"Accept": "image/jpeg"})
    assert several.status_code == 406 and all("multipart" in offer for offer in several.json()["available"])


async def test_plain_samples_are_for_who_asks_for_them(archive: Any, client: httpx2.AsyncClient) -> None:
    """`samples=plain`, an extension: native samples in place of frames that need care, for nobody else (8.7.3.5.2)."""
    shared = bytes([76, 100, 128, 128] * 32)  # Y1 Y2 CB CR
    color = {"SamplesPerPixel": 3, "PlanarConfiguration": 0}
    (path,) = await stored(archive, dicom_file(pixels=shared, PhotometricInterpretation="YBR_FULL_422", **color))
    as_stored = await client.get(f"{path}/frames/1", headers={"Accept": OCTETS})
    made = await client.get(f"{path}/frames/1", headers={"Accept": PLAIN})
    assert as_stored.content == shared == parts_of(await client.get(f"{path}/frames/1", headers=OHIF))[0].body
    assert made.content == bytes([76] * 3 + [100] * 3) * 32
    assert as_stored.headers["content-type"] == made.headers["content-type"] == OCTETS
    assert as_stored.headers["etag"] != made.headers["etag"]
    unchanged = await client.get(
        f"{path}/frames/1", headers={"Accept": PLAIN, "If-None-Match": as_stored.headers["etag"]}
    )
    assert unchanged.status_code == 200


async def test_plain_frames_come_as_stored_where_the_syntax_is_accepted(
    archive: Any, client: httpx2.AsyncClient
) -> None:
    """Frame 1 is what its label says, frame 2 is not; each part tells what it is."""
    gray = np.arange(64, dtype=np.uint8).reshape(8, 8)
    frames = [gray_frame(gray, JPEG_LS), gray_frame(gray[::-1], RLE)]
    (path,) = await stored(archive, encapsulated(frames, transfer_syntax=JPEG_LS))
    both = f'multipart/related; type="image/jls", multipart/related; type={PLAIN}'
    first, second = parts_of(await client.get(f"{path}/frames/1,2", headers={"Accept": both}))
    assert first.body.rstrip(b"\0") == frames[0].rstrip(b"\0")
    assert first.headers["Content-Type"] == f"image/jls; transfer-syntax={JPEG_LS}"
    assert second.body == gray[::-1].tobytes() and second.headers["Content-Type"] == OCTETS
    alone = await client.get(f"{path}/frames/2", headers={"Accept": f"image/jls, {PLAIN}"})
    assert alone.content == second.body and alone.headers["content-type"] == OCTETS
    only = await client.get(f"{path}/frames/1", headers={"Accept": PLAIN})
    assert only.content == gray.tobytes() and only.headers["content-type"] == OCTETS


@pytest.mark.parametrize("resource", ["frames/1", "bulkdata/7FE00010"])
@pytest.mark.parametrize("kind", ["compressed", "big endian", "single bits"])
async def test_what_is_made_is_asked_for_again(
    archive: Any, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch, kind: str, resource: str
) -> None:
    """A picture that one build of the program got wrong is not seen after the next has it right (A-117, A-119)."""
    gray = np.arange(64, dtype=np.uint8).reshape(8, 8)
    files = {
        "compressed": encapsulated([gray_frame(gray, JPEG_LS)], transfer_syntax=JPEG_LS),
        "big endian": multi_frame(1, bits=16, transfer_syntax=BIG_ENDIAN),
        "single bits": multi_frame(1, bits=1, rows=5, columns=5),
    }
    (path,) = await stored(archive, files[kind])
    first = await client.get(f"{path}/{resource}", headers={"Accept": OCTETS})
    assert (first.status_code, first.headers["cache-control"]) == (200, "private, no-cache")
    known = {"Accept": OCTETS, "If-None-Match": first.headers["etag"]}
    assert (await client.get(f"{path}/{resource}", headers=known)).status_code == 304
    monkeypatch.setattr("dicomweb.http.message.conditional.build", lambda: "the next")
    assert (await client.get(f"{path}/{resource}", headers=known)).status_code == 200


@pytest.mark.parametrize(("named", "cache"), [(build(), "private, max-age=31536000"), ("other", "private, no-cache")])
async def test_who_names_the_build_keeps_what_it_makes(
    archive: Any, client: httpx2.AsyncClient, named: str, cache: str
) -> None:
    """The viewer asks otherwise once there is another build, so that its cache cannot answer (RFC 9111 4.1)."""
    gray = np.arange(64, dtype=np.uint8).reshape(8, 8)
    (path,) = await stored(archive, encapsulated([gray_frame(gray, JPEG_LS)], transfer_syntax=JPEG_LS))
    for accept in (f"{PLAIN}; build={named}", f"image/jls, {PLAIN}; build={named}"):
        answer = await client.get(f"{path}/frames/1", headers={"Accept": accept})
        assert (answer.status_code, answer.headers["cache-control"]) == (200, cache)
        assert "accept" in answer.headers["vary"].lower().split(", ")


async def test_plain_samples_say_what_was_mended(archive: Any, client: httpx2.AsyncClient) -> None:
    """As frames do that are transcoded: a Warning header (A-112)."""
    image = np.add.outer(np.arange(8, dtype=np.uint8), np.arange(4, dtype=np.uint8) * 9)
    turned = encapsulated([gray_frame(image.reshape(4, 8), JPEG_LS)], transfer_syntax=JPEG_LS, Rows=8, Columns=4)
    (path,) = await stored(archive, turned)
    answer = await client.get(f"{path}/frames/1", headers={"Accept": f"image/jls, {PLAIN}"})
    assert answer.content == image.tobytes() and answer.headers["content-type"] == OCTETS
    assert "Rows for Columns" in answer.headers["warning"]


async def test_a_frame_that_cannot_be_made_plain_says_why(archive: Any, client: httpx2.AsyncClient) -> None:
    """A damaged stream is a 406 for who does not take it as it is (8.7.8.1)."""
    (path,) = await stored(archive, encapsulated([b"\xff\xd8damaged\xff\xd9"], transfer_syntax=JPEG))
    answer = await client.get(f"{path}/frames/1", headers={"Accept": PLAIN})
    assert answer.status_code == 406 and "Frame 1" in answer.json()["detail"]


async def test_a_frame_by_range(archive: Any, client: httpx2.AsyncClient) -> None:
    """206 only for a Range header, and only without multipart (A-115, A-116)."""
    (path,) = await stored(archive, ct_slice())
    single = {"Accept": "application/octet-stream"}
    whole = (await client.get(f"{path}/frames/1", headers=single)).content
    part = await client.get(f"{path}/frames/1", headers={**single, "Range": "bytes=0-99"})
    assert part.status_code == 206 and part.content == whole[:100]
    assert part.headers["content-range"] == f"bytes 0-99/{len(whole)}" and part.headers["content-length"] == "100"
    beyond = await client.get(f"{path}/frames/1", headers={**single, "Range": "bytes=900000-"})
    assert beyond.status_code == 416
    assert (await client.get(f"{path}/frames/1", headers={**OHIF, "Range": "bytes=0-99"})).status_code == 200


async def test_frames_that_are_not_there(archive: Any, client: httpx2.AsyncClient) -> None:
    """Beyond the last frame and on objects without pixels: 404; malformed: 400 (D-042, D-057)."""
    image, text = await stored(archive, multi_frame(3), dicom_file())
    for path, status in (
        (f"{image}/frames/4", 404),
        (f"{image}/frames/1,4", 404),
        (f"{image}/frames/1-200000", 404),
        (f"{image}/frames/0", 400),
        (f"{image}/frames/one", 400),
        (f"{text}/frames/1", 404),
        (f"{image}9/frames/1", 404),
    ):
        answer = await client.get(path, headers=OHIF)
        assert (path, answer.status_code) == (path, status)
        assert answer.json()["detail"]


async def test_a_frame_that_cannot_be_decoded_is_a_406(archive: Any, client: httpx2.AsyncClient) -> None:
    """The answer says why and lists what there is (D-059)."""
    (path,) = await stored(archive, encapsulated([b"frame"], transfer_syntax=JPEG_LS))
    accept = 'multipart/related; type="application/octet-stream"'
    refused = await client.get(f"{path}/frames/1", headers={"Accept": accept})
    assert refused.status_code == 406 and refused.json()["detail"].startswith("Frame 1: stored in transfer")
    assert f"image/jls; transfer-syntax={JPEG_LS}" in refused.json()["available"]


async def test_an_unchanged_frame_is_a_304(archive: Any, client: httpx2.AsyncClient) -> None:
    """Tags differ by frame and by form (A-117)."""
    (path,) = await stored(archive, multi_frame(2))
    one = await client.get(f"{path}/frames/1", headers=OHIF)
    tag = one.headers["etag"]
    assert (await client.get(f"{path}/frames/1", headers={**OHIF, "If-None-Match": tag})).status_code == 304
    for other in (f"{path}/frames/2", f"{path}/frames/1,2"):
        assert (await client.get(other, headers={**OHIF, "If-None-Match": tag})).status_code == 200
    single = {"Accept": "application/octet-stream", "If-None-Match": tag}
    assert (await client.get(f"{path}/frames/1", headers=single)).status_code == 200


async def test_a_video_comes_whole(archive: Any, client: httpx2.AsyncClient) -> None:
    """A video is one stream under video/mp4, whatever its Number of Frames, readable by range (D-056)."""
    movie = bytes(range(256)) * 40
    fragments = [[movie[:6000], movie[6000:]]]
    file = encapsulated(fragments, transfer_syntax=MPEG4, offset_table="empty", NumberOfFrames=250)
    (path,) = await stored(archive, file)
    for target in ("/frames/1", "/bulkdata/7FE00010"):
        answer = await client.get(path + target, headers={"Accept": "video/mp4"})
        assert answer.status_code == 200 and answer.content == movie
        assert answer.headers["content-type"] == f"video/mp4; transfer-syntax={MPEG4}"
        part = await client.get(path + target, headers={"Accept": "video/*", "Range": "bytes=5990-6009"})
        assert part.status_code == 206 and part.content == movie[5990:6010]
        (whole,) = parts_of(await client.get(path + target, headers=OHIF))
        assert whole.body == movie


@pytest.mark.parametrize(
    ("length", "stated", "sent"),
    [(1057, 1057, 1057), (1056, 1056, 1056), (1057, None, 1058), (1057, 9, 1058), (1056, 1055, 1055)],
)
async def test_a_video_comes_without_its_padding(
    archive: Any, client: httpx2.AsyncClient, length: int, stated: int | None, sent: int
) -> None:
    """Encapsulated Pixel Data Value Total Length tells if the last byte is one; else all are sent (C.7.6.3.1.9)."""
    movie = bytes(range(256)) * 4 + b"Z" * (length - 1024)
    told = {} if stated is None else {"EncapsulatedPixelDataValueTotalLength": stated}
    file = encapsulated([[movie[:600], movie[600:]]], transfer_syntax=MPEG4, offset_table="empty", **told)
    (path,) = await stored(archive, file)
    for target in ("/frames/1", "/bulkdata/7FE00010", "/rendered"):
        answer = await client.get(path + target, headers={"Accept": "video/mp4"})
        assert answer.content == (movie + b"\0")[:sent]
        part = await client.get(path + target, headers={"Accept": "video/mp4", "Range": "bytes=1050-"})
        assert part.content == (movie + b"\0")[1050:sent]
        assert part.headers["content-range"] == f"bytes 1050-{sent - 1}/{sent}"


async def test_many_frames_over_a_socket(archive: Any, app: Any) -> None:
    """500 frames in one request arrive complete and in order; HEAD costs nothing (user pain 15)."""
    (path,) = await stored(archive, multi_frame(500, rows=32, columns=32))
    async with listening(app) as url, httpx2.AsyncClient(base_url=url) as client:
        parts = parts_of(await client.get(f"{path}/frames/1-500", headers=OHIF))
        assert [int.from_bytes(part.body[:2], "little") for part in parts] == list(range(1, 501))
        head = await client.head(f"{path}/frames/1", headers=OHIF)
        got = await client.get(f"{path}/frames/1", headers=OHIF)
        assert head.content == b"" and head.headers["content-length"] == got.headers["content-length"]


def test_a_worker_keeps_no_list_of_frames() -> None:
    """A hundred and fifty requests for long lists took a gigabyte that never came back."""
    assert not hasattr(frame_numbers, "cache_info")
    assert frame_numbers("1-3,7") == (1, 2, 3, 7)
