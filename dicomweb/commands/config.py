"""`dicomweb config`: a TOML file of all settings, to begin with."""

import json
from collections.abc import Iterator
from pathlib import Path
from textwrap import wrap
from typing import Any

from pydantic import ByteSize

from dicomweb.commands.flags import ConfigFile, SettingFlags, resolve, show_default
from dicomweb.commands.printing import write
from dicomweb.settings import Settings, group_of

WIDTH = 110


def config(*, config: ConfigFile = None, settings: SettingFlags = None) -> None:
    """Write a TOML file of all settings: what they do and their defaults, commented out but for those that are set.

    What flags, DICOMWEB_* variables and the file of --config say is in it, the password of --database-url included.

    Example: dicomweb config --port 8080 > dicomweb.toml
    """
    write(*_lines(resolve(settings, config)))


def _lines(settings: Settings) -> Iterator[str]:
    yield "# Settings of dicomweb: dicomweb serve --config THIS_FILE, or DICOMWEB_CONFIG=THIS_FILE."
    yield "# Flags and DICOMWEB_* variables go before what is said here."
    group = ""
    for name, field in Settings.model_fields.items():
        if group_of(name) != group:
            group = group_of(name)
            yield f"\n# ---- {group}"
        yield ""
        yield from (f"# {line}" for line in wrap(field.description or "", WIDTH))
        value = getattr(settings, name)
        assignment = f"{name} = {_toml(value)}".rstrip()
        yield assignment if name in settings.model_fields_set else f"#{assignment}"


def _toml(value: Any) -> str:
    """Write a value as TOML does; nothing for None, which TOML has not."""
    if value is None:
        return ""
    if isinstance(value, ByteSize):
        return json.dumps(show_default(value))
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)
