"""The route table of WADO-RS (PS3.18 10.4, Table 10.4.1-1 and following); the handlers are the modules beside it."""

from starlette.routing import Route

from dicomweb.http.wado.bulkdata import retrieve_bulkdata, retrieve_bulkdata_value, retrieve_pixeldata
from dicomweb.http.wado.frames import retrieve_instance_frames
from dicomweb.http.wado.instances import retrieve_instances
from dicomweb.http.wado.metadata import retrieve_metadata

STUDY = "/studies/{study}"
SERIES = STUDY + "/series/{series}"
INSTANCE = SERIES + "/instances/{instance}"

# Frames first: a viewer asks for thousands of them, and the table is searched from the top.
ROUTES: list[Route] = [
    Route(INSTANCE + "/frames/{frames}", retrieve_instance_frames),
    *(Route(level + "/metadata", retrieve_metadata) for level in (SERIES, STUDY, INSTANCE)),
    Route(INSTANCE + "/bulkdata/{path:path}", retrieve_bulkdata_value),
    *(Route(level, retrieve_instances) for level in (INSTANCE, SERIES, STUDY)),
    *(Route(level + "/bulkdata", retrieve_bulkdata) for level in (INSTANCE, SERIES, STUDY)),
    *(Route(level + "/pixeldata", retrieve_pixeldata) for level in (INSTANCE, SERIES, STUDY)),
]
"""Relative to the DICOMweb root."""
