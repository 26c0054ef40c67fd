"""`dicomweb serve`: start everything."""

import sys

from dicomweb.commands.flags import ConfigFile, SettingFlags, resolve


def serve(*, demo: bool = False, config: ConfigFile = None, settings: SettingFlags = None) -> None:
    """Start the archive: database, HTTP workers, DIMSE gateway, everything. Ctrl-C stops it.

    Example: dicomweb serve --port 8080 --data-dir ./dicomweb-data --demo

    Parameters
    ----------
    demo
        Load the sample files of the installed pydicom package, so that there is something to see.
    """
    from dicomweb.supervisor.supervisor import Supervisor

    sys.exit(Supervisor(resolve(settings, config), demo=demo).run())
