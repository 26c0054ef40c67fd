"""What every service of the gateway needs, in one place."""

import ssl
from dataclasses import dataclass, field

from dicomweb.dimse.message import Timeouts
from dicomweb.gateway.associations import Associations
from dicomweb.gateway.metrics import GatewayMetrics
from dicomweb.settings import Settings
from storage.archive import Archive
from storage.work.peers import Peers


@dataclass(slots=True, eq=False)
class Gateway:
    """The gateway, as its services see it.

    Attributes
    ----------
    archive : Archive
        What is stored.
    settings : Settings
        All of them; `dimse_port` is the one really listened on.
    peers : Peers
        The application entities known.
    tls : ssl.SSLContext or None
        For associations opened with peers that speak TLS.
    associations : Associations
        Those that peers opened and that are still open.
    metrics : GatewayMetrics
        What is counted.
    """

    archive: Archive
    settings: Settings
    peers: Peers
    tls: ssl.SSLContext | None = None
    associations: Associations = field(default_factory=Associations)
    metrics: GatewayMetrics = field(default_factory=GatewayMetrics)

    @property
    def timeouts(self) -> Timeouts:
        """How long peers are waited for, on associations of either side (G-010)."""
        settings = self.settings
        return Timeouts(
            acse=settings.dimse_acse_timeout,
            dimse=settings.dimse_timeout,
            idle=settings.dimse_idle_timeout,
            write=settings.dimse_timeout,
            least_rate=float(settings.least_rate),
        )
