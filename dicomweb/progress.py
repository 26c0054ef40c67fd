"""How far a long command has come: a bar on a terminal, a plain line now and then elsewhere.

It goes to standard error, so that standard output holds results alone.
"""

import sys
import threading
import time
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

LINE_EVERY = 10.0
"""Seconds between plain lines."""


class Progress:
    """Counts files and bytes, and shows them; use as a context manager. Safe to call from several threads.

    Parameters
    ----------
    verb : str
        What is being done, such as "Importing".
    stream : TextIO, optional
        Where to show it; standard error by default.
    """

    def __init__(self, verb: str, stream: TextIO | None = None) -> None:
        self._verb = verb
        self._stream = stream or sys.stderr
        self._lock = threading.Lock()
        self._files = self._bytes = 0
        self._all_files = self._all_bytes = 0
        self._settled = False
        self._started = self._last_line = time.monotonic()
        self._bar: Bar | None = None

    def __enter__(self) -> Self:
        self._started = self._last_line = time.monotonic()
        if self._stream.isatty():
            columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.fields[text]}"))
            self._bar = Bar(*columns, console=Console(file=self._stream), transient=True)
            self._bar.add_task(self._verb, total=None, text="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def expect(self, files: int, size: int = 0, *, settled: bool = False) -> None:
        """Add to what there is to do (or take away); `settled` says that this is all."""
        with self._lock:
            self._all_files += files
            self._all_bytes += size
            self._settled = self._settled or settled

    def advance(self, files: int = 1, size: int = 0) -> None:
        """Add to what is done, in files and bytes."""
        with self._lock:
            self._files += files
            self._bytes += size
            self._show()

    def tell(self, line: str) -> None:
        """Write a line of the result to standard output, above the bar when both are on one terminal."""
        with self._lock:
            if self._bar is not None and sys.stdout.isatty():
                self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
            else:
                sys.stdout.write(line + "\n")

    def note(self, line: str) -> None:
        """Write a line to where the progress is shown."""
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            self._stream.write(line + "\n")
            self._stream.flush()

    def _show(self) -> None:
        if self._bar is not None:
            total = 1.0 if self._settled else None
            self._bar.update(self._bar.task_ids[0], completed=self._fraction(), total=total, text=self._text())
        elif time.monotonic() - self._last_line >= LINE_EVERY:
            self._last_line = time.monotonic()
            self._stream.write(f"{self._verb}: {self._text()}\n")
            self._stream.flush()

    def _fraction(self) -> float:
        """The share that is done: large files take long by their bytes, small ones by their number."""
        parts = [self._files / max(self._all_files, self._files, 1)]
        if self._all_bytes > 0:
            parts.append(self._bytes / max(self._all_bytes, self._bytes, 1))
        return sum(parts) / len(parts)

    def _text(self) -> str:
        seconds = max(time.monotonic() - self._started, 1e-3)
        total = f" of {self._all_files:,}" if self._settled else ""
        pieces = [f"{self._files:,}{total} files", f"{self._files / seconds:,.0f} files/s"]
        if self._bytes:
            pieces.append(f"{self._bytes / seconds / 1e6:,.1f} MB/s")
        done = self._fraction()
        if self._settled and 0 < done < 1 and seconds > 1:
            pieces.append(f"{duration(seconds * (1 - done) / done)} left")
        return ", ".join(pieces)


def duration(seconds: float) -> str:
    """Write seconds as h:mm:ss, or m:ss below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
