"""The process that stays root when the server does not: it starts the embedded database, as the database's own user.

Facts this module keeps:

- It reads nothing but its first line (settings, folder, and the user who connects) and the words of `ORDERS` from the
  supervisor, who has been somebody else since. Nothing that a client sends comes near it.
- Every order is answered by one line of JSON: {"value": ...}, or {"error": class of `storage/errors.py`, "text": ...}.
- When the pipe closes the supervisor is gone: this process ends at once, by which the database shuts down (it asked the
  kernel for that signal), just as if the supervisor itself had kept it.
- Signals are for the supervisor, who stops the database last.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from dicomweb.settings import Settings
from dicomweb.telemetry import logs
from storage.database.embedded import EmbeddedPostgres
from storage.errors import ArchiveError
from storage.system.account import Account

START, ALIVE, STOP = ORDERS = ("start", "alive", "stop")
ENDS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def first_line(settings: Settings, folder: Path, client: Account) -> str:
    """Write what the process is told first."""
    user = [client.user_id, client.group_id]
    return json.dumps({"settings": settings.model_dump(mode="json"), "folder": str(folder), "client": user}) + "\n"


def main() -> None:
    """Take orders until the pipe closes."""
    for number in ENDS:  # a handler, since what is ignored would be ignored by the database, too
        signal.signal(number, lambda *_: None)
    told = json.loads(sys.stdin.readline())
    logs.configure(Settings(**told["settings"]), "database")
    server = EmbeddedPostgres(Path(told["folder"]), client=Account(*told["client"]))
    orders: dict[str, Callable[[], Any]] = {START: server.start, ALIVE: server.alive, STOP: server.stop}
    for line in sys.stdin:
        print(json.dumps(_answer(orders[line.strip()])), flush=True)  # noqa: T201 - the supervisor reads it
    os._exit(0)


def _answer(order: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"value": order()}
    except (ArchiveError, OSError) as error:
        return {"error": type(error).__name__, "text": str(error)}


if __name__ == "__main__":
    main()
