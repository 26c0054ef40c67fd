"""Every setting of the program, under one name in three places.

`--data-dir` on the command line, `DICOMWEB_DATA_DIR` in the environment and `data_dir` in the TOML file are
the same setting; the first of them that is present wins, else the default. `load` is the only place that reads
the environment; `Settings()` alone is the defaults, whatever the environment says.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ByteSize, Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from storage.elements import Limits
from storage.policy import Policy

PREFIX = "DICOMWEB_"
GIB = 1 << 30

# A list is repeated flags, a TOML array, or one string separated by commas (environment).
TextList = Annotated[list[str], NoDecode]


class SettingsError(Exception):
    """A setting is wrong; the message names it, says where it came from and what is expected."""


class Settings(BaseSettings):
    """The settings of the archive, validated and immutable."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="forbid", frozen=True, env_ignore_empty=True, validate_default=True
    )

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8080, ge=0, le=65535, description="TCP port to listen on; 0 takes any free port.")
    data_dir: Path = Field(
        Path("dicomweb-data"),
        description="Folder of the stored files and, without database_url, of the embedded PostgreSQL.",
    )
    database_url: str | None = Field(
        None, description="postgresql:// URL of a database to use instead of the embedded PostgreSQL."
    )
    database_connections: int = Field(8, ge=1, le=1000, description="Most database connections of one worker process.")
    workers: int = Field(2, ge=1, le=256, description="Number of HTTP worker processes.")
    insecure_no_auth: bool = Field(
        False, description="Allow listening on an address other machines can reach, without authentication."
    )
    public_base_url: str | None = Field(
        None,
        description="URL of the DICOMweb root as clients see it, such as https://pacs.example.org/dicom-web; "
        "without it the URL follows the request and its Forwarded or X-Forwarded-* headers.",
    )
    trusted_proxies: TextList = Field(
        ["127.0.0.1", "::1"],
        description="Addresses or networks of reverse proxies whose forwarding headers are believed.",
    )
    cors_origins: TextList = Field(
        ["*"], description="Web origins whose scripts may use the archive; * means every origin."
    )
    shutdown_grace_seconds: float = Field(
        30, ge=0, le=3600, description="How long requests in flight may go on after a stop was asked for."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severity that is logged."
    )
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="json: one JSON object a line; text: short lines; auto: text on a terminal."
    )

    duplicates: Literal["keep-first", "replace"] = Field(
        "keep-first",
        description="What to do with a different file under the UIDs of a stored one.",
    )
    require_accept: bool = Field(
        False, description="Refuse requests without an Accept header, as PS3.18 8.3.3.1 allows."
    )
    strict_uids: bool = Field(False, description="Refuse UIDs in URLs that break PS3.5 section 9.")
    empty_search_status: Literal[200, 204] = Field(
        200, description="Status of a search that finds nothing: 200 with [] or 204 without a body."
    )
    refused_sop_classes: TextList = Field([], description="SOP Class UIDs that are not stored.")
    refused_transfer_syntaxes: TextList = Field([], description="Transfer Syntax UIDs that are not stored.")

    max_requests_in_flight: int = Field(
        256, ge=1, description="Most requests one worker process answers at once; more are told to come again."
    )
    render_threads: int = Field(
        2, ge=1, le=256, description="Pictures one worker process decodes and renders at once, one processor core each."
    )
    render_queue: int = Field(
        64,
        ge=0,
        description="Most requests of one worker process that wait for a picture; more are told to come again.",
    )
    render_cache_bytes: ByteSize = Field(
        ByteSize(64 << 20), description="Most bytes of rendered pictures one worker process remembers; 0 for none."
    )
    max_request_bytes: ByteSize = Field(ByteSize(64 * GIB), ge=1, description="Largest body of one request.")
    max_instance_bytes: ByteSize = Field(ByteSize(16 * GIB), ge=1, description="Largest instance stored.")
    min_free_bytes: ByteSize = Field(
        ByteSize(256 << 20), description="Nothing is stored when less than this is free on the disk of the data folder."
    )
    max_inflated_bytes: ByteSize = Field(
        ByteSize(8 * GIB),
        ge=1,
        description="Largest size a deflated data set may grow to.",
    )
    max_parts: int = Field(100_000, ge=1, description="Most parts in one multipart request.")
    bulk_threshold: ByteSize = Field(
        ByteSize(4096),
        ge=0,
        description="Binary values longer than this become a BulkDataURI in metadata, others at 16 times it.",
    )
    max_results: int = Field(5000, ge=1, description="Most results of one search, whatever it asks for.")
    default_results: int = Field(5000, ge=1, description="Results of a search that names no limit.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *others: PydanticBaseSettingsSource,
        **named: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take values from the call alone; `load` brings the environment and the file together."""
        return (init_settings,)

    @field_validator(
        "trusted_proxies", "cors_origins", "refused_sop_classes", "refused_transfer_syntaxes", mode="before"
    )
    @classmethod
    def _split_commas(cls, value: object) -> object:
        if isinstance(value, str):
            return [item.strip() for item in value.split(",") if item.strip()]
        return value

    @field_validator("empty_search_status", mode="before")
    @classmethod
    def _number(cls, value: object) -> object:
        return int(value) if isinstance(value, str) and value.isdecimal() else value

    @field_validator("public_base_url")
    @classmethod
    def _plain_http_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not value.startswith(("http://", "https://")) or "?" in value or "#" in value:
            raise ValueError("must be an http:// or https:// URL without query, such as https://host/dicom-web")
        return value.rstrip("/")

    @field_validator("database_url")
    @classmethod
    def _postgresql_url(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("postgresql://", "postgres://")):
            raise ValueError("must start with postgresql://")
        return value

    def policy(self) -> Policy:
        """What the archive accepts and how it keeps it."""
        return Policy(
            duplicates=self.duplicates,
            max_instance_bytes=self.max_instance_bytes,
            min_free_bytes=self.min_free_bytes,
            bulk_threshold=self.bulk_threshold,
            strict_uids=self.strict_uids,
            refused_sop_classes=frozenset(self.refused_sop_classes),
            refused_transfer_syntaxes=frozenset(self.refused_transfer_syntaxes),
            limits=Limits(max_inflated_bytes=self.max_inflated_bytes),
        )


def load(flags: Mapping[str, object] | None = None, config: Path | None = None) -> Settings:
    """Bring the settings together: flags, then DICOMWEB_* variables, then the TOML file, then defaults.

    Parameters
    ----------
    flags
        Values of the command line by setting name; those that are None were not given.
    config
        The TOML file; without it the file named by DICOMWEB_CONFIG, if any.

    Raises
    ------
    SettingsError
        The file cannot be read, a name is unknown or a value is wrong.
    """
    if config is None and os.environ.get(PREFIX + "CONFIG"):
        config = Path(os.environ[PREFIX + "CONFIG"])
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    environment = EnvSettingsSource(Settings)()
    file = {} if config is None else _read_file(config)
    places = {name: f"{name} in {config}" for name in file}
    places |= {name: PREFIX + name.upper() for name in environment}
    places |= {name: flag(name) for name in given}
    try:
        return Settings(**{**file, **environment, **given})
    except ValidationError as error:
        raise SettingsError(explain(error, places)) from None


def flag(name: str) -> str:
    """The flag of a setting, such as `--data-dir` of `data_dir`."""
    return "--" + name.replace("_", "-")


def explain(error: ValidationError, places: Mapping[str, str]) -> str:
    """Say what is wrong with each setting, one line each.

    Parameters
    ----------
    error
        What pydantic found.
    places
        Where each setting was given, by its name.
    """
    return "\n".join(_explain(problem, places) for problem in error.errors())


def unknown_variables() -> list[str]:
    """Name the DICOMWEB_* environment variables that are no setting, most likely misspelled."""
    known = {PREFIX + name.upper() for name in (*Settings.model_fields, "config")}
    return sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)


def _read_file(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"The settings file {path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"The settings file {path} is not valid TOML: {error}.") from None
    return {name.replace("-", "_"): value for name, value in values.items()}


def _explain(problem: Mapping[str, Any], places: Mapping[str, str]) -> str:
    name = str(problem["loc"][0])
    place = places.get(name, name)
    if problem["type"] == "extra_forbidden":
        return f"{place}: there is no setting of this name."
    reason = problem["msg"].removeprefix("Value error, ")
    shown = "" if name == "database_url" else f" (given: {problem['input']!r})"  # it may hold a password
    return f"{place}: {reason[:1].lower() + reason[1:]}{shown}."
