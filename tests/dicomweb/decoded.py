"""Frames for the tests of rendering: attributes from files or made by hand, samples decoded by pydicom."""

import base64
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.pixels import pixel_array

from dicomweb.rendering.pipeline import Frame, needed_bulk_data
from storage.dicom import dicomjson
from storage.dicom.part10 import read_header
from storage.dicom.source import BytesSource


def attributes_of(**keywords: Any) -> dict[str, Any]:
    """Return attributes in the DICOM JSON Model; lists of dicts are sequences, bytes are binary."""
    found = {}
    for keyword, value in keywords.items():
        many = value if isinstance(value, list | tuple) else [value]
        vr = dictionary_VR(keyword)
        if isinstance(value, bytes):
            attribute = {"vr": "OW", "InlineBinary": base64.b64encode(value).decode()}
        elif vr == "SQ":
            attribute = {"vr": "SQ", "Value": [attributes_of(**item) for item in many]}
        elif vr == "PN":
            attribute = {"vr": "PN", "Value": [{"Alphabetic": name} for name in many]}
        else:
            if " or " in vr:
                vr = "SS" if any(number < 0 for number in many) else "US"
            attribute = {"vr": vr, "Value": list(many)}
        found[f"{tag_for_keyword(keyword):08X}"] = attribute
    return dict(sorted(found.items()))


def grey_frame(samples: Any, dtype: str = "u2", **keywords: Any) -> Frame:
    """Return a grey frame of samples as they are, with the attributes of its pixels filled in."""
    array = np.atleast_2d(np.array(samples, dtype))
    bits = array.dtype.itemsize * 8
    pixels = {
        "Rows": array.shape[0],
        "Columns": array.shape[1],
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(array.dtype.kind == "i"),
        "PhotometricInterpretation": "MONOCHROME2",
    }
    described = attributes_of(**{**pixels, **keywords})
    return Frame(array, described["00280004"]["Value"][0], described)


def attributes_in(path: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the attributes of a file as the archive keeps them, and the values rendering needs beside them."""
    header, source = read_header(BytesSource(path.read_bytes()))
    encoded = dicomjson.encode(header)
    bulk = {}
    for place in needed_bulk_data(encoded.dataset, overlays=True):
        offset, length, *_ = encoded.bulk[place]
        bulk[place] = source.read(offset, length)
    return encoded.dataset, bulk


def frame_in(path: Path, number: int = 1) -> Frame:
    """Return a frame of a file; native samples keep all bits allocated."""
    attributes, bulk = attributes_in(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = dcmread(path, force=True)
        samples = pixel_array(dataset, raw=True, index=number - 1)
    if not dataset.file_meta.TransferSyntaxUID.is_encapsulated and samples.dtype.itemsize == 2:
        words = np.frombuffer(dataset.PixelData, samples.dtype)
        samples = words[(number - 1) * samples.size :][: samples.size].reshape(samples.shape)
    photometric = dataset.PhotometricInterpretation
    return Frame(samples, "RGB" if photometric in ("YBR_RCT", "YBR_ICT") else photometric, attributes, number, bulk)
