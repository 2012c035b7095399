"""Writes scenes as real files in the layouts of the datasets: how the readers are tested, and a start for own data.

Instances keep their order. Layouts that know one object per image get the largest root; those without overlap get the
roots.
"""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.io import savemat
from scipy.sparse import csc_matrix

from data_modules.formats.regions import pack_layers, region_of
from data_modules.formats.writing import write_bytes, write_text, write_whole
from data_modules.scenes import Scene, SceneDataset
from data_modules.tools.export_instances import write_coco, write_lvis, write_voc

IGNORED_VALUE, OBJECT_VALUE = 128, 255
JPEG_QUALITY = 95


def export_scenes(scenes: SceneDataset | Iterable[Scene], folder: str | Path, layout: str, split: str = "train") -> int:
    """Writes scenes under `folder`; returns how many.

    Args:
        scenes: a dataset of scenes, such as `Shapes`, or any iterable of them; names must differ.
        folder: made if missing; files of the same name are replaced.
        layout: a key of `LAYOUTS`.
        split: the split to write, in layouts that have splits.

    Raises:
        ValueError: unknown layout; the message lists the known ones.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"there is no layout {layout!r}; the known ones are {', '.join(sorted(LAYOUTS))}")
    items = [scenes[index] for index in range(len(scenes))] if isinstance(scenes, SceneDataset) else list(scenes)
    LAYOUTS[layout](items, Path(folder), split)
    return len(items)


def roots(scene: Scene) -> list[int]:
    """Ids of the scene's root objects, stuff left out, in rising order."""
    return [key for key, entry in sorted(scene.objects.items()) if not entry.stuff and not entry.parent]


def main_object(scene: Scene) -> int:
    """Id of the largest root object (the first of equals): what a layout with one object per image gets."""
    areas = scene.areas()
    return max(roots(scene), key=lambda key: (areas[key], -key))


def _write_image(path: Path, image: np.ndarray) -> None:
    """Writes RGB or gray uint8; the suffix decides the format."""
    pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if path.suffix == ".jpg" else []  # others warn of it
    done, content = cv2.imencode(path.suffix, pixels, quality)
    if not done:
        raise ValueError(f"{path}: OpenCV cannot write this kind of image")
    write_bytes(path, content.tobytes())


def _write_mat(path: Path, content: dict[str, Any]) -> None:
    write_whole(path, lambda file: savemat(file, content, do_compression=True))


def _binary(scene: Scene, key: int) -> np.ndarray:
    """(H, W) uint8: 255 the object, 128 what the scene ignores, 0 the rest."""
    mask = scene.mask(key)
    return np.select([mask == 1, mask == -1], [OBJECT_VALUE, IGNORED_VALUE], 0).astype(np.uint8)


def _flat(scene: Scene, deepest: int = 0) -> np.ndarray:
    """(H, W) int32 ids of the instances down to layer depth `deepest` of the tree, parts over their owners."""
    ids = np.zeros(scene.layers.shape[:2], dtype=np.int32)
    for depth in range(deepest + 1):
        for key, entry in scene.objects.items():
            if not entry.stuff and _depth(scene, key) == depth:
                ids[scene.mask(key) == 1] = key
    return ids


def _depth(scene: Scene, key: int) -> int:
    """Number of ancestors of an object."""
    parent = scene.objects[key].parent
    return 1 + _depth(scene, parent) if parent else 0


def _write_folder(scenes: list[Scene], folder: Path, split: str) -> None:
    """`images/<name>.png` and one binary file per instance, parts too: `masks/<name>/<id>.png`."""
    del split
    for scene in scenes:
        _write_image(folder / "images" / f"{scene.name}.png", scene.image)
        for key, entry in scene.objects.items():
            if not entry.stuff:
                _write_image(folder / "masks" / scene.name / f"{key:05d}.png", _binary(scene, key))


def _write_grabcut(scenes: list[Scene], folder: Path, split: str) -> None:
    """`data_GT/*.bmp`, `boundary_GT/*.bmp`: the largest root, with a band of 128 along its outline."""
    del split
    for scene in scenes:
        mask = _binary(scene, main_object(scene))
        band = cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
        mask[band] = IGNORED_VALUE
        _write_image(folder / "data_GT" / f"{scene.name}.bmp", scene.image)
        _write_image(folder / "boundary_GT" / f"{scene.name}.bmp", mask)


def _write_berkeley(scenes: list[Scene], folder: Path, split: str) -> None:
    """`images/*.jpg`, `masks/*.png`: the largest root."""
    del split
    for scene in scenes:
        _write_image(folder / "images" / f"{scene.name}.jpg", scene.image)
        _write_image(folder / "masks" / f"{scene.name}.png", _binary(scene, main_object(scene)))


def _write_davis(scenes: list[Scene], folder: Path, split: str) -> None:
    """`img/*.jpg`, `gt/*.png`: the largest root, as a colour mask (any channel counts)."""
    del split
    for scene in scenes:
        colour = np.zeros_like(scene.image)
        colour[scene.mask(main_object(scene)) == 1] = 128, 0, 0
        _write_image(folder / "img" / f"{scene.name}.jpg", scene.image)
        _write_image(folder / "gt" / f"{scene.name}.png", colour)


def _write_bsds(scenes: list[Scene], folder: Path, split: str) -> None:
    """`data/{images/<split>/*.jpg, groundTruth/<split>/*.mat}`: annotator k went k levels down the tree of parts."""
    truth = folder / "data" / "groundTruth" / split
    for scene in scenes:
        depth = max(_depth(scene, key) for key in scene.objects)
        annotators = np.empty((1, depth + 1), dtype=object)
        for level in range(depth + 1):
            # labels start at 1 without gaps, as in the original
            labels = np.unique(_flat(scene, level), return_inverse=True)[1].reshape(scene.layers.shape[:2]) + 1
            edges = cv2.morphologyEx(labels.astype(np.uint16), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
            annotators[0, level] = {"Segmentation": labels.astype(np.uint16), "Boundaries": edges.astype(np.uint8)}
        _write_image(folder / "data" / "images" / split / f"{scene.name}.jpg", scene.image)
        _write_mat(truth / f"{scene.name}.mat", {"groundTruth": annotators})


def _write_sbd(scenes: list[Scene], folder: Path, split: str) -> None:
    """`img/*.jpg`, `inst/*.mat`, `cls/*.mat`, `<split>.txt`: the roots, numbered 1, 2, ...; all of category 1."""
    for part in ("inst", "cls"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for scene in scenes:
        flat = _flat(scene)
        ids = np.where(flat > 0, np.searchsorted(roots(scene), flat) + 1, 0).astype(np.uint8)
        borders = np.empty((len(roots(scene)), 1), dtype=object)
        for number in range(len(borders)):
            inner = cv2.erode((ids == number + 1).astype(np.uint8), np.ones((3, 3), np.uint8))
            borders[number, 0] = csc_matrix(((ids == number + 1) & (inner == 0)).astype(np.float64))
        instances = {"Segmentation": ids, "Boundaries": borders, "Categories": np.ones((len(borders), 1), np.uint8)}
        classes = {"Segmentation": (ids > 0).astype(np.uint8), "Boundaries": borders[:1], "CategoriesPresent": 1}
        _write_image(folder / "img" / f"{scene.name}.jpg", scene.image)
        _write_mat(folder / "inst" / f"{scene.name}.mat", {"GTinst": instances})
        _write_mat(folder / "cls" / f"{scene.name}.mat", {"GTcls": classes})
    write_text(folder / f"{split}.txt", "".join(f"{scene.name}\n" for scene in scenes))


def _write_coco_lvis(scenes: list[Scene], folder: Path, split: str) -> None:
    """`<split>/{images/*.jpg, masks/*.pickle, hannotation.pickle}`: all instances with their tree, then the stuff."""
    masks = folder / split / "masks"
    index = {}
    for scene in scenes:
        order = sorted(scene.objects, key=lambda key: (scene.objects[key].stuff, key))
        number = {key: position for position, key in enumerate(order)}
        instances = [key for key in order if not scene.objects[key].stuff]
        index[scene.name] = {"num_instance_masks": len(instances), "hierarchy": _hierarchy(scene, instances, number)}
        _write_image(folder / split / "images" / f"{scene.name}.jpg", scene.image)
        write_bytes(masks / f"{scene.name}.pickle", pickle.dumps(_layered(scene, order)))
    write_bytes(folder / split / "hannotation.pickle", pickle.dumps(index))


def _hierarchy(scene: Scene, instances: list[int], number: dict[int, int]) -> dict[int, dict | None]:
    """Mask number -> children, parent, level; None for an object without either."""
    tree: dict[int, dict | None] = {}
    for key in instances:
        parent = scene.objects[key].parent
        children = [number[child] for child in instances if scene.objects[child].parent == key]
        node = {"children": children, "parent": number.get(parent), "node_level": _depth(scene, key)}
        tree[number[key]] = node if parent or children else None
    return tree


def _layered(scene: Scene, order: list[int]) -> tuple[list[np.ndarray], list[tuple[int, int]]]:
    """PNG layers and the (layer, value) of each mask in `order`; a layer takes masks by falling area, at most 255."""
    size = (scene.layers.shape[0], scene.layers.shape[1])
    layers, layer_of = pack_layers([region_of(scene.mask(key) == 1) for key in order], size, per_layer=255)
    pngs, values = [], {}
    for layer in range(layers.shape[2]):
        present, local = np.unique(layers[..., layer], return_inverse=True)
        local = local.reshape(size) + (present[0] != 0)
        values.update({int(number): value for value, number in enumerate(present[present > 0], start=1)})
        pngs.append(cv2.imencode(".png", local.astype(np.uint8))[1])
    return pngs, [(layer, values[number]) for number, layer in enumerate(layer_of, start=1)]


LAYOUTS: dict[str, Callable[[list[Scene], Path, str], None]] = {
    "folder": _write_folder,
    "grabcut": _write_grabcut,
    "berkeley": _write_berkeley,
    "davis": _write_davis,
    "bsds": _write_bsds,
    "sbd": _write_sbd,
    "coco_lvis": _write_coco_lvis,
    "coco": write_coco,
    "lvis": write_lvis,
    "voc": write_voc,
}


def run_export(options: argparse.Namespace) -> int:
    """`clicklab data export-shapes`."""
    from data_modules.datasets.shapes import Shapes

    if len(options.size) > 2:
        raise ValueError(f"--size takes a side, or height and width, got {len(options.size)} numbers")
    size = (options.size[0], options.size[-1])
    scenes = Shapes(split=options.split, length=options.length, seed=options.seed, size=size)
    count = export_scenes(scenes, options.folder, options.format, options.split)
    print(f"written: {count} scenes in {options.folder}, layout {options.format}")
    return 0
