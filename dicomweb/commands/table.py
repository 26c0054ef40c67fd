"""The commands there are.

A new command is a function in a module beside this one and one more line in `COMMANDS`; it is imported only when it is
run (or its help asked for).
"""

from collections.abc import Mapping, Sequence
from importlib import import_module

from cyclopts import App

from dicomweb.version import program_version

COMMANDS: Mapping[str, str] = {
    "serve": "dicomweb.commands.serve:serve",
    "status": "dicomweb.commands.status:status",
    "studies": "dicomweb.commands.studies:studies",
    "import": "dicomweb.commands.import_:import_",
    "export": "dicomweb.commands.export:export",
    "check": "dicomweb.commands.check:check",
    "reindex": "dicomweb.commands.reindex:reindex",
    "peers": "dicomweb.commands.peers:peers",
    "jobs": "dicomweb.commands.jobs:jobs",
    "commitments": "dicomweb.commands.commitments:commitments",
    "migrate": "dicomweb.commands.migrate:migrate",
    "viewer": "dicomweb.commands.viewer:viewer",
    "worklist": "dicomweb.commands.worklist:worklist",
    "config": "dicomweb.commands.config:config",
    "completion": "dicomweb.commands.completion:completion",
}
"""Name of the command to the function that is it."""


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
