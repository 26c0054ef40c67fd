"""JPEG 2000 and HTJ2K frames -> samples: what the components are, and those that are too many."""

import base64
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from storage.dicom.codestream import transfer_syntax_of
from storage.dicom.transfer_syntax import (
    EXPLICIT_LE,
    HTJ2K_LOSSLESS,
    JPEG_2000_LOSSLESS,
    JPEG_LOSSLESS_SV1,
    JPEG_LS_LOSSLESS,
    RLE_LOSSLESS,
)
from storage.pixels.color_space import of_components
from storage.pixels.image_header import image_header
from storage.pixels.pixel_data import UndecodablePixelData, decode_frame, encode_frame, transcode_frame
from storage.writing.bulk_parts import BulkPart
from storage.writing.pixel_parts import pixel_value
from tests.jpeg_2000 import PICTURE, Pixels, encoded, in_jp2, subsampled, together, ybr
from tests.pixels import layout, picture

BOTH = pytest.mark.parametrize(
    ("uid", "high_throughput"), [(JPEG_2000_LOSSLESS, False), (HTJ2K_LOSSLESS, True)], ids=["JPEG 2000", "HTJ2K"]
)
CORNERS = ((255, 0, 0), (0, 255, 0), (200, 120, 40), (90, 30, 160))
OPJ_COMPRESS = {
    "4:2:2": (
        "/0//UQAvAAAAAAAQAAAAEAAAAAAAAAAAAAAAEAAAABAAAAAAAAAAAAADBwEBBwIBBwIB/1IADAAAAAEAAQQEAAH/XAAHQEBISFD/"
        "kAAKAAAAAADiAAH/k8+01CTXibBf2vzr42ixi/YWeBLBpOCnMMv1P6OLRpI2h6oGPrfJpF9epjFj8Uf8fU7miG8sbwV/z7R4HEbv"
        "UcvwiZQWjw4PqJ84coGiCerGzFqfDpoCPBl/34D4ArsJKrG6LqqtoWuZk2jDsDtfU/HFWzSr453ioCtYf8PqCofUFQfUCCFs2HrD"
        "WhX1foskrrYINkDhp+w/JN1kf8PqCY+0Gg+oDCuvT/KMOz7QDSTaJiYU3xnqIM/AKh9QNB9QIBnmMnp0HkrMYewDZfBWq38Z5/2/"
        "/9k="
    ),
    "4:2:0": (
        "/0//UQAvAAAAAAAQAAAAEAAAAAAAAAAAAAAAEAAAABAAAAAAAAAAAAADBwEBBwICBwIC/1IADAAAAAEAAQQEAAH/XAAHQEBISFD/"
        "kAAKAAAAAAC+AAH/k8+01CTXibBf2vzr42ixi/YWeBLBpOCnMMv1P6OLRpI2h6oGPrfJpF9epjFj8Uf8fU7miG8sbwV/z7REGjdC"
        "c8d19uMhY/3fPj4OR/ffgJAP1Sjk3l7SJZYsMCzw7P9MyuLD6gqH1BUH1AghbNh6w1oV9X6LJK62CDZA4afsPyTdZH/D6gWPtBoP"
        "qAwYcYq8eyAwYPlZBxaxQ8/AGh9QLB9QGBaryYIkDQ8d8QOeFq3h/9k="
    ),
    "alpha": (
        "/0//UQAyAAAAAAAQAAAAEAAAAAAAAAAAAAAAEAAAABAAAAAAAAAAAAAEBwEBBwEBBwEBBwEB/1IADAAAAAEBAQQEAAH/XAAHQEBI"
        "SFD/kAAKAAAAAAE1AAH/k8+0oBFQQgzsj0hw7RCKNmhp0mSC8BOdPHm7fR9mV/LKMutl0VtcLfuYUu//Gfgp3fbsm0CBWkZDGOvL"
        "ZkM5UnX0yoR4STOZWuasc+JWF+ULtAiubDeS/FlVQJ1o/YBb6nt60edu4+fpW/oDGz//GeADaIriGLg4QLKQ4+Wg8DDWp+ua7Nk6"
        "D5TEETttHq2S/3Az4aAHhKX60dEMj+klIqp9JX5TWi1TUXCmrkrPtEgUAFyjZV2wAAMJCNUKGEhL/3/D6gqH1BUD5wYhbQIsZmZu"
        "YKJ/JN0DiFakT/PvfyTcmc/AKn4BcPtBACIZBVA2uePRY/kp3gTCLUZgycLFHyQrcmnfmFz8AuH2ggAkIdIGnCHLDQuu6y7/Du/N"
        "drkX18WoJCt1WYD/2Q=="
    ),
}
"""Four patches of 8 x 8 pixels, the corners, in streams that OpenJPEG's own program wrote: YBR_FULL, and RGB with alpha
that is transformed."""


def patches(*colors: tuple[int, int, int]) -> Pixels:
    """Return a picture of two rows of patches."""
    return np.kron(np.array(colors, np.uint8).reshape(2, -1, 3), np.ones((8, 8, 1), np.uint8))


def apart(pixels: Pixels, expected: Pixels) -> int:
    """Return the largest difference of samples."""
    assert pixels.shape == expected.shape
    return int(np.abs(pixels.astype(int) - expected).max())


@pytest.mark.parametrize(
    ("told", "stated", "expected"),
    [
        ("YBR_RCT", "YBR_RCT", "RGB"),
        ("YBR_ICT", "YBR_FULL_422", "RGB"),
        ("YBR_ICT", "YBR_PARTIAL_420", "RGB"),
        ("YBR_RCT", "RGB", "RGB"),
        ("YBR_RCT", "", "RGB"),
        ("YBR_RCT", "CMYK", "CMYK"),  # without its fourth component, transformed as others are
        ("YBR_FULL_422", "RGB", "YBR_FULL"),
        ("YBR_FULL_422", "YBR_RCT", "YBR_FULL"),
        ("YBR_FULL_422", "YBR_FULL_422", "YBR_FULL"),
        ("YBR_FULL_422", "YBR_PARTIAL_420", "YBR_PARTIAL_420"),
        ("RGB", "RGB", "RGB"),
        ("RGB", "", "RGB"),
        ("RGB", "YBR_ICT", "YBR_FULL"),
        ("RGB", "YBR_FULL", "YBR_FULL"),
        ("RGB", "YBR_PARTIAL_422", "YBR_PARTIAL_422"),
    ],
)
def test_the_stream_is_right_where_the_label_contradicts_it(told: str, stated: str, expected: str) -> None:
    """Transformation and sampling are told by the stream, the range of YBR by the label alone (PS3.5 8.2.4)."""
    assert of_components(told, stated) == expected


@pytest.mark.parametrize("sampling", ["4:2:2", "4:2:0"])
@pytest.mark.parametrize("label", ["YBR_FULL_422", "YBR_FULL", "RGB"])
def test_chrominance_with_fewer_samples_of_another_encoder(sampling: str, label: str) -> None:
    """Half and a quarter of the chrominance show the colors they were made of (PS3.3 C.7.6.3.1.2)."""
    stream = base64.b64decode(OPJ_COMPRESS[sampling])
    result = decode_frame(stream, layout((16, 16, 3), photometric=label), JPEG_2000_LOSSLESS)
    assert result.photometric_interpretation == "RGB"
    assert apart(result.pixels, patches(*CORNERS)) <= 2


@BOTH
@pytest.mark.parametrize("sampling", [(2, 1), (2, 2)])
def test_an_odd_size_keeps_its_last_row_and_column(uid: str, high_throughput: bool, sampling: tuple[int, int]) -> None:
    """The last pixel of an odd row or column has the chrominance of its own sample (T.800 B.2)."""
    image = PICTURE[:31, :45]
    stream = subsampled(ybr(image, "FULL"), sampling, high_throughput=high_throughput)
    assert transfer_syntax_of(stream) == uid
    result = decode_frame(stream, layout(image.shape, photometric="YBR_FULL_422"), uid)
    assert apart(result.pixels, image) <= 2


@BOTH
@pytest.mark.parametrize("sampling", [(1, 2), (4, 1), (4, 2)])
def test_other_samplings_are_refused(uid: str, high_throughput: bool, sampling: tuple[int, int]) -> None:
    """What the codec cannot put together is no picture, and the answer says why (promise 7)."""
    stream = subsampled(ybr(PICTURE, "FULL"), sampling, high_throughput=high_throughput)
    with pytest.raises(UndecodablePixelData, match="4:2:2 and 4:2:0 only"):
        decode_frame(stream, layout(PICTURE.shape, photometric="YBR_FULL"), uid)
    odd = bytearray(subsampled(ybr(PICTURE, "FULL"), (2, 1), high_throughput=high_throughput))
    for at in (11, 19, 27, 35):  # the image and its tile, a pixel further to the right
        odd[at] += 1
    with pytest.raises(UndecodablePixelData, match="4:2:2 and 4:2:0 only"):
        decode_frame(bytes(odd), layout(PICTURE.shape, photometric="YBR_FULL"), uid)


@BOTH
@pytest.mark.parametrize("partial", [False, True])
def test_more_than_eight_bits(uid: str, high_throughput: bool, partial: bool) -> None:
    """Half of the chrominance in 16 bits: black, white and gray are themselves in the full and in the partial range."""
    black, white = (16 << 8, 235 << 8) if partial else (0, 0xFFFF)
    luminance = np.repeat(np.array([black, white], np.uint16), 16).reshape(2, 16).repeat(8, axis=0)
    components = np.stack([luminance, np.full_like(luminance, 32768), np.full_like(luminance, 32768)], -1)
    stream = subsampled(components, (2, 1), high_throughput=high_throughput)
    label = "YBR_PARTIAL_422" if partial else "YBR_FULL_422"
    result = decode_frame(stream, layout(components.shape, bits=16, photometric=label), uid)
    assert (result.photometric_interpretation, result.pixels.dtype) == ("RGB", np.uint16)
    expected = np.repeat(luminance[..., None] == white, 3, -1) * (0xFF00 if partial else 0xFFFF)
    assert apart(result.pixels, expected) <= 2


@pytest.mark.parametrize("box", [16, 18], ids=["sRGB", "sYCC"])
@pytest.mark.parametrize("sampling", [(1, 1), (2, 1), (2, 2)])
def test_the_boxes_of_a_jp2_file_say_nothing(box: int, sampling: tuple[int, int]) -> None:
    """Only the codestream belongs into DICOM: what the file says of colors, the data set says (PS3.5 8.2.4)."""
    components = ybr(PICTURE, "FULL")
    stream = subsampled(components, sampling)
    pixel = layout(PICTURE.shape, photometric="YBR_FULL")
    bare, wrapped = (decode_frame(each, pixel, JPEG_2000_LOSSLESS) for each in (stream, in_jp2(stream, box)))
    assert np.array_equal(bare.pixels, wrapped.pixels)
    assert bare.photometric_interpretation == wrapped.photometric_interpretation
    if sampling == (1, 1):
        assert np.array_equal(wrapped.pixels, components)
    else:
        assert apart(wrapped.pixels, PICTURE) <= 2


@BOTH
@pytest.mark.parametrize(("label", "transformed"), [("RGB", False), ("RGB", True), ("YBR_RCT", True)])
def test_rgb_comes_back_bit_for_bit(uid: str, high_throughput: bool, label: str, transformed: bool) -> None:
    """Nothing is converted that is RGB: native samples are those that were encoded (D-013)."""
    image = picture((37, 50, 3))
    stream = encoded(image, high_throughput=high_throughput, transformed=transformed)
    native = transcode_frame(stream, layout(image.shape, photometric=label), uid, EXPLICIT_LE)
    assert native == (image.tobytes(), "RGB", "")


@pytest.mark.parametrize("uid", [RLE_LOSSLESS, JPEG_LS_LOSSLESS, JPEG_LOSSLESS_SV1, EXPLICIT_LE])
@pytest.mark.parametrize("label", ["YBR_RCT", "YBR_ICT"])
def test_no_other_stream_is_transformed(uid: str, label: str) -> None:
    """A file that was decompressed and kept the label of JPEG 2000 has RGB; compressed again, it still does."""
    image = picture((37, 50, 3))
    frame = encode_frame(image, uid, photometric_interpretation="RGB").data
    pixel = layout(image.shape, photometric=label, encapsulated=uid != EXPLICIT_LE)
    assert decode_frame(frame, pixel, uid).photometric_interpretation == "RGB"
    again = transcode_frame(frame, pixel, uid, JPEG_2000_LOSSLESS)
    assert again.photometric_interpretation == "YBR_RCT"
    header = image_header(again.data)
    assert header is not None and header.photometric_interpretation == "YBR_RCT"
    stated = layout(image.shape, photometric=again.photometric_interpretation)
    assert np.array_equal(decode_frame(again.data, stated, JPEG_2000_LOSSLESS).pixels, image)


@BOTH
def test_alpha_is_left_out(uid: str, high_throughput: bool) -> None:
    """Red, green, blue and alpha under Samples per Pixel 3 are the first three, gray and alpha under 1 the first."""
    image = picture((32, 40, 3))
    alpha = np.full((32, 40), 200, np.uint8)
    stream = encoded(np.dstack([image, alpha]), high_throughput=high_throughput, transformed=high_throughput)
    native = transcode_frame(stream, layout(image.shape), uid, EXPLICIT_LE)
    assert native[:2] == (image.tobytes(), "RGB") and "alpha" in native.warning
    for wanted in (RLE_LOSSLESS, JPEG_LS_LOSSLESS, JPEG_2000_LOSSLESS, HTJ2K_LOSSLESS):
        made = transcode_frame(stream, layout(image.shape), uid, wanted)
        found = decode_frame(made.data, layout(image.shape, photometric=made.photometric_interpretation), wanted)
        assert np.array_equal(found.pixels, image)
    streams = [encoded(each, high_throughput=high_throughput) for each in (image[..., 0].copy(), alpha)]
    gray = decode_frame(together(streams, [(1, 1)] * 2), layout((32, 40)), uid)
    assert np.array_equal(gray.pixels, image[..., 0])


@pytest.mark.parametrize("label", ["RGB", "YBR_RCT", "YBR_FULL"])
def test_alpha_beside_transformed_components(label: str) -> None:
    """The transformation is of the first three components (T.800 G.2); what the label says of them is not asked."""
    stream = base64.b64decode(OPJ_COMPRESS["alpha"])
    result = decode_frame(stream, layout((16, 16, 3), photometric=label), JPEG_2000_LOSSLESS)
    assert result.photometric_interpretation == "RGB"
    assert np.array_equal(result.pixels, patches(*CORNERS))


@pytest.mark.parametrize("label", ["RGB", "YBR_RCT", "YBR_ICT"])
def test_colors_beside_alpha_that_were_not_transformed_are_rgb(label: str) -> None:
    """Encoders leave four components as they are, whatever the label promises; alpha is beside red, green and blue."""
    image = picture((32, 40, 3))
    stream = encoded(np.dstack([image, np.full((32, 40), 200, np.uint8)]), high_throughput=False, transformed=True)
    header = image_header(stream)
    assert header is not None and (header.samples, header.photometric_interpretation) == (4, "RGB")
    result = decode_frame(stream, layout(image.shape, photometric=label), JPEG_2000_LOSSLESS)
    assert result.photometric_interpretation == "RGB" and "alpha" in result.warning
    assert np.array_equal(result.pixels, image)


@pytest.mark.parametrize(
    ("stream", "samples", "photometric"),
    [
        (subsampled(PICTURE, (2, 1)), 3, "YBR_FULL_422"),
        (subsampled(PICTURE, (2, 2), high_throughput=True), 3, "YBR_FULL_422"),
        (base64.b64decode(OPJ_COMPRESS["alpha"]), 3, "YBR_RCT"),
        (encoded(np.dstack([PICTURE, PICTURE[..., 0]])), 3, "RGB"),
        (together([encoded(PICTURE[..., 0].copy())] * 2, [(1, 1)] * 2), 1, "MONOCHROME2"),
    ],
    ids=["4:2:2", "4:2:0", "transformed with alpha", "RGB with alpha", "gray with alpha"],
)
def test_parts_of_a_request_describe_themselves(tmp_path: Path, stream: bytes, samples: int, photometric: str) -> None:
    """A frame without metadata is stored with what DICOM calls its components (PS3.18 10.5.2; PS3.3 C.7.6.3.1.2)."""
    path = tmp_path / "frame"
    path.write_bytes(stream)
    description = pixel_value([BulkPart("image/jp2", None, path, len(stream))], None).description
    assert description["00280002"]["Value"] == [samples]
    assert description["00280004"]["Value"] == [photometric]


def test_components_that_are_no_alpha_are_refused() -> None:
    """A color image under Samples per Pixel 1 is not shown by its red, nor one of very many components by three."""
    plane = picture((32, 40))
    for components, samples in ((3, 1), (4, 1), (7, 3), (2, 3)):
        stream = together([encoded(plane)] * components, [(1, 1)] * components)
        shape = (32, 40) if samples == 1 else (32, 40, 3)
        with pytest.raises(UndecodablePixelData, match=f"and {components} samples a pixel"):
            decode_frame(stream, layout(shape), JPEG_2000_LOSSLESS)


def test_openjph_decodes_what_openjpeg_does() -> None:
    """Both decoders of HTJ2K give the same samples of every number of components."""
    image = np.dstack([picture((32, 40, 3)), picture((32, 40))])
    for components in (1, 3, 4):
        pixels = np.ascontiguousarray(image[..., :components]).reshape((32, 40, components)[: 2 + (components > 1)])
        stream = encoded(pixels, high_throughput=True)
        expected = np.asarray(imagecodecs.jpeg2k_decode(stream))
        result = decode_frame(stream, layout(pixels.shape, photometric="RGB"), HTJ2K_LOSSLESS)
        assert np.array_equal(result.pixels, expected) and np.array_equal(expected, pixels)
