"""Images whose samples are known before they are compressed."""

import random

import numpy as np

from storage.dicom.transfer_syntax import HTJ2K_LOSSLESS, JPEG_2000_LOSSLESS, JPEG_LS_LOSSLESS, RLE_LOSSLESS
from storage.pixels.pixel_data import encode_frame
from tests.builders import ct_slice, dataset_only, new_uid
from tests.kills.ledger import Sent, digest

COMPRESSED = (JPEG_LS_LOSSLESS, HTJ2K_LOSSLESS, JPEG_2000_LOSSLESS, RLE_LOSSLESS)


def made(chance: random.Random, study: str, series: str, number: int, *, by_store: bool = False) -> Sent:
    """Return an image of noise in a wave, no two of them alike; one of three compressed unless it goes by C-STORE."""
    size = chance.choice((16, 64, 256))
    wave = np.add.outer(np.arange(size), np.arange(size)) * chance.randrange(1, 40)
    noise = np.frombuffer(chance.randbytes(size * size), np.uint8).reshape(size, size) >> 4
    samples = ((wave + noise) & 0xFFF).astype("<u2")
    native = samples.tobytes()
    attributes: dict[str, object] = {"pixels": native}
    if not by_store and chance.random() < 0.34:
        syntax = chance.choice(COMPRESSED)
        frame = encode_frame(samples, syntax, photometric_interpretation="MONOCHROME2", bits_stored=12).data
        attributes = {"pixels": [frame], "transfer_syntax": syntax}
    instance = new_uid()
    data = ct_slice(study, series, instance, rows=size, columns=size, instance_number=number, **attributes)  # type: ignore[arg-type]
    kept = dataset_only(data) if by_store else data
    return Sent((study, series, instance), data, digest(kept), digest(native), by_store)
