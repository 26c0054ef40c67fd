"""What a JPEG 2000 codestream asks of its decoder, checked before one sees it.

Facts kept here:

- ITU-T T.800 A.5.1, B.2, B.3: the image starts within the first tile, tiles have a size, and there are 65535 at most.
  OpenJPH divides by what these differ by, and counts up to it.
- A.6.1, A.6.2: COD and COC, in the main header and in that of each tile-part, give the sizes of code-blocks (4096
  samples at most) and of precincts.
- A.4.2, B.10: a tile takes 14 bytes of a stream, and a precinct one at least (the header of a packet). Decoders
  allocate all of them, and all code-blocks, first: a stream that states more than it has room for is damaged, or made
  to exhaust memory. Packets (a precinct has one in each layer) take time.
- A.2: decoders do not skip segments they do not know, or not there, by their length: they look for the next marker
  inside. What could hide another SIZ or COD is refused.
"""

import struct
from collections import Counter
from typing import Final, NamedTuple

_COD, _COC, _SOT, _SOD = b"\xff\x52", b"\xff\x53", b"\xff\x90", b"\xff\x93"
_TILE_PART: Final = 14
"""Bytes of SOT and SOD, the least that a tile takes of a stream."""
_ANYWHERE: Final = frozenset((0x52, 0x53, 0x5C, 0x5D, 0x5E, 0x5F, 0x64))
"""COD, COC, QCD, QCC, RGN, POC and COM, which both kinds of header may have (Table A.2)."""
_OF_IMAGE: Final = _ANYWHERE | {0x50, 0x55, 0x57, 0x60, 0x63}
"""And CAP, TLM, PLM, PPM, CRG."""
_OF_TILE_PART: Final = _ANYWHERE | {0x58, 0x61}
"""And PLT, PPT."""
_EMPTY: Final = 12
"""Length of a tile-part without SOD, which some encoders write."""
_MOST_TILES: Final = 65535
_MOST_CHANGED: Final = 1000
"""Tiles that are coded otherwise than the image."""
_MOST_PARTS: Final = 1 << 19
"""Precincts and code-blocks, of all tiles, components and resolutions together."""
_MOST_PACKETS: Final = 1 << 23
_MOST_COMPONENTS: Final = 16
_MOST_LEVELS: Final = 32
_MOST_OF_A_BLOCK: Final = 8
"""Of the exponents of its width and height, each less 2, and of their sum (Table A.18)."""
_CODING: Final = 5
"""Bytes of SPcod before the sizes of precincts: levels, code-blocks across and down, their style, the wavelet."""
_LARGEST: Final = 15
"""Exponent of the size of a precinct where none is stated."""


class UnfitCodestream(ValueError):
    """The codestream breaks a rule that decoders rely on, or states more than it has room for."""


class Axis(NamedTuple):
    """The reference grid in one direction: Xsiz, XOsiz, XTsiz, XTOsiz, XRsiz of each component, or the same of Y."""

    end: int
    start: int
    tile: int
    first_tile: int
    steps: tuple[int, ...]

    def check(self) -> None:
        """Refuse what decoders do not expect (T.800 B.2, B.3)."""
        if not self.first_tile <= self.start < self.end:
            raise UnfitCodestream("Its image does not lie on its grid.")
        if not self.tile or self.first_tile + self.tile <= self.start:
            raise UnfitCodestream("Its image does not start in its first tile.")
        if 0 in self.steps:
            raise UnfitCodestream("A component has no distance between its samples.")

    @property
    def tiles(self) -> range:
        """The tiles that lie side by side."""
        return range(-(-(self.end - self.first_tile) // self.tile))

    def samples(self, tiles: range, step: int) -> int:
        """Return how many samples lie side by side in tiles, with so much between them."""
        first = max(self.first_tile + tiles.start * self.tile, self.start)
        last = min(self.first_tile + tiles.stop * self.tile, self.end)
        return -(-last // step) - -(-first // step)

    def precincts(self, tiles: range, step: int, exponent: int) -> int:
        """Return how many precincts lie side by side in tiles, with so much between samples (B.5, B.6)."""
        if self.tile <= step and len(tiles) > 1:  # one sample at most in each
            return self.samples(tiles, step)
        size, found = 1 << exponent, 0
        for tile in tiles:
            left = self.first_tile + tile * self.tile
            first = -(-max(left, self.start) // step)
            last = -(-min(left + self.tile, self.end) // step)
            if last > first:
                found += -(-last // size) - first // size
        return found


class CodingStyle(NamedTuple):
    """How components are coded: layers, and the exponents of sizes, across and down.

    Those of precincts are by resolution, lowest first; those of code-blocks hold for all.
    """

    layers: int
    block: tuple[int, int]
    widths: tuple[int, ...]
    heights: tuple[int, ...]

    def blocks(self, columns: int, rows: int, resolution: int) -> int:
        """Return how many code-blocks so many samples of a resolution take at least (B.7); 0 when less than one."""
        halved = min(resolution, 1)  # three sub-bands with a quarter of the samples each
        width = min(self.block[0], self.widths[resolution] - halved) + halved
        height = min(self.block[1], self.heights[resolution] - halved) + halved
        return (3 if halved else 1) * (columns * rows >> width + height)


class Parts(NamedTuple):
    """What a decoder has to allocate for and to go through."""

    precincts: int
    blocks: int
    packets: int

    def check(self, length: int) -> None:
        """Refuse what a stream of a length has no room for."""
        if self.precincts > min(_MOST_PARTS, length):
            raise UnfitCodestream("It states more precincts than it has room for.")
        if self.blocks > max(_MOST_PARTS, length) or self.packets > _MOST_PACKETS:
            raise UnfitCodestream("It states more code-blocks or layers than it can need.")


Styles = dict[tuple[int | None, int | None], CodingStyle]
"""By tile and component, None for all of them."""


def check_codestream(stream: bytes) -> None:
    """Refuse a codestream that no decoder should be given.

    Parameters
    ----------
    stream : bytes
        From SOC on, without the boxes of a JP2 file.

    Raises
    ------
    UnfitCodestream
        The message says why.
    """
    try:
        across, down = _grid(stream)
        tiles = len(across.tiles) * len(down.tiles)
        if tiles > min(_MOST_TILES, len(stream) // _TILE_PART):
            raise UnfitCodestream("It states more tiles than it has room for.")
        styles = _styles(stream, tiles)
    except (struct.error, IndexError):
        raise UnfitCodestream("Its header is cut short.") from None
    _parts(across, down, styles, None).check(len(stream))
    changed = {tile for tile, _ in styles if tile is not None}
    if len(changed) > _MOST_CHANGED:
        raise UnfitCodestream("Too many tiles are coded each in another way.")
    of_tiles = [_parts(across, down, styles, tile) for tile in changed]
    Parts(*map(sum, zip(*of_tiles, strict=True)) if of_tiles else (0, 0, 0)).check(len(stream))


def _grid(stream: bytes) -> tuple[Axis, Axis]:
    right, bottom, left, top, width, height, tile_left, tile_top, count = struct.unpack_from(">8LH", stream, 8)
    sampling = stream[42 : 42 + 3 * count]
    if not 0 < count <= _MOST_COMPONENTS or len(sampling) < 3 * count:
        raise UnfitCodestream("Its components are not described, or too many.")
    axes = (
        Axis(right, left, width, tile_left, tuple(sampling[1::3])),
        Axis(bottom, top, height, tile_top, tuple(sampling[2::3])),
    )
    for axis in axes:
        axis.check()
    return axes


def _styles(stream: bytes, tiles: int) -> Styles:
    """Return what the main header and those of tile-parts say."""
    styles: Styles = {}
    (length,) = struct.unpack_from(">H", stream, 4)  # of SIZ
    at = _read(stream, 4 + length, None, styles)
    if (None, None) not in styles:
        raise UnfitCodestream("It does not say how it is coded.")
    while stream[at : at + 2] == _SOT and len(stream) >= at + _TILE_PART:
        tile, length = struct.unpack_from(">HL", stream, at + 4)
        if tile >= tiles or 0 < length < _EMPTY:
            raise UnfitCodestream("It has a tile that is none.")
        if length != _EMPTY:
            _read(stream, at + _EMPTY, tile, styles)
        at += length or len(stream)
    if stream.find(_SOT, at) >= 0:
        raise UnfitCodestream("Its tiles do not follow each other.")
    return styles


def _read(stream: bytes, at: int, tile: int | None, styles: Styles) -> int:
    """Read the segments of the main header or that of a tile-part from a position on; returns where it ends."""
    known, end = (_OF_IMAGE, _SOT) if tile is None else (_OF_TILE_PART, _SOD)
    while (marker := stream[at : at + 2]) != end:
        (length,) = struct.unpack_from(">H", stream, at + 2)
        segment = stream[at + 4 : at + 2 + length]
        if length < 2 or marker[0] != 0xFF or marker[1] not in known:
            raise UnfitCodestream("Its header has a segment that decoders do not know.")
        if marker == _COD:
            (layers,) = struct.unpack_from(">H", segment, 2)
            styles[tile, None] = _style(segment[0], segment[5:], layers)
        elif marker == _COC:
            styles[tile, segment[0]] = _style(segment[1], segment[2:], 0)
        at += 2 + length
    return at


def _style(flags: int, parameters: bytes, layers: int) -> CodingStyle:
    """Read SPcod or SPcoc (Table A.20); the lowest bit of Scod says whether precincts have sizes of their own."""
    if len(parameters) < _CODING:
        raise UnfitCodestream("Its header is cut short.")
    levels, width, height = parameters[:3]
    if levels > _MOST_LEVELS:
        raise UnfitCodestream("It has more decomposition levels than there can be.")
    if max(width, height, width + height) > _MOST_OF_A_BLOCK:
        raise UnfitCodestream("Its code-blocks are larger than they can be.")
    sizes = parameters[_CODING : _CODING + 1 + levels] if flags & 1 else bytes([_LARGEST * 0x11]) * (levels + 1)
    if len(sizes) <= levels:
        raise UnfitCodestream("Its header is cut short.")
    if any(not size & 15 or not size >> 4 for size in sizes[1:]):
        raise UnfitCodestream("It has precincts of half a sample.")
    widths, heights = tuple(size & 15 for size in sizes), tuple(size >> 4 for size in sizes)
    return CodingStyle(layers, (width + 2, height + 2), widths, heights)


def _parts(across: Axis, down: Axis, styles: Styles, tile: int | None) -> Parts:
    """Return what the whole image has, or a tile that says more of itself."""
    columns, rows = across.tiles, down.tiles
    if tile is not None:
        row, column = divmod(tile, len(columns))
        columns, rows = range(column, column + 1), range(row, row + 1)
    layers = styles.get((tile, None), styles[None, None]).layers
    alike: Counter[tuple[tuple[int, int], CodingStyle]] = Counter()
    for component, steps in enumerate(zip(across.steps, down.steps, strict=True)):
        places = ((tile, component), (tile, None), (None, component), (None, None))
        alike[steps, next(styles[place] for place in places if place in styles)] += 1
    precincts = blocks = 0
    for (steps, style), components in alike.items():
        for resolution in range(len(style.widths)):
            wide, high = (step << len(style.widths) - 1 - resolution for step in steps)
            beside = across.precincts(columns, wide, style.widths[resolution])
            precincts += beside * down.precincts(rows, high, style.heights[resolution]) * components
            blocks += style.blocks(across.samples(columns, wide), down.samples(rows, high), resolution) * components
    return Parts(precincts, blocks, precincts * layers)
