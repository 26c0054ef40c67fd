"""Ask a real server for every sample file in every form: python -m scripts.retrieval_table [--write README.md]

Every DICOM file of the corpus (when there is one) and of pydicom's wheels is stored and asked for as stored, in
Explicit VR Little Endian, as PNG, as JPEG and as thumbnail. A row is a folder and a transfer syntax with the number of
files that got the same answers; files that lack something are named. Pixels in Explicit VR Little Endian are compared
with the hashes of the corpus' manifest where independent decoders agreed on them.

The server replaces what it has under the same UIDs, so that files which conflict are each asked for. A file that is
refused because a UID is missing is stored with made-up ones too, to see what can be had of its pixels.
"""

import hashlib
import io
import re
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import imagecodecs
import pydicom
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from scripts.conformance import table
from storage.dicom.part10 import BytesSource, read_header
from storage.errors import ArchiveError
from tests.builders import new_uid
from tests.corpus import corpus_folder, corpus_manifest, wheel_files
from tests.dicomweb.parts import parts_of
from tests.live.exchange import DICOM, MISSING_IDENTIFIER, failures, path_of, store, stored_keys
from tests.live_server import running_server

BEGIN, END = "<!-- retrieval -->\n", "<!-- end of retrieval -->"
SECTION = "### What can be had of which file\n\n"
AFTER = "### Failures\n"
FORMS = ("stored", "Explicit LE", "PNG", "JPEG", "thumbnail")
OK, SAME, OTHER = "ok", "ok, bit for bit", "other pixels"
COMPLETED = "ok with UIDs added"
DETAIL = 90  # characters of an error that a cell has room for
NAMED = 3  # files that a row names
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
STORED_AS = re.compile(r"^The instance [0-9.]*: stored in transfer syntax [0-9.]+\. |With transfer-syntax=\*.*")


class Sample(NamedTuple):
    """A file: the group it is counted in, its path below the collection, and what the manifest says of it."""

    group: str
    path: Path
    reference: dict[str, Any]


@dataclass(frozen=True)
class Row:
    """What became of one file: a cell for each of FORMS."""

    group: str
    name: str
    syntax: str
    cells: tuple[str, ...] = field(default=())

    @property
    def is_fine(self) -> bool:
        """Whether every form could be had."""
        return all(cell in (OK, SAME) for cell in self.cells)

    @property
    def outcome(self) -> str:
        """What there is to say of the file in a few words."""
        if self.is_fine:
            return "in every form"
        if self.cells[0].startswith("refused"):
            return "refused because they are no instances"
        if any("text/html" in cell for cell in self.cells):
            return "reports, shown as HTML"
        if any("no pixel data" in cell for cell in self.cells):
            return "without pixel data"
        if self.cells[0] == COMPLETED and all(cell in (OK, SAME) for cell in self.cells[1:]):
            return "in every form once their UIDs are added"
        return "with other pixels" if OTHER in self.cells else "with frames that cannot be decoded"


def samples() -> list[Sample]:
    """Return every file of the corpus and of the wheels."""
    found: list[Sample] = []
    folder = corpus_folder()
    if folder is not None:
        entries = corpus_manifest()["files"]
        found += (Sample(f"corpus/{entry['group']}", folder / entry["path"], entry) for entry in entries)
    for path in wheel_files():
        package = max(index for index, part in enumerate(path.parts) if part in ("pydicom", "data_store"))
        found.append(Sample("/".join(path.parts[package:-1][:3]), path, {}))
    return found


def asked(client: httpx2.Client, sample: Sample) -> Row:
    """Store one file, ask for it in every form and say what came."""
    data = sample.path.read_bytes()
    answer = store(client, data)
    keys, refused = stored_keys(answer), ""
    if not keys:
        ((reason, comment),) = failures(answer)
        refused = f"refused: {reason:04X} {comment}"[:DETAIL]
        data = completed(data) if reason == MISSING_IDENTIFIER else b""
        keys = stored_keys(store(client, data)) if data else []
    if keys:
        came = tuple(cells(client, path_of(keys[0]), data, sample.reference))
        came = (COMPLETED, *came[1:]) if refused and came[0] == OK else came
    else:
        came = (refused, *[""] * (len(FORMS) - 1))
    return Row(sample.group, sample.path.name, syntax_of(data or sample.path.read_bytes()), came)


def completed(data: bytes) -> bytes:
    """Return a file with the UIDs it lacks; empty when it cannot be read or has no pixel data."""
    dataset = read(data)
    if "PixelData" not in dataset or "TransferSyntaxUID" not in dataset.file_meta:
        return b""
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        dataset[keyword] = pydicom.DataElement(keyword, "UI", new_uid())
    if not dataset.get("SOPClassUID"):
        dataset.SOPClassUID = SecondaryCaptureImageStorage
    written_to = io.BytesIO()
    dataset.save_as(written_to, enforce_file_format=True)
    return written_to.getvalue()


def cells(client: httpx2.Client, path: str, data: bytes, reference: dict[str, Any]) -> Iterator[str]:
    """Yield what came of each of FORMS."""
    explicit = f'multipart/related; type="application/dicom"; transfer-syntax={ExplicitVRLittleEndian}'
    yield verdict(client.get(path, headers={"Accept": DICOM}), lambda answer: stored(answer, data))
    yield verdict(client.get(path, headers={"Accept": explicit}), lambda answer: explicit_le(answer, reference))
    for media_type in ("image/png", "image/jpeg"):
        yield rendered(client, path, media_type, read(data))
    yield verdict(client.get(f"{path}/thumbnail"), lambda answer: picture(answer.content, answer.headers))


def rendered(client: httpx2.Client, path: str, media_type: str, dataset: pydicom.Dataset) -> str:
    """Say what came as a picture; for what has none, what came instead."""
    answer = client.get(f"{path}/rendered", headers={"Accept": media_type})
    if answer.status_code != 406:
        return verdict(answer, lambda found: picture(found.content, found.headers))
    other = client.get(f"{path}/rendered", headers={"Accept": "*/*"})
    if other.status_code == 200:
        return f"{other.headers['content-type'].partition(';')[0]} instead"
    return verdict(answer, str) if any(name in dataset for name in PIXELS) else "406: no pixel data"


def verdict(answer: httpx2.Response, look: Callable[[httpx2.Response], str]) -> str:
    """Return what `look` says of a good answer, else why there is none."""
    if answer.status_code == 200:
        try:
            return look(answer)
        except Exception as error:  # whatever the reader of an answer stumbles over is the reason
            return f"unreadable: {type(error).__name__} {error}"[:DETAIL]
    is_json = answer.headers.get("content-type", "").partition(";")[0].endswith("json")
    detail = answer.json().get("detail", "") if is_json else answer.text
    detail = STORED_AS.sub("", detail)
    return f"{answer.status_code} {detail}"[:DETAIL].strip()


def stored(answer: httpx2.Response, data: bytes) -> str:
    """Say whether a file came as it was sent; those whose encoding may not be sent come re-encoded."""
    (part,) = parts_of(answer)
    if part.body == data:
        return OK
    same = pydicom.dcmread(io.BytesIO(part.body)).SOPInstanceUID == read(data).SOPInstanceUID
    return OK if same else "another instance"


def explicit_le(answer: httpx2.Response, reference: dict[str, Any]) -> str:
    """Say whether a file came in Explicit VR Little Endian, with the reference's first frame if there is one."""
    (part,) = parts_of(answer)
    dataset = read(part.body)
    if dataset.file_meta.TransferSyntaxUID != ExplicitVRLittleEndian:
        return f"came as {UID(dataset.file_meta.TransferSyntaxUID).name}"
    decode = reference.get("decode") or {}
    if decode.get("agreement") != "exact":
        return OK
    frame = pixel_array(dataset, index=0, raw=True)
    samples_of_frame = [frame.astype(frame.dtype.newbyteorder("<")).tobytes()]
    if frame.ndim == 2 and "PixelData" in dataset:  # samples of some codecs use more bits than Bits Stored
        samples_of_frame.append(dataset.PixelData[: frame.nbytes])
    hashes = {hashlib.sha256(found).hexdigest() for found in samples_of_frame}
    return SAME if decode["frame0_sha256"] in hashes else OTHER


def picture(content: bytes, headers: Any) -> str:
    """Say whether a picture is what its media type says and can be decoded."""
    media_type = headers["content-type"].partition(";")[0]
    decoders = {"image/png": imagecodecs.png_decode, "image/jpeg": imagecodecs.jpeg8_decode}
    if media_type not in decoders:
        return f"{media_type} instead"
    return OK if decoders[media_type](content).size else "empty"


def read(data: bytes) -> pydicom.Dataset:
    """Return a file as pydicom reads it."""
    return pydicom.dcmread(io.BytesIO(data), force=True)


def syntax_of(data: bytes) -> str:
    """Name the transfer syntax a file says it is in."""
    try:
        uid = read_header(BytesSource(data))[0].transfer_syntax_uid
    except ArchiveError:
        return "not readable"
    return UID(uid).name.partition(" [")[0].partition(" (Process 14")[0]


def rows(everything: Iterable[Row]) -> Iterator[list[str]]:
    """Yield one line for all files of a group and transfer syntax that got the same; name what lacks something."""
    alike: dict[tuple[str, str, tuple[str, ...]], list[Row]] = {}
    for row in everything:
        alike.setdefault((row.group, row.syntax, row.cells), []).append(row)
    for (group, syntax, found), members in sorted(alike.items()):
        names = [member.name for member in members[:NAMED] if not member.is_fine]
        named = f": {', '.join(names)}" if names else ""
        more = ", ..." if names and len(members) > NAMED else ""
        yield [f"{group}{named}{more}", syntax, str(len(members)), *found]


def measured() -> list[Row]:
    """Store everything, ask for everything; presentation states find their images, which are stored before."""
    found = samples()
    with (
        tempfile.TemporaryDirectory(prefix="dicomweb-retrieval-") as folder,
        running_server(Path(folder) / "data", "--workers", "2", "--duplicates", "replace") as server,
        httpx2.Client(base_url=server.root, timeout=120) as client,
    ):
        for sample in found:
            store(client, sample.path.read_bytes())
        # One after the other: files that conflict replace each other.
        return [asked(client, sample) for sample in found]


def summary(everything: list[Row]) -> str:
    """Return how many files there are, what became of them, and how many were compared bit for bit."""
    counted = Counter(row.outcome for row in everything)
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in counted.most_common())
    same, other = (sum(cell in row.cells for row in everything) for cell in (SAME, OTHER))
    return (
        "What `python -m scripts.retrieval_table` finds for the files in the wheels of pydicom and pydicom-data and,\n"
        "where there is one, in a folder of public files that the tests use too (`corpus`).\n\n"
        f"{len(everything)} files: {outcomes}. {same + other} were compared with hashes of pixels that independent\n"
        f"decoders agree on: {same} are the same bit for bit, {other} are not.\n\n"
    )


def main() -> int:
    """Print the table, and with --write put it into a Markdown file."""
    warnings.simplefilter("ignore")
    everything = measured()
    heading = ["file or folder", "transfer syntax", "files", *FORMS]
    text = summary(everything) + table(heading, rows(everything))
    print(text)
    if "--write" in sys.argv[1:]:
        target = Path(sys.argv[sys.argv.index("--write") + 1])
        target.write_text(written(target.read_text(encoding="utf-8"), text), encoding="utf-8")
    return 0


def written(readme: str, text: str) -> str:
    """Return a README with the table between its marks, which are made when they are missing."""
    if BEGIN not in readme:
        readme = readme.replace(AFTER, f"{SECTION}{BEGIN}{END}\n\n{AFTER}", 1)
    before, _, rest = readme.partition(BEGIN)
    return f"{before}{BEGIN}{text}{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    sys.exit(main())
