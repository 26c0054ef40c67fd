"""Every setting of the program, under one name in three places.

`--data-dir` on the command line, `DICOMWEB_DATA_DIR` in the environment and `data_dir` in the TOML file are
the same setting; the first of them that is present wins, else the default. `load` is the only place that reads
the environment; `Settings()` alone is the defaults, whatever the environment says.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ByteSize, Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from storage.dicom.elements import Limits
from storage.policy import Policy
from storage.system.errors import in_words

PREFIX = "DICOMWEB_"
GIB = 1 << 30

# A list is repeated flags, a TOML array, or one string separated by commas (environment).
TextList = Annotated[list[str], NoDecode]

_HOST_PATTERN = re.compile(r"(?:\*|(?:\*\.)?[A-Za-z0-9_~-]+(?:\.[A-Za-z0-9_~-]+)*\.?)\Z")

AETitle = Annotated[str, AfterValidator(lambda title: ae_title(title))]


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
    user: str | None = Field(
        None,
        description="User to serve as when root starts the server; without it the owner of the data folder, else the "
        "system user dicomweb, which is made. root stays root.",
    )
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
    allowed_hosts: TextList = Field(
        [],
        description="Names by which the archive may be called, such as pacs.hospital.example or *.hospital.example, "
        "* for any; localhost, addresses, this machine's own names and those of host and public_base_url always are.",
    )
    cors_origins: TextList = Field(
        [],
        description="Web origins besides the archive's own whose scripts may use it, such as "
        "https://viewer.example.org; localhost means whatever this machine serves, on any port, * every origin "
        "there is.",
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
        description="What to do with a different data set under the UIDs of a stored one.",
    )
    require_accept: bool = Field(
        False, description="Refuse requests without an Accept header, as PS3.18 8.3.3.1 allows."
    )
    lenient_retrieve: bool = Field(
        False,
        description="Take window=center,width without a function as linear, and WADO-URI with the objectUID alone.",
    )
    strict_uids: bool = Field(False, description="Refuse UIDs in URLs that break PS3.5 section 9.")
    empty_search_status: Literal[200, 204] = Field(
        200, description="Status of a search that finds nothing: 200 with [] or 204 without a body."
    )
    refused_sop_classes: TextList = Field([], description="SOP Class UIDs that are not stored.")
    refused_transfer_syntaxes: TextList = Field([], description="Transfer Syntax UIDs that are not stored.")

    max_requests_in_flight: int = Field(
        256,
        ge=1,
        description="Most requests of a kind (short, downloads, uploads) that one worker process works on, waiting for "
        "clients not counted; more are told to come again.",
    )
    max_connections: int = Field(
        4096,
        ge=16,
        description="Most HTTP connections of one worker process; when they run short those without a request "
        "give way.",
    )
    least_rate: ByteSize = Field(
        ByteSize(500),
        description="Bytes a second, over two minutes, that a client or peer must send or take while we wait for it; "
        "0 for any.",
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
    max_parts: int = Field(100_000, ge=1, description="Most parts, data sets or files in one request.")
    bulk_threshold: ByteSize = Field(
        ByteSize(4096),
        ge=0,
        description="Binary values longer than this become a BulkDataURI in metadata, others at 16 times it.",
    )
    max_results: int = Field(5000, ge=1, description="Most results of one search, whatever it asks for.")
    default_results: int = Field(5000, ge=1, description="Results of a search that names no limit.")

    viewer_dir: Path | None = Field(
        None, description="Folder of the installed viewer; without it the folder viewer of the data folder."
    )
    viewer_config: Path | None = Field(
        None, description="JavaScript file that changes window.config, the viewer's configuration, after ours."
    )
    isolate_viewer: bool = Field(
        False, description="Isolate the viewer's page from other origins (COOP, COEP), for SharedArrayBuffer."
    )

    dimse: bool = Field(True, description="Serve modalities and workstations over DIMSE.")
    aet: AETitle = Field("DICOMWEB", description="AE title of the archive.")
    dimse_host: str | None = Field(None, description="Address to listen on for DIMSE; without it that of host.")
    dimse_port: int = Field(11112, ge=0, le=65535, description="TCP port for DIMSE; 0 takes any free port.")
    dimse_tls_port: int | None = Field(
        None, ge=0, le=65535, description="TCP port for DIMSE over TLS (2762 is registered); without it there is none."
    )
    dimse_tls_certificate: Path | None = Field(
        None, description="PEM file of the archive's certificate, and of the chain above it."
    )
    dimse_tls_key: Path | None = Field(
        None, description="PEM file of the private key; without it the certificate's file holds it."
    )
    dimse_tls_ca: Path | None = Field(
        None, description="PEM file of the authorities whose certificates are believed of peers; else the system's."
    )
    dimse_tls_client_certificates: Literal["none", "optional", "required"] = Field(
        "none", description="Whether peers must show a certificate of their own over TLS."
    )
    dimse_any_calling_ae: bool | None = Field(
        None,
        description="Talk to AE titles that are not among the peers; without it only when listening on loopback.",
    )
    dimse_any_called_ae: bool = Field(False, description="Answer to every called AE title, not only to aet.")
    dimse_max_associations: int = Field(
        100, ge=1, le=10_000, description="Most associations that are worked for at once; idle ones do not count."
    )
    dimse_max_connections: int = Field(
        4096,
        ge=16,
        description="Most DIMSE connections; when they run short the idle ones give way, the longest idle first.",
    )
    dimse_max_pdu: int = Field(
        131072, ge=4096, le=1 << 24, description="Longest PDU, in bytes, that peers are told to send."
    )
    dimse_acse_timeout: float = Field(
        30, gt=0, le=3600, description="Seconds a peer may take to ask for, to answer and to end an association."
    )
    dimse_timeout: float = Field(
        60, gt=0, le=3600, description="Seconds a peer may take to answer, or to go on with a message."
    )
    dimse_idle_timeout: float = Field(
        600, gt=0, le=86400, description="Seconds without any message after which an association is ended."
    )
    dimse_preferred_transfer_syntaxes: TextList = Field(
        [],
        description="Transfer Syntax UIDs to choose first, in this order, of those a peer proposes; without it the "
        "first proposed that loses nothing, Implicit VR only when there is no other.",
    )
    dimse_unknown_sop_classes: Literal["store", "refuse"] = Field(
        "store", description="Whether instances of private SOP classes, and of ones too new to be known, are stored."
    )
    dimse_mismatched_uids: Literal["refuse", "store"] = Field(
        "refuse",
        description="What to do when a C-STORE names another instance than its data set: A900, or B007 and stored.",
    )
    dimse_relational_queries: bool = Field(
        True, description="Answer C-FIND, C-MOVE and C-GET that leave out unique keys above their level."
    )
    passcode_key: Path | None = Field(
        None,
        description="File of the key that the passcodes we show peers are sealed with in the database; without it "
        "passcodes.key in the data folder. It is made when it is missing.",
    )
    commitment_downstream: AETitle | None = Field(
        None, description="AE title of a peer that must have committed, too, before a storage commitment is given."
    )
    commitment_retry_seconds: float = Field(
        30, gt=0, le=86400, description="First pause before a commitment report is tried again; it doubles each time."
    )
    commitment_give_up_hours: float = Field(
        72, gt=0, le=8760, description="How long the delivery of a commitment report is tried."
    )
    availability_delay_seconds: float = Field(
        60, ge=0, le=86400, description="How long nothing may arrive for a study before it is announced as available."
    )
    worklist_keep_days: int | None = Field(
        None,
        ge=1,
        le=36500,
        description="Days after which worklist items are deleted, counted from when their last step was to start; "
        "without it they stay.",
    )
    worklist_hides_finished: bool = Field(
        True,
        description="Leave completed and discontinued steps out of worklist answers, unless their status is asked for.",
    )
    scrub_days: float = Field(
        30,
        ge=0,
        le=36500,
        description="Days in which every stored file is read once, in the background, to find damage; 0 for never.",
    )
    heal_from: TextList = Field(
        [], description="AE titles of peers that are asked, by C-GET, for instances whose stored file is damaged."
    )

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
        "trusted_proxies",
        "allowed_hosts",
        "cors_origins",
        "refused_sop_classes",
        "refused_transfer_syntaxes",
        "dimse_preferred_transfer_syntaxes",
        "heal_from",
        mode="before",
    )
    @classmethod
    def _split_commas(cls, value: object) -> object:
        if isinstance(value, str):
            return [item.strip() for item in value.split(",") if item.strip()]
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _names_of_hosts(cls, value: list[str]) -> list[str]:
        for name in value:
            if not _HOST_PATTERN.match(name):
                raise ValueError(
                    f"{name!r} is no name of a host; give names without scheme and port, such as "
                    "pacs.hospital.example, *.hospital.example for all below it, or * for any"
                )
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

    def folder_of_viewer(self) -> Path:
        """Where versions of the viewer are installed."""
        return (self.viewer_dir or self.data_dir / "viewer").expanduser()

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


GROUPS: Mapping[str, str] = {
    "Server": "host",
    "What is taken and answered": "duplicates",
    "Limits": "max_requests_in_flight",
    "Viewer": "viewer_dir",
    "DIMSE": "dimse",
    "Commitment, availability and worklist": "commitment_downstream",
    "Upkeep": "scrub_days",
}
"""Name of a group of settings to the first of them, in their order: for whoever reads all of them."""


def group_of(name: str) -> str:
    """Return the name of the group that a setting belongs to."""
    names = list(Settings.model_fields)
    return [group for group, first in GROUPS.items() if names.index(first) <= names.index(name)][-1]


def ae_title(text: str) -> str:
    """Return an AE title without the spaces around it, which mean nothing; raises ValueError when it is none.

    Standard
    --------
    PS3.5 6.2, VR AE: 1 to 16 characters, neither backslash nor control characters.
    """
    title = text.strip(" ")
    if not 1 <= len(title) <= 16 or "\\" in title or not (title.isascii() and title.isprintable()):
        raise ValueError("must be 1 to 16 printable ASCII characters without a backslash")
    return title


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
        raise SettingsError(f"The settings file {path} cannot be read: {in_words(error)}.") from None
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
