"""Installing and removing the viewer."""

import shutil
import tarfile
from pathlib import Path

import pytest

from dicomweb.http.viewer import installation
from dicomweb.http.viewer.installed import ViewerFolder, load, newest
from dicomweb.http.viewer.package import VERSION, WrongPackage, fetch
from storage.errors import ArchiveError, InUse, OutOfSpace, Unavailable
from tests.dicomweb.test_cli import run
from tests.dicomweb.viewer_package import FILES, SCRIPT, fake_npm, packed, pin


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that passes for the real one."""
    content = packed()
    pin(monkeypatch, content)
    path = tmp_path / "viewer.tgz"
    path.write_bytes(content)
    return path


def test_a_package_is_unpacked_compressed_and_listed(package: Path, tmp_path: Path) -> None:
    """All of `dist` is there and nothing else; what compresses well lies there compressed."""
    viewer = installation.install(tmp_path / "viewer", package=package)
    assert set(viewer.files) == {name.removeprefix("package/dist/") for name in FILES if "dist" in name}
    assert viewer.missing() == [] and viewer.version == VERSION
    script = viewer.files["app.bundle.0f6159c501addfe9.js"]
    assert script.gzipped and script.length == len(SCRIPT) and script.stored < 200
    assert not viewer.files["assets/favicon.ico"].gzipped
    (inline,) = viewer.scripts
    assert inline.startswith("'sha256-")
    assert sorted(path.name for path in (tmp_path / "viewer").iterdir()) == [installation.LOCK, VERSION]


def test_a_second_installation_does_nothing(package: Path, tmp_path: Path) -> None:
    """It does not even read the package, and works where the folder is read only."""
    first = installation.install(tmp_path / "viewer", package=package)
    package.unlink()
    steps: list[str] = []
    again = installation.install(tmp_path / "viewer", package=package, tell=steps.append)
    assert again == first and steps == []


def test_a_damaged_installation_is_mended(package: Path, tmp_path: Path) -> None:
    """Files that are gone or cut come back."""
    viewer = installation.install(tmp_path / "viewer", package=package)
    viewer.files["index.html"].place.unlink()
    viewer.files["manifest.json"].place.write_bytes(b"")
    assert viewer.missing() == ["index.html", "manifest.json"]
    assert installation.install(tmp_path / "viewer", package=package).missing() == []


def test_another_package_is_refused(package: Path, tmp_path: Path) -> None:
    """One byte more and nothing is installed."""
    with package.open("ab") as file:
        file.write(b"\0")
    with pytest.raises(WrongPackage, match="sha512"):
        installation.install(tmp_path / "viewer", package=package)
    assert newest(tmp_path / "viewer") is None
    assert [path.name for path in (tmp_path / "viewer").iterdir()] == [installation.LOCK]


@pytest.mark.parametrize(
    "name",
    ["package/dist/../../evil", "package/dist//evil", "package/dist/a/../b", "package/dist/a\\b", "package/dist/\n"],
)
def test_no_name_leads_out_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A path that is not plainly below `dist` ends the installation."""
    content = packed({**FILES, name: b"evil"})
    pin(monkeypatch, content)
    path = tmp_path / "viewer.tgz"
    path.write_bytes(content)
    with pytest.raises(WrongPackage, match="no plain file"):
        installation.install(tmp_path / "viewer", package=path)
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: bytes) -> None:
    """Only plain files are taken."""
    odd = tarfile.TarInfo("package/dist/odd")
    odd.type, odd.linkname = kind, "/etc/passwd"
    content = packed(odd=odd)
    pin(monkeypatch, content)
    path = tmp_path / "viewer.tgz"
    path.write_bytes(content)
    with pytest.raises(WrongPackage, match="no plain file"):
        installation.install(tmp_path / "viewer", package=path)


@pytest.mark.parametrize("content", [b"", b"no archive", packed({"package/dist/a.js": b""}), packed()[:-200]])
def test_a_package_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Even when its hash is right: empty, no archive at all, without a page, cut off."""
    pin(monkeypatch, content)
    path = tmp_path / "viewer.tgz"
    path.write_bytes(content)
    with pytest.raises(WrongPackage):
        installation.install(tmp_path / "viewer", package=path)


def test_a_full_disk_leaves_nothing_behind(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it is full from the start or becomes so."""
    full = shutil.disk_usage(tmp_path)._replace(free=1000)
    with monkeypatch.context() as patched, pytest.raises(OutOfSpace, match="needed"):
        patched.setattr(shutil, "disk_usage", lambda _: full)
        installation.install(tmp_path / "viewer", package=package)

    def fail(place: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(installation, "_write", fail)
    with pytest.raises(OutOfSpace, match="full"):
        installation.install(tmp_path / "viewer", package=package)
    assert [path.name for path in (tmp_path / "viewer").iterdir()] == [installation.LOCK]


def test_what_a_killed_installation_left_is_cleared_away(package: Path, tmp_path: Path) -> None:
    """Its half-made folder is never served, and gone after the next."""
    left = tmp_path / "viewer" / f"{installation.MAKING}abc" / VERSION
    left.mkdir(parents=True)
    assert newest(tmp_path / "viewer") is None
    installation.install(tmp_path / "viewer", package=package)
    assert not left.exists()


def test_two_installations_at_once_do_not_mix(package: Path, tmp_path: Path) -> None:
    """The second says that the first is at work."""

    def install_again(_: str) -> None:
        with pytest.raises(InUse, match="wait"):
            installation.install(tmp_path / "viewer", package=package)

    installation.install(tmp_path / "viewer", package=package, tell=install_again)


def test_a_running_server_sees_installation_and_removal(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there is looked at again, at most once a second."""
    monkeypatch.setattr("dicomweb.http.viewer.installed.LOOK_AGAIN_AFTER", 0.0)
    folder = ViewerFolder(tmp_path / "viewer")
    assert folder.current() is None
    installation.install(tmp_path / "viewer", package=package)
    found = folder.current()
    assert found is not None and found.version == VERSION
    assert folder.current() is found
    assert installation.remove(tmp_path / "viewer") == [VERSION]
    assert folder.current() is None and installation.remove(tmp_path / "viewer") == []


def test_an_older_version_is_served_until_the_known_one_is_there(package: Path, tmp_path: Path) -> None:
    """After an update of the program the viewer does not vanish; the newest of the others is shown."""
    installation.install(tmp_path / "viewer", package=package)
    for version in ("3.9.10", "3.10.0", "99.0"):
        shutil.copytree(tmp_path / "viewer" / VERSION, tmp_path / "viewer" / version)
    served = newest(tmp_path / "viewer")
    assert served is not None and served.folder.name == VERSION
    shutil.rmtree(tmp_path / "viewer" / VERSION)
    (tmp_path / "viewer" / "99.0" / "files.json").write_text("damaged")
    served = newest(tmp_path / "viewer")
    assert served is not None and served.folder.name == "3.10.0"


def test_npm_is_asked_for_the_pinned_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without running anything of it, in a folder of its own."""
    asked = tmp_path / "asked"
    fake_npm(tmp_path / "bin", monkeypatch, f'pwd > {asked}; echo "$@" >> {asked}; touch "$PWD/a.tgz"; echo "[]"')
    folder = tmp_path / "empty"
    folder.mkdir()
    assert fetch(folder) == folder / "a.tgz"
    place, arguments = asked.read_text().splitlines()
    assert place == str(folder) and arguments.startswith("pack @ohif/app@3.13.2 ") and "--ignore-scripts" in arguments


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        ('{"error": {"code": "ENOTFOUND", "summary": "getaddrinfo"}}', Unavailable, "cannot reach its registry"),
        ('{"error": {"code": "SELF_SIGNED_CERT_IN_CHAIN", "summary": "x"}}', Unavailable, "cannot reach its registry"),
        ('{"error": {"code": "E404", "summary": "not found"}}', Unavailable, "has no @ohif/app 3.13.2"),
        ('{"error": {"code": "ENOSPC", "summary": "no space left"}}', OutOfSpace, "disk space"),
        ('{"error": {"code": "EINTEGRITY", "summary": "checksum"}}', WrongPackage, "damaged"),
        ('{"error": {"code": "EACCES", "summary": "permission\\ndenied"}}', Unavailable, "EACCES: permission denied"),
        ("no JSON", Unavailable, "it gave no reason"),
    ],
)
def test_what_npm_cannot_do_is_said_plainly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, kind: type[ArchiveError], words: str
) -> None:
    """No network, no such version, a full disk, and anything else, each with what to do."""
    (tmp_path / "said").write_text(said)
    fake_npm(tmp_path / "bin", monkeypatch, f"cat {tmp_path / 'said'}; exit 1")
    with pytest.raises(kind, match=words):
        fetch(tmp_path)


def test_an_old_npm_says_it_on_standard_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code is found there, too."""
    fake_npm(tmp_path / "bin", monkeypatch, "echo 'npm ERR! code ETIMEDOUT' >&2; echo 'npm ERR! slow' >&2; exit 1")
    with pytest.raises(Unavailable, match="cannot reach its registry"):
        fetch(tmp_path)


def test_without_npm_the_command_says_how_to_do_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence on npm and one on --package."""
    monkeypatch.setenv("PATH", str(tmp_path))
    status, _, said = run(capsys, "viewer", "install", "--viewer-dir", str(tmp_path / "viewer"))
    assert status == 5 and "npm is not installed" in said and "--package" in said


def test_the_commands_install_show_and_remove(
    package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Into `viewer` of the data folder, with the package named."""
    folder = ["--data-dir", str(tmp_path / "data")]
    for command, status, words in (
        (["show"], 3, "No viewer is installed"),
        (["install", "--package", str(package)], 0, f"OHIF {VERSION} is in {tmp_path / 'data' / 'viewer'}"),
        (["show"], 0, "9 files"),
        (["remove"], 0, f"Removed OHIF {VERSION}"),
        (["remove"], 0, "No viewer is installed"),
    ):
        ended, out, err = run(capsys, "viewer", *command, *folder)
        assert ended == status and words in out + err


def test_an_unreadable_list_is_no_viewer(tmp_path: Path) -> None:
    """Whatever is in it."""
    for content in (b"", b"[]", b"{}", b'{"version": "1", "scripts": [], "files": {"a": {}}}'):
        (tmp_path / "files.json").write_bytes(content)
        assert load(tmp_path) is None
