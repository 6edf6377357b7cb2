"""Every kind of image file comes out as the same upright uint8 RGB, and every damaged one is named."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mobilenets.data.decode import MAX_PIXELS, ImageError, decode_image
from mobilenets.data.headers import read_header

image_module = pytest.importorskip("PIL.Image", reason="Pillow writes the files and is the reference")
image_ops = pytest.importorskip("PIL.ImageOps")


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """A smooth picture without symmetry, uint8 (77, 123, 3)."""
    noise = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    return cv2.resize(noise, (123, 77), interpolation=cv2.INTER_CUBIC)


def encode(image: Any, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    (image_module.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, form, **options)
    return buffer.getvalue()


def reference(data: bytes) -> np.ndarray:
    """Pillow's picture: upright, alpha composited on white."""
    image = image_ops.exif_transpose(image_module.open(io.BytesIO(data)))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = image_module.new("RGBA", image.size, "white")
        image = image_module.alpha_composite(white, image)
    return np.asarray(image.convert("RGB")).astype(int)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_exif_orientation_is_applied(picture: np.ndarray, form: str, orientation: int) -> None:
    exif = image_module.Exif()
    exif[274] = orientation
    quality: dict[str, dict[str, Any]] = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}, "AVIF": {"quality": 100}}
    options = quality.get(form, {}) | ({"tiffinfo": {274: orientation}} if form == "TIFF" else {"exif": exif})
    data = encode(picture, form, **options)
    image = decode_image(data)
    assert image.shape == ((123, 77, 3) if orientation >= 5 else (77, 123, 3))
    assert np.abs(image - reference(data)).max() <= 2


@pytest.mark.parametrize(
    ("mode", "form", "tolerance"),
    [
        ("L", "JPEG", 1), ("CMYK", "JPEG", 2), ("L", "PNG", 0), ("1", "PNG", 0), ("P", "PNG", 0), ("LA", "PNG", 1),
        ("RGBA", "PNG", 1), ("RGBA", "WEBP", 2), ("RGBA", "TIFF", 2), ("CMYK", "TIFF", 1), ("L", "TIFF", 0),
        ("P", "TIFF", 0), ("1", "TIFF", 0), ("P", "GIF", 0), ("P", "BMP", 0), ("1", "BMP", 0), ("RGB", "BMP", 0),
        ("RGB", "PPM", 0), ("L", "PPM", 0), ("1", "PPM", 0), ("RGB", "JPEG2000", 0), ("RGBA", "AVIF", 2),
    ],
)  # fmt: skip
def test_channels_and_palettes_agree_with_pillow(picture: np.ndarray, mode: str, form: str, tolerance: int) -> None:
    if mode in ("RGBA", "LA"):
        ramp = np.broadcast_to(np.linspace(0, 255, 123).astype(np.uint8), (77, 123))
        image = image_module.fromarray(np.dstack([picture, ramp])).convert(mode)
    else:
        image = image_module.fromarray(picture).convert(mode)
    data = encode(image, form, **({"lossless": True} if form == "WEBP" else {}))
    decoded = decode_image(data)
    assert decoded.shape == (77, 123, 3)
    assert decoded.dtype == np.uint8
    assert np.abs(decoded - reference(data)).max() <= tolerance


def test_ycck_jpeg_is_inverted_and_converted(picture: np.ndarray) -> None:
    data = bytearray(encode(image_module.fromarray(picture).convert("CMYK"), "JPEG", quality=95, subsampling=0))
    data[data.find(b"Adobe") + 11] = 2  # the colour transform byte: from now on the channels mean YCCK
    assert np.abs(decode_image(bytes(data)) - reference(bytes(data))).max() <= 3


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bit_samples_are_divided_by_257(form: str) -> None:
    values = np.arange(0, 65536, 13, dtype=np.uint16)[: 70 * 72].reshape(70, 72)
    image = decode_image(encode(values, form))
    assert np.array_equal(image[..., 1], np.floor(values / 257 + 0.5))


def test_sixteen_bit_colour_keeps_its_channel_order() -> None:
    pixels = np.zeros((4, 5, 3), np.uint16)
    pixels[...] = (65535, 257 * 100, 0)  # BGR
    data = cv2.imencode(".png", pixels)[1].tobytes()
    assert decode_image(data)[0, 0].tolist() == [0, 100, 255]


def test_eight_bits_survive_sixteen() -> None:
    """v * 257 is how 8-bit samples are widened: narrowing must give them back, all 256."""
    values = np.tile(np.arange(256, dtype=np.uint16) * 257, (2, 1))
    assert np.array_equal(decode_image(encode(values, "PNG"))[..., 0], values // 257)


def test_palette_transparency_turns_white(picture: np.ndarray) -> None:
    palette = image_module.fromarray(picture).quantize(16)
    for form in ("PNG", "GIF"):
        data = encode(palette, form, transparency=3)
        image = decode_image(data)
        assert np.array_equal(image, reference(data)), form
        assert (image[np.asarray(palette) == 3] == 255).all()


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP"])
def test_animation_gives_its_first_frame(picture: np.ndarray, form: str) -> None:
    first = image_module.fromarray(picture).quantize(32).convert("RGB")
    frames = [first.rotate(90 * i) for i in (1, 2, 3)]
    options = {"lossless": True} if form == "WEBP" else {}
    data = encode(first, form, save_all=True, append_images=frames, **options)
    assert getattr(image_module.open(io.BytesIO(data)), "n_frames", 1) == 4
    assert np.array_equal(decode_image(data), np.asarray(first))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"P2\n2 2\n15\n0 5 10 15\n", [0, 85, 170, 255]),
        (b"P5\n2 2\n1023\n" + struct.pack(">4H", 0, 256, 512, 1023), [0, 64, 128, 255]),
        (b"P5 2 2 15\n\x00\x05\x0a\x0f", [0, 85, 170, 255]),
        (b"P1\n# a comment\n2 2\n0 1 1 0\n", [255, 0, 0, 255]),
        (b"P1\n2 2\n0110\n", [255, 0, 0, 255]),
        (b"P4\n2 2\n\x40\x80", [255, 0, 0, 255]),
        (b"P5\n# made by hand\n2 2\n255\n\x00\x07\x09\xff", [0, 7, 9, 255]),
        (b"P3\n1 1\n100\n50 0 100", [128]),
    ],
)
def test_pnm_of_any_depth(data: bytes, expected: list[int]) -> None:
    image = decode_image(data)
    assert image[..., 0].ravel().tolist() == expected
    if not data.startswith(b"P3"):
        assert (image == image[..., :1]).all()


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20), st.just(3))))
def test_lossless_formats_give_back_every_pixel(pixels: np.ndarray) -> None:
    for suffix in (".png", ".bmp", ".tiff", ".ppm"):
        data = cv2.imencode(suffix, pixels[..., ::-1])[1].tobytes()
        assert np.array_equal(decode_image(data), pixels), suffix


@pytest.mark.parametrize(
    ("min_side", "expected"), [(None, 160), (160, 160), (81, 160), (80, 80), (41, 80), (20, 20), (1, 20)]
)
def test_jpeg_is_reduced_no_further_than_asked(min_side: int | None, expected: int) -> None:
    picture = cv2.resize(np.random.default_rng(1).integers(0, 256, (6, 8, 3), dtype=np.uint8), (240, 160))
    exif = image_module.Exif()
    exif[274] = 6
    data = encode(picture, "JPEG", exif=exif, quality=92)
    image = decode_image(data, min_side=min_side)
    assert image.shape == (expected * 3 // 2, expected, 3)
    small = cv2.resize(reference(data).astype(np.uint8), image.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(image.astype(int) - small).mean() < 3


def test_min_side_leaves_other_formats_whole(picture: np.ndarray) -> None:
    assert decode_image(encode(picture, "PNG"), min_side=8).shape == picture.shape


def kind_of(data: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        decode_image(data)
    assert "\n" not in str(caught.value)
    return caught.value.kind


def test_what_is_no_image() -> None:
    assert kind_of(b"") == "empty"
    assert kind_of(b"this is a text file that somebody named photo.jpg\n" * 5) == "not_an_image"
    assert kind_of(b"%PDF-1.4 ....") == "not_an_image"
    assert kind_of(b"\0" * 4096) == "not_an_image"


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.98])
def test_every_cut_file_is_refused_as_truncated(picture: np.ndarray, form: str, part: float) -> None:
    data = encode(picture, form)
    assert kind_of(data[: int(len(data) * part)]) == "truncated"


def test_cut_progressive_jpeg_with_thumbnail_is_truncated(picture: np.ndarray) -> None:
    """The thumbnail inside the EXIF block has an end marker of its own, which must not count."""
    exif = image_module.Exif()
    exif[274] = 1
    block = exif.tobytes() + encode(picture[:20, :20], "JPEG")
    data = encode(picture, "JPEG", progressive=True, exif=block)
    assert decode_image(data).shape == picture.shape
    assert kind_of(data[: len(data) * 2 // 3]) == "truncated"


def test_bytes_after_the_end_do_no_harm(picture: np.ndarray) -> None:
    for form in ("JPEG", "PNG", "GIF", "WEBP", "BMP"):
        data = encode(picture, form)
        assert np.array_equal(decode_image(data + b"trailing bytes"), decode_image(data)), form


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_files_raise_nothing_but_image_errors(data: st.DataObject) -> None:
    pixels = np.arange(20 * 30 * 3, dtype=np.uint8).reshape(20, 30, 3)
    suffix = data.draw(st.sampled_from([".jpg", ".png", ".gif", ".webp", ".bmp", ".tiff", ".ppm", ".avif"]))
    damaged = bytearray(cv2.imencode(suffix, pixels)[1].tobytes())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        image = decode_image(bytes(damaged))
    except ImageError:
        return
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3


def png_claiming(width: int, height: int) -> bytes:
    """A small PNG file whose header states a large picture."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0" * 100)),
        (b"IEND", b""),
    ]
    body = b"".join(struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


def test_decompression_bombs_are_refused_by_their_header() -> None:
    assert kind_of(png_claiming(60_000, 60_000)) == "too_large"
    assert kind_of(b"P5 100000 100000 255\n") == "too_large"
    gif = bytearray(cv2.imencode(".gif", np.zeros((4, 4, 3), np.uint8))[1].tobytes())
    gif[6:10] = struct.pack("<HH", 65535, 65535)
    assert kind_of(bytes(gif)) == "too_large"
    with pytest.raises(ImageError, match=f"{MAX_PIXELS:,}"):
        decode_image(png_claiming(60_000, 60_000))


def test_headers_state_the_size_of_every_format(picture: np.ndarray) -> None:
    for form in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000"):
        header = read_header(encode(picture, form))
        assert header is not None, form
        assert (header.width, header.height, header.complete) == (123, 77, True), form
    lossless = read_header(encode(picture, "WEBP", lossless=True))
    assert lossless is not None
    assert (lossless.width, lossless.height) == (123, 77)


def test_nothing_is_written_to_stderr_about_a_damaged_file(
    picture: np.ndarray, capfd: pytest.CaptureFixture[str]
) -> None:
    for form in ("PNG", "WEBP", "GIF"):
        data = bytearray(encode(picture, form))
        data[60:90] = bytes(30)
        with contextlib.suppress(ImageError):
            decode_image(bytes(data))
    assert capfd.readouterr() == ("", "")


def test_every_shared_image_decodes(shared: Any) -> None:
    files = sorted(path for path in (shared / "data").rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    assert len(files) > 5000
    for path in files[::40]:
        assert decode_image(path.read_bytes()).ndim == 3
