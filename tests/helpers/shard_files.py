"""Shards written by the standard library alone, in SA-1B's layout, for readers to be tested on."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as coco_mask


def encoded(image):
    """An RGB image as a JPEG file."""
    return cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


def run_lengths(mask):
    packed = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": packed["size"], "counts": packed["counts"].decode()}


def sa1b_json(masks, scores=None):
    """The json file of one photo of SA-1B."""
    annotations = []
    for number, mask in enumerate(masks):
        stability, iou = scores[number] if scores else (0.97, 0.9)
        annotations.append(
            {
                "id": 10**9 + number,
                "segmentation": run_lengths(mask),
                "area": int(mask.sum()),
                "bbox": [0, 0, 1, 1],
                "predicted_iou": iou,
                "stability_score": stability,
                "point_coords": [[1, 1]],
                "crop_box": [0, 0, 1, 1],
            }
        )
    height, width = masks[0].shape
    image = {"image_id": 1, "width": width, "height": height, "file_name": "sa_1.jpg"}
    return json.dumps({"image": image, "annotations": annotations}).encode()


def box(size, top, left, bottom, right):
    mask = np.zeros(size, bool)
    mask[top:bottom, left:right] = True
    return mask


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    """A tar file of members in this order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            facts = tarfile.TarInfo(name)
            facts.size = len(content)
            archive.addfile(facts, io.BytesIO(content))
    return path


def write_photos(root: Path, shards: int = 2, each: int = 3, size=(40, 60)) -> list[Path]:
    """`sa_000000.tar`, ...: photo n has the red value 10 n, a whole, a part of it and another root."""
    whole, part, other = box(size, 2, 2, 30, 40), box(size, 5, 5, 15, 20), box(size, 32, 45, 38, 58)
    paths = []
    for shard in range(shards):
        members = {}
        for number in range(shard * each, shard * each + each):
            image = np.zeros((*size, 3), np.uint8)
            image[..., 0] = 10 * number
            members[f"./sa_{number}.jpg"] = encoded(image)
            members[f"./sa_{number}.json"] = sa1b_json([part, whole, other])
        paths.append(write_tar(root / f"sa_{shard:06d}.tar", members))
    return paths
