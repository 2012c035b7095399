"""Augmentation pipelines by name: image and layered ids change together, by albumentations, with the official values.

Values: RITM and SimpleClick `models/iter_mask/*_{sbd,cocolvis}_itermask.py` (docs/training.md#augmentation),
docs/methods/piclick.md#a-step, docs/methods/icmformer.md#training, docs/methods/focalclick.md#training and
docs/methods/disnet.md#training.
They were written for albumentations 0.5.2; where 2.0.8 means something else by the same name, a comment says what was
done about it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable

# albumentations asks the package index for a newer version when imported: no product of ours should call home
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A
import cv2
import numpy as np

from data_modules.training.stretched_crop import StretchedCrop

Transforms = list[A.BasicTransform | A.BaseCompose]


class Augmentation:
    """A pipeline that ends in crops of one size; all its chance comes from the generator that is passed in.

    Anything else that is called in the same way may stand in its place: targets and clicks are chosen from what comes
    out, so whatever moves pixels (a warp, say) has to move image and layers alike, and nothing more.
    """

    def __init__(self, transforms: Transforms) -> None:
        self._compose = A.Compose(transforms)

    def __call__(
        self, image: np.ndarray, layers: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Augments image (H, W, 3) uint8 and layers (H, W, L) int32 alike; new pixels are 0 in both."""
        # one shared stream: `set_random_seed` would give every transform the same numbers (a flipped image would always
        # be brightened too)
        self._compose.set_random_state(rng, random.Random(int(rng.integers(2**63))))
        # a map of pixel numbers is warped, not the layers: nearest resampling for any number of layers at the price of
        # one, after which every new pixel fetches its ids; 0 is a pixel from outside
        height, width, count = layers.shape
        numbers = np.arange(1, height * width + 1, dtype=np.int32).reshape(height, width)
        result = self._compose(image=image, mask=numbers)
        ids = np.zeros((height * width + 1, count), layers.dtype)
        ids[1:] = layers.reshape(-1, count)
        # "clip" for its speed alone (it spares numpy a copy): no number lies outside
        return np.ascontiguousarray(result["image"]), ids.take(result["mask"], axis=0, mode="clip")


def _resize(low: float, high: float) -> A.BasicTransform:
    # official UniformRandomResize: one factor for both sides; RandomScale adds 1 to its limits
    # (it cuts the new sizes to whole pixels where the official code rounds them)
    return A.RandomScale((low - 1, high - 1), cv2.INTER_LINEAR, cv2.INTER_NEAREST, p=1.0)


def _crop(size: tuple[int, int]) -> Transforms:
    # centred zeros where the image is smaller, in the layers too: padding is background, not ignored
    # (official border_mode=0)
    pad = A.PadIfNeeded(*size, position="center", border_mode=cv2.BORDER_CONSTANT, fill=0, fill_mask=0, p=1.0)
    return [pad, A.RandomCrop(*size, p=1.0)]


def _flip() -> A.BaseCompose:
    # official Flip() of 0.5.2, gone in 2.x: vertical, horizontal or both with 1/3 each, half of the time
    both = A.Sequential([A.VerticalFlip(p=1.0), A.HorizontalFlip(p=1.0)], p=1.0)
    return A.OneOf([A.VerticalFlip(p=1.0), A.HorizontalFlip(p=1.0), both], p=0.5)


def _rare_flips() -> Transforms:
    return [A.VerticalFlip(p=0.3), A.HorizontalFlip(p=0.3)]  # FocalClick's


def _window(size: tuple[int, int], low: float, high: float) -> A.BasicTransform:
    window = A.RandomResizedCrop(size, ratio=(3 / 4, 4 / 3), p=1.0)
    # 2.x takes no factor above 1; the official one may be: such a window never fits, which wastes one of the ten tries
    # after which the middle of the image is taken
    window.scale = (low, high)
    return window


def _colour() -> Transforms:
    return [
        A.RandomBrightnessContrast(brightness_limit=(-0.25, 0.25), contrast_limit=(-0.15, 0.4), p=0.75),
        # 2.x cuts the shift to a whole number, 0.5.2 the shifted value: there half a level of 255 darker on average
        A.RGBShift(r_shift_limit=10, g_shift_limit=10, b_shift_limit=10, p=0.75),
    ]


def _small_turns() -> A.BasicTransform:
    # official ShiftScaleRotate(0.03, 0, 3), deprecated in 2.x; Affine cuts the shift to whole pixels
    return A.Affine(
        translate_percent={"x": (-0.03, 0.03), "y": (-0.03, 0.03)},
        rotate=(-3.0, 3.0),
        interpolation=cv2.INTER_LINEAR,
        mask_interpolation=cv2.INTER_NEAREST,
        border_mode=cv2.BORDER_CONSTANT,
        fill=0,
        fill_mask=0,
        p=0.75,
    )


def coco_lvis(size: tuple[int, int]) -> Transforms:
    """COCO+LVIS training: scale 0.75..1.40, mirrored half of the time, colours.

    RITM, SimpleClick, PiClick's code (its paper: scale 0.75..1.25 and rotations) and iCMFormer with ViT.
    """
    # officially mirrored before the crop: the same law, but more pixels to move
    return [_resize(0.75, 1.40), *_crop(size), A.HorizontalFlip(p=0.5), *_colour()]


def coco_lvis_mild(size: tuple[int, int]) -> Transforms:
    """COCO+LVIS training of iCMFormer with Swin: scale 0.75..1.25, else as `coco_lvis`."""
    return [_resize(0.75, 1.25), *_crop(size), A.HorizontalFlip(p=0.5), *_colour()]


def coco_lvis_plain(size: tuple[int, int]) -> Transforms:
    """As `coco_lvis` without the colours: FocalClick as its paper has it (its code: `stretched`)."""
    return [_resize(0.75, 1.40), *_crop(size), A.HorizontalFlip(p=0.5)]


def coco_lvis_flips(size: tuple[int, int]) -> Transforms:
    """As `coco_lvis`, upside down half of the time too: DISNet on COCO+LVIS (A-25 of docs/methods/disnet.md)."""
    return [_resize(0.75, 1.40), *_crop(size), A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5), *_colour()]


def coco_lvis_rare_flips(size: tuple[int, int]) -> Transforms:
    """VTMR: scale 0.75..1.40, flips and colours as FocalClick has them (its paper names no magnitudes)."""
    return [_resize(0.75, 1.40), *_crop(size), *_rare_flips(), *_colour()]


def sbd_flips(size: tuple[int, int]) -> Transforms:
    """Scale 0.75..1.25, both flips, colours: DISNet on SBD (A-25 of docs/methods/disnet.md)."""
    return [_resize(0.75, 1.25), *_crop(size), A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5), *_colour()]


def stretched(size: tuple[int, int]) -> Transforms:
    """FocalClick on COCO+LVIS: windows of 0.3..1.3 times the image's sides, stretched; flips. Official size: 256."""
    return [StretchedCrop(size), *_rare_flips()]


def stretched_colour(size: tuple[int, int]) -> Transforms:
    """As `stretched` with colours: FocalClick B3 and HRNet32 on COCO+LVIS, and all on SBD."""
    return [*stretched(size), *_colour()]


def stretched_wide(size: tuple[int, int]) -> Transforms:
    """FocalClick on its combined sets: windows of 0.5..1.3 times the image's sides, 1 being the likeliest."""
    return [StretchedCrop(size, mean=1.0, low=0.5), *_rare_flips()]


def stretched_wide_colour(size: tuple[int, int]) -> Transforms:
    """As `stretched_wide` with colours: FocalClick B3 and HRNet32 on the combined sets."""
    return [*stretched_wide(size), *_colour()]


def resized_window(size: tuple[int, int]) -> Transforms:
    """FocalClick B0-S1 on COCO+LVIS as its script trains it: windows of 3/4 of the image's area or more, flips.

    Sides 3:4 to 4:3, resized to one size; no colours (config `segformerB0_S1_cclvs_oldaug`).
    """
    return [_flip(), _window(size, 0.75, 1.25)]


def flip_colour(size: tuple[int, int]) -> Transforms:
    """Mirrored half of the time, colours; for views that already have the crop size (`TargetWindow`)."""
    return [*_crop(size), A.HorizontalFlip(p=0.5), *_colour()]


def coco_lvis_val(size: tuple[int, int]) -> Transforms:
    """COCO+LVIS validation crops: nothing but padding and a random crop."""
    return _crop(size)


def sbd(size: tuple[int, int]) -> Transforms:
    """SBD training: scale 0.75..1.25, flips, quarter turns, small shifts and rotations, colours."""
    return [
        _resize(0.75, 1.25),
        _flip(),
        A.RandomRotate90(p=0.5),
        _small_turns(),
        *_crop(size),
        *_colour(),
    ]


def whole_image(size: tuple[int, int]) -> Transforms:
    """SegNext: the whole image, its longer side brought to the view's; flips, quarter turns, small turns, colours.

    Zeros fill the view at bottom and right.
    """
    fit = A.LongestMaxSize(
        max_size_hw=size, interpolation=cv2.INTER_LINEAR, mask_interpolation=cv2.INTER_NEAREST, p=1.0
    )
    fill = A.PadIfNeeded(*size, position="top_left", border_mode=cv2.BORDER_CONSTANT, fill=0, fill_mask=0, p=1.0)
    # the first resize changes no more than the sharpness, as officially
    return [_resize(0.75, 1.40), _flip(), A.RandomRotate90(p=0.5), _small_turns(), *_colour(), fit, fill]


def sbd_val(size: tuple[int, int]) -> Transforms:
    """SBD validation crops: scale 0.75..1.25, padding, a random crop."""
    return [_resize(0.75, 1.25), *_crop(size)]


AUGMENTATIONS: dict[str, Callable[[tuple[int, int]], Transforms]] = {
    "coco_lvis": coco_lvis,
    "coco_lvis_mild": coco_lvis_mild,
    "coco_lvis_plain": coco_lvis_plain,
    "coco_lvis_flips": coco_lvis_flips,
    "coco_lvis_rare_flips": coco_lvis_rare_flips,
    "coco_lvis_val": coco_lvis_val,
    "flip_colour": flip_colour,
    "resized_window": resized_window,
    "sbd": sbd,
    "sbd_flips": sbd_flips,
    "sbd_val": sbd_val,
    "stretched": stretched,
    "stretched_colour": stretched_colour,
    "stretched_wide": stretched_wide,
    "stretched_wide_colour": stretched_wide_colour,
    "whole_image": whole_image,
}


def augmentation(name: str, size: tuple[int, int]) -> Augmentation:
    """The pipeline `name` of `AUGMENTATIONS` ending in crops of `size` (H, W).

    Raises:
        ValueError: unknown name, or a size below 1.
    """
    if name not in AUGMENTATIONS:
        raise ValueError(f"there is no augmentation {name!r}; the known ones are {', '.join(sorted(AUGMENTATIONS))}")
    if min(size) < 1:
        raise ValueError(f"crop size is {size}: both sides have to be at least 1 pixel")
    return Augmentation(AUGMENTATIONS[name](size))
