"""Masks of any tool are imported as they look, or named with the reason; against arrays drawn here."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import tifffile
from conftest import draw_photo
from PIL import Image

from clicklab.annotate import masks
from clicklab.annotate.events import BadRequest, parse_event
from clicklab.annotate.imports import import_masks
from clicklab.annotate.photos import UnreadablePhoto, read_photo
from clicklab.annotate.prediction import read_clicks, read_start
from clicklab.annotate.store import Store
from clicklab.commands.given_masks import given_masks

OBJECT = np.zeros((20, 30), bool)
OBJECT[3:9, 5:25] = True
SECOND = np.zeros((20, 30), bool)
SECOND[12:18, 2:9] = True


def palette(path, indices, colours):
    image = Image.fromarray(indices.astype(np.uint8), "P")
    image.putpalette([level for colour in colours for level in colour])
    image.save(path)


def gray(path, values, **options):
    Image.fromarray(values.astype(np.uint8)).save(path, **options)


def turned(path, mask):
    """Stored upside down, with the EXIF tag that turns it."""
    image = Image.fromarray(mask[::-1, ::-1].astype(np.uint8) * 255)
    exif = image.getexif()
    exif[274] = 3
    image.save(path, exif=exif)


WRITERS = {
    "a.png": lambda path: gray(path, OBJECT * 255),
    "a_mask.png": lambda path: gray(path, OBJECT * 255),
    "a.gif": lambda path: gray(path, OBJECT * 255),
    "a.bmp": lambda path: Image.fromarray(OBJECT).save(path),
    "a.tif": lambda path: tifffile.imwrite(path, OBJECT.astype(np.float32)),
    "mask_a.png": lambda path: palette(path, ~OBJECT, [(255, 255, 255), (0, 0, 0)]),  # begins with white
    "a-rgb.png": lambda path: Image.fromarray(OBJECT[..., None] * np.array([200, 9, 9], np.uint8)).save(path),
    "a_exif.png": lambda path: turned(path, OBJECT),
    "a.webp": lambda path: gray(path, OBJECT * 255, lossless=True),
}


def imported(tmp_path, words):
    """Names of the remarks and the masks of the photo a.png, after `--masks words`."""
    photos = tmp_path / "photos"
    if not photos.exists():
        draw_photo(photos / "a.png", width=30, height=20)
    store = Store(tmp_path / "out")
    store.set_photos(["a.png"])
    said = import_masks(store, photos, *given_masks(words))
    (photo,) = store.photos()
    found = [masks.decode(masks.Rle(size=[20, 30], counts=one.counts)) for one in store.objects(photo.id)]
    store.close()
    return said, found


@pytest.mark.parametrize("name", WRITERS)
def test_masks_are_imported_as_they_look(tmp_path, name):
    (tmp_path / "given").mkdir()
    WRITERS[name](tmp_path / "given" / name)
    said, found = imported(tmp_path, tmp_path / "given")
    assert len(found) == 1 and np.array_equal(found[0], OBJECT), said


def test_soft_masks_are_refused_with_the_option_that_cuts_them(tmp_path):
    (tmp_path / "given").mkdir()
    gray(tmp_path / "given" / "a.jpg", OBJECT * 255, quality=70)
    said, found = imported(tmp_path, tmp_path / "given")
    assert not found and "?kind=binary" in said[1] and len(said[1]) - len(str(tmp_path)) < 200
    _, found = imported(tmp_path, f"{tmp_path / 'given'}?kind=binary")
    assert len(found) == 1 and np.array_equal(found[0], OBJECT)
    with pytest.raises(ValueError, match=r"no option 'kinds'; did you mean kind"):
        given_masks(f"{tmp_path / 'given'}?kinds=binary")


def test_annotations_that_cannot_be_drawn_are_named_and_the_others_come(tmp_path):
    sound = masks.encode(OBJECT)
    segmentations = [
        sound,
        {"size": [20, 30], "counts": [10, 20]},  # too short
        {"size": [30, 20], "counts": sound["counts"]},
        [[1, 1, 5, 1, 5]],
        None,
        masks.encode(SECOND),
    ]
    rows = [
        {"id": 1 + number, "image_id": 7, "category_id": 1, "segmentation": segmentation}
        for number, segmentation in enumerate(segmentations)
    ]
    rows += [
        {"id": 50, "image_id": 8, "category_id": 1, "segmentation": sound},
        {"id": 51, "image_id": 7, "category_id": 9, "segmentation": sound},
    ]
    images = [{"id": 7, "file_name": "photos\\a.png", "height": 20, "width": 30}]
    record = {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "cat"}]}
    (tmp_path / "given.json").write_text(json.dumps(record))
    said, found = imported(tmp_path, tmp_path / "given.json")
    assert [mask.tolist() for mask in found] == [OBJECT.tolist(), SECOND.tolist()]
    text = " ".join(said)
    for part in ("annotation 2 ", "add up to 30", "annotation 3 ", "swapped", "annotation 4 ", "annotation 5 ",
                 "1 annotations have an image_id", "annotation 51 ", "category_id 9"):  # fmt: skip
        assert part in text, text


def test_two_images_of_one_name_are_not_laid_over_one_photo(tmp_path):
    """`x/a.png` and `y/a.png` are two photos, of which neither need be the photo here."""
    images = [{"id": n, "file_name": f"{folder}/a.png", "height": 20, "width": 30} for n, folder in enumerate("xy")]
    rows = [{"id": n, "image_id": n, "category_id": 1, "segmentation": masks.encode(OBJECT)} for n in range(2)]
    record = {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "cat"}]}
    (tmp_path / "given.json").write_text(json.dumps(record))
    said, found = imported(tmp_path, tmp_path / "given.json")
    assert not found and "2 of its images are no photos here" in said[1]


def test_another_json_among_the_masks_is_passed_over(tmp_path):
    (tmp_path / "given").mkdir()
    gray(tmp_path / "given" / "a.png", OBJECT * 255)
    (tmp_path / "given" / "notes.json").write_text("[1]")
    said, found = imported(tmp_path, tmp_path / "given")
    assert len(found) == 1 and "notes.json" in said[1]


def test_the_mask_to_start_from_is_read_alike(tmp_path):
    WRITERS["mask_a.png"](tmp_path / "m.png")
    path, files = given_masks(tmp_path / "m.png")
    assert np.array_equal(masks.decode(read_start(path, files)), OBJECT)
    with pytest.raises(ValueError, match=r"--start: .*absent\.png"):
        read_start(tmp_path / "absent.png", files)


@pytest.mark.parametrize("start", [5, {}, {"size": [20], "counts": ""}, {"size": [20, 30], "counts": "zzzz~~"}])
def test_a_start_of_a_json_that_is_none_is_named(tmp_path, start):
    rows = [{"image": "a.png", "clicks": [[1, 1, True]], "start": start}]
    (tmp_path / "c.json").write_text(json.dumps({"format": "clicklab-clicks", "dialogues": rows}))
    with pytest.raises(ValueError, match=r"c\.json: start of a\.png must be"):
        read_clicks(tmp_path / "c.json")


def test_a_pipe_is_no_photo(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(UnreadablePhoto, match="pipe"):
        read_photo(tmp_path / "a.png")


def test_a_click_in_the_last_half_pixel_is_inside():
    event = {"key": "abcdefgh", "kind": "click", "positive": True}
    assert parse_event(event | {"y": 19.5, "x": 29.9}, (20, 30)).x == 29.9
    with pytest.raises(BadRequest, match="outside"):
        parse_event(event | {"y": 20, "x": 3}, (20, 30))
