"""Media types, Accept headers and the choice between what a client accepts and what the archive can give.

Facts and clauses this module keeps:

* RFC 9110 12.5.1: q is 0 to 1, 1 when absent, 0 refuses; the most specific range that covers an offer rules
  it.
* PS3.18 8.7.1: quoted and bare parameter values are equal. OHIF sends `type=application/octet-stream`,
  which is no legal token because of its slash; it must be understood all the same.
* PS3.18 8.7.3.5.2: `transfer-syntax` stands beside `type`; old clients put it inside the quotes of `type`.
* PS3.18 8.7.8.1: what the `accept` query parameter names goes before the header, and must be covered by the
  header.
* RFC 2046 5.1.1: an apostrophe is a character of a boundary, so quotes of that kind belong to it. Around the value of
  any other parameter they are taken for quotes.
* A header is never refused as a whole: an entry that cannot be understood is left out.
* Pure: no I/O.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from storage.dicom.transfer_syntax import EXPLICIT_LE, TRANSFER_SYNTAXES, syntaxes_by_media_type
from storage.dicom.transfer_syntax import OCTET_STREAM as NATIVE_FRAMES

EXPLICIT_VR_LITTLE_ENDIAN = EXPLICIT_LE
DICOM = "application/dicom"
DICOM_JSON = "application/dicom+json"
DICOM_XML = "application/dicom+xml"
OCTET_STREAM = NATIVE_FRAMES
ZIP = "application/zip"
MULTIPART_RELATED = "multipart/related"

TRANSFER_SYNTAXES_OF_MEDIA_TYPE: Mapping[str, tuple[str, ...]] = syntaxes_by_media_type()
"""Media type of a frame or bulk data part -> the transfer syntaxes it may have, the default first."""

MEDIA_TYPE_OF_TRANSFER_SYNTAX: Mapping[str, str] = {uid: syntax.media_type for uid, syntax in TRANSFER_SYNTAXES.items()}
"""Transfer syntax UID -> media type of a frame in it; one that is not listed is application/octet-stream."""

DEFAULT_TRANSFER_SYNTAX: Mapping[str, str] = {
    DICOM: EXPLICIT_VR_LITTLE_ENDIAN,
    **{syntax.media_type: uid for uid, syntax in TRANSFER_SYNTAXES.items() if syntax.default},
}
"""Media type -> the transfer syntax meant when the client names none (Tables 8.7.3-2, -4 and -5)."""

# Names that are no longer, or never were, in the Standard -> the Standard's name (8.7.3.3.2 note 3, and
# what clients of its earlier drafts send).
_ALIASES = {
    "image/x-jls": "image/jls",
    "image/x-dicom-rle": "image/dicom-rle",
    "image/dicom+rle": "image/dicom-rle",
    "image/dicom+jpeg": "image/jpeg",
    "image/dicom+jpeg-jpls": "image/jls",
    "image/dicom+jp2": "image/jp2",
    "image/dicom+jpx": "image/jpx",
    "image/jll": "image/jpeg",
    "video/h265": "video/H265",
    "application/dicom-json": DICOM_JSON,
    "application/dicom-xml": DICOM_XML,
    "application/x-zip": ZIP,
    "application/x-zip-compressed": ZIP,
}

# A generic name that covers the DICOM one; the answer still carries the DICOM name.
_GENERIC = {DICOM_JSON: "application/json"}

_LONGEST_HEADER = 16384
_LONGEST_SHOWN = 80


@dataclass(frozen=True, slots=True)
class MediaType:
    """A media type with its parameters, as in a Content-Type header.

    Attributes
    ----------
    type, subtype : str
        Lower case, old names replaced by the Standard's.
    parameters : dict of str to str
        Names in lower case, values unquoted.
    """

    type: str
    subtype: str
    parameters: dict[str, str] = field(default_factory=dict)

    @property
    def essence(self) -> str:
        """The media type without parameters, such as `multipart/related`."""
        return f"{self.type}/{self.subtype}"

    @property
    def multipart(self) -> bool:
        """Whether it is a multipart type."""
        return self.type == "multipart"

    @property
    def content(self) -> str:
        """The media type of the parts when it is multipart (`*/*` when unsaid), else its own."""
        if not self.multipart:
            return self.essence
        return _standard_name(self.parameters.get("type", "*/*"))

    @property
    def transfer_syntax(self) -> str | None:
        """The `transfer-syntax` parameter: a UID, `*`, or None when there is none."""
        return self.parameters.get("transfer-syntax") or None


@dataclass(frozen=True, slots=True)
class MediaRange(MediaType):
    """One entry of an Accept header.

    Attributes
    ----------
    q : float
        Weight, 0 (refused) to 1.
    from_query : bool
        Whether it comes from the `accept` query parameter, which goes before the header.
    """

    q: float = 1.0
    from_query: bool = False


@dataclass(frozen=True, slots=True)
class Offer:
    """One representation the archive can give.

    Attributes
    ----------
    media_type : str
        Of the content (of each part, when multipart), such as `application/dicom`.
    multipart : bool
        Whether it is wrapped in multipart/related.
    transfer_syntax : str or None
        The transfer syntax UID; None for media types that have none (JSON, XML, PDF).
    default : bool or None
        Whether a client that names no transfer syntax may get it; None means: when `transfer_syntax` is the
        media type's default. True serves an object that exists in a lossy form only (PS3.18 8.7.3.4), False
        an encoding that only `transfer-syntax=*` or its own UID selects.
    named_only : bool
        Whether nothing but its own UID selects it: a lossy encoding that would have to be made (A-049).
    """

    media_type: str
    multipart: bool = False
    transfer_syntax: str | None = None
    default: bool | None = None
    named_only: bool = False

    def __str__(self) -> str:
        """The offer as a header value, as clients should name it in Accept."""
        suffix = f"; transfer-syntax={self.transfer_syntax}" if self.transfer_syntax else ""
        if self.multipart:
            return f'{MULTIPART_RELATED}; type="{self.media_type}"{suffix}'
        return self.media_type + suffix


def media_type_of(transfer_syntax_uid: str) -> str:
    """Give the media type of a frame in a transfer syntax (Table 8.7.3-5)."""
    return MEDIA_TYPE_OF_TRANSFER_SYNTAX.get(transfer_syntax_uid, OCTET_STREAM)


def parse_content_type(value: str | None) -> MediaType | None:
    """Read a Content-Type header leniently.

    Parameters
    ----------
    value : str or None
        The header's value.

    Returns
    -------
    MediaType or None
        None when the header is absent, empty or has no `type/subtype`.

    Standard
    --------
    PS3.18 8.7.1, 8.7.9.
    """
    if not value:
        return None
    return _entry(value[:_LONGEST_HEADER])


def named_type(content_type: str) -> str:
    """Return a media type as its sender wrote it, without parameters, fit to be shown."""
    text = content_type.partition(";")[0].strip()[:_LONGEST_SHOWN]
    return "".join(character if " " <= character <= "~" else "?" for character in text)


def parse_accept(header: str | None, query: str | None = None, *, required: bool = False) -> list[MediaRange]:
    """Read what the client accepts.

    Parameters
    ----------
    header : str or None
        The Accept header; several of them joined by commas.
    query : str or None
        The decoded `accept` query parameter, with the same syntax. Its wildcards are left out, and so is
        what the header does not cover.
    required : bool
        Whether a missing header means that nothing is accepted, as the Standard says, rather than everything.

    Returns
    -------
    list of MediaRange
        In the order given, those of the query parameter first.

    Standard
    --------
    PS3.18 8.3.3.1, 8.7.5, 8.7.7; RFC 9110 12.5.1.
    """
    if header is None or not header.strip():
        ranges = [] if required and not query else [MediaRange("*", "*")]
    else:
        ranges = _ranges(header, from_query=False)
    if not query:
        return ranges
    # A plus sign that was not percent-encoded arrives as a space.
    named = _ranges(query.replace("dicom json", "dicom+json").replace("dicom xml", "dicom+xml"), from_query=True)
    covered = [r for r in named if "*" not in r.content and any(_covers(wide, r) for wide in ranges)]
    return covered + ranges


def select(ranges: Sequence[MediaRange], offers: Sequence[Offer]) -> Offer | None:
    """Choose what to answer.

    The offer with the highest weight wins; at equal weight one that the client named goes before one that
    only a wildcard covers, and then the order of `offers` decides.

    Parameters
    ----------
    ranges : sequence of MediaRange
        From `parse_accept`.
    offers : sequence of Offer
        What can be given, in the archive's order of preference. Callers put the stored encoding first, so
        that `transfer-syntax=*` selects it.

    Returns
    -------
    Offer or None
        None when nothing fits (406).

    Standard
    --------
    PS3.18 8.7.8.1; RFC 9110 12.5.1.
    """
    from_query = [entry for entry in ranges if entry.from_query]
    from_header = [entry for entry in ranges if not entry.from_query]
    return _best(from_query, offers) or _best(from_header, offers)


def available(offers: Iterable[Offer]) -> list[str]:
    """List the offers as header values, without repetition, for the body of a 406 (PS3.18 8.5)."""
    return list(dict.fromkeys(str(offer) for offer in offers))


def _best(ranges: Sequence[MediaRange], offers: Sequence[Offer]) -> Offer | None:
    best: tuple[float, bool] = (0.0, False)
    chosen: Offer | None = None
    for offer in offers:
        matching = [(_specificity(entry, offer), entry) for entry in ranges]
        matching = [pair for pair in matching if pair[0]]
        if not matching:
            continue
        specificity = max(pair[0] for pair in matching)
        weight = max(entry.q for own, entry in matching if own == specificity)
        rank = (weight, specificity >= _SAME_TYPE)
        if weight > 0 and rank > best:
            best, chosen = rank, offer
    return chosen


# How closely a range describes an offer.
_ANYTHING, _ANY_PARTS, _SAME_TYPE, _SAME_MEDIA_TYPE = 1, 2, 3, 4
_SAME_TRANSFER_SYNTAX = 4  # added to those


def _specificity(entry: MediaRange, offer: Offer) -> int:
    """Say how closely a range describes an offer; 0 when it does not cover it."""
    if entry.essence != "*/*" and entry.multipart != offer.multipart:
        return 0
    if entry.multipart and entry.subtype not in ("related", "*"):
        return 0
    wanted, given = entry.content, offer.media_type
    if wanted == "*/*":
        closeness = _ANY_PARTS if entry.multipart else _ANYTHING
    elif wanted.endswith("/*"):
        closeness = _SAME_TYPE if given.startswith(wanted[:-1]) else 0
    else:
        closeness = _SAME_MEDIA_TYPE if wanted in (given, _GENERIC.get(given)) else 0
    if not closeness:
        return 0
    if offer.named_only and entry.transfer_syntax != offer.transfer_syntax:
        return 0
    if entry.transfer_syntax is None:
        return closeness if _is_default(offer) else 0
    if entry.transfer_syntax == "*":
        return closeness
    if offer.transfer_syntax is None:  # a media type without transfer syntaxes: the parameter says nothing
        return closeness
    return closeness + _SAME_TRANSFER_SYNTAX if entry.transfer_syntax == offer.transfer_syntax else 0


def _is_default(offer: Offer) -> bool:
    if offer.default is not None:
        return offer.default
    return offer.transfer_syntax in (None, DEFAULT_TRANSFER_SYNTAX.get(offer.media_type))


def _covers(wide: MediaRange, narrow: MediaRange) -> bool:
    """Whether the header's range allows what the query parameter names (q=0 allows nothing)."""
    if wide.q == 0:
        return False
    if wide.essence == "*/*":
        return True
    if wide.multipart != narrow.multipart:
        return False
    content = wide.content
    return (
        content == "*/*"
        or content in (narrow.content, _GENERIC.get(narrow.content))
        or (content.endswith("/*") and narrow.content.startswith(content[:-1]))
    )


def _ranges(text: str, *, from_query: bool) -> list[MediaRange]:
    found = []
    for part in _split(text[:_LONGEST_HEADER], ","):
        entry = _entry(part)
        if entry is None or "/" not in entry.content:
            continue
        q = _weight(entry.parameters.pop("q", "1"))
        found.append(MediaRange(entry.type, entry.subtype, entry.parameters, q, from_query))
    return found


def _entry(text: str) -> MediaType | None:
    """Read `type/subtype; name=value; ...`; None when there is no media type in it."""
    name, *rest = _split(text, ";")
    name = name.strip().strip("\"'").lower()
    if name == "*":  # the default of Java's URLConnection
        name = "*/*"
    main, slash, subtype = _standard_name(name).partition("/")
    if not (main and slash and subtype) or any(character.isspace() for character in main + subtype):
        return None
    parameters: dict[str, str] = {}
    for parameter in rest:
        _add_parameter(parameters, parameter)
    # `type="image/jpeg; transfer-syntax=UID"`: take the parameters out of the quotes.
    if ";" in parameters.get("type", ""):
        inner, *nested = parameters["type"].split(";")
        parameters["type"] = inner.strip()
        for parameter in nested:
            _add_parameter(parameters, parameter)
    return MediaType(main, subtype, parameters)


def _add_parameter(parameters: dict[str, str], text: str) -> None:
    name, equals, value = text.partition("=")
    name = name.strip().lower()
    if equals and name:
        parameters.setdefault(name, _unquote(value.strip(), '"' if name == "boundary" else "\"'"))


def _unquote(value: str, quotes: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] == '"':
        value = value[1:-1]
        if "\\" in value:
            characters = iter(value)
            value = "".join(next(characters, "") if c == "\\" else c for c in characters)
        return value.strip()
    return value.strip(quotes + " ")


def _standard_name(name: str) -> str:
    name = name.strip().lower()
    if name.endswith("/"):  # python's dicomweb-client lets `image/` stand for `image/*`
        name += "*"
    return _ALIASES.get(name, name)


def _weight(text: str) -> float:
    try:
        q = float(text)
    except ValueError:
        return 1.0
    return min(max(q, 0.0), 1.0) if q == q else 1.0  # NaN is not a weight


def _split(text: str, separator: str) -> list[str]:
    """Split at a separator outside quoted strings; a quote that never closes is an ordinary character."""
    if '"' not in text:
        return text.split(separator)
    parts, start, quoted, escaped = [], 0, False, False
    for position, character in enumerate(text):
        if escaped:
            escaped = False
        elif quoted and character == "\\":
            escaped = True
        elif character == '"':
            quoted = not quoted
        elif character == separator and not quoted:
            parts.append(text[start:position])
            start = position + 1
    if quoted:
        return text.split(separator)
    parts.append(text[start:])
    return parts
