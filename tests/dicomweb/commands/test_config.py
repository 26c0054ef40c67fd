"""`dicomweb config`: the file it writes is one that `serve` takes."""

import re
import tomllib
from pathlib import Path

import pytest

from dicomweb.settings import Settings, load
from tests.dicomweb.test_cli import run


def test_the_file_says_every_setting_and_its_default(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As it is nothing is set; with every default let in, the settings are the defaults."""
    status, out, _ = run(capsys, "config")
    assert (status, tomllib.loads(out)) == (0, {})
    let_in = re.sub(r"^#(?=\w+ = .)", "", out, flags=re.MULTILINE)
    path = tmp_path / "dicomweb.toml"
    path.write_text(let_in)
    assert load(config=path).model_dump() == Settings().model_dump()
    named = set(re.findall(r"^#(\w+) =", out, flags=re.MULTILINE))
    assert named == set(Settings.model_fields)


def test_what_is_set_is_in_force_in_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flags and variables of today become the file of tomorrow."""
    monkeypatch.setenv("DICOMWEB_MAX_INSTANCE_BYTES", "2 GiB")
    _, out, _ = run(capsys, "config", "--port", "99", "--refused-sop-classes", "1.2", "--refused-sop-classes", "1.3")
    path = tmp_path / "dicomweb.toml"
    path.write_text(out)
    monkeypatch.delenv("DICOMWEB_MAX_INSTANCE_BYTES")
    read = load(config=path)
    assert read.model_fields_set == {"port", "max_instance_bytes", "refused_sop_classes"}
    assert (read.port, read.max_instance_bytes, read.refused_sop_classes) == (99, 2 << 30, ["1.2", "1.3"])
