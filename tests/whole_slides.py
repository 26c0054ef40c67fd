"""Small whole slides: levels of tiles whose every pixel has a colour of its own."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import VLWholeSlideMicroscopyImageStorage

from tests.builders import dicom_file


def colours(rows: int, columns: int) -> NDArray[np.uint8]:
    """The picture of a level: red goes down, green to the right, blue is the size."""
    row, column = np.mgrid[:rows, :columns]
    return np.stack([row * 255 // rows, column * 255 // columns, np.full_like(row, rows % 256)], axis=2).astype("u1")


def slide_level(
    rows: int, columns: int, tile: int, *, kind: str = "VOLUME", sparse: bool = False, **more: Any
) -> bytes:
    """Return a level of a whole slide in tiles, padded with black at the edges.

    Parameters
    ----------
    rows, columns, tile : int
        Of the whole, and the side of a tile.
    kind : str
        Image Type, value 3.
    sparse : bool
        Whether the tiles come in reverse order and say where they belong.
    **more
        Attributes by keyword.
    """
    whole = np.zeros((-(-rows // tile) * tile, -(-columns // tile) * tile, 3), "u1")
    whole[:rows, :columns] = colours(rows, columns)
    places = [(top, left) for top in range(0, rows, tile) for left in range(0, columns, tile)]
    if sparse:
        places.reverse()
        stated = [
            {"RowPositionInTotalImagePixelMatrix": top + 1, "ColumnPositionInTotalImagePixelMatrix": left + 1}
            for top, left in places
        ]
        more["PerFrameFunctionalGroupsSequence"] = [{"PlanePositionSlideSequence": [each]} for each in stated]
    described = {
        "SOPClassUID": str(VLWholeSlideMicroscopyImageStorage),
        "Modality": "SM",
        "ImageType": ["ORIGINAL", "PRIMARY", kind, "NONE"],
        "TotalPixelMatrixRows": rows,
        "TotalPixelMatrixColumns": columns,
        "DimensionOrganizationType": "TILED_SPARSE" if sparse else "TILED_FULL",
        "NumberOfFrames": len(places),
        "Rows": tile,
        "Columns": tile,
        "SamplesPerPixel": 3,
        "PhotometricInterpretation": "RGB",
        "PlanarConfiguration": 0,
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
    }
    pixels = b"".join(whole[top : top + tile, left : left + tile].tobytes() for top, left in places)
    return dicom_file(**{"pixels": pixels} | described | more)
