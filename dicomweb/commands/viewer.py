"""`dicomweb viewer`: OHIF, installed into the data folder and served by the archive."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from dicomweb.commands.exit_status import ExitStatus
from dicomweb.commands.flags import ConfigFile
from dicomweb.commands.printing import Json, say, write_either
from dicomweb.settings import Settings, load

if TYPE_CHECKING:
    from dicomweb.http.viewer.installed import Viewer

viewer = App(
    name="viewer",
    help="""Install OHIF, the viewer in a browser, remove it, or show what is installed.

    A running server serves it at once at / and /viewer.

    Example: dicomweb viewer install""",
)


@viewer.command
def install(
    *,
    package: Annotated[Path | None, Parameter(name="--package")] = None,
    json: Json = False,
    data_dir: Path | None = None,
    viewer_dir: Path | None = None,
    config: ConfigFile = None,
) -> None:
    """Fetch OHIF with npm and install it; does nothing when it is installed.

    Example: dicomweb viewer install --data-dir ./dicomweb-data

    Parameters
    ----------
    package
        File that `npm pack` made on another machine, for where there is no npm or no network.
    json
        Write what is installed as JSON.
    data_dir
        Folder of the archive.
    viewer_dir
        Another folder than `viewer` in there.
    """
    from dicomweb.http.viewer import installation

    folder = _folder(load({"data_dir": data_dir, "viewer_dir": viewer_dir}, config))
    installed = installation.install(folder, package=package, tell=say)
    write_either(_facts(installed), _line(installed), as_json=json)
    say("A running server serves it at once.")


@viewer.command
def remove(
    *,
    json: Json = False,
    data_dir: Path | None = None,
    viewer_dir: Path | None = None,
    config: ConfigFile = None,
) -> None:
    """Remove OHIF; `dicomweb viewer install` brings it back.

    Example: dicomweb viewer remove

    Parameters
    ----------
    json
        Write the versions that were removed as JSON.
    data_dir
        Folder of the archive.
    viewer_dir
        Another folder than `viewer` in there.
    """
    from dicomweb.http.viewer import installation

    removed = installation.remove(_folder(load({"data_dir": data_dir, "viewer_dir": viewer_dir}, config)))
    line = f"Removed OHIF {', '.join(removed)}." if removed else "No viewer is installed."
    write_either({"removed": removed}, line, as_json=json)


@viewer.command
def show(
    *,
    json: Json = False,
    data_dir: Path | None = None,
    viewer_dir: Path | None = None,
    config: ConfigFile = None,
) -> None:
    """Show which version is served, and whether it is complete; exit status 1 when not, 3 when there is none.

    Example: dicomweb viewer show

    Parameters
    ----------
    json
        Write it as JSON.
    data_dir
        Folder of the archive.
    viewer_dir
        Another folder than `viewer` in there.
    """
    from dicomweb.http.viewer.installed import newest

    found = newest(_folder(load({"data_dir": data_dir, "viewer_dir": viewer_dir}, config)))
    if found is None:
        say("No viewer is installed; `dicomweb viewer install` does it.")
        sys.exit(ExitStatus.NOT_FOUND)
    write_either(_facts(found), _line(found), as_json=json)
    if missing := found.missing():
        say(f"{len(missing)} files are missing or damaged; `dicomweb viewer install` mends it.")
        sys.exit(ExitStatus.INCOMPLETE)


def _folder(settings: Settings) -> Path:
    return settings.folder_of_viewer().resolve()


def _facts(viewer: "Viewer") -> dict[str, Any]:
    return {
        "version": viewer.version,
        "folder": str(viewer.folder),
        "files": len(viewer.files),
        "bytes": sum(file.stored for file in viewer.files.values()),
        "missing": len(viewer.missing()),
    }


def _line(viewer: "Viewer") -> str:
    size = sum(file.stored for file in viewer.files.values())
    return f"OHIF {viewer.version} is in {viewer.folder}: {len(viewer.files)} files, {size / 1e6:.0f} MB"
