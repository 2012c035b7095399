"""Shapes: scenes drawn by code from a seed; no files, no download.

What is drawn: a background of one texture, or two that meet at a wavy line (annotated as stuff); 1 to 6 objects of
many outlines (convex, blob, star, thin and bent, with holes, with limbs), each with a texture, a light gradient and
often a shadow and a dark rim; objects in front of others take their pixels away and some lie wholly on another; parts
inside objects (a child's pixels belong to its parent too) and parts inside parts. All take their colours from one
palette of five, so a colour alone does not tell an object from its surroundings, but the main colour of an object
differs from that of the background and of what it is part of.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from zlib import crc32

import cv2
import numpy as np

from data_modules.drawing import outlines, textures
from data_modules.scenes import Scene, SceneDataset, SceneObject

SPLITS = ("train", "val", "test")
_LAYOUT, _PAINT = 0, 1  # independent random streams, so that objects can be listed without painting


class Shapes(SceneDataset):
    """Scenes drawn by code; scene `index` is a pure function of (seed, split, index, size).

    `objects()` lists the roots of every scene, the targets that the released training settings use as well;
    `parts=True` adds their parts.
    """

    name = "Shapes"
    page: ClassVar[str] = "none: drawn by data_modules/datasets/shapes.py"
    licence: ClassVar[str] = "MIT, as the code"

    def __init__(
        self,
        root: str | Path | None = None,
        split: str = "val",
        length: int = 100,
        seed: int = 0,
        size: int | tuple[int, int] = 128,
        parts: bool = False,
        crowd: int = 6,
    ) -> None:
        """Describes the set; nothing is drawn yet.

        Args:
            root: not used, nothing is read; here so that all datasets are opened alike.
            split: train, val or test: scenes of different splits have nothing in common.
            length: number of scenes.
            seed: another seed gives another set.
            size: height and width in pixels, one number for a square; at least 32.
            parts: whether parts of objects are evaluated too.
            crowd: most objects in a scene; fewer are also larger.
        """
        del root
        if split not in SPLITS:
            raise ValueError(f"Shapes has no split {split!r}; the splits are {', '.join(SPLITS)}")
        if length < 1 or seed < 0 or crowd < 1:
            raise ValueError(f"Shapes wants length >= 1, seed >= 0 and crowd >= 1, got {length}, {seed} and {crowd}")
        self.split, self.length, self.seed, self.parts, self.crowd = split, length, seed, parts, crowd
        self.size = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
        if min(self.size) < 32:
            raise ValueError(f"Shapes wants a size of at least 32 pixels, got {self.size}")

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Scene:
        layout = draw_layout(self._random(index, _LAYOUT), self.size, self.crowd)
        image = paint_layout(layout, self._random(index, _PAINT))
        return Scene(image, layout.layers(), layout.objects(), self.scene_name(index))

    def scene_name(self, index: int) -> str:
        return f"{self.split}_{self.seed}_{index:06d}"

    def objects(self) -> list[tuple[int, int]]:
        listed = []
        for index in range(self.length):
            table = draw_layout(self._random(index, _LAYOUT), self.size, self.crowd).objects()
            listed += [
                (index, key) for key, entry in table.items() if not entry.stuff and (self.parts or not entry.parent)
            ]
        return listed

    def _random(self, index: int, stream: int) -> np.random.Generator:
        if not 0 <= index < self.length:
            raise IndexError(f"Shapes has scenes 0..{self.length - 1}, asked for {index}")
        return np.random.default_rng([self.seed, crc32(self.split.encode()), index, stream])


@dataclass(frozen=True)
class Region:
    """One drawn region: its (H, W) bool mask, and the number (from 1) of the region it is part of, 0 for none."""

    mask: np.ndarray
    parent: int = 0
    depth: int = 0


@dataclass(frozen=True)
class Layout:
    """Geometry of a scene.

    Attributes:
        size: height and width.
        regions: the objects in id order (ids 1..n): front objects first, each followed by its parts.
        horizon: (H, W) bool mask of the lower of two background regions, None for one background.
    """

    size: tuple[int, int]
    regions: tuple[Region, ...]
    horizon: np.ndarray | None

    def layers(self) -> np.ndarray:
        """(H, W, L) int32 ids; layer = depth in the tree of parts, the two stuff regions lie in layer 0."""
        depth = 1 + max((region.depth for region in self.regions), default=0)
        layers = np.zeros((*self.size, depth), dtype=np.int32)
        if self.horizon is not None:
            layers[..., 0] = np.where(self.horizon, len(self.regions) + 2, len(self.regions) + 1)
        for key, region in enumerate(self.regions, start=1):
            layers[..., region.depth][region.mask] = key
        return layers

    def objects(self) -> dict[int, SceneObject]:
        """Object id -> where it is; stuff that the objects hide completely is left out."""
        table = {key: SceneObject(r.depth, r.parent) for key, r in enumerate(self.regions, start=1)}
        if self.horizon is not None:
            bare = ~np.any([r.mask for r in self.regions if not r.parent], axis=0)
            for key, mask in ((len(table) + 1, ~self.horizon), (len(table) + 2, self.horizon)):
                if (mask & bare).any():
                    table[key] = SceneObject(0, stuff=True)
        return table


def draw_layout(rng: np.random.Generator, size: tuple[int, int], crowd: int = 6) -> Layout:
    """Places 1 to 6 objects, at most `crowd`, from front to back, each keeping what those before it left."""
    regions: list[Region] = []
    taken = np.zeros(size, dtype=bool)
    wanted = min(crowd, int(rng.choice([1, 2, 3, 4, 5, 6], p=[0.1, 0.25, 0.25, 0.2, 0.12, 0.08])))
    smallest = 0.006 * size[0] * size[1]
    for _ in range(4 * wanted):
        # the front ones are small, and sometimes the next is put around the last: an object lying on another
        placed = sum(not r.parent for r in regions)
        if placed == wanted:
            break
        around = regions[-1].mask if regions and rng.random() < 0.35 else None
        whole = _random_region(rng, size, 0.12 + 0.03 * placed, 0.24 + 0.14 / wanted + 0.04 * placed, around)
        seen = whole & ~taken
        area = int(np.count_nonzero(seen))
        if area < smallest or area < 0.35 * np.count_nonzero(whole):
            continue
        regions.append(Region(seen))
        taken |= seen
        if rng.random() < 0.6:
            _add_parts(rng, regions, len(regions), smallest / 2)
    if not regions:
        centre = np.array(size) / 2
        regions.append(Region(outlines.fill(outlines.blob(rng), centre, np.full(2, min(size) / 4), 0.0, size)))
    return Layout(size, tuple(regions), _horizon(rng, size) if rng.random() < 0.4 else None)


def _random_region(
    rng: np.random.Generator, size: tuple[int, int], least: float, most: float, around: np.ndarray | None
) -> np.ndarray:
    """(H, W) bool: a random outline, radius `least`..`most` of the shorter side, centre in `around` or anywhere."""
    radius = min(size) * rng.uniform(least, most)
    if around is None:
        centre = rng.uniform(0.05, 0.95, 2) * size
    else:
        pixels = np.flatnonzero(around)
        centre = np.array(np.unravel_index(pixels[rng.integers(len(pixels))], size), dtype=np.float64)
        radius *= 1.25
    outline = outlines.OUTLINES[rng.integers(len(outlines.OUTLINES))](rng)
    axes = radius * np.array([1.0, rng.uniform(0.6, 1.0)])
    return outlines.fill(outline, centre, axes, rng.uniform(0, 2 * np.pi), size)


def _add_parts(rng: np.random.Generator, regions: list[Region], parent: int, smallest: float) -> None:
    """Adds 1 to 3 parts that do not overlap to region number `parent`, and now and then parts to those."""
    owner = regions[parent - 1]
    free = owner.mask.copy()
    area = np.count_nonzero(owner.mask)
    _, _, w, h = cv2.boundingRect(owner.mask.view(np.uint8))
    reach = 0.5 * max(w, h) / min(owner.mask.shape)
    for _ in range(int(rng.integers(1, 4))):
        part = _random_region(rng, owner.mask.shape, 0.2 * reach, 0.55 * reach, owner.mask) & free
        covered = np.count_nonzero(part)
        if covered < smallest or covered > 0.6 * area:
            continue
        regions.append(Region(part, parent, owner.depth + 1))
        free &= ~part
        if owner.depth == 0 and rng.random() < 0.3:
            _add_parts(rng, regions, len(regions), smallest)


def _horizon(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: the lower part of the background, below a wavy line."""
    along = np.linspace(0, 2 * np.pi, size[1])
    waves = (
        rng.uniform(0, 0.05, 3)
        / np.arange(1, 4)
        * np.sin(np.arange(1, 4) * along[:, None] + rng.uniform(0, 2 * np.pi, 3))
    )
    line = size[0] * (rng.uniform(0.3, 0.7) + waves.sum(1))
    return np.arange(size[0])[:, None] >= line[None]


def paint_layout(layout: Layout, rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3) uint8 RGB: background, objects from back to front, parts on their owners, camera noise."""
    canvas = np.empty((*layout.size, 3), dtype=np.float32)
    colours = textures.palette(rng)
    unit = min(layout.size) / 16
    ground = textures.surface(rng, colours)
    textures.paint(canvas, np.ones(layout.size, dtype=bool), ground, rng, unit * rng.uniform(0.6, 2.5), 0.25)
    if layout.horizon is not None:
        look = textures.surface(rng, colours, unlike=ground.main)
        textures.paint(canvas, layout.horizon, look, rng, unit * rng.uniform(0.6, 2.5), 0.25)
    mains: dict[int, int] = {0: ground.main}
    roots = [key for key, region in enumerate(layout.regions, start=1) if not region.parent]
    for root in reversed(roots):
        _paint_tree(canvas, layout, root, colours, mains, rng, unit)
    soft = cv2.GaussianBlur(canvas, (3, 3), rng.uniform(0.4, 0.8))
    grain = rng.uniform(1, 8) * rng.standard_normal((*layout.size, 1), dtype=np.float32)
    return np.clip(soft + grain, 0, 255).astype(np.uint8)


def _paint_tree(
    canvas: np.ndarray,
    layout: Layout,
    key: int,
    colours: np.ndarray,
    mains: dict[int, int],
    rng: np.random.Generator,
    unit: float,
) -> None:
    """Paints region `key` and its parts; notes its main colour in `mains`."""
    region = layout.regions[key - 1]
    look = textures.surface(rng, colours, unlike=mains[region.parent])
    mains[key] = look.main
    if not region.parent and rng.random() < 0.6:
        textures.cast_shadow(canvas, region.mask, rng, unit)
    textures.paint(canvas, region.mask, look, rng, unit * rng.uniform(0.4, 1.4), 0.3)
    if rng.random() < 0.3:
        contours, _ = cv2.findContours(region.mask.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(canvas, contours, -1, (look.low * 0.4).tolist(), 1)
    for child, part in enumerate(layout.regions, start=1):
        if part.parent == key:
            _paint_tree(canvas, layout, child, colours, mains, rng, unit)
