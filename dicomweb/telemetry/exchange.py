"""What logs and metrics tell of a request."""

from dataclasses import dataclass


@dataclass(slots=True)
class Exchange:
    """One request and its response, as far as logs and metrics are concerned.

    Attributes
    ----------
    route : str
        The template of the path, such as /dicom-web/studies/{study}; empty when no route matched.
    status : int
        0 when no response was begun.
    received, sent : int
        Bytes of the bodies.
    seconds : float
        From the first to the last byte.
    complete : bool
        Whether the response was sent to its end.
    outcomes : dict of str to int
        How many instances were stored, duplicates and so on.
    """

    method: str
    path: str
    route: str = ""
    status: int = 0
    received: int = 0
    sent: int = 0
    seconds: float = 0.0
    complete: bool = False
    outcomes: dict[str, int] | None = None
