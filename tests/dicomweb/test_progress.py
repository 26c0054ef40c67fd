"""The progress of a long command."""

import io

import pytest

from dicomweb import progress
from dicomweb.progress import Progress, duration


class Terminal(io.StringIO):
    """Says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_elsewhere_than_on_a_terminal_there_are_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log gets a line now and then: files, rates, and the time left once the total is known."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    with Progress("Importing", stream) as shown:
        shown.expect(2000, 2_000_000)
        now[0] = 5.0
        shown.advance(500, 500_000)
        assert stream.getvalue() == ""
        now[0] = 10.0
        shown.advance(500, 500_000)
        shown.expect(0, settled=True)
        now[0] = 20.0
        shown.advance(500, 500_000)
    assert stream.getvalue().splitlines() == [
        "Importing: 1,000 files, 100 files/s, 0.1 MB/s",
        "Importing: 1,500 of 2,000 files, 75 files/s, 0.1 MB/s, 0:07 left",
    ]


def test_on_a_terminal_there_is_a_bar_that_leaves_nothing_behind() -> None:
    """The bar is taken away at its end; notes stay."""
    stream = Terminal()
    with Progress("Checking", stream) as shown:
        shown.expect(1, settled=True)
        shown.advance()
        shown.note("[bold]a note[/bold]")
    assert "[bold]a note[/bold]" in stream.getvalue()


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (61, "1:01"), (3600 * 30 + 62, "30:01:02")])
def test_durations_are_written_as_on_a_clock(seconds: float, text: str) -> None:
    """Hours only when there are any."""
    assert duration(seconds) == text
