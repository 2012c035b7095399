"""Image files become 8-bit colours, and what is lost on the way is said."""

from __future__ import annotations

import io
import os
import threading

import cv2
import numpy as np
import pytest
from PIL import Image

from data_modules.formats.image_reading import ImageReading
from data_modules.formats.images import read_rgb
from data_modules.formats.notes import Notes
from data_modules.scenes import BrokenScene

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
RAMP = np.linspace(0, 1, 60 * 80).reshape(60, 80)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize(("low", "high"), [(0, 4095), (960, 1776), (32000, 33000)])
def test_narrow_16_bit_values_are_said_or_stretched(tmp_path, suffix, low, high):
    values = np.round(low + RAMP * (high - low)).astype(np.uint16)
    path, notes = tmp_path / f"x.{suffix}", Notes()
    cv2.imwrite(str(path), values)
    assert np.array_equal(read_rgb(path, notes=notes)[..., 0], values >> 8)
    assert f"{low}..{high}" in notes.lines()[0] and "stretch=true" in notes.lines()[0]
    stretched = read_rgb(path, ImageReading(stretch=True), notes)
    assert stretched.min() == 0 and stretched.max() == 255 and len(notes.lines()) == 1
    assert np.abs(stretched[..., 1] - 255 * RAMP).max() <= 0.5 + 255 / (high - low)


def test_16_bit_values_that_use_their_range_pass_without_a_word(tmp_path):
    values, notes = np.round(RAMP * 65535).astype(np.uint16), Notes()
    cv2.imwrite(str(tmp_path / "x.png"), values)
    assert np.array_equal(read_rgb(tmp_path / "x.png", notes=notes)[..., 2], values >> 8) and not notes.lines()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.int32])
def test_numbers_that_are_no_colours_are_refused_with_the_true_reason(tmp_path, dtype, channels):
    values = np.repeat((RAMP * 3000 - 1000).astype(dtype)[..., None], channels, axis=2)
    cv2.imwrite(str(tmp_path / "x.tif"), values)
    with pytest.raises(BrokenScene, match=r"x\.tif: holds .* numbers from -1000 to .*stretch=true"):
        read_rgb(tmp_path / "x.tif")
    stretched = read_rgb(tmp_path / "x.tif", ImageReading(stretch=True))
    assert stretched.shape == (60, 80, 3) and np.abs(stretched[..., 0] - 255 * RAMP).max() <= 1


def test_nan_does_not_spoil_the_stretch(tmp_path):
    values = RAMP.astype(np.float32)
    values[0, 0] = np.nan
    cv2.imwrite(str(tmp_path / "x.tif"), values)
    assert np.abs(read_rgb(tmp_path / "x.tif", ImageReading(stretch=True))[1:, :, 0] - 255 * RAMP[1:]).max() <= 1


@pytest.mark.parametrize("suffix", ["tif", "gif", "webp", "png"])
def test_pages_and_frames_are_said_or_chosen(tmp_path, suffix):
    frames = [Image.new("RGB", (20, 10), colour) for colour in ((250, 0, 0), (0, 250, 0), (0, 0, 250))]
    options = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(tmp_path / f"x.{suffix}", save_all=True, append_images=frames[1:], **options)
    notes = Notes()
    assert read_rgb(tmp_path / f"x.{suffix}", notes=notes)[0, 0].argmax() == 0
    assert "3 pages or frames" in notes.lines()[0]
    for page in range(3):
        quiet = Notes()
        assert read_rgb(tmp_path / f"x.{suffix}", ImageReading(page=page), quiet)[5, 5].argmax() == page
        assert not quiet.lines()


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_transparency_is_said_or_laid_over_a_colour(tmp_path, suffix):
    rgba = np.full((20, 30, 4), 255, np.uint8)
    rgba[..., :3] = (40, 80, 120)
    rgba[:, :10, 3], rgba[:, 10:20, 3] = 0, 51
    options = {"lossless": True, "exact": True} if suffix == "webp" else {}
    Image.fromarray(rgba).save(tmp_path / f"x.{suffix}", **options)
    notes = Notes()
    plain = read_rgb(tmp_path / f"x.{suffix}", notes=notes)
    assert "transparent" in notes.lines()[0] and "alpha=white" in notes.lines()[0]
    assert plain[0, 29].tolist() == [40, 80, 120]
    white = read_rgb(tmp_path / f"x.{suffix}", ImageReading(alpha="white"))
    black = read_rgb(tmp_path / f"x.{suffix}", ImageReading(alpha="black"))
    assert white[0, 0].tolist() == [255, 255, 255] and black[0, 0].tolist() == [0, 0, 0]
    assert white[0, 29].tolist() == black[0, 29].tolist() == [40, 80, 120]
    if suffix != "tif":  # OpenCV gives TIFF colours multiplied by their opacity
        assert white[0, 15].tolist() == [212, 220, 228]


def test_an_opaque_channel_passes_without_a_word(tmp_path):
    Image.new("RGBA", (20, 10), (1, 2, 3, 255)).save(tmp_path / "x.png")
    notes = Notes()
    assert read_rgb(tmp_path / "x.png", notes=notes)[0, 0].tolist() == [1, 2, 3] and not notes.lines()


@pytest.mark.parametrize("quality", ["baseline", "progressive", "with a preview"])
def test_data_behind_the_end_of_a_jpeg_is_read_and_a_cut_off_one_refused(tmp_path, quality):
    noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    buffer, exif = io.BytesIO(), Image.Exif()
    preview = io.BytesIO()
    Image.fromarray(noise[:16, :16]).save(preview, "JPEG")
    if quality == "with a preview":  # which has an end marker of its own
        exif[0x927C] = preview.getvalue()
    Image.fromarray(noise).save(buffer, "JPEG", progressive=quality == "progressive", exif=exif)
    whole = buffer.getvalue()
    (tmp_path / "whole.jpg").write_bytes(whole)
    (tmp_path / "tail.jpg").write_bytes(whole + b"\0" * 100_000)
    assert np.array_equal(read_rgb(tmp_path / "tail.jpg"), read_rgb(tmp_path / "whole.jpg"))
    for share in (0.3, 0.6, 0.9, 0.99):
        (tmp_path / "cut.jpg").write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(BrokenScene, match=r"cut\.jpg"):
            read_rgb(tmp_path / "cut.jpg")


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "tif"])
def test_one_limit_of_pixels_for_every_kind(tmp_path, suffix):
    Image.new("L", (400, 300)).save(tmp_path / f"x.{suffix}")
    with pytest.raises(BrokenScene, match="400 x 300 pixels, more than max_pixels=119999: set max_pixels higher"):
        read_rgb(tmp_path / f"x.{suffix}", ImageReading(max_pixels=119_999))
    assert read_rgb(tmp_path / f"x.{suffix}", ImageReading(max_pixels=120_000)).shape == (300, 400, 3)


def test_a_small_file_of_a_huge_image_is_refused_undecoded(tmp_path):
    """Above Pillow's own limit too: the limit here is the one that is named."""
    header = io.BytesIO()
    Image.new("1", (8, 8)).save(header, "PNG")
    content = bytearray(header.getvalue())
    content[16:24] = (40_000).to_bytes(4, "big") * 2
    import zlib

    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(BrokenScene, match="40000 x 40000 pixels, more than max_pixels"):
        read_rgb(tmp_path / "x.png")


def test_pipes_are_named_and_do_not_wait(tmp_path):
    os.mkfifo(tmp_path / "x.jpg")
    caught = []

    def read():
        try:
            read_rgb(tmp_path / "x.jpg")
        except BrokenScene as error:
            caught.append(str(error))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(20)
    assert caught and "x.jpg: not a file" in caught[0]


@pytest.mark.parametrize("options", [{"alpha": "red"}, {"exif": "no"}, {"page": -1}, {"max_pixels": 0}])
def test_impossible_readings_name_the_option(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        ImageReading(**options)
