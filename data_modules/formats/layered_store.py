"""Our own files for layered object ids with their tree: plain arrays and json, nothing that can run code when it is
read.

A split is a folder with

* `layers/<image name>.npz`: `layers` (L, H, W) uint8 or uint16 object ids (0 background, unique over all layers), and
  one entry per object 1..n: `layer`, `parent` (id, 0 for a root), `stuff`. An image without any object has n = 0.
* `build.json`: what the files are made from; written before the first of them, so that other settings never mix with
  them.
* `layers.json`: the index; written last, so its presence says that the folder is complete.

Every file appears under its name only when it is whole, so an interrupted writer leaves nothing broken behind.
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from data_modules.formats.files import need_inside
from data_modules.formats.hierarchy import tree_levels
from data_modules.formats.notes import brief
from data_modules.formats.writing import write_text, write_whole
from data_modules.scenes import BrokenScene, SceneObject

FORMAT, VERSION = "clicklab layers", 1
LARGEST_FILE = 2**30  # bytes unpacked: 100 megapixels in ten layers of 8 bits
FOLDER, INDEX, RECIPE = "layers", "layers.json", "build.json"


@dataclass(frozen=True)
class LayeredIds:
    """The objects of one image, ids 1..n.

    Attributes:
        layers: (H, W, L) int32, L >= 1, 0 background.
        layer: (n,) int32, the layer that holds object k + 1.
        parent: (n,) int32, id of the object it is part of, 0 for a root.
        stuff: (n,) bool.

    Raises:
        ValueError: lengths differ, an object names a layer or parent that does not exist, or parents run in a circle.
    """

    layers: np.ndarray
    layer: np.ndarray
    parent: np.ndarray
    stuff: np.ndarray

    def __post_init__(self) -> None:
        count = len(self.layer)
        if self.layers.ndim != 3 or not self.layers.shape[2] or self.layers.min(initial=0) < 0:
            raise ValueError(f"layers have the shape {self.layers.shape}, expected (H, W, L >= 1), ids >= 0")
        if self.layers.max(initial=0) > count or len(self.parent) != count or len(self.stuff) != count:
            raise ValueError("layers and object table do not fit each other")
        if count and not (self.layer.min() >= 0 and self.layer.max() < self.layers.shape[2]):
            raise ValueError("an object names a layer that does not exist")
        tree_levels([None if parent == 0 else int(parent) - 1 for parent in self.parent])

    def objects(self) -> dict[int, SceneObject]:
        """The object table of a `Scene`."""
        rows = zip(self.layer.tolist(), self.parent.tolist(), self.stuff.tolist(), strict=True)
        return {key: SceneObject(layer, parent, stuff) for key, (layer, parent, stuff) in enumerate(rows, start=1)}


def write_layered(path: Path, ids: LayeredIds) -> None:
    """Writes one image's file in one step. Raises ValueError for more than 65535 objects."""
    if len(ids.layer) > np.iinfo(np.uint16).max:
        raise ValueError(f"{path}: {len(ids.layer)} objects, the format holds 65535")
    small = np.uint8 if len(ids.layer) <= np.iinfo(np.uint8).max else np.uint16
    # plane by plane: long equal runs, half the size of interleaved layers
    planes = np.ascontiguousarray(np.moveaxis(ids.layers, 2, 0).astype(small))
    layer, parent = ids.layer.astype(np.int32), ids.parent.astype(np.int32)

    def write(file: BinaryIO) -> None:
        np.savez_compressed(file, layers=planes, layer=layer, parent=parent, stuff=ids.stuff.astype(bool))

    write_whole(path, write)


def read_layered(path: Path) -> LayeredIds:
    """Reads one image's file. Raises BrokenScene naming it when it is missing, damaged or something else."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > LARGEST_FILE:
            raise BrokenScene(f"{path}: {size} bytes when unpacked, more than any image's layers; build it again")
        with np.load(path, allow_pickle=False) as content:
            layers = np.moveaxis(content["layers"], 0, 2).astype(np.int32)
            return LayeredIds(layers, content["layer"], content["parent"], content["stuff"])
    except OSError as error:
        raise BrokenScene(f"{path}: cannot be read ({error.strerror or error})") from error
    except BrokenScene:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = brief(error)
        raise BrokenScene(f"{path}: not a file of layered ids ({reason}); remove it and run the build again") from error


def count_instances(path: Path) -> int:
    """Objects of one image's file that are no stuff. Raises BrokenScene when it is damaged."""
    return int(np.count_nonzero(~read_layered(path).stuff))


@dataclass(frozen=True)
class LayeredIndex:
    """The images of a finished folder in the order of their names.

    Attributes:
        names: image names (file names without extension).
        objects: (I,) int32 objects that are no stuff; they have the ids 1..n.
        images: folder of the image files as far as the builder knew it.
    """

    names: tuple[str, ...]
    objects: np.ndarray
    images: Path | None


def image_folder(folder: Path, noted: Path | None) -> Path:
    """Where the images of a split's folder are looked for: in its own `images`, or where the builder knew them."""
    beside = folder / "images"
    return noted if noted and not beside.is_dir() else beside


def write_index(folder: Path, counts: Mapping[str, int], images: Path | None) -> None:
    """Writes the index of a folder: image name -> number of objects that are no stuff.

    Images without any object are not listed.
    """
    listed = sorted(counts.items())
    content = {"format": FORMAT, "version": VERSION, "images": None if images is None else str(images.resolve())}
    _write_json(folder / INDEX, content | {"names": [n for n, _ in listed], "objects": [c for _, c in listed]})


def read_index(folder: Path) -> LayeredIndex:
    """Reads the index of a folder.

    Raises:
        FileNotFoundError: there is none, because the folder is something else or its build was not finished.
        ValueError: it is damaged or of another version.
    """
    path = folder / INDEX
    if not path.is_file():
        unfinished = (folder / RECIPE).is_file()
        hint = (
            "its build was not finished: run the same command again"
            if unfinished
            else "make it with clicklab data build-coco-lvis"
        )
        raise FileNotFoundError(f"{path} is missing; {hint}")
    content = _read_json(path)
    try:
        names, objects = tuple(map(str, content["names"])), np.array(content["objects"], dtype=np.int32)
        images = None if content["images"] is None else Path(content["images"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{path}: not an index of layered ids ({brief(repr(error))}); run the build again") from error
    for name in names:
        need_inside(name, path, "an image name")
    if len(names) != len(objects):
        raise ValueError(f"{path}: {len(names)} names but {len(objects)} counts; run the build again")
    return LayeredIndex(names, objects, images)


def begin(folder: Path, recipe: Mapping[str, Any]) -> set[str]:
    """Starts or continues writing a folder; returns the names of the images that are done.

    Raises:
        ValueError: the folder was begun from other files or with other settings; the message says what differs.
    """
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    path = folder / RECIPE
    wanted = json.loads(json.dumps({"format": FORMAT, "version": VERSION, **recipe}))
    if path.is_file():
        found = _read_json(path)
        differing = [key for key in sorted({*found, *wanted}) if found.get(key) != wanted.get(key)]
        if differing:
            told = "; ".join(f"{key} was {found.get(key)!r}, is {wanted.get(key)!r}" for key in differing)
            raise ValueError(
                f"{folder} was begun with other settings ({told}); choose another output or remove that folder"
            )
    else:
        _write_json(path, wanted)
    for left in (folder / FOLDER).glob("*.part"):
        left.unlink(missing_ok=True)
    return {entry.name.removesuffix(".npz") for entry in os.scandir(folder / FOLDER) if entry.name.endswith(".npz")}


def layered_file(folder: Path, name: str) -> Path:
    """The file of one image."""
    return folder / FOLDER / f"{name}.npz"


def _write_json(path: Path, content: Any) -> None:
    write_text(path, json.dumps(content, indent=1))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: not readable json ({brief(error)})") from error
    if not isinstance(content, dict) or (content.get("format"), content.get("version")) != (FORMAT, VERSION):
        raise ValueError(f"{path}: not of the format {FORMAT!r}, version {VERSION}")
    return content
