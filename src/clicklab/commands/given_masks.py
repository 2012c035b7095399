"""Mask files that a person gives to the annotator: found and read as those of the dataset `Folder`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from clicklab.annotate.imports import MaskFiles
from clicklab.annotate.photos import MOST_PIXELS
from data_modules.datasets import dataset_class, nearest
from data_modules.datasets.options import gather_reading, need_type, option_types
from data_modules.formats.image_reading import ImageReading
from data_modules.formats.mask_files import read_mask_ids
from data_modules.formats.mask_looks import count_values, full_scale, looks_soft
from data_modules.formats.mask_names import pair_masks
from data_modules.formats.mask_rules import MaskRules
from data_modules.formats.rasterise import segmentation_region
from data_modules.tools.dataset_spec import dataset_spec

LOSSY = frozenset({".jpg", ".jpeg", ".jpe", ".jfif"})
SOFT = "a soft or JPEG mask? ?kind=binary behind its name cuts it at one half"


def given_masks(words: str | Path) -> tuple[Path, MaskFiles]:
    """The folder or file of `DIR?kind=binary`, and how its masks are read.

    Without a kind each value or colour of a mask is an object, and masks with soft edges are refused.

    Args:
        words: the path, with options of `MaskRules` and `ImageReading` behind a question mark.

    Raises:
        ValueError: an option that does not exist, or an impossible value.
    """
    _, path, options = dataset_spec(f"Folder={words}")
    known = {field.name for kind in (MaskRules, ImageReading) for field in fields(kind)}
    types = {name: kind for name, kind in option_types(dataset_class("Folder")).items() if name in known}
    for name, value in options.items():
        if name not in types:
            raise ValueError(f"masks have no option {name!r}; {nearest(name, types)}")
        need_type(name, value, types[name])
    options = {"kind": "ids", "max_pixels": MOST_PIXELS} | options
    arguments = gather_reading(options)
    reading = arguments.pop("reading")
    rules = MaskRules(**arguments)
    return Path(path or "."), MaskFiles(_pair, lambda file: _read(file, rules, reading), _draw)


def _pair(photos: Sequence[Path], folder: Path) -> dict[str, list[Path]]:
    found, _ = pair_masks(list(photos), folder)
    return found


def _read(file: Path, rules: MaskRules, reading: ImageReading) -> np.ndarray:
    """(H, W) ids. Raises ValueError, also where many values are the soft edge of one object."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a person sees the masks and corrects them
        ids = read_mask_ids(file, rules, reading)
    if rules.kind == "ids":
        counts = count_values(np.maximum(ids, 0))
        scale = full_scale(ids, float(counts.values[-1]) if len(counts.values) else 0.0)
        if (file.suffix.lower() in LOSSY and len(counts.values) > 1) or looks_soft(counts, scale):
            raise ValueError(f"{len(counts.values)} values: {SOFT}")
    return ids


def _draw(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool of a `segmentation` entry. Raises ValueError."""
    mask = np.zeros(size, dtype=bool)
    region = segmentation_region(segmentation, size, "coco_api", np.zeros(size, np.uint8))
    if region is not None:
        region.window(mask)[:] = region.pixels
    return mask
