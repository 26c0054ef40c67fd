"""Finding what to import: folders, links, ZIP archives, media."""

import os
import shutil
import socket
import zipfile
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path

import pytest

from dicomweb.importing.found_file import Found, Unreadable
from dicomweb.importing.found_files import find_files
from dicomweb.importing.media_directory import referenced_files
from dicomweb.importing.opened_file import OpenedFile, open_file
from dicomweb.importing.results import Result, Status
from tests.builders import ct_slice, without_preamble
from tests.corpus import wheel_file


def names(*paths: Path, leave_out: Path | None = None) -> list[str]:
    """The names of the files found, without the folder they are in."""
    return [Path(found.name).name for found in find_files(paths, leave_out) if not isinstance(found, Result)]


def said(*paths: Path, leave_out: Path | None = None) -> list[tuple[str, Status, str]]:
    """What is said at once: (name, status, reason)."""
    found = [found for found in find_files(paths, leave_out) if isinstance(found, Result)]
    return [(Path(result.name).name, result.status, result.reason) for result in found]


@contextmanager
def opened(path: Path) -> Iterator[dict[str, OpenedFile | Result]]:
    """Every file found, opened; closed at the end."""
    found = {Path(f.name).name: open_file(f) for f in find_files([path]) if not isinstance(f, Result)}
    yield found
    for each in found.values():
        if isinstance(each, OpenedFile):
            each.close()


def medium(folder: Path) -> list[Path]:
    """Copy the media of the wheel, a DICOMDIR and 31 files in folders; returns the files it names."""
    shutil.copytree(wheel_file("DICOMDIR").parent, folder, dirs_exist_ok=True)
    for path in (each for each in folder.iterdir() if each.is_file() and each.name != "DICOMDIR"):
        path.unlink()
    return [target for _, target in referenced_files(folder / "DICOMDIR") if target is not None]


def zip_of(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    """Write a ZIP archive."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_folders_are_walked_in_the_order_of_names_whatever_files_are_called(tmp_path: Path) -> None:
    """Any file name, any depth; what is not a regular file is passed over."""
    for name in ("b/IM2", "b/IM1", "a/x/1.2.840", "c.jpg", "\N{GREEK SMALL LETTER ALPHA} \udcff"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    with socket.socket(socket.AF_UNIX) as listening, chdir(tmp_path):  # its whole path may be too long
        listening.bind("s")
    found = names(tmp_path)
    assert found[:1] == ["c.jpg"]
    assert found[2:] == ["1.2.840", "IM1", "IM2"]
    assert "\\xff" in found[1]
    assert said(tmp_path) == [("s", Status.PASSED_OVER, "It is not a regular file.")]


def test_links_are_followed_once_and_broken_ones_are_reported(tmp_path: Path) -> None:
    """A loop of symbolic links ends; a link to nowhere is refused with the reason."""
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "IM1").write_bytes(b"x")
    (tmp_path / "series" / "up").symlink_to(tmp_path)
    (tmp_path / "again").symlink_to(tmp_path / "series")
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "nowhere").symlink_to("gone")
    assert names(tmp_path) == ["IM1"]
    assert sorted((name, status) for name, status, _ in said(tmp_path)) == [
        ("nowhere", Status.REFUSED),
        ("self", Status.REFUSED),
    ]


@pytest.mark.parametrize("given", ["folder", "to-folder"])
def test_links_out_of_the_folder_are_not_followed_and_said(tmp_path: Path, given: str) -> None:
    """Whoever filled a folder does not choose what else of this machine is imported; links within it are followed."""
    secret, folder = tmp_path / "secret", tmp_path / "folder"
    (secret / "deep").mkdir(parents=True)
    (secret / "deep" / "other.dcm").write_bytes(b"x")
    (tmp_path / "folder2").mkdir()  # begins alike
    (tmp_path / "folder2" / "beside.dcm").write_bytes(b"x")
    (folder / "series").mkdir(parents=True)
    (folder / "series" / "IM1").write_bytes(b"x")
    (folder / "a-file").symlink_to(secret / "deep" / "other.dcm")
    (folder / "b-folder").symlink_to("../secret")
    (folder / "c-chain").symlink_to("b-folder")
    (folder / "d-inside").symlink_to("series/IM1")
    (folder / "e-beside").symlink_to("../folder2/beside.dcm")
    (tmp_path / "to-folder").symlink_to("folder")
    assert names(tmp_path / given) == ["d-inside", "IM1"]
    assert [(name, status) for name, status, _ in said(tmp_path / given)] == [
        (name, Status.REFUSED) for name in ("a-file", "e-beside", "b-folder", "c-chain")
    ]
    assert names(folder / "a-file") == ["a-file"], "what is named is imported"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission_is_reported(tmp_path: Path) -> None:
    """What cannot be read is refused with the system's word for it."""
    (tmp_path / "closed").mkdir(mode=0)
    ((_, status, reason),) = said(tmp_path)
    assert status is Status.REFUSED
    assert "permission is denied" in reason


def test_the_archives_own_folder_is_not_imported_into_itself(tmp_path: Path) -> None:
    """`import .` beside ./dicomweb-data leaves that out and says so once, unless it was named."""
    (tmp_path / "data" / "blobs").mkdir(parents=True)
    (tmp_path / "data" / "blobs" / "1.dcm").write_bytes(b"x")
    (tmp_path / "again").symlink_to(tmp_path / "data")
    (tmp_path / "IM1").write_bytes(b"x")
    own = tmp_path / "data"
    assert names(tmp_path, leave_out=own) == ["IM1"]
    ((_, status, reason),) = said(tmp_path, leave_out=own)
    assert status is Status.PASSED_OVER
    assert "data folder" in reason
    assert (names(own, leave_out=own), said(own, leave_out=own)) == (["1.dcm"], [])
    assert sorted(names(tmp_path)) == ["1.dcm", "IM1"]


@pytest.mark.parametrize("name", [".quarantine", ".staging"])
def test_what_an_archive_put_aside_is_not_taken_for_its_own(tmp_path: Path, name: str) -> None:
    """A damaged copy does not come before the good one that was sent again; the folder itself can be named."""
    aside = tmp_path / "blobs" / name
    aside.mkdir(parents=True)
    (aside / "1.dcm").write_bytes(b"x")
    (tmp_path / "blobs" / "2.dcm").write_bytes(b"x")
    assert (names(tmp_path), names(aside)) == (["2.dcm"], ["1.dcm"])
    ((shown, status, _),) = said(tmp_path)
    assert shown.endswith(name) and status is Status.PASSED_OVER


def test_zip_members_are_found_and_read_where_they_are(tmp_path: Path) -> None:
    """Members are streamed from the archive; nothing is written under their names."""
    image = ct_slice(rows=32, columns=32)
    path = zip_of(tmp_path / "study.ZIP", {"../../evil": image, "a/IM1": image, "readme.txt": b"hello"})
    with opened(tmp_path) as found:
        assert set(found) == {"evil", "IM1", "readme.txt"}
        for name in ("evil", "IM1"):
            member = found[name]
            assert isinstance(member, OpenedFile)
            assert b"".join(member.pieces()) == image
        assert isinstance(found["readme.txt"], Result)
        assert found["readme.txt"].status is Status.PASSED_OVER
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["study.ZIP"]
    renamed = path.rename(tmp_path / "study")
    assert len(names(renamed)) == 3  # named on the command line: by its content
    assert names(tmp_path) == ["study"]


def test_a_damaged_zip_costs_what_is_damaged(tmp_path: Path) -> None:
    """A garbled member is refused alone; an archive cut short is refused as a whole."""
    image = ct_slice(rows=32, columns=32)
    path = zip_of(tmp_path / "a.zip", {"IM1": image, "IM2": image}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[len(image) // 2] ^= 1
    path.write_bytes(data)
    first, second = (found for found in find_files([path]) if not isinstance(found, Result))
    one, two = open_file(first), open_file(second)
    assert isinstance(one, Result)  # zipfile checks the CRC with the last byte
    assert (one.status, one.reason) == (Status.REFUSED, "The file cannot be read: it is damaged.")
    assert isinstance(two, OpenedFile)
    path.write_bytes(data[:-30])
    assert [status for _, status, _ in said(path)] == [Status.REFUSED]


def test_an_encrypted_member_is_refused_with_the_reason(tmp_path: Path) -> None:
    """Nothing asks for a password; the person is told."""
    path = zip_of(tmp_path / "a.zip", {"IM1": b"x"}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    (found,) = find_files([path])
    assert not isinstance(found, Result)
    with pytest.raises(Unreadable, match="encrypted"):
        found.open()


def test_a_zip_bomb_is_refused_before_it_is_inflated(tmp_path: Path) -> None:
    """An archive that grows out of all proportion is refused as a whole."""
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive, archive.open("IM1", "w") as file:
        for _ in range(300):
            file.write(bytes(1 << 20))
    ((_, status, reason),) = said(tmp_path)
    assert status is Status.REFUSED
    assert "times its size" in reason


def test_files_named_by_a_dicomdir_are_found_and_missing_ones_reported(tmp_path: Path) -> None:
    """The DICOMDIR itself is passed over; a file it names in vain is refused (PS3.10 8, PS3.3 F.3.2.2)."""
    files = medium(tmp_path)
    assert len(files) == 31
    files[1].unlink()
    found = set(names(tmp_path))
    assert found >= {path.name for path in files} - {files[1].name}
    assert files[1].name not in found
    assert said(tmp_path)[:2] == [
        ("DICOMDIR", Status.PASSED_OVER, "It is the directory of the medium."),
        (files[1].name, Status.REFUSED, "The DICOMDIR names it, but there is no such file."),
    ]


def test_a_dicomdir_itself_stands_for_what_it_names(tmp_path: Path) -> None:
    """Given by name, exactly the files it names are imported, in whatever spelling the disc was mounted."""
    files = medium(tmp_path)
    (tmp_path / "viewer.exe").write_bytes(b"MZ")
    for path in files:
        path.rename(path.with_name(path.name.lower() + ".;1"))
    (tmp_path / "DICOMDIR").rename(tmp_path / "dicomdir")
    assert sorted(names(tmp_path / "dicomdir")) == sorted(path.name.lower() + ".;1" for path in files)


def test_a_dicomdir_does_not_lead_out_of_its_medium(tmp_path: Path) -> None:
    """Names that would leave the medium are missing, whatever they point to."""
    file = medium(tmp_path / "disc")[0]
    path = tmp_path / "disc" / "DICOMDIR"
    name = "\\".join(file.relative_to(tmp_path / "disc").parts).encode()
    (tmp_path / "secret").write_bytes(b"x")
    path.write_bytes(path.read_bytes().replace(name, b"..\\secret".ljust(len(name))))
    assert ("../secret", None) in list(referenced_files(path))


def test_a_garbled_dicomdir_does_not_stop_the_walk(tmp_path: Path) -> None:
    """The files are imported all the same; the person is told that nothing could be compared."""
    (tmp_path / "DICOMDIR").write_bytes(b"garbled")
    (tmp_path / "IM1").write_bytes(b"x")
    assert names(tmp_path) == ["IM1"]
    assert said(tmp_path)[1][1] is Status.REFUSED


def test_what_is_dicom_is_told_by_content(tmp_path: Path) -> None:
    """With or without preamble a file is taken; other files are passed over unless they call themselves DICOM."""
    image = ct_slice(rows=8, columns=8)
    (tmp_path / "whole.jpg").write_bytes(image)
    (tmp_path / "bare").write_bytes(without_preamble(image))
    (tmp_path / "text").write_text("The quick brown fox jumps over the lazy dog. " * 9)
    (tmp_path / "broken.DCM").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(300))
    (tmp_path / "empty.dcm").write_bytes(b"")
    with opened(tmp_path) as found:
        statuses = {name: each.status if isinstance(each, Result) else "taken" for name, each in found.items()}
    assert statuses == {
        "whole.jpg": "taken",
        "bare": "taken",
        "text": Status.PASSED_OVER,
        "broken.DCM": Status.REFUSED,
        "empty.dcm": Status.REFUSED,
    }


def test_a_changed_file_has_another_key(tmp_path: Path) -> None:
    """The journal knows a file by path, size and time, a member also by its place."""

    def key() -> bytes:
        (found,) = find_files([path])
        assert not isinstance(found, Result)
        return _key(found)

    path = tmp_path / "IM1"
    path.write_bytes(b"x")
    before = key()
    assert key() == before
    os.utime(path, ns=(1, 1))
    assert key() != before
    archive = zip_of(tmp_path / "a.zip", {"1": b"x", "2": b"x"})
    assert len({_key(found) for found in find_files([archive]) if not isinstance(found, Result)}) == 2


def _key(found: Found) -> bytes:
    return found.key()
