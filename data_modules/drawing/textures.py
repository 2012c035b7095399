"""Surfaces of drawn objects: noise at several scales, stripes, checker, gradient, dots, waves; two colours each.

A texture is a scalar field in [0, 1] that blends two colours. All objects of a scene take their colours from one
small palette, so a colour alone does not tell an object from what surrounds it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

Field = Callable[[np.random.Generator, tuple[int, int], float], np.ndarray]


@dataclass(frozen=True)
class Surface:
    """What a region looks like.

    Attributes:
        kind: index into `FIELDS`.
        main: number of the main colour in the scene's palette.
        low, high: (3,) float32 RGB in 0..255, the main colour and the one it is blended with.
    """

    kind: int
    main: int
    low: np.ndarray
    high: np.ndarray


def noise(rng: np.random.Generator, size: tuple[int, int], unit: float) -> np.ndarray:
    """Smooth noise, the sum of three scales."""
    total = np.zeros(size, dtype=np.float32)
    cells = max(2, round(max(size) / (unit * 3)))
    for weight in (0.5, 0.3, 0.2):
        grid = rng.random((cells + 1, cells + 1), dtype=np.float32)
        total += weight * cv2.resize(grid, size[::-1], interpolation=cv2.INTER_LINEAR)
        cells *= 2
    return np.clip((total - 0.5) * 2.2 + 0.5, 0, 1)


def stripes(rng: np.random.Generator, size: tuple[int, int], unit: float) -> np.ndarray:
    """Parallel stripes with soft borders."""
    return _soft(np.sin(_ramp(rng, size) * (np.pi / (unit * rng.uniform(0.35, 0.9)))))


def checker(rng: np.random.Generator, size: tuple[int, int], unit: float) -> np.ndarray:
    """A turned checkerboard with soft borders."""
    scale = np.pi / (unit * rng.uniform(0.5, 1.0))
    ys, xs = _turned(rng, size)
    return _soft(np.sin(ys * scale) * np.sin(xs * scale) * 2)


def gradient(rng: np.random.Generator, size: tuple[int, int], unit: float) -> np.ndarray:
    """One colour running into the other across the region."""
    del unit
    ramp = _ramp(rng, size)
    low, high = float(ramp.min()), float(ramp.max())
    return (ramp - low) / max(high - low, 1e-6)


def dots(rng: np.random.Generator, size: tuple[int, int], unit: float) -> np.ndarray:
    """A turned grid of round dots."""
    scale = np.pi / (unit * rng.uniform(0.45, 0.8))
    ys, xs = _turned(rng, size)
    return _soft(np.cos(ys * scale) + np.cos(xs * scale) - 0.6)


def waves(rng: np.random.Generator, size: tuple[int, int], unit: float) -> np.ndarray:
    """Stripes bent by noise, like wood or water."""
    bent = _ramp(rng, size) + noise(rng, size, unit * 2) * (unit * 2)
    return 0.5 + 0.5 * np.sin(bent * (np.pi / (unit * rng.uniform(0.3, 0.7))))


FIELDS: tuple[Field, ...] = (noise, stripes, checker, gradient, dots, waves)


def palette(rng: np.random.Generator, colours: int = 5) -> np.ndarray:
    """(colours, 3) float32 RGB in 0..255, hues spread over the circle, any lightness."""
    hue = (rng.random() + np.arange(colours) / colours + rng.uniform(-0.06, 0.06, colours)) % 1
    hsv = np.stack([hue * 180, rng.uniform(30, 220, colours), rng.uniform(60, 245, colours)], 1)
    rgb = cv2.cvtColor(hsv[None].astype(np.uint8), cv2.COLOR_HSV2RGB)[0].astype(np.float32)
    return rgb[rng.permutation(colours)]


def surface(rng: np.random.Generator, colours: np.ndarray, unlike: int = -1) -> Surface:
    """A random surface from a palette whose main colour is not number `unlike`, the main colour of what it lies on."""
    main, other = [i for i in rng.permutation(len(colours)) if i != unlike][:2]
    # the second colour is pulled towards the main one by a random amount: from nearly plain to full contrast
    mix = np.float32(rng.uniform(0.25, 1.0))
    high = colours[main] + mix * (colours[other] - colours[main])
    return Surface(int(rng.integers(len(FIELDS))), int(main), colours[main], high)


def paint(
    canvas: np.ndarray, mask: np.ndarray, look: Surface, rng: np.random.Generator, unit: float, shade: float
) -> None:
    """Paints a surface onto the (H, W, 3) float32 canvas where the (H, W) bool mask is True.

    `unit` is the size of the texture's elements in pixels, `shade` the largest relative change of brightness across
    the region.
    """
    x, y, w, h = cv2.boundingRect(mask.view(np.uint8))
    if w == 0:
        return
    field = FIELDS[look.kind](rng, (h, w), unit)
    light = 1 + shade * (2 * gradient(rng, (h, w), unit) - 1)
    colour = (look.low + field[..., None] * (look.high - look.low)) * light[..., None]
    np.copyto(canvas[y : y + h, x : x + w], colour, where=mask[y : y + h, x : x + w, None])


def cast_shadow(canvas: np.ndarray, mask: np.ndarray, rng: np.random.Generator, unit: float) -> None:
    """Darkens the canvas beside an object that will be painted next."""
    shift = np.rint(rng.uniform(-0.5, 0.5, 2) * unit).astype(int)
    shadow = cv2.blur(np.roll(mask, shift, (0, 1)).astype(np.float32), (5, 5))
    canvas *= (1 - rng.uniform(0.2, 0.5) * shadow)[..., None]


def _turned(rng: np.random.Generator, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of a randomly turned and shifted frame, two (H, W) float32 arrays in pixels."""
    angle = rng.uniform(0, np.pi)
    ys = np.arange(size[0], dtype=np.float32)[:, None] + np.float32(rng.uniform(0, 64))
    xs = np.arange(size[1], dtype=np.float32)[None] + np.float32(rng.uniform(0, 64))
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return cos * ys + sin * xs, cos * xs - sin * ys


def _ramp(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """(H, W) float32 distance in pixels along a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    ys = np.arange(size[0], dtype=np.float32)[:, None] * np.float32(np.sin(angle))
    return ys + np.arange(size[1], dtype=np.float32)[None] * np.float32(np.cos(angle))


def _soft(wave: np.ndarray) -> np.ndarray:
    """A wave in [-1, 1] as two plateaus 0 and 1 with a soft border."""
    return np.clip(wave * 1.8 + 0.5, 0, 1)
