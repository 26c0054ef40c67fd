"""What the corpus has not: a PDF in a study, and a series in other transfer syntaxes."""

import io
from pathlib import Path

import httpx2
import pydicom

from tests.builders import dicom_file, new_uid


def pdf_text(words: str, *, padding: int = 0) -> bytes:
    """Return a PDF of one page that says something, and is as long as wanted."""
    page = f"BT /F1 24 Tf 30 100 Td ({words}) Tj ET".encode()
    bodies = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 200] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(page), page),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    written = b"%PDF-1.4\n%" + b"." * padding + b"\n"
    offsets = []
    for number, body in enumerate(bodies, 1):
        offsets.append(len(written))
        written += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    end = b"trailer\n<< /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % len(written)
    return written + b"xref\n0 6\n0000000000 65535 f \n" + table + end


def encapsulated_pdf(like: Path, pdf: bytes, series_number: int) -> bytes:
    """Return an Encapsulated PDF in the study of another file (PS3.3 A.45.1)."""
    image = pydicom.dcmread(like, stop_before_pixels=True)
    kept = ("StudyInstanceUID", "PatientID", "PatientName", "StudyDate", "StudyTime", "AccessionNumber", "StudyID")
    return dicom_file(
        pixels=None,
        SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1",
        SeriesInstanceUID=new_uid(),
        Modality="DOC",
        SeriesDescription="Report",
        SeriesNumber=series_number,
        MIMETypeOfEncapsulatedDocument="application/pdf",
        EncapsulatedDocument=pdf + b"\0" * (len(pdf) % 2),
        EncapsulatedDocumentLength=len(pdf),
        **{keyword: image.get(keyword) for keyword in kept},
    )


def transcoded_copies(client: httpx2.Client, paths: list[str], syntax: str, name: str) -> tuple[str, list[bytes]]:
    """Return files of the archive in another transfer syntax, as a study and patient of their own, and its UID."""
    study, series = new_uid(), new_uid()
    made = []
    for path in paths:
        answer = client.get(path, headers={"Accept": f"application/dicom; transfer-syntax={syntax}"})
        assert answer.status_code == 200, answer.text
        dataset = pydicom.dcmread(io.BytesIO(answer.content))
        assert dataset.file_meta.TransferSyntaxUID == syntax
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID = study, series, new_uid()
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.PatientName = dataset.PatientID = name
        written = io.BytesIO()
        dataset.save_as(written, enforce_file_format=True)
        made.append(written.getvalue())
    return study, made
