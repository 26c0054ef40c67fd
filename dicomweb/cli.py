"""The command line: `dicomweb COMMAND`.

A new command is a function in a module of `dicomweb/commands` and one more line in `COMMANDS`; it is imported only
when it is run (or its help asked for).
"""

import os
import select
import sys
from collections.abc import Sequence

from dicomweb.commands.exit_status import ExitStatus, status_of
from dicomweb.commands.table import COMMANDS, make_app
from dicomweb.settings import SettingsError, unknown_variables
from storage.errors import ArchiveError

SAFE_PATH = "PYTHONSAFEPATH"
"""Set, no Python that this one starts looks for modules in the current folder: a `storage.py` there would be run."""

OUTPUTS = (1, 2)
"""Standard output and standard error."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that the arguments (by default those of the process) name; ends the process."""
    os.environ[SAFE_PATH] = "1"
    try:
        try:
            _run(list(sys.argv[1:] if arguments is None else arguments))
        except SystemExit:
            _flush()
            raise
    except BrokenPipeError:
        if not _abandon_closed_outputs():
            raise  # it was a connection
        sys.exit(ExitStatus.PIPE_CLOSED)


def _run(given: Sequence[str]) -> None:
    for name in unknown_variables():
        sys.stderr.write(f"warning: the environment variable {name} is no setting of dicomweb\n")
    wanted = [given[0]] if given and given[0] in COMMANDS else tuple(COMMANDS)
    try:
        make_app(wanted)(given)
    except (SettingsError, ArchiveError) as error:
        sys.stderr.write(f"dicomweb: {error}\n")
        sys.exit(status_of(error))
    except KeyboardInterrupt:
        sys.exit(ExitStatus.INTERRUPTED)


def _flush() -> None:
    """Write what is still to be written while it can be said that nobody reads it."""
    if sys.stdout is not None:  # started with it closed
        sys.stdout.flush()


def _abandon_closed_outputs() -> bool:
    """Let what is written to outputs that nobody reads any more vanish; tells whether there are any."""
    poll = select.poll()
    for number in OUTPUTS:
        poll.register(number, 0)
    closed = [number for number, events in poll.poll(0) if events & select.POLLERR]
    if closed:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for number in closed:
            os.dup2(nowhere, number)
    return bool(closed)


if __name__ == "__main__":
    main()
