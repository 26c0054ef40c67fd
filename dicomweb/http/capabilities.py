"""Retrieve Capabilities: `OPTIONS {base}/` describes the service in WADL (PS3.18 8.9, Annexes G and H).

The description is made from the route table of the running application, so it cannot promise a resource that is not
there; `DESCRIPTIONS` adds to each handler what a route cannot say: media types and query parameters.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from xml.etree import ElementTree

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route

from dicomweb.http.message.bodies import WholeBody, not_modified
from dicomweb.http.message.conditional import entity_tag
from dicomweb.http.message.media_types import Offer, available, select
from dicomweb.http.message.target import accept_key, accepted
from dicomweb.http.problems import NotAcceptable
from dicomweb.http.urls import MOUNT, base_url
from dicomweb.rendering.encoders import MEDIA_TYPES
from dicomweb.rendering.rendering_parameters import PARAMETERS
from dicomweb.rendering.sheet_svg import SVG

WADL = "application/vnd.sun.wadl+xml"
JSON = "application/json"
OFFERS = (Offer(WADL), Offer("application/xml"), Offer(JSON), Offer("application/dicom+json"))

_NAMESPACE = "http://wadl.dev.java.net/2009/02"
_TEMPLATE = re.compile(r"\{(\w+)(?::\w+)?\}")


class Description(NamedTuple):
    """What a handler takes and gives.

    Attributes
    ----------
    title : str
        The transaction (PS3.18 10.1, 10.4 to 10.6).
    answers : tuple of str
        Media types of a successful answer, the default first.
    takes : tuple of str
        Media types of the request body.
    query : tuple of str
        Query parameters.
    """

    title: str
    answers: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    query: tuple[str, ...] = ("accept",)


_JSON_OR_XML = ("application/dicom+json", 'multipart/related; type="application/dicom+xml"')
_FILES = (
    'multipart/related; type="application/dicom"',
    'multipart/related; type="application/octet-stream"',
    "application/zip",
)
_VIDEOS = ("video/mpeg", "video/mp4", "video/H265")
_PIXELS = tuple(
    f'multipart/related; type="{media_type}"'
    for media_type in (
        "application/octet-stream",
        "image/jpeg",
        "image/jls",
        "image/jp2",
        "image/jpx",
        "image/jphc",
        "image/jxl",
        "image/dicom-rle",
        *_VIDEOS,
    )
)
_BULK = ("application/octet-stream", 'multipart/related; type="application/octet-stream"')
_PICTURES = (*MEDIA_TYPES, *(f'multipart/related; type="{media_type}"' for media_type in MEDIA_TYPES))
_RENDERING = ("accept", *PARAMETERS)
_SEARCH = Description(
    "Search", _JSON_OR_XML, (), ("accept", "{attributeID}", "includefield", "fuzzymatching", "limit", "offset")
)
_STORE = Description(
    "Store",
    ("application/dicom+json", "application/dicom+xml"),
    (
        'multipart/related; type="application/dicom"',
        'multipart/related; type="application/dicom+json"',
        'multipart/related; type="application/dicom+xml"',
        "application/dicom",
    ),
)

DESCRIPTIONS: Mapping[str, Description] = {
    "retrieve_instances": Description("Retrieve instances", _FILES),
    "retrieve_metadata": Description("Retrieve metadata", _JSON_OR_XML),
    "retrieve_instance_frames": Description("Retrieve frames", _PIXELS),
    "retrieve_bulkdata_value": Description("Retrieve bulk data", _BULK),
    "retrieve_bulkdata": Description("Retrieve bulk data", _PIXELS[:1]),
    "retrieve_pixeldata": Description("Retrieve pixel data", _PIXELS),
    "retrieve_rendered_frames": Description("Retrieve rendered frames", _PICTURES, (), _RENDERING),
    "retrieve_rendered_instance": Description(
        "Retrieve rendered instance",
        (*_PICTURES, SVG, "text/html", "text/plain", "text/xml", "application/pdf", *_VIDEOS),
        (),
        _RENDERING,
    ),
    "retrieve_rendered_instances": Description(
        "Retrieve rendered instances", _PICTURES[len(MEDIA_TYPES) :], (), _RENDERING
    ),
    "retrieve_thumbnail": Description("Retrieve thumbnail", MEDIA_TYPES[:3], (), ("accept", "viewport")),
    "retrieve_frame_thumbnail": Description("Retrieve thumbnail", MEDIA_TYPES[:3], (), ("accept", "viewport")),
    "retrieve_by_query": Description(
        "Retrieve by query (WADO-URI)", (*MEDIA_TYPES, SVG, "text/html", "text/plain", "text/xml", "application/dicom")
    ),
    "retrieve_capabilities": Description("Retrieve capabilities", (WADL, JSON), (), ()),
}
"""Handler name to description; handlers named `search_...` and `store_...` share one each."""


async def retrieve_capabilities(request: Request) -> Response:
    """Answer with the description of this service.

    Standard
    --------
    PS3.18 8.9, Annexes G and H; checklist A-150 to A-154.
    """
    offer = select(accepted(*accept_key(request)), OFFERS)
    if offer is None:
        raise NotAcceptable("The capabilities come as WADL in XML or JSON.", available(OFFERS))
    tree = describe(base_url(request), _dicomweb_routes(request.app.routes))
    if offer.media_type.endswith("json"):
        body, media_type = orjson.dumps(_as_json(tree)), JSON
    else:
        ElementTree.indent(tree)
        body = ElementTree.tostring(tree, encoding="UTF-8", xml_declaration=True)
        media_type = offer.media_type
    etag = entity_tag(media_type, body)
    cache = "public, no-cache"
    headers = [
        (b"content-type", media_type.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"etag", etag.encode()),
        (b"cache-control", cache.encode()),
        (b"allow", b"OPTIONS"),
    ]
    return not_modified(request, etag, cache) or WholeBody(200, headers, body)


ROUTES = [Route("/", retrieve_capabilities, methods=["OPTIONS"])]
"""Relative to the DICOMweb root."""


def describe(base: str, routes: Sequence[Route]) -> ElementTree.Element:
    """Return the WADL description of `routes` below the URL `base` as an element tree.

    Standard
    --------
    PS3.18 Annex H.
    """
    application = ElementTree.Element("application", {"xmlns": _NAMESPACE})
    resources = ElementTree.SubElement(application, "resources", {"base": base + "/"})
    known: dict[str, ElementTree.Element] = {"": resources}
    for path, methods in _by_path(routes):
        resource = _resource(known, path)
        for method, name in methods:
            _add_method(resource, method, name)
    return application


def _dicomweb_routes(routes: Sequence[BaseRoute]) -> list[Route]:
    mounts = [route for route in routes if isinstance(route, Mount) and route.path == MOUNT]
    return [route for mount in mounts for route in mount.routes if isinstance(route, Route)]


def _by_path(routes: Sequence[Route]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield each path once, shortest first, with its (method, handler name) pairs."""
    paths: dict[str, list[tuple[str, str]]] = {}
    for route in routes:
        path = _TEMPLATE.sub(r"{\1}", route.path).strip("/")
        pairs = paths.setdefault(path, [])
        pairs.extend((method, route.name) for method in sorted(route.methods or ()) if method != "HEAD")
    for path in sorted(paths, key=lambda path: (path.count("/"), path)):
        yield path, sorted(paths[path])


def _resource(known: dict[str, ElementTree.Element], path: str) -> ElementTree.Element:
    """Return the element of `path`, made below that of its longest prefix; a template makes a level of its own."""
    if path in known:
        return known[path]
    parent, _, segment = path.rpartition("/")
    element = ElementTree.SubElement(_resource(known, parent), "resource", {"path": segment})
    for name in _TEMPLATE.findall(segment):
        ElementTree.SubElement(element, "param", {"name": name, "style": "template", "required": "true"})
    known[path] = element
    return element


def _add_method(resource: ElementTree.Element, method: str, name: str) -> None:
    description = describe_handler(name)
    element = ElementTree.SubElement(resource, "method", {"name": method, "id": name})
    ElementTree.SubElement(element, "doc", {"xml:lang": "en", "title": description.title})
    if description.query or description.takes:
        request = ElementTree.SubElement(element, "request")
        for parameter in description.query:
            ElementTree.SubElement(request, "param", {"name": parameter, "style": "query"})
        for media_type in description.takes:
            ElementTree.SubElement(request, "representation", {"mediaType": media_type})
    response = ElementTree.SubElement(element, "response", {"status": "200"})
    for media_type in description.answers:
        ElementTree.SubElement(response, "representation", {"mediaType": media_type})


def describe_handler(name: str) -> Description:
    """Return the description of the handler `name`; its name in words when the table says nothing of it."""
    if name in DESCRIPTIONS:
        return DESCRIPTIONS[name]
    if name.startswith("search"):
        return _SEARCH
    if name.startswith("store"):
        return _STORE
    return Description(name.replace("_", " ").capitalize(), (), (), ())


_REPEATABLE = frozenset(("doc", "resource", "method", "param", "representation", "response", "resources"))


def _as_json(element: ElementTree.Element) -> dict[str, Any]:
    """Return `element` in the JSON form of WADL (PS3.18 Annex G)."""
    return {_local(element): _members(element)}


def _members(element: ElementTree.Element) -> dict[str, Any]:
    members: dict[str, Any] = {f"@{name}": value for name, value in element.attrib.items()}
    if element.text and element.text.strip():
        members["value"] = element.text.strip()
    for child in element:
        name = _local(child)
        if name in _REPEATABLE:
            members.setdefault(name, []).append(_members(child))
        else:
            members[name] = _members(child)
    return members


def _local(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]
