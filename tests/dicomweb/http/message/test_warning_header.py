"""Warning headers stay few and short, whatever there is to be said (A-112)."""

from collections.abc import Iterator

import httpx2
import pytest

from dicomweb.http.message.warning_header import LONGEST, MOST, warning_headers
from tests.builders import ct_slice
from tests.dicomweb.stowing import message, post, stored

BASE = "http://a.test/dicom-web"


def test_few_are_said_as_they_are() -> None:
    """Each once, in its order; quotes, backslashes and what is not ASCII cannot break the header."""
    headers = warning_headers(BASE, ["one", 'two "quoted" \\ \r\n\u00fc', "one"])
    assert headers == [
        (b"warning", b'299 http://a.test/dicom-web "one"'),
        (b"warning", b'299 http://a.test/dicom-web "two ?quoted? ? ???"'),
    ]


def test_many_and_long_ones_are_cut() -> None:
    """Sixteen of them, and one that says so; nothing reads the rest."""

    def endless() -> Iterator[str]:
        number = 0
        while True:
            yield f"{number} " + "x" * 10_000
            number += 1

    headers = warning_headers(BASE, endless())
    assert len(headers) == MOST + 1
    assert b"further warnings" in headers[-1][1]
    assert all(len(value) <= LONGEST + len(BASE) + 8 for _, value in headers)


@pytest.mark.parametrize("resource", ["rendered", "frames/1/rendered", "thumbnail"])
async def test_what_an_annotation_names_does_not_fill_the_head(client: httpx2.AsyncClient, resource: str) -> None:
    """Thousands of keywords that are not supported: a picture with a head of a few KiB (D-098)."""
    answer = await post(client, message(ct_slice()))
    assert stored(answer)
    url = answer.json()["00081199"]["Value"][0]["00081190"]["Value"][0]
    words = ",".join(f"w{number}" for number in range(8_000))
    shown = await client.get(f"{url}/{resource}?annotation={words}")
    assert shown.status_code == 200
    assert sum(len(name) + len(value) for name, value in shown.headers.raw) < 8_000


async def test_what_a_search_does_not_know_does_not_fill_the_head(client: httpx2.AsyncClient) -> None:
    """As many parameters as are read (C-018)."""
    answer = await client.get("/dicom-web/studies?" + "&".join(f"x{number}=1" for number in range(500)))
    assert answer.status_code == 200
    assert len(answer.headers.get_list("warning")) == MOST + 1
