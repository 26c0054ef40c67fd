"""Where the archive is that a command works on, and its settings."""

from dataclasses import dataclass
from pathlib import Path

from cyclopts import Parameter

from dicomweb.commands.flags import ConfigFile
from dicomweb.settings import Settings, load


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Location:
    """The flags by which a command finds its archive.

    Attributes
    ----------
    data_dir : path, optional
        Folder of the archive.
    database_url : str, optional
        postgresql:// URL of the database to use instead of the embedded PostgreSQL.
    config : path, optional
        TOML file of settings.
    """

    data_dir: Path | None = None
    database_url: str | None = None
    config: ConfigFile = None

    def settings(self, *, aet: str | None = None) -> Settings:
        """Bring the flags together with the environment, the file and the defaults; raises SettingsError."""
        given = {"data_dir": self.data_dir, "database_url": self.database_url, "aet": aet}
        return load(given, self.config)


DEFAULT = Location()
"""No flag is given."""
