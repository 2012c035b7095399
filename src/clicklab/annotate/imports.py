"""Masks that exist already, to be corrected: mask files named like their photos, or COCO json."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from clicklab.annotate import masks
from clicklab.annotate.events import Event
from clicklab.annotate.photos import UnreadablePhoto, read_photo
from clicklab.annotate.store import Store

Given = tuple[str, np.ndarray]  # name of a class, (H, W) bool
IDS = "ids"  # the folder of id maps in an export


@dataclass(frozen=True)
class MaskFiles:
    """How masks are found and read. The commands give what the readers of datasets do.

    Attributes:
        pair: (photo files, a folder of masks) -> name of a photo file -> its mask files.
        read: a mask file -> (H, W) whole numbers, 0 background and -1 to be ignored. Raises ValueError.
        draw: (`segmentation` of a COCO annotation, (H, W)) -> (H, W) bool. Raises ValueError, saying what is wrong.
    """

    pair: Callable[[Sequence[Path], Path], dict[str, list[Path]]]
    read: Callable[[Path], np.ndarray]
    draw: Callable[[Any, tuple[int, int]], np.ndarray]


def import_masks(store: Store, photos: Path, source: Path, files: MaskFiles) -> list[str]:
    """Adds the masks of a folder of mask files, or of COCO json, as finished objects.

    Importing the same again adds nothing, so that masks corrected since stay as they are.

    Args:
        store: of the annotations.
        photos: their folder.
        source: a folder, or one json file.
        files: how masks are found and read.

    Returns:
        sentences on what was imported, and on what was not and why.

    Raises:
        FileNotFoundError: no such folder or file.
        ValueError: one file that is not json, or not COCO's.
    """
    if not source.exists():
        raise FileNotFoundError(f"--masks: there is no {source}")
    by_path = {photo.path: photo.id for photo in store.photos() if photo.present}
    remarks: list[str] = []
    found: list[tuple[str, Path, Iterator[Given]]] = []
    if source.is_dir():
        for path, given in mask_files_of(source, by_path, files, photos).items():
            found += [(path, file, objects_of(file, files)) for file in given]
    for document in [source] if not source.is_dir() else sorted(source.rglob("*.json")):
        try:
            record = _read_coco(document)
            by_image = _by_image(record, by_path, document, remarks)
        except ValueError as error:
            if document == source:
                raise
            remarks.append(f"passed over: {error}")
            continue
        found += [
            (path, document, _from_coco(record, shapes, files, document, remarks)) for path, shapes in by_image.items()
        ]
    count = 0
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
            turned = ": an EXIF tag turns the photo?" if mask.shape == (width, height) else ""
            raise ValueError(f"it has {mask.shape[1]} x {mask.shape[0]} pixels, the photo {width} x {height}{turned}")
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


def mask_files_of(
    source: Path, paths: Sequence[str] | dict[str, int], files: MaskFiles, photos: Path | None = None
) -> dict[str, list[Path]]:
    """Path of a photo -> its mask files in a folder laid out like that of the photos, or in the folder `ids` of it.

    A mask with the photo's whole name (`cat.jpg.png`) is that photo's alone.

    Args:
        source: the folder of masks.
        paths: of the photos, relative.
        files: how masks are found.
        photos: the photos' own folder, whose files are no masks.
    """
    by_folder: dict[PurePosixPath, list[str]] = {}
    for path in paths:
        by_folder.setdefault(PurePosixPath(path).parent, []).append(path)
    own = set() if photos is None else {(photos / path).resolve() for path in paths}
    found: dict[str, list[Path]] = {}
    for folder, inside in by_folder.items():
        for place in (source / folder, source / IDS / folder):
            if not place.is_dir():
                continue
            exact = {path: place / f"{PurePosixPath(path).name}.png" for path in inside}
            exact = {path: file for path, file in exact.items() if file.is_file()}
            pairs = files.pair([Path(path) for path in inside], place)
            for path in inside:
                others = [file for file in pairs[PurePosixPath(path).name] if file not in exact.values()]
                given = [exact[path]] if path in exact else others
                if path not in found and (given := [file for file in given if file.resolve() not in own]):
                    found[path] = given
    return found


def objects_of(file: Path, files: MaskFiles) -> Iterator[Given]:
    """Every value above 0 of a mask file is an object."""
    ids = files.read(file)
    for value in np.unique(ids):
        if value > 0:
            yield "object", ids == value


def _read_coco(file: Path) -> dict[str, list[dict]]:
    try:
        record = json.loads(file.read_bytes())
        return {name: list(record[name]) for name in ("images", "annotations", "categories")}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{file}: not COCO json, which has images, annotations and categories ({error})") from error


def _by_image(
    record: dict[str, list[dict]], by_path: dict[str, int], document: Path, remarks: list[str]
) -> dict[str, list[dict]]:
    """Path of a photo -> its annotations; photos go by their whole path, or by a name that only one has on both sides.

    Raises ValueError for an image without id or name.
    """
    by_name: dict[str, list[str]] = {}
    for path in by_path:
        by_name.setdefault(PurePosixPath(path).name, []).append(path)
    try:
        names = [(image["id"], str(image["file_name"]).replace("\\", "/")) for image in record["images"]]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{document}: an image without id or file_name") from error
    alike_there = Counter(PurePosixPath(name).name for name in {name for _, name in names})
    paths: dict[Any, str] = {}
    for key, name in names:
        bare = PurePosixPath(name).name
        if name in by_path:
            path = name
        elif len(by_name.get(bare, [])) == 1 and alike_there[bare] == 1:
            path = by_name[bare][0]
        else:
            continue
        if paths.setdefault(key, path) != path:
            raise ValueError(f"{document}: two images have the id {key}; which annotation is whose cannot be known")
    if absent := len({key for key, _ in names} - paths.keys()):
        remarks.append(f"{document}: {absent} of its images are no photos here; names must agree, or the whole path")
    found: dict[str, list[dict]] = {}
    listed, loose = {key for key, _ in names}, 0
    for annotation in record["annotations"]:
        key = annotation.get("image_id") if isinstance(annotation, dict) else None
        if key in paths:
            found.setdefault(paths[key], []).append(annotation)
        loose += key not in listed
    if loose:
        remarks.append(f"{document}: {loose} annotations have an image_id that no image has")
    return found


def _from_coco(
    record: dict[str, list[dict]], annotations: list[dict], files: MaskFiles, document: Path, remarks: list[str]
) -> Iterator[Given]:
    """Run lengths, packed or not, and polygons; an annotation that cannot be drawn is named, its place kept empty."""
    classes = {entry["id"]: str(entry["name"]) for entry in record["categories"]}
    sizes = {entry["id"]: (int(entry["height"]), int(entry["width"])) for entry in record["images"]}
    for annotation in annotations:
        size = sizes[annotation["image_id"]]
        category, key = annotation.get("category_id"), annotation.get("id")
        try:
            if category not in classes:
                raise ValueError(f"its category_id {category} is not listed")
            mask = files.draw(annotation.get("segmentation"), size)
        except ValueError as error:
            remarks.append(f"{document}: annotation {key} is not imported ({error})")
            mask = np.zeros(size, dtype=bool)
        yield classes.get(category, "object"), mask
