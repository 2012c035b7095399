"""Masks that exist already, to be corrected: PNG id maps named like their photos, or COCO json."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from clicklab.annotate import masks
from clicklab.annotate.events import Event
from clicklab.annotate.photos import UnreadablePhoto, read_photo
from clicklab.annotate.store import Store

Given = tuple[str, np.ndarray]  # name of a class, (H, W) bool


def import_masks(store: Store, photos: Path, source: Path) -> list[str]:
    """Adds the masks of a folder of PNG id maps, or of COCO json, as finished objects.

    Importing the same again adds nothing, so that masks corrected since stay as they are.

    Args:
        store: of the annotations.
        photos: their folder.
        source: a folder, or one json file.

    Returns:
        sentences on what was imported, and on what was not and why.

    Raises:
        FileNotFoundError: no such folder or file.
        ValueError: not json, or not COCO's.
    """
    if not source.exists():
        raise FileNotFoundError(f"--masks: there is no {source}")
    by_path = {photo.path: photo.id for photo in store.photos() if photo.present}
    documents = [source] if source.is_file() else sorted(source.rglob("*.json"))
    found: list[tuple[str, Path, Iterator[Given]]] = []
    for path in by_path if source.is_dir() else ():
        if (file := id_map_of(source, path)) is not None:
            found.append((path, file, read_id_map(file)))
    for document in documents:
        record = _read_coco(document)
        found += [(path, document, _from_coco(record, shapes)) for path, shapes in _by_image(record, by_path).items()]
    count, remarks = 0, []
    for path, file, given in found:
        try:
            count += _add(store, photos, by_path[path], path, file.name, given)
        except (UnreadablePhoto, ValueError, KeyError, TypeError, OSError) as error:
            remarks.append(f"{file}: not imported for {path} ({error})")
    return [f"{count} masks imported from {source}", *remarks]


def _add(store: Store, photos: Path, photo_id: int, path: str, source: str, given: Iterator[Given]) -> int:
    """Objects of one photo; how many are new. Raises ValueError and its kin for what cannot be read or does not fit."""
    pixels, content_hash = read_photo(photos / path)
    height, width = pixels.shape[:2]
    found = list(given)
    for _, mask in found:
        if mask.shape != (height, width):
            raise ValueError(f"it has {mask.shape[1]} x {mask.shape[0]} pixels, the photo {width} x {height}")
    store.set_content(photo_id, content_hash, width, height)
    known, added = {one.key for one in store.objects(photo_id)}, 0
    for number, (name, mask) in enumerate(found):
        key = "import-" + hashlib.sha256(f"{path}\n{source}\n{number}".encode()).hexdigest()[:40]
        if key in known or not mask.any():
            continue
        new, now = store.add_object(photo_id, store.add_class(name), key), time.time()
        store.append(new.id, Event(f"{key}-s", "start", counts=masks.encode(mask)["counts"], time=now), 0)
        store.append(new.id, Event(f"{key}-f", "finish", time=now), 1)
        added += 1
    return added


def id_map_of(folder: Path, path: str) -> Path | None:
    """The mask file of a photo: the same path and name, with or without the photo's own suffix."""
    for name in (str(PurePosixPath(path).with_suffix(".png")), f"{path}.png"):
        for inner in (folder, folder / "ids"):
            if (inner / name).is_file():
                return inner / name
    return None


def read_id_map(file: Path) -> Iterator[Given]:
    """Every value but 0 is an object; a mask of 0 and 255 only is one."""
    with Image.open(file) as image:
        if image.mode not in ("1", "L", "P", "I", "I;16"):
            raise ValueError(f"an image of the mode {image.mode}: an id map has one number for each pixel")
        ids = np.asarray(image)
    for value in np.unique(ids):
        if value:
            yield "object", ids == value


def _read_coco(file: Path) -> dict[str, list[dict]]:
    try:
        record = json.loads(file.read_bytes())
        return {name: list(record[name]) for name in ("images", "annotations", "categories")}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{file}: not COCO json, which has images, annotations and categories ({error})") from error


def _by_image(record: dict[str, list[dict]], by_path: dict[str, int]) -> dict[str, list[dict]]:
    """Path of a photo -> its annotations; photos go by their whole path, or by a name that only one has."""
    by_name: dict[str, list[str]] = {}
    for path in by_path:
        by_name.setdefault(PurePosixPath(path).name, []).append(path)
    paths = {}
    for image in record["images"]:
        name = str(image["file_name"]).replace("\\", "/")
        alike = by_name.get(PurePosixPath(name).name, [])
        if name in by_path:
            paths[image["id"]] = name
        elif len(alike) == 1:
            paths[image["id"]] = alike[0]
    found: dict[str, list[dict]] = {}
    for annotation in record["annotations"]:
        if annotation.get("image_id") in paths:
            found.setdefault(paths[annotation["image_id"]], []).append(annotation)
    return found


def _from_coco(record: dict[str, list[dict]], annotations: list[dict]) -> Iterator[Given]:
    """Run lengths, packed or not, and polygons."""
    classes = {entry["id"]: str(entry["name"]) for entry in record["categories"]}
    sizes = {entry["id"]: (int(entry["height"]), int(entry["width"])) for entry in record["images"]}
    for annotation in annotations:
        shape, (height, width) = annotation["segmentation"], sizes[annotation["image_id"]]
        if isinstance(shape, list):
            rle = coco_mask.merge(coco_mask.frPyObjects(shape, height, width))
        elif isinstance(shape["counts"], list):
            rle = coco_mask.frPyObjects(shape, height, width)
        else:
            rle = {"size": shape["size"], "counts": shape["counts"].encode()}
        counts = rle["counts"].decode()
        yield classes[annotation["category_id"]], masks.decode(masks.Rle(size=[*rle["size"]], counts=counts))
