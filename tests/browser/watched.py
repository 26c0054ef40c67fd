"""A page of the browser that remembers what went wrong in it."""

from typing import Any
from urllib.parse import urlsplit

OUTSIDE = ("blob:", "data:", "chrome:", "chrome-extension:", "about:")
"""Addresses that are no requests to anybody; the last but one are Chromium's own PDF viewer."""


class Watched:
    """A Playwright `Page`, and its problems: errors on the console, uncaught exceptions, failed requests, answers
    of 400 and more, and requests to any other host.

    Attributes
    ----------
    page
        The page.
    problems : list of str
        What went wrong, in order.
    excused : tuple of str
        Pieces of messages that are no fault of ours.
    """

    def __init__(self, page: Any) -> None:
        self.page = page
        self.problems: list[str] = []
        self.excused: tuple[str, ...] = ()
        self.requests: list[str] = []
        self._host = ""
        page.on("console", self._said)
        page.on("pageerror", lambda error: self._note(f"exception: {error}"))
        page.on("request", self._asked)
        page.on("requestfailed", self._failed)
        page.on("response", self._answered)

    def open(self, url: str) -> None:
        """Go to an address; from then on requests to other hosts are problems."""
        self._host = urlsplit(url).netloc
        self.page.goto(url)

    def text(self) -> str:
        """What can be read on it; why not when it does not answer any more."""
        try:
            return str(self.page.locator("body").inner_text(timeout=2000))
        except Exception as error:
            return f"(it cannot be read: {error})"

    def _note(self, problem: str) -> None:
        if not any(piece in problem for piece in self.excused):
            self.problems.append(problem)

    def _said(self, message: Any) -> None:
        if message.type == "error":
            self._note(f"console: {message.text}")

    def _asked(self, request: Any) -> None:
        self.requests.append(f"{request.method} {request.url}")
        if not request.url.startswith(OUTSIDE) and urlsplit(request.url).netloc != self._host:
            self._note(f"request to another host: {request.url}")

    def _failed(self, request: Any) -> None:
        # A page that is left, or a viewport that is scrolled on, gives up what it asked for.
        if "ERR_ABORTED" not in str(request.failure):
            self._note(f"{request.failure}: {request.method} {request.url}")

    def _answered(self, response: Any) -> None:
        if response.status >= 400:
            self._note(f"{response.status}: {response.request.method} {response.url}")
