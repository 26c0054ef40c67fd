"""Retrieving rendered instances and frames (PS3.18 10.4.3.3.3)."""

import asyncio
import io
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image

from dicomweb.http.rendered.pool import RenderPool
from dicomweb.rendering.encoders import encode
from dicomweb.rendering.grayscale import Window
from dicomweb.rendering.pipeline import render
from dicomweb.rendering.presentation_state import PresentationState, render_presentation
from dicomweb.rendering.rendering_parameters import RenderingParameters
from dicomweb.rendering.viewport import Viewport
from storage.errors import Busy
from tests.builders import ct_slice, dicom_file, encapsulated, multi_frame, new_uid
from tests.corpus import corpus_files
from tests.dicomweb.decoded import attributes_in, frame_in
from tests.dicomweb.http.wado.test_instances import stored
from tests.dicomweb.parts import parts_of

JPEG_LS = "1.2.840.10008.1.2.4.80"
JPIP = "1.2.840.10008.1.2.4.94"
MPEG4 = "1.2.840.10008.1.2.4.102"
ENCAPSULATED_PDF = "1.2.840.10008.5.1.4.1.1.104.1"
BASIC_TEXT_SR = "1.2.840.10008.5.1.4.1.1.88.11"
MANY_JPEG = {"Accept": 'multipart/related; type="image/jpeg"'}


def picture(answer: httpx2.Response) -> Any:
    """Return the pixels of an answer that is one picture."""
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)))


@pytest.mark.parametrize(
    ("media_type", "form"),
    [("image/jpeg", "JPEG"), ("image/png", "PNG"), ("image/gif", "GIF"), ("image/jp2", "JPEG2000"), ("image/jph", "")],
)
async def test_a_real_image_in_every_media_type(
    archive: Any, client: httpx2.AsyncClient, media_type: str, form: str
) -> None:
    """The bytes are those of the pipeline, decoded by pydicom instead (D-090, D-091, D-103)."""
    file = next(path for path in corpus_files("series") if path.suffix != ".json")
    (path,) = await stored(archive, file.read_bytes())
    for target in (f"{path}/rendered", f"{path}/frames/1/rendered"):
        answer = await client.get(target, headers={"Accept": media_type})
        assert answer.headers["content-type"] == media_type
        assert answer.content == encode(render(frame_in(file)), media_type)
        assert answer.headers["content-location"] == f"http://archive.test{target}"
        assert not form or Image.open(io.BytesIO(answer.content)).format == form


async def test_jpeg_is_what_browsers_and_viewers_get(archive: Any, client: httpx2.AsyncClient) -> None:
    """`*/*`, no header, `image/*` and OHIF's query parameter are all JPEG (D-091, A-022)."""
    (path,) = await stored(archive, ct_slice())
    browser = "image/avif,image/webp,image/png;q=0.8,image/*,*/*;q=0.8"
    for query, accept in (("", "*/*"), ("", "image/*"), ("?accept=image%2Fjpeg", "*/*"), ("", browser)):
        answer = await client.get(f"{path}/rendered{query}", headers={"Accept": accept})
        assert answer.status_code == 200 and answer.headers["content-type"] == "image/jpeg", accept
    png = await client.get(f"{path}/rendered?accept=image/png")
    assert png.headers["content-type"] == "image/png"


async def test_parameters_rule_the_picture(archive: Any, client: httpx2.AsyncClient) -> None:
    """Window, viewport and quality do what the pipeline does with them (D-099, D-100, D-104)."""
    file = next(path for path in corpus_files("series") if path.suffix != ".json")
    (path,) = await stored(archive, file.read_bytes())
    frame = frame_in(file)
    for query, accept, parameters in (
        ("window=300,500,linear", "image/png", RenderingParameters(window=Window(300, 500))),
        ("viewport=100,90", "image/png", RenderingParameters(viewport=Viewport(100, 90))),
        ("quality=30", "image/jpeg", RenderingParameters(quality=30)),
    ):
        answer = await client.get(f"{path}/rendered?{query}", headers={"Accept": accept})
        assert answer.content == encode(render(frame, parameters), accept, parameters.quality), query


@pytest.mark.parametrize(
    "query",
    [
        *("window=40,400", "window=40,0,linear", "viewport=0,1", "viewport=9,9,,,0,1", "viewport=9,9,900,900,5,5"),
        *("quality=0", "quality=101", "iccprofile=cmyk", "annotation=%3Cb%3E"),
    ],
)
async def test_wrong_parameters_are_a_400(archive: Any, client: httpx2.AsyncClient, query: str) -> None:
    """The problem names the parameter (D-098 to D-106)."""
    (path,) = await stored(archive, ct_slice())
    answer = await client.get(f"{path}/rendered?{query}")
    assert answer.status_code == 400
    assert query.partition("=")[0] in answer.json()["detail"]


async def test_an_annotation_that_is_unknown_is_ignored_with_a_warning(
    archive: Any, client: httpx2.AsyncClient
) -> None:
    """Unsupported keywords get a Warning, patient is burned in (D-098)."""
    (path,) = await stored(archive, ct_slice(rows=256, columns=256))
    plain = picture(await client.get(f"{path}/rendered?accept=image/png"))
    answer = await client.get(f"{path}/rendered?accept=image/png&annotation=patient,weather")
    assert "weather" in answer.headers["warning"] and answer.headers["warning"].startswith("299 ")
    assert (picture(answer) != plain).any()


async def test_an_unchanged_picture_is_a_304(archive: Any, client: httpx2.AsyncClient) -> None:
    """Tags differ by frame, form and parameters; nothing is rendered for a 304 (A-117, A-119)."""
    (path,) = await stored(archive, multi_frame(2))
    one = await client.get(f"{path}/frames/1/rendered")
    tag = {"If-None-Match": one.headers["etag"]}
    assert one.headers["cache-control"] == "private, no-cache"
    assert (await client.get(f"{path}/frames/1/rendered", headers=tag)).status_code == 304
    for other in ("/frames/2/rendered", "/frames/1/rendered?viewport=9,9", "/frames/1/rendered?accept=image/png"):
        assert (await client.get(path + other, headers=tag)).status_code == 200


async def test_many_frames(archive: Any, client: httpx2.AsyncClient) -> None:
    """An animation, a part a frame, or the first frame (D-092, D-093)."""
    (path,) = await stored(archive, multi_frame(4, WindowCenter=3, WindowWidth=4, FrameTime=40))
    animation = await client.get(f"{path}/rendered", headers={"Accept": "image/gif"})
    opened = Image.open(io.BytesIO(animation.content))
    assert opened.n_frames == 4 and opened.info["duration"] == 40
    parts = parts_of(await client.get(f"{path}/rendered", headers=MANY_JPEG))
    alone = [(await client.get(f"{path}/frames/{number}/rendered")).content for number in (1, 2, 3, 4)]
    assert [part.body for part in parts] == alone
    assert parts[2].headers["Content-Location"] == f"http://archive.test{path}/frames/3/rendered"
    assert (await client.get(f"{path}/rendered", headers={"Accept": "image/jpeg"})).content == alone[0]


async def test_frames_by_number_are_all_there(archive: Any, client: httpx2.AsyncClient) -> None:
    """A list in its order, in multipart or as an animation; as one JPEG it is a 406, a missing one a 404 (D-090)."""
    (path,) = await stored(archive, multi_frame(4))
    target = f"{path}/frames/3,1/rendered"
    parts = parts_of(await client.get(target))
    assert [part.headers["Content-Location"][-10:-9] for part in parts] == ["3", "1"]
    animated = await client.get(target, headers={"Accept": "image/gif"})
    assert Image.open(io.BytesIO(animated.content)).format == "GIF"
    refused = await client.get(target, headers={"Accept": "image/jpeg"})
    assert refused.status_code == 406 and 'multipart/related; type="image/jpeg"' in refused.json()["available"]
    assert (await client.get(f"{path}/frames/5/rendered")).status_code == 404
    assert (await client.get(f"{path}/frames/0/rendered")).status_code == 400


async def test_study_and_series_come_in_multipart_only(archive: Any, client: httpx2.AsyncClient) -> None:
    """One part a frame of every image; a single picture is a 406 (D-090, D-096)."""
    study, series = new_uid(), new_uid()
    files = [ct_slice(study, series, instance_number=number) for number in (1, 2)]
    paths = await stored(archive, *files, multi_frame(2, StudyInstanceUID=study), dicom_file(StudyInstanceUID=study))
    root = f"/dicom-web/studies/{study}"
    assert len(parts_of(await client.get(f"{root}/rendered", headers=MANY_JPEG))) == 4
    parts = parts_of(await client.get(f"{root}/series/{series}/rendered"))
    assert parts[1].headers["Content-Location"] == f"http://archive.test{paths[1]}/frames/1/rendered"
    assert (await client.get(f"{root}/rendered", headers={"Accept": "image/jpeg"})).status_code == 406
    unseen = await client.get(f"{paths[3].rpartition('/instances')[0]}/rendered")
    assert unseen.status_code == 406 and "Secondary Capture" in unseen.json()["detail"]


async def test_a_series_that_cannot_be_shown_whole_is_refused(archive: Any, client: httpx2.AsyncClient) -> None:
    """A picture that cannot be made is not left out in silence (A-114)."""
    study, series = new_uid(), new_uid()
    hidden = encapsulated([b"frame"], transfer_syntax=JPIP, StudyInstanceUID=study, SeriesInstanceUID=series)
    await stored(archive, ct_slice(study, series), hidden)
    refused = await client.get(f"/dicom-web/studies/{study}/series/{series}/rendered")
    assert refused.status_code == 406 and "1 of 2" in refused.json()["detail"]


async def test_dicom_and_rendered_media_types_do_not_mix(archive: Any, client: httpx2.AsyncClient) -> None:
    """One request is for the one or the other (A-030)."""
    (path,) = await stored(archive, ct_slice())
    mixed = await client.get(f"{path}/rendered", headers={"Accept": "application/dicom, image/png"})
    assert mixed.status_code == 400
    wrong = await client.get(f"{path}/rendered", headers={"Accept": "application/dicom"})
    assert wrong.status_code == 406 and "image/jpeg" in wrong.json()["available"]


@pytest.mark.parametrize("size", [999, 9999])
async def test_a_pdf_comes_as_it_is(archive: Any, client: httpx2.AsyncClient, size: int) -> None:
    """The stored bytes without padding, inline or not, by range, embeddable (D-095; OHIF)."""
    document = b"%PDF-" + bytes(size - 5)[:-1] + b"!"
    padded = document + b"\0" * (size % 2)
    attributes = {"MIMETypeOfEncapsulatedDocument": "application/pdf", "EncapsulatedDocument": padded}
    (path,) = await stored(archive, dicom_file(SOPClassUID=ENCAPSULATED_PDF, Modality="DOC", **attributes))
    for accept in ("application/pdf", "*/*"):
        answer = await client.get(f"{path}/rendered", headers={"Accept": accept})
        assert answer.status_code == 200 and answer.content == document
        assert answer.headers["content-type"] == "application/pdf"
        assert answer.headers["cross-origin-embedder-policy"] == "require-corp"
    part = await client.get(f"{path}/rendered", headers={"Range": "bytes=1-3"})
    assert part.status_code == 206 and part.content == b"PDF"
    refused = await client.get(f"{path}/rendered", headers={"Accept": "image/jpeg"})
    assert refused.status_code == 406 and "application/pdf" in refused.json()["available"]


async def test_pixels_of_any_kind_have_a_picture_or_a_406(archive: Any, client: httpx2.AsyncClient) -> None:
    """Values of 64 bits are shown; pixels of two samples are refused, with annotation too (D-059, D-109)."""
    cells = (np.arange(64, dtype="<u8") << 58).tobytes()
    wide = dicom_file(pixels=cells, BitsAllocated=64, BitsStored=64, HighBit=63)
    pairs = dicom_file(pixels=bytes(128), SamplesPerPixel=2, PlanarConfiguration=0)
    shown, refused = await stored(archive, wide, pairs)
    pixels = picture(await client.get(f"{shown}/rendered?accept=image/png"))
    assert (pixels.min(), pixels.max()) == (0, 255)
    for query in ("", "?annotation=patient", "?viewport=4,4"):
        answer = await client.get(f"{refused}/rendered{query}")
        assert answer.status_code == 406 and "2 samples" in answer.text, query
    assert (await client.get(f"{refused}/thumbnail")).status_code == 200


async def test_a_video_comes_as_it_is(archive: Any, client: httpx2.AsyncClient) -> None:
    """As video/mp4 by range, whatever parameters are given (D-115; OHIF)."""
    movie = bytes(range(256)) * 40
    file = encapsulated([[movie]], transfer_syntax=MPEG4, offset_table="empty", NumberOfFrames=250)
    (path,) = await stored(archive, file)
    answer = await client.get(f"{path}/rendered?window=none")
    assert answer.status_code == 200 and answer.content == movie
    assert answer.headers["content-type"] == "video/mp4"
    part = await client.get(f"{path}/rendered", headers={"Range": "bytes=100-199", "Accept": "video/*"})
    assert part.status_code == 206 and part.content == movie[100:200]
    assert (await client.get(f"{path}/rendered", headers={"Accept": "image/jpeg"})).status_code == 406


async def test_a_report_can_be_read(archive: Any, client: httpx2.AsyncClient) -> None:
    """HTML by default, escaped and without scripts, or plain text, in the character set asked for (D-094, D-114)."""
    finding = {
        "RelationshipType": "CONTAINS",
        "ValueType": "TEXT",
        "ConceptNameCodeSequence": [{"CodeValue": "121071", "CodingSchemeDesignator": "DCM", "CodeMeaning": "Finding"}],
        "TextValue": "<script>alert(1)</script> Größe",
    }
    report = dicom_file(SOPClassUID=BASIC_TEXT_SR, Modality="SR", ValueType="CONTAINER", ContentSequence=[finding])
    (path,) = await stored(archive, report)
    page = await client.get(f"{path}/rendered")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "&lt;script&gt;" in page.text and "<script>" not in page.text and "Größe" in page.text
    model = await client.get(f"{path}/rendered", headers={"Accept": "text/xml"})
    assert model.headers["content-type"] == "text/xml; charset=utf-8" and "<NativeDicomModel" in model.text
    assert (await client.get(f"{path}/rendered", headers={"Accept": "image/png"})).status_code == 406


def report_that_says(text: str) -> bytes:
    """A report with one finding."""
    name = {"CodeValue": "121071", "CodingSchemeDesignator": "DCM", "CodeMeaning": "Finding"}
    finding = {
        "RelationshipType": "CONTAINS",
        "ValueType": "TEXT",
        "ConceptNameCodeSequence": [name],
        "TextValue": text,
    }
    return dicom_file(SOPClassUID=BASIC_TEXT_SR, Modality="SR", ValueType="CONTAINER", ContentSequence=[finding])


@pytest.mark.parametrize(
    ("query", "headers", "charset"),
    [
        ("", {"Accept": "text/plain"}, "utf-8"),
        ("?charset=iso-8859-1", {"Accept": "text/plain"}, "iso-8859-1"),
        ("?charset=%22ISO_IR%20101%22,utf-8;q=0.5", {"Accept": "text/plain"}, "iso-8859-2"),
        ("?charset=klingon", {"Accept": "text/plain"}, "utf-8"),
        ("?charset=us-ascii,iso-8859-1;q=0.5", {"Accept": "text/plain"}, "iso-8859-1"),
        ("?charset=us-ascii", {"Accept": "text/html"}, "us-ascii"),
        ("?charset=utf-8", {"Accept": "text/plain; charset=iso-8859-15"}, "iso-8859-15"),
        ("", {"Accept": "text/plain", "Accept-Charset": "utf-7, iso-8859-9;q=0.9, *;q=0.1"}, "iso-8859-9"),
        ("?charset=iso-8859-1", {"Accept": "text/xml", "Accept-Charset": "iso-8859-1"}, "utf-8"),
    ],
)
async def test_a_report_comes_in_the_character_set_asked_for(
    archive: Any, client: httpx2.AsyncClient, query: str, headers: dict[str, str], charset: str
) -> None:
    """The media type's parameter, the query, Accept-Charset, UTF-8; what is not known is ignored (A-140 to A-145)."""
    (path,) = await stored(archive, report_that_says("Größe"))
    answer = await client.get(f"{path}/rendered{query}", headers=headers)
    assert answer.headers["content-type"] == f"{headers['Accept'].partition(';')[0]}; charset={charset}"
    assert "Größe" in answer.content.decode(charset).replace("&#246;", "ö").replace("&#223;", "ß")
    assert "Accept-Charset" in answer.headers["vary"]


async def test_a_report_that_a_character_set_cannot_hold_is_a_406(archive: Any, client: httpx2.AsyncClient) -> None:
    """No question marks for what was said; the answer names what would do (A-143, A-035)."""
    (path,) = await stored(archive, report_that_says("肝臓"))
    answer = await client.get(f"{path}/rendered?charset=iso-8859-1,iso-8859-2", headers={"Accept": "text/plain"})
    assert answer.status_code == 406
    assert "iso-8859-1, iso-8859-2" in answer.json()["detail"]
    assert answer.json()["available"] == ["text/plain; charset=utf-8"]


async def test_a_window_without_function_is_linear_behind_a_switch(
    archive: Any, app: Any, client: httpx2.AsyncClient
) -> None:
    """D-105: of an instance, of frames and of a series."""
    (path,) = await stored(archive, ct_slice())
    asked = [f"{path}/rendered", f"{path}/frames/1/rendered", f"{path.partition('/instances')[0]}/rendered"]
    headers = [{}, {}, MANY_JPEG]
    for url, header in zip(asked, headers, strict=True):
        assert (await client.get(f"{url}?window=40,400", headers=header)).status_code == 400
    app.state.settings = app.state.settings.model_copy(update={"lenient_retrieve": True})
    for url, header in zip(asked, headers, strict=True):
        full = await client.get(f"{url}?window=40,400,linear", headers=header)
        short = await client.get(f"{url}?window=40,400", headers=header)
        assert short.status_code == 200
        if header:
            assert [part.body for part in parts_of(short)] == [part.body for part in parts_of(full)]
        else:
            assert short.content == full.content


async def test_what_cannot_be_rendered_says_what_it_is(archive: Any, client: httpx2.AsyncClient) -> None:
    """An object without picture or text is a 406 with its kind, a damaged frame a 406, a missing one a 404."""
    plan = dicom_file(SOPClassUID="1.2.840.10008.5.1.4.1.1.481.5", Modality="RTPLAN")
    plan_path, damaged = await stored(archive, plan, encapsulated([b"damaged!"], transfer_syntax=JPEG_LS))
    answer = await client.get(f"{plan_path}/rendered")
    assert answer.status_code == 406 and "RT Plan" in answer.json()["detail"]
    assert (await client.get(f"{plan_path}/frames/1/rendered")).status_code == 404
    assert (await client.get(f"{damaged}/rendered")).status_code == 406
    assert (await client.get(f"{damaged}9/rendered")).status_code == 404


async def test_a_presentation_state_shows_its_images(archive: Any, client: httpx2.AsyncClient) -> None:
    """The target's images as the state says; window and regions are refused, without images it is a 404 (D-113)."""
    files = {path.name: path for path in corpus_files("objects/presentation-state")}
    image, state = files["imageForPrLUTs.dcm"], files["prLUTs.dcm"]
    (path,) = await stored(archive, state.read_bytes())
    assert (await client.get(f"{path}/rendered")).status_code == 404
    await stored(archive, image.read_bytes())
    answer = await client.get(f"{path}/rendered?accept=image/png")
    expected = render_presentation(frame_in(image), PresentationState(*attributes_in(state)))
    assert (picture(answer) == expected.pixels).all()
    assert len(parts_of(await client.get(f"{path}/rendered", headers=MANY_JPEG))) == 1
    for query in ("window=1,2,linear", "viewport=9,9,0,0,5,5"):
        assert (await client.get(f"{path}/rendered?{query}")).status_code == 400


async def test_pictures_are_remembered(app: Any, archive: Any, client: httpx2.AsyncClient) -> None:
    """A picture asked for again is not made again; another window is another picture."""
    (path,) = await stored(archive, ct_slice())
    made = []
    run = app.state.renderer.pool.run

    async def counted(work: Any) -> Any:
        made.append(work)
        return await run(work)

    app.state.renderer.pool.run = counted
    first, again = [await client.get(f"{path}/rendered") for _ in range(2)]
    assert first.content == again.content and len(made) == 1
    await client.get(f"{path}/rendered?window=1,2,linear")
    assert len(made) == 2


async def test_a_full_queue_is_a_503(app: Any, archive: Any, client: httpx2.AsyncClient) -> None:
    """Whoever comes too late is told when to come again."""
    (path,) = await stored(archive, ct_slice())
    app.state.renderer.pool = RenderPool(1, 0)
    pool = app.state.renderer.pool
    async with pool.place(NEVER_GONE), pool.place(NEVER_GONE):
        busy = await client.get(f"{path}/rendered")
    assert busy.status_code == 503 and busy.headers["retry-after"]
    assert (await client.get(f"{path}/rendered")).status_code == 200


class Waiting:
    """A request whose client goes away when told to."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()

    async def receive(self) -> dict[str, str]:
        """Wait for the end."""
        await self.gone.wait()
        return {"type": "http.disconnect"}


NEVER_GONE: Any = Waiting()


async def test_work_nobody_waits_for_is_dropped() -> None:
    """A client that leaves while it waits gives its place in the queue to another."""
    pool = RenderPool(1, 1)
    leaving: Any = Waiting()

    async def one(request: Any) -> str:
        async with pool.place(request):
            return await pool.run(lambda: "made")

    async with pool.place(NEVER_GONE), pool.place(NEVER_GONE):
        waiting = asyncio.ensure_future(one(leaving))
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await one(NEVER_GONE)
        leaving.gone.set()
        with pytest.raises(Exception, match="went away"):
            await waiting
        patient = asyncio.ensure_future(one(NEVER_GONE))
        await asyncio.sleep(0)
        assert not patient.done()
    assert await patient == "made"
    assert await asyncio.gather(*[one(NEVER_GONE) for _ in range(2)]) == ["made"] * 2


async def test_a_frame_that_would_fill_the_memory_is_refused(archive: Any, client: httpx2.AsyncClient) -> None:
    """A few bytes that claim 8 GiB of samples are a 406, and a sign as a thumbnail."""
    huge = {"Rows": 65535, "Columns": 65535, "BitsAllocated": 16, "BitsStored": 16, "HighBit": 15, "Modality": "CR"}
    attributes: dict[str, Any] = {"transfer_syntax": "1.2.840.10008.1.2.5", **huge}
    (path,) = await stored(archive, encapsulated([bytes(64)], **attributes))
    refused = await client.get(f"{path}/rendered")
    assert refused.status_code == 406 and "too large" in refused.json()["detail"]
    assert picture(await client.get(f"{path}/thumbnail")).shape == (128, 128)


async def test_an_animation_that_would_fill_the_memory_is_refused(
    archive: Any, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer says what would work: a smaller viewport does."""
    monkeypatch.setattr("dicomweb.http.rendered.look.MOST_ANIMATED_PIXELS", 600)
    (path,) = await stored(archive, multi_frame(4))
    gif = {"Accept": "image/gif"}
    refused = await client.get(f"{path}/rendered", headers=gif)
    assert refused.status_code == 406 and "smaller viewport" in refused.json()["detail"]
    assert (await client.get(f"{path}/rendered?viewport=8,8", headers=gif)).status_code == 200
    assert len(parts_of(await client.get(f"{path}/rendered", headers=MANY_JPEG))) == 4


async def test_an_animation_has_an_end(
    archive: Any, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames are bounded however small they are, and time is; the answer says the bound and what would work."""
    (path,) = await stored(archive, multi_frame(4097, rows=1, columns=1, bits=8))
    gif = {"Accept": "image/gif"}
    refused = await client.get(f"{path}/rendered", headers=gif)
    assert refused.status_code == 406 and "at most 4096 frames" in refused.json()["detail"]
    assert "by their numbers" in refused.json()["detail"]
    assert (await client.get(f"{path}/frames/1,2,4097/rendered", headers=gif)).status_code == 200
    monkeypatch.setattr("dicomweb.http.rendered.renderer._MOST_SECONDS", -1)
    late = await client.get(f"{path}/frames/1,2/rendered", headers=gif)
    assert late.status_code == 406 and "seconds" in late.json()["detail"]


async def test_bits_that_cannot_be_are_all_there_are(archive: Any, client: httpx2.AsyncClient) -> None:
    """An image that states 65535 Bits Stored is shown as one of the 16 bits that are allocated (PS3.5 8.1.1)."""
    sound, odd = [
        multi_frame(1, BitsStored=bits, PresentationLUTShape="INVERSE", WindowCenter=None, WindowWidth=None)
        for bits in (16, 65535)
    ]
    paths = await stored(archive, sound, odd)
    for suffix in ("rendered?accept=image/png", "thumbnail?accept=image/png"):
        shown = [await client.get(f"{path}/{suffix}") for path in paths]
        assert [answer.status_code for answer in shown] == [200, 200]
        assert (picture(shown[0]) == picture(shown[1])).all()


async def test_corrected_attributes_make_another_picture(archive: Any, client: httpx2.AsyncClient) -> None:
    """A new version of an instance has a new tag, and is rendered with its own attributes."""
    (path,) = await stored(archive, ct_slice())
    before = await client.get(f"{path}/rendered?accept=image/png")
    await archive.pool.execute(
        "UPDATE instances SET version = version + 1, metadata = "
        "replace(convert_from(metadata, 'UTF8'), '\"Value\":[400', '\"Value\":[900')::bytea"
    )
    tag = {"If-None-Match": before.headers["etag"]}
    after = await client.get(f"{path}/rendered?accept=image/png", headers=tag)
    assert after.status_code == 200 and (picture(after) != picture(before)).any()
