"""Masks mean what a viewer shows: palettes, soft edges, floats, EXIF, transparency, pages, colours."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from data_modules.formats.image_reading import ImageReading
from data_modules.formats.mask_files import read_mask_ids
from data_modules.formats.mask_rules import MaskRules
from data_modules.formats.notes import Notes
from data_modules.scenes import BrokenScene

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
OBJECT = np.zeros((40, 60), bool)
OBJECT[5:25, 10:40] = True


def disk(height=200, width=300, centre=(100, 140), radius=60.0, softness=0.0):
    """(H, W) float in 0..1: a disk, with an edge of `softness` pixels."""
    y, x = np.mgrid[:height, :width]
    depth = radius - np.hypot(y - centre[0], x - centre[1])
    return np.clip(depth / softness + 0.5, 0, 1) if softness else (depth > 0).astype(float)


def iou(first, second):
    return (first & second).sum() / (first | second).sum()


def palette_file(path, indices, colours):
    image = Image.fromarray(indices.astype(np.uint8), mode="P")
    image.putpalette([level for colour in colours for level in colour])
    image.save(path)
    return path


@pytest.mark.parametrize("kind", ["auto", "binary", "ids"])
@pytest.mark.parametrize("suffix", ["png", "gif", "bmp"])
@pytest.mark.parametrize(
    "colours",
    [
        [(0, 0, 0), (255, 255, 255)],
        [(255, 255, 255), (0, 0, 0)],  # begins with white: by index, object and background would change places
        [(200, 30, 30), (0, 0, 0)],
        [(0, 0, 0), (128, 0, 0)],
    ],
)
def test_two_colours_are_read_as_they_look(tmp_path, colours, suffix, kind):
    lighter = int(np.argmax([sum(colour) for colour in colours]))
    path = palette_file(tmp_path / f"m.{suffix}", np.where(OBJECT, lighter, 1 - lighter), colours)
    assert np.array_equal(read_mask_ids(path, MaskRules(kind)) > 0, OBJECT)


def test_a_palette_that_does_not_begin_with_black_keeps_all_its_objects(tmp_path):
    indices = np.zeros((30, 30), np.uint8)  # 0: red, an object; 1: black; 2: green
    indices[:, 10:20], indices[:, 20:] = 1, 2
    path = palette_file(tmp_path / "m.png", indices, [(255, 0, 0), (0, 0, 0), (0, 255, 0)])
    ids = read_mask_ids(path)
    assert (ids[:, 10:20] == 0).all() and len(np.unique(ids)) == 3 and (ids[:, 20:] == 2).all()


def test_two_light_colours_have_to_be_told_apart(tmp_path):
    path = palette_file(tmp_path / "m.png", OBJECT, [(255, 255, 255), (255, 90, 90)])
    with pytest.raises(BrokenScene, match=r"m\.png.*#ffffff.*background="):
        read_mask_ids(path)
    assert np.array_equal(read_mask_ids(path, MaskRules(background="white")) > 0, OBJECT)
    assert np.array_equal(read_mask_ids(path, MaskRules(background="#ff5a5a")) > 0, ~OBJECT)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.uint16])
def test_deep_label_files_keep_every_id(tmp_path, dtype):
    wanted = [1, 2, 254, 255, 256, 300, 1000]
    ids = np.repeat(np.array([0, *wanted]), 5)[None].repeat(6, axis=0)
    path = tmp_path / "m.tif"
    assert cv2.imwrite(str(path), ids.astype(dtype))
    assert np.array_equal(read_mask_ids(path), ids)
    assert np.array_equal(read_mask_ids(path, MaskRules("ids")), ids)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_probabilities_are_cut_at_one_half(tmp_path, dtype):
    soft = disk(softness=20.0)
    path, notes = tmp_path / "m.tif", Notes()
    cv2.imwrite(str(path), soft.astype(dtype))
    assert np.array_equal(read_mask_ids(path, notes=notes) == 1, soft.astype(dtype) > 0.5)
    assert "one half" in notes.lines()[0] and "m.tif" in notes.lines()[0]
    assert np.array_equal(read_mask_ids(path, MaskRules("binary", threshold=0.8)) == 1, soft.astype(dtype) > 0.8)
    with pytest.raises(BrokenScene, match="kind=binary"):
        read_mask_ids(path, MaskRules("ids"))


@pytest.mark.parametrize("odd", [np.nan, np.inf, -2.5])
def test_floats_that_are_neither_ids_nor_shares_are_refused(tmp_path, odd):
    values = np.ones((8, 8), np.float32)
    values[0, 0] = odd
    cv2.imwrite(str(tmp_path / "m.tif"), values)
    with pytest.raises(BrokenScene, match=r"m\.tif: holds"):
        read_mask_ids(tmp_path / "m.tif")


@pytest.mark.parametrize("form", ["soft png", "jpeg", "colour jpeg", "16 bit", "12 of 16 bit", "gif", "white ground"])
def test_soft_masks_are_cut_at_one_half(tmp_path, form):
    truth, soft = disk() > 0, disk(softness=8.0)
    gray = np.round(255 * soft).astype(np.uint8)
    path, background = tmp_path / "m.png", None
    if form == "jpeg":
        path = tmp_path / "m.jpg"
        cv2.imwrite(str(path), (255 * truth).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 70])
    elif form == "colour jpeg":
        path = tmp_path / "m.jpg"
        cv2.imwrite(str(path), np.dstack([0 * gray, 0 * gray, (255 * truth).astype(np.uint8)]))
    elif form.endswith("bit"):
        cv2.imwrite(str(path), np.round(soft * (65535 if form == "16 bit" else 4095)).astype(np.uint16))
    elif form == "gif":
        path = tmp_path / "m.gif"
        Image.fromarray(gray).save(path)
    elif form == "white ground":
        background = "white"
        cv2.imwrite(str(path), 255 - gray)
    else:
        cv2.imwrite(str(path), gray)
    assert iou(read_mask_ids(path, MaskRules("binary", background=background)) == 1, truth) > 0.98
    if form not in ("colour jpeg", "12 of 16 bit", "white ground"):
        with pytest.raises(BrokenScene, match="kind=binary cuts at one half"):
            read_mask_ids(path)


def test_one_object_from_labels_is_the_union_of_all_of_them(tmp_path):
    """`kind=binary` on id maps: no label is lost to the threshold, or it is said."""
    values = np.zeros((40, 60), np.uint8)
    values[:20, :20], values[:20, 20:40], values[20:, :20] = 1, 2, 20
    cv2.imwrite(str(tmp_path / "ids.png"), values)
    assert np.array_equal(read_mask_ids(tmp_path / "ids.png", MaskRules("binary")) == 1, values > 0)
    colours = np.zeros((40, 60, 3), np.uint8)  # label colours of VOC, some of them dark
    colours[:20, :20], colours[20:, :20] = (0, 0, 64), (128, 128, 192)
    cv2.imwrite(str(tmp_path / "voc.png"), colours)
    assert np.array_equal(read_mask_ids(tmp_path / "voc.png", MaskRules("binary")) == 1, colours.any(axis=2))
    values[values == 20] = 255
    cv2.imwrite(str(tmp_path / "mixed.png"), values)
    notes = Notes()
    assert np.array_equal(read_mask_ids(tmp_path / "mixed.png", MaskRules("binary"), notes=notes) == 1, values == 255)
    assert "1, 2" in notes.lines()[0] and "threshold=0" in notes.lines()[0]
    assert np.array_equal(read_mask_ids(tmp_path / "mixed.png", MaskRules("binary", threshold=0)) == 1, values > 0)


@pytest.mark.parametrize("background", [(0, 0, 0), (255, 255, 255), (10, 200, 30)])
def test_soft_colour_edges_are_no_objects(tmp_path, background):
    parts = [(disk(200, 300, (60, 70), 40, 3.0), (255, 0, 0)), (disk(200, 300, (120, 210), 55, 3.0), (0, 0, 255))]
    canvas = np.tile(np.array(background, float), (200, 300, 1))
    for share, colour in parts:
        canvas = canvas * (1 - share[..., None]) + np.array(colour) * share[..., None]
    Image.fromarray(np.round(canvas).astype(np.uint8)).save(tmp_path / "m.png")
    name = "#" + "".join(f"{level:02x}" for level in background)
    notes = Notes()
    assert len(np.unique(read_mask_ids(tmp_path / "m.png", MaskRules("ids", background=name), notes=notes))) > 20
    assert "smallest=50" in notes.lines()[0]
    ids = read_mask_ids(tmp_path / "m.png", MaskRules("ids", background=name, smallest=200))
    assert np.unique(ids).tolist() == [0, 1, 2]
    for number, (share, _) in enumerate(parts, start=1):  # red is the smaller number
        assert iou(ids == number, share > 0.5) > 0.99


def test_small_ids_are_left_out_on_request(tmp_path):
    values = np.zeros((40, 60), np.uint8)
    values[:20, :20], values[30:32, 50:52] = 7, 8
    cv2.imwrite(str(tmp_path / "m.png"), values)
    assert np.unique(read_mask_ids(tmp_path / "m.png", MaskRules("ids"))).tolist() == [0, 7, 8]
    assert np.unique(read_mask_ids(tmp_path / "m.png", MaskRules("ids", smallest=10))).tolist() == [0, 7]


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_masks_as_it_turns_images(tmp_path, orientation, suffix):
    from data_modules.formats.images import read_rgb

    exif = Image.Exif()
    exif[274] = orientation
    pixels = np.where(OBJECT, 255, 0).astype(np.uint8)
    options = {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(pixels).convert("RGB").save(tmp_path / f"m.{suffix}", exif=exif, **options)
    for reading in (ImageReading(), ImageReading(exif="ignore")):
        mask = read_mask_ids(tmp_path / f"m.{suffix}", reading=reading) > 0
        assert np.array_equal(mask, read_rgb(tmp_path / f"m.{suffix}", reading)[..., 0] > 127)
        if reading.exif == "ignore":
            assert np.array_equal(mask, OBJECT)
    viewed = Image.fromarray(pixels)
    viewed.getexif()[274] = orientation
    from PIL import ImageOps

    turned = np.asarray(ImageOps.exif_transpose(viewed)) > 0
    assert np.array_equal(read_mask_ids(tmp_path / f"m.{suffix}") > 0, turned)


def test_an_object_in_the_transparency_is_read_on_request(tmp_path):
    rgba = np.full((*OBJECT.shape, 4), 255, np.uint8)
    rgba[..., 3] = np.where(OBJECT, 255, 0)
    Image.fromarray(rgba).save(tmp_path / "m.png")
    with pytest.raises(BrokenScene, match="kind=alpha"):
        read_mask_ids(tmp_path / "m.png")
    assert np.array_equal(read_mask_ids(tmp_path / "m.png", MaskRules("alpha")) == 1, OBJECT)
    Image.fromarray(rgba[..., :3]).save(tmp_path / "opaque.png")
    with pytest.raises(BrokenScene, match=r"opaque\.png: has no transparency"):
        read_mask_ids(tmp_path / "opaque.png", MaskRules("alpha"))


def test_a_page_can_be_chosen(tmp_path):
    pages = [Image.fromarray(np.roll(OBJECT, shift, axis=1).astype(np.uint8) * 255) for shift in (0, 5, 9)]
    pages[0].save(tmp_path / "m.tif", save_all=True, append_images=pages[1:])
    notes = Notes()
    assert np.array_equal(read_mask_ids(tmp_path / "m.tif", notes=notes) == 1, OBJECT)
    assert "3 pages" in notes.lines()[0] and "page=N" in notes.lines()[0]
    chosen = read_mask_ids(tmp_path / "m.tif", reading=ImageReading(page=2))
    assert np.array_equal(chosen == 1, np.roll(OBJECT, 9, axis=1))
    with pytest.raises(BrokenScene, match="pages 0 to 2"):
        read_mask_ids(tmp_path / "m.tif", reading=ImageReading(page=3))


def test_sixteen_bit_colours_are_ids_too(tmp_path):
    colours = np.zeros((4, 30, 3), np.uint16)
    colours[:, 10:20, 2], colours[:, 20:, 2] = 300, 301  # Pillow would cut both to the same 8 bits
    cv2.imwrite(str(tmp_path / "m.png"), colours)
    assert len(np.unique(read_mask_ids(tmp_path / "m.png", MaskRules("ids")))) == 3


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "labels"},
        {"ignore_value": "255"},
        {"ignore_value": 0},
        {"threshold": 1.5},
        {"threshold": "half"},
        {"smallest": -1},
        {"background": "blurple"},
        {"background": 300},
    ],
)
def test_impossible_rules_name_the_option(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        MaskRules(**options)


def test_a_mask_is_refused_by_its_size_before_it_is_decoded(tmp_path):
    Image.new("L", (400, 300), 255).save(tmp_path / "m.png")
    with pytest.raises(BrokenScene, match=r"m\.png: 400 x 300 pixels, more than max_pixels=100000"):
        read_mask_ids(tmp_path / "m.png", reading=ImageReading(max_pixels=100_000))
    assert read_mask_ids(tmp_path / "m.png", reading=ImageReading(max_pixels=120_000)).all()
