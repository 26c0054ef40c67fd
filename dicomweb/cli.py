"""The command line: `dicomweb COMMAND`.

A new command is a function in a module of `dicomweb/commands` and one more line in `COMMANDS`; it is imported only
when it is run (or its help asked for).
"""

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module

from cyclopts import App

from dicomweb.settings import SettingsError, unknown_variables
from dicomweb.version import program_version
from storage.errors import ArchiveError

COMMANDS: Mapping[str, str] = {
    "serve": "dicomweb.commands.serve:serve",
    "import": "dicomweb.commands.import_:import_",
    "check": "dicomweb.commands.check:check",
    "reindex": "dicomweb.commands.reindex:reindex",
    "peers": "dicomweb.commands.peers:peers",
    "jobs": "dicomweb.commands.jobs:jobs",
    "commitments": "dicomweb.commands.commitments:commitments",
    "migrate": "dicomweb.commands.migrate:migrate",
    "viewer": "dicomweb.commands.viewer:viewer",
    "worklist": "dicomweb.commands.worklist:worklist",
}
"""Name of the command to the function that is it."""

WRONG_USE = 2
FAILED = 1


def make_app(names: Sequence[str] = tuple(COMMANDS)) -> App:
    """Make the command line of the commands named."""
    app = App(
        name="dicomweb",
        help="A DICOMweb image archive. Start it with: dicomweb serve",
        version=program_version,
    )
    for name in names:
        module, _, function = COMMANDS[name].partition(":")
        app.command(getattr(import_module(module), function), name=name)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that the arguments (by default those of the process) name; ends the process."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    for name in unknown_variables():
        sys.stderr.write(f"warning: the environment variable {name} is no setting of dicomweb\n")
    wanted = [given[0]] if given and given[0] in COMMANDS else tuple(COMMANDS)
    try:
        make_app(wanted)(given)
    except SettingsError as error:
        sys.stderr.write(f"dicomweb: {error}\n")
        sys.exit(WRONG_USE)
    except ArchiveError as error:
        sys.stderr.write(f"dicomweb: {error}\n")
        sys.exit(FAILED)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
