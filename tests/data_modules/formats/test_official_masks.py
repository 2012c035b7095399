"""Masks of the sets with official readers: what OpenCV reads, and never another object without a word."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from data_modules.formats.image_reading import ImageReading
from data_modules.formats.images import read_rgb
from data_modules.formats.mask_files import read_mask_ids
from data_modules.formats.notes import Notes
from data_modules.formats.official_masks import read_bgr_mask
from data_modules.scenes import BrokenScene

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
OBJECT = np.zeros((20, 30), bool)
OBJECT[3:9, 5:25] = True


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "jpg", "gif"])
def test_masks_of_eight_bits_are_what_opencv_reads(tmp_path, suffix):
    colours = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    image = Image.fromarray(colours)
    for mode in ("RGB", "L", "P", "1"):
        path = tmp_path / f"{mode}.{suffix}"
        (image if suffix != "jpg" else image.convert("L" if mode in "L1" else "RGB")).convert(
            "RGB" if suffix == "jpg" else mode
        ).save(path)
        assert np.array_equal(read_bgr_mask(path), cv2.imread(str(path), cv2.IMREAD_COLOR))


@pytest.mark.parametrize("value", [1, 255, 300, 4095, 65535])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_an_object_of_16_bits_is_not_lost(tmp_path, value, suffix):
    path = tmp_path / f"m.{suffix}"
    Image.fromarray((OBJECT * value).astype(np.uint16)).save(path)
    assert np.array_equal(read_bgr_mask(path).max(axis=2) > 0, OBJECT)


def test_small_ids_of_16_bits_stay_and_large_ones_are_refused(tmp_path):
    ids = np.arange(600, dtype=np.uint16).reshape(20, 30)
    Image.fromarray(ids % 256).save(tmp_path / "small.png")
    assert np.array_equal(read_bgr_mask(tmp_path / "small.png")[..., 0], ids % 256)
    Image.fromarray(ids).save(tmp_path / "large.png")
    with pytest.raises(BrokenScene, match=r"large\.png: holds 16-bit numbers from 0 to 599: save the mask with 8 bits"):
        read_bgr_mask(tmp_path / "large.png")


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.uint32])
def test_other_numbers_are_read_where_they_are_whole(tmp_path, dtype):
    tifffile.imwrite(tmp_path / "m.tif", (OBJECT * 7).astype(dtype))
    assert np.array_equal(read_bgr_mask(tmp_path / "m.tif")[..., 1], OBJECT * np.uint8(7))


def test_fractions_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "m.tif", (OBJECT * 0.5).astype(np.float32) + np.float32(0.1))
    with pytest.raises(BrokenScene, match=r"m\.tif: holds decimal numbers from 0\.1 to 0\.6: save the mask"):
        read_bgr_mask(tmp_path / "m.tif")


@pytest.mark.parametrize("level", [0, 255])
def test_a_mask_drawn_in_transparency_is_refused(tmp_path, level):
    """By its colours alone nothing would be the object, or all of the image."""
    layers = [np.full(OBJECT.shape, level, np.uint8)] * 3 + [OBJECT * np.uint8(255)]
    Image.fromarray(np.dstack(layers)).save(tmp_path / "m.png")
    with pytest.raises(BrokenScene, match=r"m\.png: its transparency says what the object is"):
        read_bgr_mask(tmp_path / "m.png")


def test_transparency_that_says_the_same_as_the_colours_is_read(tmp_path):
    Image.fromarray(np.dstack([OBJECT * np.uint8(255)] * 4)).save(tmp_path / "m.png")
    assert np.array_equal(read_bgr_mask(tmp_path / "m.png")[..., 2] > 0, OBJECT)


def test_pages_are_said_or_chosen(tmp_path):
    tifffile.imwrite(tmp_path / "m.tif", np.stack([~OBJECT, OBJECT]).astype(np.uint8), photometric="minisblack")
    notes = Notes()
    assert np.array_equal(read_bgr_mask(tmp_path / "m.tif", notes=notes)[..., 0] > 0, ~OBJECT)
    assert "2 pages or frames" in notes.lines()[0]
    assert np.array_equal(read_bgr_mask(tmp_path / "m.tif", ImageReading(page=1))[..., 0] > 0, OBJECT)


def test_jpeg_masks_are_said(tmp_path):
    Image.fromarray(OBJECT * np.uint8(255)).save(tmp_path / "m.jpg")
    notes = Notes()
    read_bgr_mask(tmp_path / "m.jpg", notes=notes)
    assert "kind=binary" in notes.lines()[0]


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16])
def test_tiff_files_that_count_from_white_are_read_as_they_look(tmp_path, dtype):
    full = 1 if dtype is bool else np.iinfo(dtype).max
    dark = (~OBJECT * full).astype(dtype)  # the object is stored as 0, which is white
    tifffile.imwrite(tmp_path / "m.tif", dark, photometric="miniswhite")
    assert np.array_equal(read_mask_ids(tmp_path / "m.tif") > 0, OBJECT)
    assert np.array_equal(read_bgr_mask(tmp_path / "m.tif")[..., 0] > 0, OBJECT)
    assert np.array_equal(read_rgb(tmp_path / "m.tif")[..., 0] == 255, OBJECT)


def test_a_rare_kind_of_tiff_is_called_so(tmp_path, capfd):
    tifffile.imwrite(tmp_path / "m.tif", OBJECT.astype(np.float16))
    with pytest.raises(BrokenScene, match=r"m\.tif: a TIFF that cannot be read .* 8, 16 or 32 bits"):
        read_mask_ids(tmp_path / "m.tif")
    assert not capfd.readouterr().err  # OpenCV says nothing of its own
