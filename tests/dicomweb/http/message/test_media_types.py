"""Media types: the literal headers of the clients in the field, and the rules of choosing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomweb.http.message.media_types import (
    DEFAULT_TRANSFER_SYNTAX,
    DICOM,
    DICOM_JSON,
    DICOM_XML,
    MEDIA_TYPE_OF_TRANSFER_SYNTAX,
    OCTET_STREAM,
    Offer,
    available,
    media_type_of,
    parse_accept,
    parse_content_type,
    select,
)

ELE = "1.2.840.10008.1.2.1"
J2K = "1.2.840.10008.1.2.4.90"
JPEG = "1.2.840.10008.1.2.4.50"
HTJ2K = "1.2.840.10008.1.2.4.202"

METADATA = [Offer(DICOM_JSON), Offer(DICOM_XML, multipart=True)]
NATIVE_FRAMES = [
    Offer(OCTET_STREAM, multipart=True, transfer_syntax=ELE),
    Offer(OCTET_STREAM, transfer_syntax=ELE),
]
J2K_FRAMES = [
    Offer("image/jp2", multipart=True, transfer_syntax=J2K),
    Offer(OCTET_STREAM, multipart=True, transfer_syntax=J2K, default=False),
    Offer("image/jp2", transfer_syntax=J2K),
    Offer(OCTET_STREAM, multipart=True, transfer_syntax=ELE),
]
J2K_INSTANCE = [
    Offer(DICOM, multipart=True, transfer_syntax=J2K, default=False),
    Offer(DICOM, multipart=True, transfer_syntax=ELE),
    Offer(DICOM, transfer_syntax=J2K, default=False),
    Offer(DICOM, transfer_syntax=ELE),
]
RENDERED = [Offer("image/jpeg"), Offer("image/png"), Offer("image/gif")]
STORE = [Offer(DICOM_JSON), Offer(DICOM_XML), Offer(DICOM_XML, multipart=True)]

GOLDEN = [
    # client, Accept, offers, the position of the one to choose
    ("ohif v3 search", "application/dicom+json", METADATA, 0),
    ("ohif issue 3726", "application/dicom+json, multipart/related; type=application/octet-stream", METADATA, 0),
    (
        "ohif v3 frames, unquoted with a slash",
        "multipart/related; type=application/octet-stream; transfer-syntax=*",
        NATIVE_FRAMES,
        0,
    ),
    (
        "ohif v3 frames of a compressed image",
        "multipart/related; type=application/octet-stream; transfer-syntax=*",
        J2K_FRAMES,
        1,
    ),
    (
        "ohif v3 quoted",
        'multipart/related; type="application/octet-stream"; transfer-syntax=*',
        J2K_FRAMES,
        1,
    ),
    ("ohif v2 frames", 'multipart/related; type="application/octet-stream"', NATIVE_FRAMES, 0),
    ("ohif 3.13 segmentation", 'multipart/related; type="application/dicom"', J2K_INSTANCE, 1),
    (
        "ohif bulk data",
        'multipart/related; type="application/pdf", multipart/related; type="application/octet-stream"',
        [Offer("application/pdf", multipart=True), Offer("application/pdf"), Offer(OCTET_STREAM, multipart=True)],
        0,
    ),
    ("browser", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8", METADATA, 0),
    ("browser img", "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", RENDERED, 0),
    ("axios", "application/json, text/plain, */*", METADATA, 0),
    (
        "cornerstone loader, one request for many syntaxes",
        "multipart/related; type=application/octet-stream; transfer-syntax=*, multipart/related; "
        "type=image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50",
        J2K_FRAMES,
        1,
    ),
    (
        "cornerstone 3D progressive",
        "multipart/related; type=image/jphc; transfer-syntax=3.2.840.10008.1.2.4.96, "
        "multipart/related; type=image/jphc; transfer-syntax=1.2.840.10008.1.2.4.202",
        [Offer("image/jphc", multipart=True, transfer_syntax=HTJ2K)],
        0,
    ),
    (
        "cornerstone old loader, syntax inside the quotes",
        'multipart/related; type="image/jp2; transfer-syntax=1.2.840.10008.1.2.4.90"',
        J2K_FRAMES,
        0,
    ),
    ("dicomweb-client js metadata", "application/dicom+json", METADATA, 0),
    (
        "dicomweb-client js frames",
        'multipart/related; type="image/jp2"; transfer-syntax=1.2.840.10008.1.2.4.90, '
        'multipart/related; type="application/octet-stream"; transfer-syntax=*',
        J2K_FRAMES,
        0,
    ),
    ("dicomweb-client py search", "application/dicom+json, application/json", METADATA, 0),
    (
        "dicomweb-client py instance",
        'multipart/related; type="application/dicom"; transfer-syntax="*"',
        J2K_INSTANCE,
        0,
    ),
    ("dicomweb-client py bulk data", 'multipart/related; type="*/*"', NATIVE_FRAMES, 0),
    (
        "dicomweb-client py frames",
        'multipart/related; type="image/*", multipart/related; type="application/octet-stream"',
        J2K_FRAMES,
        0,
    ),
    ("dicomweb-client py rendered", "image/png", RENDERED, 1),
    (
        "weasis instance",
        "multipart/related;type=application/dicom;transfer-syntax=*,"
        "multipart/related;type=application/dicom;q=0.9,*/*;q=0.1",
        J2K_INSTANCE,
        0,
    ),
    (
        "weasis one syntax",
        'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.90',
        J2K_INSTANCE,
        0,
    ),
    ("slicer", 'multipart/related; type="application/dicom"', J2K_INSTANCE, 1),
    ("slicer fallback", "application/dicom", J2K_INSTANCE, 3),
    ("wsidicom", 'multipart/related; type="image/jp2"; transfer-syntax="1.2.840.10008.1.2.4.90"', J2K_FRAMES, 0),
    ("curl", "*/*", J2K_INSTANCE, 1),
    ("curl storing", "*/*", STORE, 0),
    ("java", "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", METADATA, 0),
    ("storing, xml", "application/dicom+xml", STORE, 1),
    ("storing, xml in the example of PS3.18 B.23", 'multipart/related; type="application/dicom+xml"', STORE, 2),
    ("nothing said", None, METADATA, 0),
    ("empty header", " ", METADATA, 0),
]


@pytest.mark.parametrize(("accept", "offers", "chosen"), [case[1:] for case in GOLDEN], ids=[c[0] for c in GOLDEN])
def test_clients_in_the_field_get_what_they_mean(accept: str | None, offers: list[Offer], chosen: int) -> None:
    """Every literal Accept header of a known client selects the right representation (A-021 to A-025, A-034)."""
    assert select(parse_accept(accept), offers) == offers[chosen]


RULES = [
    # Accept, query parameter, offers, the position chosen or None
    ('multipart/related; TYPE="Application/DICOM" ; Transfer-Syntax=*', None, J2K_INSTANCE, 0),
    ("multipart/related; boundary=**; q=0.5; charset=utf-8; type=application/dicom", None, J2K_INSTANCE, 1),
    ("garbage, ;;;, /x, x/, application/dicom+json", None, METADATA, 0),
    ('text/x; a="b,c", application/dicom+json', None, METADATA, 0),
    ('application/dicom+json; note="never closed, */*', None, METADATA, 0),
    ("application/dicom+json;q=0, */*", None, [METADATA[0]], None),
    ('application/dicom+json;q=0.2, multipart/related; type="application/dicom+xml";q=0.9', None, METADATA, 1),
    ("image/gif;q=0.5, image/*;q=0.4", None, RENDERED, 2),
    ("*/*, image/png", None, RENDERED, 1),  # A-026, the named one at equal weight
    ("application/*", None, METADATA, 0),
    ('multipart/related; type="image/*"', None, J2K_FRAMES, 0),
    ("multipart/related", None, J2K_INSTANCE, 1),
    ("image/jp2; transfer-syntax=1.2.3.4", None, J2K_FRAMES, None),
    ("multipart/related; type=image/jp2; transfer-syntax=1.2.3, */*;q=0.1", None, J2K_FRAMES, 0),
    ("image/jls", None, J2K_FRAMES, None),
    ("*/*", "image/png", RENDERED, 1),
    (None, "image/png", RENDERED, 1),  # A-027, a missing header
    ("image/*", "image/png", RENDERED, 1),
    ("image/jpeg", "image/png", RENDERED, 0),  # A-028, not covered by the header
    ("image/jpeg", "*/*", RENDERED, 0),  # A-027, no wildcards there
    ("*/*", "image/webp", RENDERED, 0),  # A-029, an unsupported one falls back to the header
    ("*/*", "application/dicom json", METADATA, 0),  # a plus sign that was not encoded
    ("*/*", 'multipart/related; type="application/dicom"; transfer-syntax=*', J2K_INSTANCE, 0),
]


@pytest.mark.parametrize(("accept", "query", "offers", "chosen"), RULES)
def test_selection_rules(accept: str | None, query: str | None, offers: list[Offer], chosen: int | None) -> None:
    """Weights, wildcards, defaults and the query parameter follow PS3.18 8.7.8.1 (A-022 to A-048)."""
    assert select(parse_accept(accept, query), offers) == (None if chosen is None else offers[chosen])


def test_a_missing_accept_can_be_required() -> None:
    """The switch back to the Standard's own rule refuses a request without Accept (A-020, A-021)."""
    assert parse_accept(None, required=True) == []
    assert select(parse_accept("*/*", required=True), METADATA) is METADATA[0]
    assert select(parse_accept(None, "image/png", required=True), RENDERED) == RENDERED[1]


def test_only_a_lossy_copy_may_be_the_default() -> None:
    """A caller can offer a lossy encoding to clients that name none (A-043)."""
    lossy = [Offer("image/jpeg", multipart=True, transfer_syntax=JPEG, default=True)]
    assert select(parse_accept("multipart/related; type=image/jpeg"), lossy) == lossy[0]
    strict = [Offer("image/jpeg", multipart=True, transfer_syntax=JPEG)]
    assert select(parse_accept("multipart/related; type=image/jpeg"), strict) is None


@pytest.mark.parametrize(
    ("uid", "media_type"),
    [
        (ELE, OCTET_STREAM),
        ("1.2.840.10008.1.2.4.70", "image/jpeg"),
        ("1.2.840.10008.1.2.4.50", "image/jpeg"),
        ("1.2.840.10008.1.2.5", "image/dicom-rle"),
        ("1.2.840.10008.1.2.4.81", "image/jls"),
        ("1.2.840.10008.1.2.4.91", "image/jp2"),
        ("1.2.840.10008.1.2.4.93", "image/jpx"),
        ("1.2.840.10008.1.2.4.203", "image/jphc"),
        ("1.2.840.10008.1.2.4.112", "image/jxl"),
        ("1.2.840.10008.1.2.4.100.1", "video/mpeg"),
        ("1.2.840.10008.1.2.4.104", "video/mp4"),
        ("1.2.840.10008.1.2.4.108", "video/H265"),
        ("1.3.46.670589.33.1.4.1", OCTET_STREAM),
    ],
)
def test_media_type_of_a_transfer_syntax(uid: str, media_type: str) -> None:
    """Transfer syntaxes travel as the media types of Tables 8.7.3-4 and 8.7.3-5 (A-060 to A-071)."""
    assert media_type_of(uid) == media_type


def test_default_transfer_syntaxes() -> None:
    """Each media type has the default of its table, and the default belongs to it (A-060 to A-071)."""
    assert DEFAULT_TRANSFER_SYNTAX[DICOM] == ELE
    assert DEFAULT_TRANSFER_SYNTAX["image/jpeg"] == "1.2.840.10008.1.2.4.70"
    assert DEFAULT_TRANSFER_SYNTAX["image/jphc"] == "1.2.840.10008.1.2.4.201"
    assert all(
        MEDIA_TYPE_OF_TRANSFER_SYNTAX[uid] == name for name, uid in DEFAULT_TRANSFER_SYNTAX.items() if name != DICOM
    )


@pytest.mark.parametrize(
    ("old", "new"), [("image/x-jls", "image/jls"), ("image/x-dicom-rle", "image/dicom-rle"), ("IMAGE/JP2", "image/jp2")]
)
def test_old_names_mean_the_new_ones(old: str, new: str) -> None:
    """Names of earlier editions are understood, alone and inside multipart (A-072)."""
    assert parse_accept(old)[0].content == new
    assert parse_accept(f'multipart/related; type="{old}"')[0].content == new


def test_content_type_of_a_store_request() -> None:
    """A Content-Type is read whatever its quoting, order and parameters (A-023, A-024, A-088)."""
    read = parse_content_type('Multipart/Related; start="<1>"; boundary="a b"; type=application/dicom; x')
    assert read is not None
    assert (read.essence, read.content, read.parameters["boundary"]) == (
        "multipart/related",
        "application/dicom",
        "a b",
    )
    assert parse_content_type("application/dicom; transfer-syntax=1.2.3").transfer_syntax == "1.2.3"  # type: ignore[union-attr]
    assert [parse_content_type(value) for value in (None, "", "dicom", "/")] == [None] * 4


def test_an_offer_is_listed_as_a_client_should_name_it() -> None:
    """A 406 lists what can be asked for (A-035)."""
    assert available([METADATA[0], METADATA[1], METADATA[0]]) == [
        "application/dicom+json",
        'multipart/related; type="application/dicom+xml"',
    ]


@given(st.text(alphabet='ab/*;=,"\\ q01.-', max_size=60), st.text(alphabet='ab/*;=,"', max_size=20))
def test_any_header_is_read(header: str, query: str) -> None:
    """No header makes the parser fail, and every range it gives has a weight from 0 to 1 (A-025)."""
    for entry in parse_accept(header, query):
        assert 0 <= entry.q <= 1
        assert entry.type
        assert entry.subtype
    select(parse_accept(header, query), METADATA)
    parse_content_type(header)
