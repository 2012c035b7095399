"""The released COCO+LVIS pickles: an index with the object trees, and per image PNG layers with the place of every mask
(docs/data.md#cocolvis)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from data_modules.formats.decoding import decode
from data_modules.formats.files import need_inside
from data_modules.formats.layered_store import LayeredIds
from data_modules.formats.notes import brief
from data_modules.formats.restricted_pickle import load_pickle
from data_modules.scenes import BrokenScene

MOST_MASKS = 65535  # per image; the released annotation has a few hundred at most


class ReleasedIndex(NamedTuple):
    """The index of one split, images by name; flat arrays, because a dict per instance costs hundreds of megabytes.

    Attributes:
        names: image names, rising.
        ends: (I,) int64, where the instances of each image end in `parents`.
        parents: (all instances,) int32, id of the parent (mask number + 1), 0 for a root.
    """

    names: tuple[str, ...]
    ends: np.ndarray
    parents: np.ndarray

    def of(self, number: int) -> np.ndarray:
        """(n,) int32 parents of the instances of one image."""
        return self.parents[(self.ends[number - 1] if number else 0) : self.ends[number]]

    def counts(self) -> np.ndarray:
        """(I,) int64 instances per image."""
        return np.diff(self.ends, prepend=0)


def read_released_index(path: Path) -> ReleasedIndex:
    """Reads `hannotation.pickle` without running anything in it.

    Raises BrokenScene naming the file when it is something else, or ValueError when a name in it leads elsewhere.
    """
    index = load_pickle(path)
    try:
        names = sorted(index)
        parents = [_parents(index[name]) for name in names]
    except (AttributeError, TypeError, KeyError, ValueError, IndexError, OverflowError) as error:
        raise BrokenScene(f"{path}: not a COCO+LVIS index ({brief(repr(error))})") from error
    for name in names:
        if "/" in need_inside(str(name), path, "an image name").replace("\\", "/"):
            raise ValueError(
                f"{path}: the image name {brief(repr(name), 60)} holds a folder; names are file names alone"
            )
    ends = np.cumsum([len(each) for each in parents], dtype=np.int64)
    return ReleasedIndex(tuple(map(str, names)), ends, np.concatenate([*parents, np.zeros(0)]).astype(np.int32))


def _parents(entry: Mapping[str, Any]) -> np.ndarray:
    """(n,) int32 parent ids (mask number + 1, 0 for none) of one entry of the index."""
    count, tree = int(entry["num_instance_masks"]), entry["hierarchy"]
    if not 0 <= count <= MOST_MASKS:
        raise ValueError(f"an image with {count} masks")
    parents = np.zeros(count, dtype=np.int32)
    for number, node in tree.items():
        if node is None or node["parent"] is None:
            continue
        if not (0 <= number < count and 0 <= node["parent"] < count):
            raise ValueError(f"a mask or parent number outside of the {count} masks of its image")
        parents[number] = node["parent"] + 1
    return parents


def released_ids(path: Path, parents: np.ndarray) -> LayeredIds:
    """Layered ids of one mask pickle: mask k is object k + 1, masks after the instances are stuff.

    Args:
        path: the mask pickle.
        parents: (n,) parents of the image's instances from the index.

    Raises:
        BrokenScene: damaged file, one that asks for code, or one that does not fit the index; the message names it.
    """
    maps, places = read_layers(path)
    if len(places) < len(parents):
        raise BrokenScene(f"{path}: {len(places)} masks, but the index lists {len(parents)} instances")
    # per layer: pixel value of the file -> id
    id_of_value = np.zeros((len(maps), 256), dtype=np.int32)
    for key, (layer, value) in enumerate(places, start=1):
        id_of_value[layer, value] = key
    layers = np.empty((*maps[0].shape, len(maps)), dtype=np.int32)  # (H, W, L)
    for layer, values in enumerate(maps):
        layers[..., layer] = cv2.LUT(values, id_of_value[layer])
    layer_of_mask = np.array([layer for layer, _ in places], dtype=np.int32)
    stuff = np.arange(len(places)) >= len(parents)
    stuff_parents = np.zeros(int(stuff.sum()), dtype=np.int32)
    try:
        return LayeredIds(layers, layer_of_mask, np.concatenate([parents, stuff_parents]), stuff)
    except ValueError as error:
        raise BrokenScene(f"{path}: {error}") from error


def read_layers(path: Path) -> tuple[list[np.ndarray], list[tuple[int, int]]]:
    """Layers of one mask pickle, each (H, W) uint8, and the (layer, value) of every mask. Raises BrokenScene."""
    content = load_pickle(path)
    try:
        packed, places = content
        maps = [decode(np.asarray(png, dtype=np.uint8).tobytes(), path, cv2.IMREAD_UNCHANGED) for png in packed]
        places = [(int(layer), int(value)) for layer, value in places]
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, BrokenScene):
            raise
        raise BrokenScene(f"{path}: not layered masks ({brief(error)})") from error
    if not maps or any(ids.ndim != 2 or ids.dtype != np.uint8 or ids.shape != maps[0].shape for ids in maps):
        raise BrokenScene(f"{path}: the layers are not gray images of one size")
    if any(not 0 <= layer < len(maps) or not 0 < value < 256 for layer, value in places):
        raise BrokenScene(f"{path}: a mask names a layer or value that does not exist")
    return maps, places
