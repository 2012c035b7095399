"""Writes scenes as COCO, LVIS and Pascal VOC files: how those readers and the COCO+LVIS builder are tested."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from data_modules.formats.writing import write_bytes, write_text, write_whole
from data_modules.scenes import Scene

URL = "http://images.cocodataset.org"
JPEG_QUALITY = 95
VOID = 255


def write_coco(scenes: list[Scene], folder: Path, split: str) -> None:
    """`<split>2017/*.jpg`, `annotations/instances_<split>2017.json` (all instances, parts too), and the panoptic file
    with its PNGs (roots as things, stuff). Scene k becomes image k + 1."""
    content = _head(scenes, f"{split}2017")
    segments = []
    png_folder = folder / "annotations" / f"panoptic_{split}2017"
    for number, scene in enumerate(scenes, start=1):
        _write_jpeg(folder / f"{split}2017" / f"{number:012d}.jpg", scene.image)
        content["annotations"] += _annotations(scene, number, len(content["annotations"]), {"iscrowd": 0})
        png, listed = _panoptic(scene)
        _write_encoded(png_folder / f"{number:012d}.png", png, [])
        segments.append({"image_id": number, "file_name": f"{number:012d}.png", "segments_info": listed})
    write_text(folder / "annotations" / f"instances_{split}2017.json", json.dumps(content))
    categories = [{"id": 1, "name": "thing", "isthing": 1}, {"id": 2, "name": "stuff", "isthing": 0}]
    panoptic = content | {"annotations": segments, "categories": categories}
    write_text(folder / "annotations" / f"panoptic_{split}2017.json", json.dumps(panoptic))


def write_lvis(scenes: list[Scene], folder: Path, split: str) -> None:
    """`<split>/lvis_v1_<split>.json` and `<split>/images/*.jpg` with all instances, parts too. Scene k becomes image
    k + 1."""
    content = _head(scenes, f"{split}2017")
    for number, scene in enumerate(scenes, start=1):
        _write_jpeg(folder / split / "images" / f"{number:012d}.jpg", scene.image)
        content["annotations"] += _annotations(scene, number, len(content["annotations"]), {})
    for image in content["images"]:
        del image["file_name"]  # v1 has only coco_url
    write_text(folder / split / f"lvis_v1_{split}.json", json.dumps(content))


def write_voc(scenes: list[Scene], folder: Path, split: str) -> None:
    """`JPEGImages/*.jpg`, `SegmentationObject/*.png` (palette; the roots 1, 2, ..., a void band around each) and
    `ImageSets/Segmentation/<split>.txt`."""
    for scene in scenes:
        ids = np.zeros(scene.layers.shape[:2], dtype=np.uint8)
        masks = [scene.mask(key) == 1 for key, entry in scene.objects.items() if not entry.stuff and not entry.parent]
        for index, mask in enumerate(masks, start=1):
            ids[mask] = index
        ids[cv2.morphologyEx(ids, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0] = VOID
        _write_jpeg(folder / "JPEGImages" / f"{scene.name}.jpg", scene.image)
        image = Image.fromarray(ids, mode="P")
        image.putpalette(voc_palette().tobytes())
        write_whole(folder / "SegmentationObject" / f"{scene.name}.png", partial(image.save, format="PNG"))
    names = "".join(f"{scene.name}\n" for scene in scenes)
    write_text(folder / "ImageSets" / "Segmentation" / f"{split}.txt", names)


def voc_palette() -> np.ndarray:
    """(256, 3) uint8 RGB: the colours of the VOC development kit, bits of the index spread over the channels."""
    index = np.arange(256)
    colours = np.zeros((256, 3), dtype=np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (((index >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    return colours


def polygons_of(mask: np.ndarray) -> list[list[int]]:
    """Polygons [x0, y0, x1, y1, ...] whose union, filled with their outlines, is exactly the (H, W) bool mask.

    Polygons have no holes: a piece with a hole is cut in two at the hole's middle row.
    """
    pieces = [(0, mask.astype(np.uint8))]
    polygons = []
    while pieces:
        top, piece = pieces.pop()
        contours, tree = cv2.findContours(piece, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        holes = [contour for contour, node in zip(contours, tree[0], strict=True) if node[3] >= 0] if contours else []
        if holes:
            cut = int(holes[0][:, 0, 1].min() + holes[0][:, 0, 1].max()) // 2 + 1
            pieces += [(top, piece[:cut]), (top + cut, piece[cut:])]
        else:
            outlines = [contour[:, 0] + [0, top] for contour in contours]
            # tools want three points at least: that of a single pixel or two of a line are repeated
            polygons += [np.resize(points, (max(3, len(points)), 2)).ravel().tolist() for points in outlines]
    return polygons


def _head(scenes: list[Scene], coco_folder: str) -> dict[str, Any]:
    """The parts that COCO and LVIS files share."""
    images = [
        {
            "id": number,
            "height": scene.image.shape[0],
            "width": scene.image.shape[1],
            "file_name": f"{number:012d}.jpg",
            "coco_url": f"{URL}/{coco_folder}/{number:012d}.jpg",
        }
        for number, scene in enumerate(scenes, start=1)
    ]
    categories = [{"id": 1, "name": "thing"}]
    return {"info": {}, "licenses": [], "images": images, "annotations": [], "categories": categories}


def _annotations(scene: Scene, image: int, before: int, extra: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One annotation per instance in the order of the ids; `before` annotations stand in the file already."""
    instances = [key for key, entry in sorted(scene.objects.items()) if not entry.stuff]
    for number, key in enumerate(instances, start=before + 1):
        mask = scene.mask(key) == 1
        box = cv2.boundingRect(mask.view(np.uint8))
        common = {"id": number, "image_id": image, "category_id": 1, "area": float(mask.sum()), "bbox": list(box)}
        yield common | extra | {"segmentation": polygons_of(mask)}


def _panoptic(scene: Scene) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """(H, W, 3) uint8 BGR with id = R + 256 G + 65536 B, and the list of segments; ids are spread over the channels."""
    ids = np.zeros(scene.layers.shape[:2], dtype=np.int64)
    segments = []
    for key, entry in sorted(scene.objects.items(), key=lambda item: not item[1].stuff):
        if entry.parent:
            continue
        number = key * 70001
        ids[scene.mask(key) == 1] = number
        segments.append({"id": number, "category_id": 2 if entry.stuff else 1, "iscrowd": 0})
    channels = [(ids >> shift) & 255 for shift in (16, 8, 0)]
    return np.stack(channels, axis=2).astype(np.uint8), segments


def _write_jpeg(path: Path, image: np.ndarray) -> None:
    _write_encoded(path, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])


def _write_encoded(path: Path, pixels: np.ndarray, options: list[int]) -> None:
    done, content = cv2.imencode(path.suffix, pixels, options)
    if not done:
        raise ValueError(f"{path}: OpenCV cannot write this kind of image")
    write_bytes(path, content.tobytes())
