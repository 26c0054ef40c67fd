"""Settings: one name in three places, precedence, messages."""

from pathlib import Path

import pytest

from dicomweb.settings import Settings, SettingsError, load, unknown_variables


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start every test without DICOMWEB_* variables of the machine."""
    import os

    for name in [name for name in os.environ if name.startswith("DICOMWEB_")]:
        monkeypatch.delenv(name)


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the four sources gives way to the one before it (design 2)."""
    file = tmp_path / "dicomweb.toml"
    file.write_text("port = 1001\nworkers = 11\nmax_results = 111\n")
    monkeypatch.setenv("DICOMWEB_PORT", "1002")
    monkeypatch.setenv("DICOMWEB_WORKERS", "12")
    settings = load({"port": 1003, "workers": None}, file)
    assert (settings.port, settings.workers, settings.max_results) == (1003, 12, 111)
    assert settings.host == "127.0.0.1"


def test_the_file_may_be_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DICOMWEB_CONFIG names the file when no flag does; dashes in its names are forgiven."""
    file = tmp_path / "dicomweb.toml"
    file.write_text('data-dir = "/srv/images"\ncors_origins = ["https://a.example"]\n')
    monkeypatch.setenv("DICOMWEB_CONFIG", str(file))
    settings = load()
    assert settings.data_dir == Path("/srv/images")
    assert settings.cors_origins == ["https://a.example"]


def test_nothing_is_read_from_the_environment_but_by_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Settings()` is the defaults, whatever the environment says."""
    monkeypatch.setenv("DICOMWEB_PORT", "1002")
    assert Settings().port == 8080


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("trusted_proxies", "10.0.0.0/8, ::1", ["10.0.0.0/8", "::1"]),
        ("refused_sop_classes", "", []),
        ("insecure_no_auth", "true", True),
        ("empty_search_status", "204", 204),
        ("max_request_bytes", "2GiB", 2 * 2**30),
        ("public_base_url", "https://pacs.example.org/dicom-web/", "https://pacs.example.org/dicom-web"),
    ],
)
def test_text_of_the_environment_is_understood(
    name: str, text: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lists are separated by commas, sizes have units, an empty variable is none."""
    monkeypatch.setenv(f"DICOMWEB_{name.upper()}", text)
    assert getattr(load(), name) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("port", "99999"),
        ("workers", "0"),
        ("duplicates", "sometimes"),
        ("log_level", "loud"),
        ("public_base_url", "pacs.example.org"),
        ("max_instance_bytes", "much"),
        ("empty_search_status", "500"),
    ],
)
def test_a_wrong_value_is_named(name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the setting where it was given (user-pains 18)."""
    monkeypatch.setenv(f"DICOMWEB_{name.upper()}", text)
    with pytest.raises(SettingsError, match=f"^DICOMWEB_{name.upper()}: .*{text}"):
        load()
    monkeypatch.delenv(f"DICOMWEB_{name.upper()}")
    with pytest.raises(SettingsError, match=f"^--{name.replace('_', '-')}: "):
        load({name: text})


def test_every_wrong_value_is_named_at_once(tmp_path: Path) -> None:
    """Two mistakes are two lines; a misspelled name in the file is one of them."""
    file = tmp_path / "dicomweb.toml"
    file.write_text("prot = 1\nworkers = 0\n")
    with pytest.raises(SettingsError) as caught:
        load(config=file)
    assert sorted(line.split(" in ")[0] for line in str(caught.value).splitlines()) == ["prot", "workers"]


def test_a_password_is_not_shown() -> None:
    """The message about a wrong database URL does not repeat it."""
    with pytest.raises(SettingsError) as caught:
        load({"database_url": "mysql://me:secret@db/x"})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(("text", "message"), [(None, "cannot be read"), ("port = ", "not valid TOML")])
def test_a_bad_file_is_named(tmp_path: Path, text: str | None, message: str) -> None:
    """A file that is missing or is no TOML is said to be so."""
    file = tmp_path / "dicomweb.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(SettingsError, match=f"dicomweb.toml.* {message}"):
        load(config=file)


def test_misspelled_variables_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A DICOMWEB_* variable that is no setting is told, not ignored."""
    monkeypatch.setenv("DICOMWEB_PROT", "1")
    monkeypatch.setenv("DICOMWEB_PORT", "1")
    monkeypatch.setenv("DICOMWEB_CONFIG", "x")
    assert unknown_variables() == ["DICOMWEB_PROT"]


def test_every_setting_is_described() -> None:
    """The README's table is made of the descriptions."""
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


@pytest.mark.parametrize("title", ["", "   ", "SEVENTEEN_LETTERS", "BACK\\SLASH", "TAB\t", "ÄE"])
def test_an_ae_title_that_is_none_is_refused(title: str) -> None:
    """G-006, PS3.5 6.2: 1 to 16 characters of the default repertoire."""
    with pytest.raises(SettingsError, match=r"--aet: must be 1 to 16 printable ASCII characters"):
        load({"aet": title})


def test_spaces_around_an_ae_title_mean_nothing() -> None:
    """G-006: leading and trailing spaces are insignificant, those inside are not."""
    assert load({"aet": "  CT 1 "}).aet == "CT 1"


def test_settings_travel_to_children_unchanged() -> None:
    """What the supervisor writes as JSON is what a child reads."""
    from dicomweb.process.lifeline import Orders

    orders = Orders("worker-1", Settings(port=1, cors_origins=["a", "b"], data_dir=Path("/x y")), 1, 2, {"http": 3})
    assert Orders.from_line(orders.to_line()) == orders
