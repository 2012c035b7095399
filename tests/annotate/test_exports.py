"""Exports opened by other tools' readers, and imported again: the masks are the same."""

from __future__ import annotations

import base64
import csv
import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from conftest import draw_photo
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from pycocotools.coco import COCO

from clicklab.annotate import masks
from clicklab.annotate.events import Event
from clicklab.annotate.exports import FORMATS, export, file_names, id_map, write_masks, write_whole
from clicklab.annotate.imports import import_masks
from clicklab.annotate.statistics import statistics
from clicklab.annotate.store import Store
from clicklab.commands.given_masks import given_masks
from clicklab.commands.main import main

SIZE = (17, 23)
NAMES = ("a photo.png", "more/фото.jpg", "more/фото.png")


def store_of(folder: Path, given_masks: dict[str, list[np.ndarray]]) -> Store:
    """A store with finished objects; classes cat and dog in turn."""
    store = Store(folder)
    store.set_photos(list(given_masks))
    classes = [store.add_class("cat"), store.add_class("dög")]
    for photo in store.photos():
        store.set_content(photo.id, "0" * 32, SIZE[1], SIZE[0])
        for number, mask in enumerate(given_masks[photo.path]):
            found = store.add_object(photo.id, classes[number % 2], f"object-{photo.id}-{number}")
            counts = masks.encode(mask)["counts"]
            key = f"event-{photo.id}-{number}"
            click = Event(f"{key}-c", "click", 3.0, 4.0, True, {}, counts, 1000.0 + number, "net", 0.1, "Anna")
            store.append(found.id, click, 0)
            store.append(found.id, Event(f"{key}-f", "finish", time=1004.0 + number, person="Anna"), 1)
    return store


def blobs(seed: int, count: int) -> list[np.ndarray]:
    """Masks of any shape: parts, holes, single pixels."""
    generator = np.random.default_rng(seed)
    return [generator.random(SIZE) < generator.uniform(0.02, 0.9) for _ in range(count)]


def read_labelme(content: bytes) -> list[tuple[str, np.ndarray]]:
    """As labelme's own loader does: a mask stands in its box, whose ends belong to it."""
    record = json.loads(content)
    found = []
    for shape in record["shapes"]:
        assert shape["shape_type"] == "mask"
        (x1, y1), (x2, y2) = shape["points"]
        part = np.asarray(Image.open(io.BytesIO(base64.b64decode(shape["mask"])))).astype(bool)
        assert part.shape == (y2 - y1 + 1, x2 - x1 + 1)
        mask = np.zeros((record["imageHeight"], record["imageWidth"]), dtype=bool)
        mask[y1 : y2 + 1, x1 : x2 + 1] = part
        found.append((shape["label"], mask))
    return found


def read_yolo(content: bytes) -> list[tuple[int, np.ndarray]]:
    """Class and mask of each line, drawn large so that pixel edges are met."""
    found, (height, width), large = [], SIZE, 8
    for line in content.decode().splitlines():
        number, *values = line.split()
        points = np.array(values, dtype=float).reshape(-1, 2) * (width * large, height * large)
        # even-odd, as the seams ask for: count the crossings to the left of the middle of every pixel
        rows, columns = np.mgrid[:height, :width] * large + large / 2
        following = np.roll(points, -1, axis=0)
        inside = np.zeros(SIZE, dtype=bool)
        for (x0, y0), (x1, y1) in zip(points, following, strict=True):
            if abs(y0 - y1) > 1:
                inside ^= ((y0 > rows) != (y1 > rows)) & (columns > (x0 + x1) / 2)
        found.append((int(number), inside))
    return found


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10_000), st.integers(0, 4))
def test_every_format_gives_the_masks_again(tmp_path_factory, seed, count):
    folder = tmp_path_factory.mktemp("exports")
    truth = {name: blobs(seed + number, count) for number, name in enumerate(NAMES)}
    truth = {name: [mask for mask in found if mask.any()] for name, found in truth.items()}
    store = store_of(folder / "clicklab", truth)
    for form in FORMATS:
        export(store, form, folder / form)
    names = {photo.path: file_names(store)[photo.id] for photo in store.photos()}
    assert names == {name: name if name.startswith("more") else "a photo" for name in NAMES}
    for document in ("instances.json", "instances_polygons.json"):
        coco = COCO(folder / "coco" / document)
        for image in coco.loadImgs(coco.getImgIds()):
            found = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
            wanted = truth[image["file_name"]]
            assert len(found) == len(wanted)
            for annotation, mask in zip(found, wanted, strict=True):
                assert (coco.annToMask(annotation).astype(bool) == mask).all()
                assert annotation["area"] == mask.sum()
    for name, wanted in truth.items():
        if not wanted:
            assert not (folder / "png" / "ids" / f"{names[name]}.png").exists()
            continue
        ids = np.asarray(Image.open(folder / "png" / "ids" / f"{names[name]}.png"))
        expected = np.zeros(SIZE, dtype=int)
        for number, mask in enumerate(wanted, 1):
            expected[mask] = number
        assert (ids == expected).all()
        labelme = read_labelme((folder / "labelme" / f"{names[name]}.json").read_bytes())
        assert [label for label, _ in labelme] == ["cat" if n % 2 == 0 else "dög" for n in range(len(wanted))]
        yolo = read_yolo((folder / "yolo" / "labels" / f"{names[name]}.txt").read_bytes())
        for (_, in_labelme), (number, in_yolo), (place, mask) in zip(labelme, yolo, enumerate(wanted), strict=True):
            assert (in_labelme == mask).all() and (in_yolo == mask).all()
            assert number == place % 2
    assert yaml.safe_load((folder / "yolo" / "data.yaml").read_text())["names"] == {0: "cat", 1: "dög"}
    dialogues = json.loads((folder / "clicks" / "clicks.json").read_text())["dialogues"]
    assert [one["image"] for one in dialogues] == [name for name in NAMES for _ in truth[name]]
    for one, mask in zip(dialogues, (mask for name in NAMES for mask in truth[name]), strict=True):
        assert (one["clicks"], one["size"], one["network"]) == ([[3.0, 4.0, True]], list(SIZE), "net")
        assert (masks.decode(one["mask"]) == mask).all()
    with (folder / "png" / "objects.csv").open() as file:
        assert sum(1 for _ in csv.reader(file)) == 1 + len(dialogues)
    store.close()


def test_yolo_polygons_drawn_by_opencv_with_their_outline(tmp_path):
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    disk = (rows - 8) ** 2 + (columns - 8) ** 2 <= 40
    ring = disk & ((rows - 8) ** 2 + (columns - 8) ** 2 > 9)
    parts = disk | ((rows > 5) & (columns > 18))
    store = store_of(tmp_path / "out", {"a.png": [disk, ring, parts]})
    export(store, "yolo", tmp_path / "yolo")
    store.close()
    drawn = []
    for line in (tmp_path / "yolo" / "labels" / "a.txt").read_text().splitlines():
        shares = np.array(line.split()[1:], dtype=float).reshape(-1, 2)
        canvas = np.zeros(SIZE, dtype=np.uint8)
        cv2.fillPoly(canvas, [(shares * (SIZE[1], SIZE[0])).astype(np.int32)], (1,))
        drawn.append(canvas.astype(bool))
    assert (drawn[0] == disk).all()
    assert (drawn[1] == ring).all()  # its seam lies in the object
    seam = drawn[2] & ~parts
    assert (drawn[2] & parts == parts).all()
    assert 0 < seam.sum() <= 5  # as far as the parts are apart


def test_exported_masks_come_back_by_import(tmp_path):
    photos = tmp_path / "photos"
    for name in NAMES:
        draw_photo(photos / name, width=SIZE[1], height=SIZE[0])
    wanted = {name: blobs(number, 3) for number, name in enumerate(NAMES)}
    first = store_of(tmp_path / "first", wanted)
    export(first, "coco", tmp_path / "coco")
    export(first, "png", tmp_path / "png")
    first.close()
    for source, overlap in (("coco/instances.json", True), ("coco/instances_polygons.json", True), ("png", False)):
        store = Store(tmp_path / source.replace("/", "-"))
        store.set_photos(list(NAMES))
        [sentence] = import_masks(store, photos, *given_masks(tmp_path / source))
        assert sentence.startswith("9 masks imported")
        for photo in store.photos():
            found = [masks.decode(masks.Rle(size=[*SIZE], counts=one.counts)) for one in store.objects(photo.id)]
            for number, mask in enumerate(found):
                later = np.any(wanted[photo.path][number + 1 :], axis=0) if number < 2 and not overlap else False
                assert (mask == wanted[photo.path][number] & ~np.asarray(later)).all()
        assert import_masks(store, photos, *given_masks(tmp_path / source))[0].startswith("0 masks imported")
        store.close()


def test_masks_that_do_not_fit_are_named_and_the_others_come(tmp_path):
    photos = tmp_path / "photos"
    draw_photo(photos / "a.png", width=20, height=10)
    draw_photo(photos / "b.png", width=20, height=10)
    given = tmp_path / "masks"
    write_whole(given / "a.png", id_map(np.ones((11, 20), dtype=np.uint16)))
    write_whole(given / "b.png", id_map(np.arange(200, dtype=np.uint16).reshape(10, 20) // 150 * 300))
    store = Store(tmp_path / "out")
    store.set_photos(["a.png", "b.png"])
    count, refused = import_masks(store, photos, *given_masks(given))
    assert count.startswith("1 masks imported")
    assert "a.png" in refused and "20 x 11" in refused and "20 x 10" in refused
    (tmp_path / "bad.json").write_text('{"images": []}')
    with pytest.raises(ValueError, match=r"bad\.json.*annotations"):
        import_masks(store, photos, *given_masks(tmp_path / "bad.json"))
    with pytest.raises(FileNotFoundError, match="--masks"):
        import_masks(store, photos, *given_masks(tmp_path / "absent"))
    store.close()


def test_more_objects_than_a_byte_counts(tmp_path):
    many = [np.eye(1, SIZE[0] * SIZE[1], number, dtype=bool).reshape(SIZE) for number in range(258)]
    store = store_of(tmp_path / "out", {"a.png": many})
    write_masks(store, 1)
    ids = np.asarray(Image.open(tmp_path / "out" / "masks" / "a.png"))
    assert (ids.ravel()[:258] == np.arange(1, 259)).all()
    assert store.unwritten() == []
    store.close()


def test_the_palette_has_a_colour_for_each_of_a_few_objects(tmp_path):
    image = Image.open(io.BytesIO(id_map(np.arange(6, dtype=np.uint16).reshape(2, 3))))
    shown = Image.new("RGB", image.size)
    ImageDraw.Draw(shown).bitmap((0, 0), Image.new("1", image.size))
    colours = {image.convert("RGB").getpixel((x, y)) for x in range(3) for y in range(2)}
    assert len(colours) == 6


def test_statistics_count_clicks_seconds_and_overlaps(tmp_path):
    truth = blobs(5, 2)
    store = store_of(tmp_path / "out", {"a.png": truth})
    write_whole(tmp_path / "truth" / "a.png", id_map((truth[0] & ~truth[1]).astype(np.uint16) + 2 * truth[1]))
    text = statistics(store, given_masks(tmp_path / "truth"))
    store.close()
    assert "1 begun" in text and "2 objects" in text
    assert [line.split() for line in text.splitlines() if line.startswith("Anna")] == [
        ["Anna", "2", "1.00", "4.0", "0"]
    ]
    union = truth[0] | (truth[0] & ~truth[1])
    first = (truth[0] & ~truth[1]).sum() / union.sum()
    best = max(first, (truth[0] & truth[1]).sum() / (truth[0] | truth[1]).sum())
    assert f"     1  {(best + 1) / 2:.3f}" in text
    with pytest.raises(FileNotFoundError, match="--reference"):
        statistics(store, given_masks(tmp_path / "absent"))


def test_the_command_exports_and_counts(tmp_path, capsys):
    store_of(tmp_path / "photos" / "clicklab", {"a.png": blobs(1, 2)}).close()
    assert main(["annotate", "export", str(tmp_path / "photos"), "--format", "coco"]) == 0
    assert (tmp_path / "photos" / "clicklab" / "coco" / "instances.json").is_file()
    assert main(["annotate", "stats", str(tmp_path / "photos" / "clicklab")]) == 0
    assert "2 objects" in capsys.readouterr().out
    draw_photo(tmp_path / "drawn" / "a.png")
    (tmp_path / "file").write_text("no folder")
    for words, named in [
        (["export", str(tmp_path)], "--format is missing"),
        (["export", str(tmp_path), "--format", "coco"], "holds no annotations"),
        ([str(tmp_path), str(tmp_path)], "one folder"),
        ([str(tmp_path / "absent"), "--no-browser"], "there is no folder"),
        ([str(tmp_path / "photos"), "--no-browser"], "there is no photo"),
        ([str(tmp_path), "--format", "coco"], "belong to"),
        ([str(tmp_path / "drawn"), "--no-browser", "--port", "0", "--output", str(tmp_path / "file")], "--output DIR"),
    ]:
        assert main(["annotate", *words]) == 2
        message = capsys.readouterr().err
        assert named in message and message.count("\n") == 1
