"""Valid instances whose attributes were changed to the values on which arithmetic, memory and formats end.

Facts this module keeps:

- Changed is what is read: every keyword in the source of `dicomweb/rendering`, and those of palettes and overlays.
- A value is written as bytes, so that it may be of another VR or of none, and nothing checks it on the way.
- What is stored has to come out in every form as a success, or as a refusal that says why. A thumbnail is always there;
  an icon in its place is no fault, an exception in the log is.
"""

import asyncio
import io
import random
import re
import struct
import warnings
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import imagecodecs
import numpy as np
from pydicom import dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import CTImageStorage, GrayscaleSoftcopyPresentationStateStorage, VLWholeSlideMicroscopyImageStorage

import dicomweb.rendering
from dicomweb.rendering.overlays import GROUPS
from tests.builders import ABSENT, JPEG_BASELINE, ct_slice, dicom_file, encapsulated, multi_frame, part10
from tests.fuzz import wire
from tests.fuzz.target import Fault, Target
from tests.waveforms import channel, multiplex_group, waveform_file

STUDY: Final = "1.2.826.0.1.3680043.10.1561.77"
SERIES, IMAGE_UID = f"{STUDY}.1", f"{STUDY}.2"
UIDS: Final = {"StudyInstanceUID": STUDY, "SeriesInstanceUID": SERIES}

NUMBERS: Final = (0, 1, 2, 3, 7, 8, 9, 12, 15, 16, 17, 31, 32, 33, 63, 64, 65, 255, 256, 1000)
EDGES: Final = (-1, -2, 2**15 - 1, -(2**15), 2**15, 2**16 - 1, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, 2**64 - 1)
FLOATS: Final = (0.5, -0.5, 1e-320, 1e-9, 1e9, 1e38, -1e38, 1e300, -1e300, 1.7e308, float("nan"), float("inf"))
TEXTS: Final = (
    b"", b" ", b"0", b"-1", b"1e-320", b"655360", b"1e9", b"1e38", b"-1e300", b"1.7e308", b"nan", b"inf",
    b"99999999999", b"x", b"\\", b"\\\\\\", b"1\\0", b"0\\0", b"-1\\1e300", b"1e-300\\1e300", b"MONOCHROME1", b"RGB",
    b"YBR_FULL_422", b"PALETTE COLOR", b"LABELMAP", b"FRACTIONAL", b"INVERSE", b"SIGMOID", b"LINEAR_EXACT",
    b"MAGNIFY", b"TRUE SIZE",
    b"CIRCULAR", b"POLYGONAL", b"RECTANGULAR\\CIRCULAR", b"BITMAP", b"POLYLINE", b"ELLIPSE", b"INTERPOLATED", b"SS",
    b"UB", b"DISPLAY", b"PIXEL", b"Y", b"TILED_FULL", b"1" * 70, b"\xff\xfe", b"\x1b$B", b"A" * 3000,
)  # fmt: skip
"""Of a shutter, a graphic, a function and so on too: every one is read somewhere."""
LENGTHS: Final = (0, 1, 2, 3, 4, 6, 8, 64, 255, 256, 512, 768, 65534, 65536, 131072)

FORMS: Final[Sequence[tuple[str, str]]] = (
    ("/rendered", "image/jpeg"),
    ("/rendered", "image/png"),
    ("/rendered", "image/gif"),
    ("/rendered", "image/jp2"),
    ("/rendered?viewport=100,100&annotation=patient,technique", "image/png"),
    ("/rendered?viewport=60,30,1,1,-3,-2&quality=1", "image/jpeg"),
    ("/rendered?window=0,1,sigmoid&iccprofile=srgb", "image/png"),
    ("/rendered", "image/svg+xml, text/html, text/plain;q=0.9"),
    ("/frames/1/rendered", "image/jph"),
    ("/frames/1", 'multipart/related; type="application/octet-stream"'),
    ("/thumbnail?viewport=32,32", "image/jpeg"),
    ("/metadata", "application/dicom+json"),
    ("/metadata", 'multipart/related; type="application/dicom+xml"'),
)
"""What every instance is asked for: the path below it, and Accept."""


_KEPT: Final = (Tag("PixelData"), Tag("SOPClassUID"))
"""Changed nowhere: fragments are an attack of their own, and what is of no class is refused."""


class Answer(NamedTuple):
    """What a server said."""

    status: int
    body: bytes


Ask = Callable[[str, str, dict[str, str], bytes], Awaitable[Answer]]
"""Sends method, path below the DICOMweb root, header fields and body, and returns the answer."""


def image() -> bytes:
    """Return the image that the presentation states are for: to be stored first."""
    return ct_slice(STUDY, SERIES, IMAGE_UID, rows=8, columns=8)


def make(chance: random.Random) -> bytes:
    """Return a Part 10 file with a few attributes changed."""
    with warnings.catch_warnings(action="ignore"):
        while True:
            try:
                return _changed(chance)
            except (ValueError, OverflowError):
                continue  # the few values that pydicom cannot write even as bytes


def _changed(chance: random.Random) -> bytes:
    dataset = dcmread(io.BytesIO(chance.choice(_bases())))
    places = list(_data_sets(dataset))
    for _ in range(chance.choice((1, 1, 1, 2, 2, 3, 5))):
        _change(chance, chance.choice(places))
    for keyword, uid in (UIDS | {"SOPInstanceUID": f"{STUDY}.{chance.getrandbits(60)}"}).items():
        dataset.add_new(Tag(keyword), "UI", uid)
    return part10(dataset, transfer_syntax=dataset.file_meta.TransferSyntaxUID)


async def check(ask: Ask, file: bytes) -> str:
    """Store a file and read it in every form; returns what it is counted under.

    Raises
    ------
    Fault
        An answer is neither a success nor a refusal.
    """
    headers = {"Content-Type": "application/dicom", "Accept": "application/dicom+json"}
    stored = await ask("POST", "/studies", headers, file)
    if stored.status not in (200, 202):
        if not 400 <= stored.status < 500 or stored.status == 408:
            raise Fault(f"STOW answers {stored.status}: {stored.body[:300]!r}")
        return f"refused {stored.status}"
    found = re.search(rb"/instances/([0-9.]+)", stored.body)
    if found is None:
        raise Fault(f"STOW does not say where the instance is: {stored.body[:300]!r}")
    path = f"/studies/{STUDY}/series/{SERIES}/instances/{found[1].decode()}"
    shown = "not shown"
    for resource, accept in FORMS:
        answer = await ask("GET", path + resource, {"Accept": accept}, b"")
        good = answer.status == 200 if resource.startswith(("/thumbnail", "/metadata")) else answer.status < 500
        if not good:
            raise Fault(f"{resource} as {accept} answers {answer.status}: {answer.body[:300]!r}")
        shown = "shown" if answer.status == 200 and resource == "/rendered" else shown
    return shown


PINNED: Final = {"the image that others refer to": lambda _: image()}


def send(target: Target, data: bytes) -> str:
    """Store a file on a server and read it in every form."""

    async def ask(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        request = wire.request(method, f"/dicom-web{path}", headers, body, port=target.port)
        answer = wire.exchange(target, request)
        return Answer(answer.status, answer.body)

    return asyncio.run(check(ask, data))


@cache
def keywords() -> Sequence[str]:
    """Return what the source of rendering names of the data dictionary."""
    folder = Path(dicomweb.rendering.__path__[0])
    named = {name for source in folder.glob("*.py") for name in re.findall(r'"([A-Z]\w+)"', source.read_text())}
    named |= {
        f"{start}{colour}PaletteColorLookupTable{end}"
        for colour in ("Red", "Green", "Blue")
        for start, end in (("", "Descriptor"), ("", "Data"), ("Segmented", "Data"))
    }
    named |= {"PlanarConfiguration", "SamplesPerPixel", "PhotometricInterpretation", "FrameIncrementPointer"}
    return sorted(name for name in named if tag_for_keyword(name))


def _change(chance: random.Random, dataset: Dataset) -> None:
    """Change, add or take away an attribute."""
    there = list(dataset.keys())
    kind = chance.random()
    if there and kind < 0.08:
        del dataset[chance.choice(there)]
        return
    if there and kind < 0.6:
        tag = chance.choice(there)
        vr = dataset.get_item(tag).VR or "UN"
    elif kind < 0.7:
        tag, vr = _overlay_attribute(chance)
    else:
        keyword = chance.choice(keywords())
        tag, vr = Tag(keyword), dictionary_VR(keyword)
    if vr == "SQ" or tag in _KEPT:
        return
    if chance.random() < 0.08:
        vr = chance.choice(("US", "SS", "UL", "SL", "FD", "DS", "IS", "LO", "OB", "UV", "UT"))
    value = _value(chance, "OW" if " or " in vr and "OW" in vr else vr.partition(" or ")[0])
    if len(value) > 0xFFFF and vr not in ("OB", "OW", "UT", "UN"):
        value = value[:0xFFFE]
    vr = vr.partition(" or ")[0]
    dataset[tag] = RawDataElement(Tag(tag), vr, len(value), value, 0, False, True, True)


def _value(chance: random.Random, vr: str) -> bytes:
    """Return the bytes of a value, of an even length: most often one of the edges, or as many as anybody asks for."""
    count = chance.choice((0, 1, 1, 1, 1, 2, 2, 3, 4, 9))
    if vr in _PACKED:
        form, bits, signed = _PACKED[vr]
        whole = [chance.choice(chance.choice((NUMBERS, EDGES))) for _ in range(count)]
        wrapped = [number % (1 << bits) for number in whole]
        shift = 1 << (bits - 1)
        return b"".join(struct.pack(form, (each ^ shift) - shift if signed else each) for each in wrapped)
    if vr in ("FL", "FD"):
        floats = [float(chance.choice(chance.choice((NUMBERS, EDGES, FLOATS)))) for _ in range(count)]
        kind = "<f4" if vr == "FL" else "<f8"
        with np.errstate(over="ignore"):
            return np.array(floats, kind).tobytes()
    if vr in ("OB", "OW", "OF", "OD", "OL", "UN"):
        length = chance.choice(LENGTHS)
        return chance.choice((bytes, lambda size: b"\xff" * size, chance.randbytes))(length + length % 2)
    value = b"\\".join(chance.choice(TEXTS) for _ in range(max(1, count)))
    return value + b" " * (len(value) % 2)


_PACKED: Final = {
    "US": ("<H", 16, False),
    "SS": ("<h", 16, True),
    "UL": ("<L", 32, False),
    "SL": ("<l", 32, True),
    "UV": ("<Q", 64, False),
    "SV": ("<q", 64, True),
    "AT": ("<L", 32, False),
}


def _overlay_attribute(chance: random.Random) -> tuple[Any, str]:
    element, vr = chance.choice(_OVERLAY)
    return Tag(chance.choice(GROUPS[:2]), element), vr


_OVERLAY: Final = ((0x10, "US"), (0x11, "US"), (0x15, "IS"), (0x40, "CS"), (0x50, "SS"), (0x51, "US"), (0x100, "US"),
                   (0x102, "US"), (0x3000, "OW"))  # fmt: skip
"""Overlay Rows, Columns, Number of Frames, Type, Origin, Frame Origin, Bits Allocated, Bit Position, Data (C.9.2)."""


def _data_sets(dataset: Dataset) -> Iterator[Dataset]:
    """Yield a data set as often as what is in its sequences together, and those."""
    yield dataset
    for element in dataset:
        if element.VR == "SQ":
            yield dataset
            for item in element.value:
                yield from _data_sets(item)


@cache
def _bases() -> Sequence[bytes]:
    """Return a valid instance of each kind that is rendered in a way of its own."""
    rng = np.random.default_rng(7)
    colours = rng.integers(0, 256, (8, 8, 3), np.uint8)
    table: dict[str, Any] = {"LUTDescriptor": [16, 0, 8], "LUTData": bytes(range(32)), "ModalityLUTType": "HU"}
    window: dict[str, Any] = {"WindowCenter": 100, "WindowWidth": 200}
    palette: dict[str, Any] = {}
    for colour in ("Red", "Green", "Blue"):
        palette[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 8]
        palette[f"{colour}PaletteColorLookupTableData"] = bytes(range(256))
    overlay: dict[int, tuple[str, Any]] = {
        0x60000010: ("US", 8), 0x60000011: ("US", 8), 0x60000040: ("CS", "G"), 0x60000050: ("SS", [1, 1]),
        0x60000100: ("US", 1), 0x60000102: ("US", 0), 0x60003000: ("OW", b"\xa5" * 8),
    }  # fmt: skip
    shutter: dict[str, Any] = {
        "ShutterShape": ["RECTANGULAR", "CIRCULAR", "POLYGONAL"], "ShutterLeftVerticalEdge": 2,
        "ShutterRightVerticalEdge": 7, "ShutterUpperHorizontalEdge": 2, "ShutterLowerHorizontalEdge": 7,
        "CenterOfCircularShutter": [4, 4], "RadiusOfCircularShutter": 3, "ShutterPresentationValue": 0,
        "VerticesOfThePolygonalShutter": [1, 1, 1, 8, 8, 8],
    }  # fmt: skip
    groups: dict[str, Any] = {
        "PixelMeasuresSequence": [{"PixelSpacing": [1, 2], "SliceThickness": 1}],
        "FrameVOILUTSequence": [window],
        "PixelValueTransformationSequence": [{"RescaleSlope": 1, "RescaleIntercept": 0, "RescaleType": "US"}],
    }
    position: dict[str, Any] = {"RowPositionInTotalImagePixelMatrix": 1, "ColumnPositionInTotalImagePixelMatrix": 1}
    small: dict[str, Any] = {"rows": 8, "columns": 8}
    rgb: dict[str, Any] = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    jpeg = bytes(imagecodecs.jpeg8_encode(np.ascontiguousarray(colours[..., 0])))
    ecg = [multiplex_group(rng.integers(-99, 99, (40, 2), np.int16), [channel("I"), channel("II")])]
    floats: dict[str, Any] = {"BitsAllocated": 32}
    floats |= dict.fromkeys(("BitsStored", "HighBit", "PixelRepresentation"), ABSENT)
    return (
        ct_slice(**small),
        ct_slice(**small, elements=overlay, **shutter),
        ct_slice(**small, ModalityLUTSequence=[table], VOILUTSequence=[table], RescaleSlope=ABSENT),
        multi_frame(3, **small, FrameTime=40, FrameTimeVector=[0, 40, 40], CineRate=25),
        multi_frame(
            2, **small, SharedFunctionalGroupsSequence=[groups], PerFrameFunctionalGroupsSequence=[groups, groups]
        ),
        multi_frame(2, **small, bits=1, SegmentationType="BINARY", SegmentSequence=[{"SegmentNumber": 1}]),
        multi_frame(2, **small, bits=8, SegmentationType="FRACTIONAL", MaximumFractionalValue=255),
        multi_frame(
            2,
            **small,
            bits=8,
            SOPClassUID=str(VLWholeSlideMicroscopyImageStorage),
            TotalPixelMatrixRows=8,
            TotalPixelMatrixColumns=16,
            DimensionOrganizationType="TILED_FULL",
            PerFrameFunctionalGroupsSequence=[{"PlanePositionSlideSequence": [position]}] * 2,
        ),
        dicom_file(pixels=colours.tobytes(), **rgb),
        dicom_file(pixels=colours[..., 0].tobytes(), PhotometricInterpretation="PALETTE COLOR", **palette),
        dicom_file(elements={0x7FE00008: ("OF", rng.random(64, np.float32).tobytes())}, Rows=8, Columns=8,
                   SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2", **floats),
        encapsulated([jpeg], transfer_syntax=JPEG_BASELINE, Rows=8, Columns=8, FrameTime=40),
        waveform_file(*ecg),
        _presentation_state(table, window, shutter),
        _report(),
    )  # fmt: skip


def _presentation_state(table: dict[str, Any], window: dict[str, Any], shutter: dict[str, Any]) -> bytes:
    reference = {"ReferencedSOPClassUID": str(CTImageStorage), "ReferencedSOPInstanceUID": IMAGE_UID}
    corners: dict[str, Any] = {"DisplayedAreaTopLeftHandCorner": [1, 1], "DisplayedAreaBottomRightHandCorner": [8, 8]}
    graphic: dict[str, Any] = {"GraphicAnnotationUnits": "PIXEL", "GraphicDimensions": 2, "GraphicFilled": "Y"}
    text: dict[str, Any] = {"AnchorPoint": [2, 2], "AnchorPointAnnotationUnits": "PIXEL", "AnchorPointVisibility": "Y"}
    box: dict[str, Any] = {"BoundingBoxTopLeftHandCorner": [1, 1], "BoundingBoxBottomRightHandCorner": [8, 4]}
    graphics = [
        graphic | {"GraphicType": kind, "NumberOfGraphicPoints": len(points) // 2, "GraphicData": points}
        for kind, points in (
            ("POLYLINE", [1, 1, 4, 6, 8, 2]),
            ("CIRCLE", [4, 4, 4, 6]),
            ("ELLIPSE", [1, 4, 8, 4, 4, 2, 4, 6]),
            ("INTERPOLATED", [1, 1, 4, 6, 8, 2]),
        )
    ]
    return dicom_file(
        SOPClassUID=str(GrayscaleSoftcopyPresentationStateStorage),
        Modality="PR",
        ReferencedSeriesSequence=[{"SeriesInstanceUID": SERIES, "ReferencedImageSequence": [reference]}],
        ModalityLUTSequence=[table],
        SoftcopyVOILUTSequence=[window],
        PresentationLUTSequence=[table],
        DisplayedAreaSelectionSequence=[
            corners | {"PresentationSizeMode": "SCALE TO FIT", "PresentationPixelSpacing": [1, 2]}
        ],
        GraphicLayerSequence=[{"GraphicLayer": "A", "GraphicLayerOrder": 1}],
        GraphicAnnotationSequence=[
            {
                "GraphicLayer": "A",
                "GraphicObjectSequence": graphics,
                "TextObjectSequence": [
                    text | box | {"UnformattedTextValue": "x", "BoundingBoxAnnotationUnits": "PIXEL"}
                ],
            }
        ],
        ImageRotation=90,
        ImageHorizontalFlip="Y",
        **shutter,
    )


def _report() -> bytes:
    code = [{"CodeValue": "113691", "CodingSchemeDesignator": "DCM", "CodeMeaning": "IEC Head"}]
    content: list[dict[str, Any]] = [
        {"ValueType": "TEXT", "TextValue": "x"},
        {"ValueType": "NUM", "MeasuredValueSequence": [{"NumericValue": 1, "MeasurementUnitsCodeSequence": code}]},
        {"ValueType": "CODE", "ConceptCodeSequence": code},
        {"ValueType": "DATE", "Date": "20260102"},
        {"ValueType": "PNAME", "PersonName": "A^B"},
        {"ValueType": "SCOORD", "GraphicType": "POINT", "GraphicData": [1, 1]},
        {"ValueType": "TCOORD", "TemporalRangeType": "POINT", "ReferencedSamplePositions": [1]},
    ]
    named = [item | {"RelationshipType": "CONTAINS", "ConceptNameCodeSequence": code} for item in content]
    return dicom_file(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.88.33",
        Modality="SR",
        ValueType="CONTAINER",
        ConceptNameCodeSequence=code,
        CompletionFlag="COMPLETE",
        VerificationFlag="VERIFIED",
        VerifyingObserverSequence=[{"VerifyingObserverName": "A^B", "VerificationDateTime": "20260102030405"}],
        ContentSequence=[*named, {"ValueType": "CONTAINER", "RelationshipType": "CONTAINS", "ContentSequence": named}],
    )
