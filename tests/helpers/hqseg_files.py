"""HQSeg-44K in its real layout, of drawn scenes: every part of a split gets one image for each scene."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from data_modules.datasets.hqseg44k import PARTS


def write_hqseg44k(root: Path, scenes, split: str = "val") -> None:
    for part, (name, image_folder, mask_folder) in enumerate(PARTS[split]):
        for index in range(len(scenes)):
            scene = scenes[index]
            key = min(scene.objects)
            stem = f"{name}{part}_{index}"
            for folder, suffix, content in (
                (image_folder, ".jpg", scene.image[..., ::-1]),
                (mask_folder, ".png", np.where(scene.mask(key) == 1, 255, 0).astype(np.uint8)),
            ):
                (root / folder).mkdir(parents=True, exist_ok=True)
                assert cv2.imwrite(str(root / folder / f"{stem}{suffix}"), content)
