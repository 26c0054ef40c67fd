"""Exit statuses: one for each kind of mistake, the same everywhere, and in the README."""

import re

import pytest

from dicomweb.commands.exit_status import MEANINGS, ExitStatus, status_of
from dicomweb.settings import SettingsError
from storage import errors
from tests.corpus import REPOSITORY


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (SettingsError("no such flag"), 2),
        (errors.InvalidQuery("no date"), 2),
        (errors.WrongDatabaseUrl("none"), 2),
        (errors.NotFound("no archive"), 3),
        (errors.InUse("another server"), 4),
        (errors.ForeignFiles("of others"), 4),
        (errors.Unavailable("no database"), 5),
        (errors.Busy("too much"), 5),
        (errors.OutOfSpace("full"), 5),
        (errors.InvalidDicom("cut off"), 1),
    ],
)
def test_a_kind_of_mistake_has_one_status(error: Exception, status: int) -> None:
    """An error that is not listed ends as its nearest base does."""
    assert status_of(error) == status


def test_the_readme_says_what_each_means() -> None:
    """The table of the README is that of the program."""
    table = (REPOSITORY / "README.md").read_text().partition("<!-- exit statuses -->")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", table, flags=re.MULTILINE)
    assert {ExitStatus(int(number)): text for number, text in rows} == MEANINGS
