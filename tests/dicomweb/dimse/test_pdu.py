"""PDUs as bytes (PS3.8 9.3, Annex E)."""

import tracemalloc
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_RJ, A_RELEASE_RP, A_RELEASE_RQ, P_DATA_TF

from dicomweb.dimse import pdu
from dicomweb.dimse.errors import ProtocolError
from dicomweb.dimse.pdu import Fragment, Packer, Parser, Pdu, PduType


def parsed(stream: bytes, cuts: list[int]) -> list[tuple[Any, ...]]:
    """Return what a parser makes of a stream that comes in pieces, fragments of one PDV put together."""
    parser = Parser()
    found: list[tuple[Any, ...]] = []
    bounds = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    for start, end in pairwise(bounds):
        for item in parser.feed(stream[start:end]):
            if isinstance(item, Pdu):
                found.append((item.type, item.body))
            else:
                found.append((item.context_id, item.is_command, item.is_last, bytes(item.data)))
    assert not parser.is_within_pdu
    return _joined(found)


def _joined(found: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Put the fragments of each message together."""
    joined: list[tuple[Any, ...]] = []
    for item in found:
        last = joined[-1] if joined else ()
        if len(item) == 4 and len(last) == 4 and last[:3] == (*item[:2], False):
            joined[-1] = (*item[:3], last[3] + item[3])
        else:
            joined.append(item)
    return joined


STREAMS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([1, 2, 3, 5, 6, 7]), st.binary(max_size=40)),
        st.tuples(st.integers(0, 255), st.booleans(), st.just(True), st.binary(max_size=60)),
    ),
    max_size=8,
)


@given(STREAMS, st.lists(st.integers(0, 500), max_size=10), st.integers(2, 40))
def test_it_does_not_matter_how_a_stream_is_cut(items: list[tuple[Any, ...]], cuts: list[int], limit: int) -> None:
    """Whatever pieces the bytes come in, and however a message is fragmented, the same comes out (PS3.8 9.3, E.1)."""
    stream = b""
    for item in items:
        if len(item) == 2:
            stream += bytes([item[0], 0]) + len(item[1]).to_bytes(4, "big") + item[1]
        else:
            packer = Packer(item[0], limit, is_command=item[1])
            stream += b"".join(b"".join(buffers) for buffers in packer.add(item[3])) + b"".join(packer.finish())
    assert parsed(stream, cuts) == items


@given(st.lists(st.binary(max_size=50), max_size=6), st.integers(2, 64))
def test_pynetdicom_reads_the_pdus(chunks: list[bytes], limit: int) -> None:
    """No PDV is longer than the limit, only the last one says so, and the data is all there (G-007; PS3.8 E.2)."""
    packer = Packer(5, limit, is_command=False)
    encoded = [b"".join(buffers) for chunk in chunks for buffers in packer.add(chunk)] + [b"".join(packer.finish())]
    values = []
    for one in encoded:
        theirs = P_DATA_TF()
        theirs.decode(one)
        (item,) = theirs.presentation_data_value_items
        assert item.context_id == 5
        assert len(one) - 6 <= limit + pdu.PDV_OVERHEAD
        values.append(item.data)
    assert b"".join(value[1:] for value in values) == b"".join(chunks)
    assert [value[0] for value in values] == [0] * (len(values) - 1) + [2]


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5))
def test_anything_else_is_a_protocol_error(stream: bytes, cuts: list[int]) -> None:
    """Bytes that are no PDUs raise ProtocolError and nothing else (promise 7)."""
    parser = Parser()
    bounds = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    try:
        for start, end in pairwise(bounds):
            list(parser.feed(stream[start:end]))
    except ProtocolError as error:
        assert error.reason in (1, 6)


def test_several_pdvs_in_one_pdu() -> None:
    """A P-DATA-TF may hold more than one PDV, of command and data set (PS3.8 9.3.5)."""
    pdvs = [(1, 0b01, b"ab"), (1, 0b11, b"cd"), (1, 0b00, b"ef"), (1, 0b10, b"")]
    body = b"".join((len(data) + 2).to_bytes(4, "big") + bytes([one, control]) + data for one, control, data in pdvs)
    stream = b"\4\0" + len(body).to_bytes(4, "big") + body
    assert parsed(stream, []) == [(1, True, True, b"abcd"), (1, False, True, b"ef")]


def test_a_pdu_that_claims_four_gigabytes_is_read_as_it_comes() -> None:
    """P-DATA is never put together, so the length of a PDU costs nothing (G-007)."""
    parser = Parser()
    head = b"\4\0\xff\xff\xff\xff" + b"\xff\xff\xff\xfb" + b"\1\0"
    tracemalloc.start()
    try:
        items = list(parser.feed(head + bytes(1000)))
        for _ in range(100):
            items = list(parser.feed(bytes(100_000)))
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert isinstance(items[0], Fragment)
    assert (len(items), len(items[0].data), items[0].is_last) == (1, 100_000, False)


BROKEN = {
    "unknown type": (b"\x08\0\0\0\0\0", pdu.UNRECOGNIZED_PDU),
    "HTTP": (b"GET / HTTP/1.1\r\n", pdu.UNRECOGNIZED_PDU),
    "TLS": (b"\x16\x03\x01\x02\x00\x01", pdu.UNRECOGNIZED_PDU),
    "huge A-ASSOCIATE-RQ": (b"\1\0\x40\0\0\0", pdu.INVALID_VALUE),
    "P-DATA-TF without PDV": (b"\4\0\0\0\0\0", pdu.INVALID_VALUE),
    "PDV without control header": (b"\4\0\0\0\0\x06" + b"\0\0\0\1\1\3", pdu.INVALID_VALUE),
    "PDV longer than its PDU": (b"\4\0\0\0\0\x08" + b"\0\0\0\5\1\3ab", pdu.INVALID_VALUE),
    "bytes after the last PDV": (b"\4\0\0\0\0\x0a" + b"\0\0\0\4\1\3ab" + b"xx", pdu.INVALID_VALUE),
}


@pytest.mark.parametrize(("stream", "reason"), BROKEN.values(), ids=BROKEN)
def test_what_is_no_pdu_names_its_reason(stream: bytes, reason: int) -> None:
    """The reason is that of the A-ABORT which answers it (PS3.8 Table 9-26)."""
    with pytest.raises(ProtocolError) as raised:
        list(Parser().feed(stream))
    assert raised.value.reason == reason


def test_pynetdicom_reads_the_short_pdus() -> None:
    """Release, abort and rejection are as an independent codec expects them (PS3.8 9.3.4, 9.3.6 to 9.3.8)."""
    for encoded, kind in ((pdu.RELEASE_REQUEST, A_RELEASE_RQ), (pdu.RELEASE_RESPONSE, A_RELEASE_RP)):
        theirs = kind()
        theirs.decode(encoded)
        assert theirs.encode() == encoded
    aborted = A_ABORT_RQ()
    aborted.decode(pdu.abort(2, 6))
    assert (aborted.source, aborted.reason_diagnostic) == (2, 6)
    rejected = A_ASSOCIATE_RJ()
    rejected.decode(pdu.rejection(1, 2, 2))
    assert (rejected.result, rejected.source, rejected.reason_diagnostic) == (1, 2, 2)


def test_fragments_are_even_and_fit() -> None:
    """The six bytes before the data count towards the peer's limit, and 0 is no limit (G-007, PS3.8 D.1)."""
    assert [pdu.fragment_length(limit) for limit in (0, 8, 9, 4096, 16382, 0xFFFFFFFF)] == [
        pdu.LONGEST_FRAGMENT,
        2,
        2,
        4090,
        16376,
        pdu.LONGEST_FRAGMENT,
    ]
    assert PduType(4) is PduType.P_DATA_TF
