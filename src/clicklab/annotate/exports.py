"""What was annotated, as files of other tools: COCO json, PNG id maps, YOLO segments, LabelMe json, and the clicks.

Every object that has a mask and was not deleted is exported, as it stands at that moment. Reading disturbs nobody.
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from clicklab.annotate import masks
from clicklab.annotate.events import History
from clicklab.annotate.outlines import joined, moved_inside, parts, rings
from clicklab.annotate.store import Annotated, Photo, Store, histories
from clicklab.whole_file import written_whole

COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#999999")  # Okabe and Ito
YOLO_INSET = 0.25  # pixels
File = tuple[str, bytes]  # path with slashes, content


@dataclass(frozen=True)
class Drawn:
    """An object with its mask; `number` counts the objects of its photo from 1."""

    photo: Photo
    number: int
    object: Annotated
    history: History
    class_name: str
    rle: masks.Rle

    @property
    def mask(self) -> np.ndarray:
        """(H, W) bool."""
        return masks.decode(self.rle)


def drawn_on(store: Store, photo: Photo) -> list[Drawn]:
    """The objects of a photo that have pixels."""
    classes, found = store.classes(), []
    for annotated, history in histories(store, photo.id):
        if history.counts is None or photo.height is None or photo.width is None:
            continue
        rle = masks.Rle(size=[photo.height, photo.width], counts=history.counts)
        if masks.area(rle):
            found.append(Drawn(photo, len(found) + 1, annotated, history, classes[annotated.class_id], rle))
    return found


def coco(store: Store) -> Iterator[File]:
    """`instances.json` with run lengths, which give the masks to the pixel, and `instances_polygons.json` for readers
    that know polygons only (holes are joined to their outlines by seams)."""
    numbers = {class_id: number for number, class_id in enumerate(store.classes(), 1)}
    categories = [{"id": numbers[class_id], "name": name} for class_id, name in store.classes().items()]
    images, in_runs, in_polygons = [], [], []
    for photo in _measured(store):
        size = {"height": photo.height, "width": photo.width}
        images.append({"id": photo.id, "file_name": photo.path, **size})
        for drawn in drawn_on(store, photo):
            record = {
                "id": drawn.object.id,
                "image_id": photo.id,
                "category_id": numbers[drawn.object.class_id],
                "bbox": masks.box_of(drawn.rle),
                "area": masks.area(drawn.rle),
                "iscrowd": 0,
            }
            polygons = [[float(value) for point in ring for value in point] for ring in parts(drawn.mask)]
            in_runs.append({**record, "segmentation": drawn.rle})
            in_polygons.append({**record, "segmentation": polygons})
    for name, records in (("instances.json", in_runs), ("instances_polygons.json", in_polygons)):
        yield name, _json({"images": images, "annotations": records, "categories": categories})


def png(store: Store) -> Iterator[File]:
    """`ids/NAME.png`: 0 is background, then the objects of the photo by number, later ones on top; `classes/NAME.png`
    with the numbers of `classes.csv`; `objects.csv`."""
    numbers = {class_id: number for number, class_id in enumerate(store.classes(), 1)}
    table = [("image", "id", "class", "class_id", "state", "pixels", "clicks")]
    names = file_names(store)
    for photo in _measured(store):
        objects = drawn_on(store, photo)
        ids = np.zeros((photo.height or 0, photo.width or 0), dtype=np.uint16)
        kinds = np.zeros_like(ids)
        for drawn in objects:
            mask = drawn.mask
            ids[mask], kinds[mask] = drawn.number, numbers[drawn.object.class_id]
            about = (drawn.class_name, numbers[drawn.object.class_id], drawn.object.state, masks.area(drawn.rle))
            table.append((photo.path, drawn.number, *about, len(drawn.history.clicks)))
        if objects:
            yield f"ids/{names[photo.id]}.png", id_map(ids)
            yield f"classes/{names[photo.id]}.png", id_map(kinds)
    yield "objects.csv", _csv(table)
    yield "classes.csv", _csv([("id", "name"), *((numbers[key], name) for key, name in store.classes().items())])


def id_map(ids: np.ndarray) -> bytes:
    """A PNG of whole numbers: up to 255 with a palette, so that it can be looked at; 16 bits above."""
    content = io.BytesIO()
    if ids.size and ids.max() > 255:
        image = Image.fromarray(ids.astype(np.uint16))
    else:
        image = Image.fromarray(ids.astype(np.uint8))
        cycle = [int(colour[place : place + 2], 16) for colour in COLOURS for place in (1, 3, 5)]
        image.putpalette([0, 0, 0, *(cycle * 32)[: 255 * 3]])
    image.save(content, "PNG")
    return content.getvalue()


def yolo(store: Store) -> Iterator[File]:
    """`labels/NAME.txt`, a line for each object: class from 0, then x and y of its polygon as shares of the photo;
    `data.yaml`. The format has one polygon for an object: parts and holes are joined by seams. Its corners lie in the
    outermost pixels, because readers of YOLO files draw the polygon with its outline."""
    numbers = {class_id: number for number, class_id in enumerate(store.classes())}
    names = file_names(store)
    for photo in _measured(store):
        lines = []
        for drawn in drawn_on(store, photo):
            outlines = [moved_inside(ring, YOLO_INSET) for ring in rings(drawn.mask)]
            points = np.array(joined(outlines)) / (drawn.photo.width, drawn.photo.height)
            values = " ".join(f"{value:.8g}" for value in points.ravel())
            lines.append(f"{numbers[drawn.object.class_id]} {values}\n")
        if lines:
            yield f"labels/{names[photo.id]}.txt", "".join(lines).encode()
    listed = "".join(
        f"  {numbers[key]}: {json.dumps(name, ensure_ascii=False)}\n" for key, name in store.classes().items()
    )
    yield "data.yaml", f"path: .\ntrain: images\nval: images\nnames:\n{listed}".encode()


def labelme(store: Store) -> Iterator[File]:
    """`NAME.json`, to be laid beside the photo: a shape of the type `mask` for each object."""
    names = file_names(store)
    for photo in _measured(store):
        shapes = []
        for drawn in drawn_on(store, photo):
            mask = drawn.mask
            box = masks.bounding_box(mask)
            assert box is not None
            top, left, bottom, right = box
            content = io.BytesIO()
            Image.fromarray(mask[top:bottom, left:right]).save(content, "PNG")
            shapes.append(
                {
                    "label": drawn.class_name,
                    "points": [[left, top], [right - 1, bottom - 1]],
                    "group_id": drawn.number,
                    "description": "",
                    "shape_type": "mask",
                    "flags": {},
                    "mask": b64encode(content.getvalue()).decode(),
                }
            )
        if shapes:
            about = {"imagePath": PurePosixPath(photo.path).name, "imageData": None}
            size = {"imageHeight": photo.height, "imageWidth": photo.width}
            yield f"{names[photo.id]}.json", _json({"version": "5.5.0", "flags": {}, "shapes": shapes, **about, **size})


def clicks(store: Store) -> Iterator[File]:
    """`clicks.json`: what people clicked, as `clicklab evaluate --clicks` replays it (`docs/annotate.md`)."""
    dialogues = []
    for photo in _measured(store):
        for drawn in drawn_on(store, photo):
            first = next(iter(drawn.history.applied), None)
            given = first is not None and first.kind == "start"
            dialogues.append(
                {
                    "image": photo.path,
                    "object": drawn.object.id,
                    "class": drawn.class_name,
                    "size": [photo.height, photo.width],
                    "start": {**drawn.rle, "counts": first.counts} if first is not None and given else None,
                    "clicks": [[click.y, click.x, click.positive] for click in drawn.history.clicks],
                    "times": [round(click.time, 3) for click in drawn.history.clicks],
                    "network": next((click.network for click in drawn.history.clicks), None),
                    "person": next((click.person for click in drawn.history.clicks), ""),
                    "edited": any(step.kind in ("brush", "fill", "specks") for step in drawn.history.applied),
                    "mask": drawn.rle,
                }
            )
    yield "clicks.json", _json({"format": "clicklab-clicks", "version": 1, "dialogues": dialogues})


FORMATS: dict[str, Callable[[Store], Iterator[File]]] = {
    "coco": coco,
    "png": png,
    "yolo": yolo,
    "labelme": labelme,
    "clicks": clicks,
}


def export(store: Store, form: str, folder: Path) -> list[Path]:
    """Writes a format into a folder; every file is written beside and renamed.

    Raises:
        ValueError: there is no such format.
    """
    if form not in FORMATS:
        raise ValueError(f"--format must be one of {', '.join(FORMATS)}, not {form}")
    written = []
    for name, content in FORMATS[form](store):
        written.append(folder / name)
        write_whole(written[-1], content)
    return written


def packed(store: Store, form: str) -> tuple[str, str, bytes]:
    """Name, media type and content of a format in one file: a zip, or the one json that it is."""
    found = list(FORMATS[form](store))
    if len(found) == 1:
        return found[0][0], "application/json", found[0][1]
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in found:
            archive.writestr(name, part)
    return f"{form}.zip", "application/zip", content.getvalue()


def write_masks(store: Store, photo_id: int) -> None:
    """`masks/NAME.png` of one photo in the output folder, as `png` makes it; removed when no object is left."""
    changes, photo = store.changes(photo_id), store.photo(photo_id)
    target = store.folder / "masks" / f"{file_names(store)[photo_id]}.png"
    objects = drawn_on(store, photo)
    if objects:
        ids = np.zeros((photo.height or 0, photo.width or 0), dtype=np.uint16)
        for drawn in objects:
            ids[drawn.mask] = drawn.number
        write_whole(target, id_map(ids))
    else:
        target.unlink(missing_ok=True)
    store.set_written(photo_id, changes)


def write_whole(path: Path, content: bytes) -> None:
    """Either the old file stands there or the new one, whole."""
    with written_whole(path) as part:
        part.write_bytes(content)


def file_names(store: Store) -> dict[int, str]:
    """Photo -> its path without suffix, or with it where two photos differ in nothing else."""
    stems = {photo.id: str(PurePosixPath(photo.path).with_suffix("")) for photo in store.photos()}
    twice = {stem for stem, count in Counter(stem.casefold() for stem in stems.values()).items() if count > 1}
    return {
        photo.id: photo.path if stems[photo.id].casefold() in twice else stems[photo.id] for photo in store.photos()
    }


def _measured(store: Store) -> list[Photo]:
    """Photos that were opened once, so that their size is known."""
    return [photo for photo in store.photos() if photo.height is not None]


def _json(record: dict) -> bytes:
    return json.dumps(record, ensure_ascii=False).encode()


def _csv(table: list[tuple]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(table)
    return text.getvalue().encode()
