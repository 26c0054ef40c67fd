"""What ended a codec is refused at once."""

import pytest

from storage.errors import CodecEnded, UndecodablePixelData
from storage.pixels.deadly_blobs import DeadlyBlobs


def test_a_blob_that_ended_a_codec_is_not_worked_on_again() -> None:
    """Others are; and one that was only damaged is."""
    deadly, begun = DeadlyBlobs(), []
    for blob, error in (("a", CodecEnded("gone")), ("a", None), ("b", UndecodablePixelData("damaged")), ("b", None)):
        try:
            with deadly.heeded(blob):
                begun.append(blob)
                if error is not None:
                    raise error
        except UndecodablePixelData:
            pass
    assert begun == ["a", "b", "b"]
    with pytest.raises(CodecEnded, match="gone"), deadly.heeded("a"):
        pass


def test_few_blobs_are_remembered() -> None:
    """The oldest are forgotten: memory is bounded."""
    deadly = DeadlyBlobs(most=2)
    for blob in "abc":
        with pytest.raises(CodecEnded), deadly.heeded(blob):
            raise CodecEnded("gone")
    with deadly.heeded("a"):
        pass
    for blob in "bc":
        with pytest.raises(CodecEnded), deadly.heeded(blob):
            pass
