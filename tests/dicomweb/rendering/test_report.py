"""Structured reports as HTML and as text."""

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomweb.rendering.report import ReportReference, is_report, report_of
from dicomweb.rendering.report_html import report_html
from dicomweb.rendering.report_text import report_text
from dicomweb.rendering.report_values import kind_of, moment, person
from tests.corpus import corpus_files, wheel_files
from tests.dicomweb.decoded import attributes_in, attributes_of

ATTACK = "\"><script>alert(1)</script><img src=x onerror=alert(1)>&'</style>"


class Page(HTMLParser):
    """Elements and text of a page."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.said = ""
        self.feed(page.decode())
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.elements.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Check that elements are nested."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Note text."""
        if self.open[-1:] != ["style"]:
            self.said += data

    @property
    def names(self) -> set[str]:
        """The element names."""
        return {name for name, _ in self.elements}


def code(meaning: str) -> list[dict[str, Any]]:
    """Return a code sequence."""
    return [{"CodeValue": "1", "CodingSchemeDesignator": "99X", "CodeMeaning": meaning}]


def content(value_type: str, name: str = "Name", **values: Any) -> dict[str, Any]:
    """Return a content item."""
    return {
        "RelationshipType": "CONTAINS",
        "ValueType": value_type,
        "ConceptNameCodeSequence": code(name),
    } | values


def report_with(*items: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return the attributes of a report."""
    return attributes_of(
        ValueType="CONTAINER", ConceptNameCodeSequence=code("Report"), ContentSequence=list(items), **more
    )


def value_of(item: dict[str, Any]) -> str:
    """Return what a content item reads as."""
    (found,) = report_of(report_with(item)).content
    return found.value


def measured(value: float, unit: str, scheme: str = "UCUM", meaning: str = "") -> dict[str, Any]:
    """Return a measurement."""
    units = [{"CodeValue": unit, "CodingSchemeDesignator": scheme, "CodeMeaning": meaning}]
    return content("NUM", MeasuredValueSequence=[{"NumericValue": value, "MeasurementUnitsCodeSequence": units}])


@pytest.mark.parametrize(
    ("item", "text"),
    [
        (content("TEXT", TextValue="One\nTwo"), "One\nTwo"),
        (content("CODE", ConceptCodeSequence=code("Liver")), "Liver"),
        (measured(12.5, "mm", meaning="millimeter"), "12.5 mm"),
        (measured(3, "1", meaning="no units"), "3"),
        (measured(60, "{H.B.}/min", meaning="beats per minute"), "60 beats per minute"),
        (content("NUM"), "no value"),
        (content("NUM", NumericValueQualifierCodeSequence=code("Not a number")), "Not a number"),
        (content("DATE", Date="20240115"), "2024-01-15"),
        (content("TIME", Time="101530.25"), "10:15:30"),
        (content("DATETIME", DateTime="20240115101530.5+0100"), "2024-01-15 10:15:30 +01:00"),
        (content("PNAME", PersonName="Doe^Jane^M^Dr.^MD"), "Dr. Jane M Doe, MD"),
        (content("UIDREF", UID="1.2.3"), "1.2.3"),
        (content("SCOORD", GraphicType="POINT", GraphicData=[1.5, 2]), "point (1.5, 2)"),
        (
            content("SCOORD", GraphicType="POLYLINE", GraphicData=[float(number) for number in range(20)]),
            "polyline (0, 1) (2, 3) (4, 5) (6, 7) and 6 more points",
        ),
        (content("SCOORD3D", GraphicType="POINT", GraphicData=[1, 2, 3]), "point (1, 2, 3)"),
        (content("TCOORD", TemporalRangeType="SEGMENT", ReferencedTimeOffsets=[1.5, 2]), "segment 1.5, 2 s"),
        ({"RelationshipType": "INFERRED FROM", "ReferencedContentItemIdentifier": [1, 2]}, "see item 1.2"),
        (content("NEW TYPE"), ""),
    ],
)
def test_values(item: dict[str, Any], text: str) -> None:
    """Each value type reads as people write it (D-094; C.17.3)."""
    assert value_of(item) == text


def test_tree_as_html() -> None:
    """Containers are sections with headings, items lists in them (D-094)."""
    inner = content("CONTAINER", "Findings", ContentSequence=[content("TEXT", "Finding", TextValue="A & B")])
    more = content(
        "TEXT", "Conclusion", TextValue="Done", ContentSequence=[content("CODE", ConceptCodeSequence=code("C"))]
    )
    page = Page(report_html(report_of(report_with(inner, more, PatientName="Doe^Jane"))))
    order = [name for name, _ in page.elements if name in ("h1", "h2", "section", "ul", "li")]
    assert order == ["h1", "section", "h2", "ul", "li", "ul", "li", "ul", "li"]
    for said in ("Jane Doe", "Findings", "Finding: ", "A & B", "Conclusion"):
        assert said in page.said


def test_tree_as_text() -> None:
    """Headings are underlined, what belongs to an item is indented (D-094)."""
    inner = content("CONTAINER", "Findings", ContentSequence=[content("TEXT", "Finding", TextValue="1\r\n2")])
    more = content(
        "TEXT", "Conclusion", TextValue="Done\x1b[2J", ContentSequence=[content("DATE", "On", Date="20240115")]
    )
    text = report_text(report_of(report_with(inner, more, PatientID="P1"))).decode()
    assert text.splitlines() == [
        *("Report", "======", "", "Patient ID: P1", "", ""),
        *("Findings", "--------", "Finding: 1", "  2", "Conclusion: Done[2J", "  On: 2024-01-15"),
    ]


def test_references_are_links() -> None:
    """Study and series come from the evidence; a link is made where there is a URL (C.17.2.3)."""
    image = {"ReferencedSOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "ReferencedSOPInstanceUID": "1.5"}
    series = [{"SeriesInstanceUID": "1.4", "ReferencedSOPSequence": [image]}]
    attributes = report_with(
        content("IMAGE", ReferencedSOPSequence=[image | {"ReferencedFrameNumber": [2, 3]}]),
        CurrentRequestedProcedureEvidenceSequence=[{"StudyInstanceUID": "1.3", "ReferencedSeriesSequence": series}],
    )
    report = report_of(attributes)
    reference = report.content[0].reference
    assert reference == ReportReference("1.3", "1.4", "1.2.840.10008.5.1.4.1.1.2", "1.5", (2, 3))
    page = Page(report_html(report, lambda to: f"https://a/{to.study_instance_uid}?x=1&y={ATTACK}"))
    (link,) = [attributes for name, attributes in page.elements if name == "a"]
    assert link["href"] == f"https://a/1.3?x=1&y={ATTACK}" and "script" not in page.names
    assert "CT Image, frame 2, 3" in page.said
    assert "a" not in Page(report_html(report, lambda _: None)).names
    assert b"CT Image, frame 2, 3 1.5" in report_text(report)


def test_nothing_of_a_report_becomes_markup() -> None:
    """Script in any value is text on the page, and the page forbids script (D-116)."""
    image = {"ReferencedSOPClassUID": ATTACK, "ReferencedSOPInstanceUID": ATTACK}
    items = [
        content("TEXT", ATTACK, TextValue=ATTACK, RelationshipType=ATTACK),
        content("CODE", ConceptCodeSequence=code(ATTACK)),
        measured(1, ATTACK, ATTACK, ATTACK),
        content("PNAME", PersonName=ATTACK),
        content("DATE", Date=ATTACK),
        content("IMAGE", ReferencedSOPSequence=[image]),
        content("CONTAINER", ATTACK),
        content("SCOORD", GraphicType=ATTACK, GraphicData=[1, 2]),
    ]
    attributes = report_with(*items, PatientName=ATTACK, PatientID=ATTACK, StudyDescription=ATTACK)
    attributes["0040A043"]["Value"][0]["00080104"]["Value"] = [ATTACK]
    attributes |= attributes_of(
        VerifyingObserverSequence=[{"VerifyingObserverName": ATTACK, "VerificationDateTime": ATTACK}]
    )
    page = report_html(report_of(attributes))
    parsed = Page(page)
    assert not parsed.names & {"script", "img"} and b"<script" not in page
    assert not any(name.startswith("on") for _, given in parsed.elements for name in given)
    assert parsed.said.count("<script>alert(1)</script>") >= 10
    assert b"default-src &#x27;none&#x27;" in page or b"default-src 'none'" in page


@given(st.text(max_size=40))
def test_any_text_keeps_the_page_whole(text: str) -> None:
    """Whatever a report says, its page has the same elements (D-116)."""
    plain = Page(report_html(report_of(report_with(content("TEXT", TextValue="x")))))
    clean = text.encode("utf-8", "replace").decode()
    page = Page(report_html(report_of(report_with(content("TEXT", "N" + clean, TextValue="v" + clean)))))
    assert [name for name, _ in page.elements] == [name for name, _ in plain.elements]


@pytest.mark.parametrize(
    ("charset", "written"), [("utf-8", "ä".encode()), ("iso8859-1", b"\xe4"), ("ascii", b"&#228;")]
)
def test_charset(charset: str, written: bytes) -> None:
    """The page is in the character set asked for and says so (D-114)."""
    report = report_of(report_with(content("TEXT", TextValue="ä")))
    page = report_html(report, charset=charset)
    assert written in page and f'charset="{charset}"'.encode() in page
    assert report_text(report, "iso-8859-1").endswith(b"Name: \xe4\n")
    with pytest.raises(UnicodeEncodeError):
        report_text(report, "ascii")


def sr_files() -> list[Path]:
    """Return the files with a content tree of corpus and wheels."""
    found = [path for path in corpus_files("objects") if "sr" in path.name or "report" in path.name]
    return [*found, *(path for path in wheel_files() if "report" in path.name or path.name == "test-SR.dcm")]


def test_real_reports() -> None:
    """Every report is readable in both forms: its title, and each text and number of its tree (D-094)."""
    read = 0
    for path in sr_files():
        attributes, _ = attributes_in(path)
        if not is_report(attributes):
            continue
        report = report_of(attributes)
        page, text = Page(report_html(report)), report_text(report).decode()
        assert report.title in page.said and report.title in text and report.content
        for node in _nodes(report.content):
            assert node.name in page.said and node.value in page.said
            assert node.value.splitlines()[:1] in ([], [line for line in node.value.splitlines()[:1] if line in text])
        read += 1
    assert read >= 6


def _nodes(content_items: Any) -> Any:
    for node in content_items:
        yield node
        yield from _nodes(node.children)


def test_broken_reports_are_read() -> None:
    """Missing codes, values and items do not keep a report from being shown (D-164)."""
    attributes = attributes_of(
        ValueType="CONTAINER", ContentSequence=[{}, {"ValueType": "IMAGE"}, {"ValueType": "NUM"}]
    )
    attributes["0040A730"]["Value"].append(None)
    report = report_of(attributes)
    assert report.title == "Report" and len(report.content) == 3
    Page(report_html(report))
    assert not is_report({}) and report_of({}).content == ()
    nested: dict[str, Any] = {"ValueType": "TEXT"}
    for _ in range(200):
        nested = {"ValueType": "CONTAINER", "ContentSequence": [nested]}
    Page(report_html(report_of(attributes_of(**nested))))


def test_single_values() -> None:
    """Names in reading order, dates as ISO writes them, kinds by the names of the SOP classes."""
    assert person("") == "" and person("Doe") == "Doe"
    assert [moment("20240115"), moment("2024"), moment("x"), moment("", "")] == ["2024-01-15", "2024", "x", ""]
    assert moment("20240115", "1015") == "2024-01-15 10:15"
    assert [kind_of("1.2.840.10008.5.1.4.1.1.4"), kind_of(""), kind_of("9.9")] == ["MR Image", "instance", "instance"]
