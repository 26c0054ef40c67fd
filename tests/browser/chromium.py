"""Where Chromium is, and how it is started where there is no screen and no graphics card."""

import shutil
from typing import Any

FLAGS = (
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # WebGL in software
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
)
DESKTOP: Any = {"width": 1400, "height": 900}


def chromium_path() -> str | None:
    """Return the path of Chromium, None when it is not installed (Debian: apt install chromium)."""
    return shutil.which("chromium") or shutil.which("chromium-browser")
