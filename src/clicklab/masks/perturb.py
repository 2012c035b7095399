"""A true mask spoilt at random until it has a wanted IoU: what a user, or another network, may start from.

Source: "boundary adjustment and region interference" of VTMR, after CascadePSP (Cheng et al., CVPR 2020); the stop rule
and the search are ours, because the paper leaves them to a supplement (docs/methods/vtmr.md#perturbed-masks).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from clicklab.records import IGNORE

KEPT_VERTICES = (0.1, 0.2, 0.4, 0.7)  # outlines are tried from the coarsest on
LEAST_VERTICES = 10  # shorter outlines stay as they are
NEAR_OBJECT = 0.7  # chance that a proposal looks at the object instead of anywhere
REPAIR = 0.1  # chance that a proposal is taken although it raises the IoU
SPECK = 0.25  # chance that a proposal first sets its central pixel
SHRINK, LEAST_SIDE = 0.8, 0.15  # windows get smaller after every overshoot, down to this part of their first side


@dataclass(frozen=True)
class PerturbedMask:
    """A spoilt mask and how good it still is.

    Attributes:
        mask: (H, W) bool.
        iou: with the true mask, ignored pixels left out.
        reached: the IoU is the wanted one within the tolerance.
    """

    mask: np.ndarray
    iou: float
    reached: bool


def perturb(
    target: np.ndarray,
    wanted: float,
    generator: np.random.Generator,
    tolerance: float = 0.02,
    max_operations: int = 400,
) -> PerturbedMask:
    """Redraws the outlines coarsely, then grows, shrinks and specks random windows until the IoU is the wanted one.

    An operation that falls below the wanted IoU is taken back and the windows get smaller, so the search homes in on
    the IoU instead of passing it. What cannot get there (one pixel, a wanted IoU under 0.3) ends as the closest mask.

    Args:
        target: (H, W), 1 or True object, 0 background, -1 ignore.
        wanted: IoU of the answer, in (0, 1].
        generator: the same one gives the same mask.
        tolerance: how far from `wanted` is near enough; 0.02 in training, 0.01 in evaluation.
        max_operations: proposals before it gives up.

    Raises:
        ValueError: `target` is no (H, W) map, or `wanted` is outside of (0, 1].
    """
    if target.ndim != 2:
        raise ValueError(f"perturb wants one mask (H, W), got {target.shape}")
    if not 0 < wanted <= 1:
        raise ValueError(f"the wanted IoU is {wanted}: a number above 0 and at most 1 is needed")
    truth = (target == 1).astype(np.uint8)
    if wanted >= 1 - tolerance / 2 or not truth.any():
        return PerturbedMask(truth.astype(bool), 1.0, wanted >= 1 - tolerance)
    search = _Search(truth, (target != IGNORE).astype(np.uint8), wanted)
    for outlined in redrawn_outlines(truth, generator):
        search.take(outlined)
        if search.iou >= wanted - tolerance:
            break
    else:
        search.take(truth.copy())
    pixels, scale = np.flatnonzero(truth), 1.0
    for _ in range(max_operations):
        if search.distance <= tolerance:
            break
        window, changed = propose(search.mask, pixels, scale, generator)
        if not search.step(window, changed, wanted - tolerance, repair=generator.random() < REPAIR):
            scale = max(LEAST_SIDE, SHRINK * scale)
    return search.result(tolerance)


def redrawn_outlines(mask: np.ndarray, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """(H, W) uint8 masks whose outlines keep more and more of their vertices: `KEPT_VERTICES`."""
    outlines, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    for kept in KEPT_VERTICES:
        thinned = [_thinned(outline[:, 0], kept, generator) for outline in outlines]
        yield cv2.fillPoly(np.zeros_like(mask), thinned, 1)  # all in one go: outlines inside of others are holes


def _thinned(outline: np.ndarray, kept: float, generator: np.random.Generator) -> np.ndarray:
    """An outline (N, 2) without one run of a tenth of its vertices, and with a random part of the others."""
    count = len(outline)
    if count < LEAST_VERTICES:
        return outline
    run = count // 10
    gap = np.linalg.norm(outline - np.roll(outline, -run, axis=0), axis=1)
    # runs that lead back to their start (a thin part, a notch) are the ones that a careless annotator leaves out
    start = generator.choice(np.argsort(gap, kind="stable")[: max(1, count // 10)])
    rest = np.roll(outline, -(start + run), axis=0)[: count - run]
    chosen = np.sort(generator.choice(len(rest), size=max(3, int(kept * len(rest))), replace=False))
    return rest[chosen]


def propose(
    mask: np.ndarray, pixels: np.ndarray, scale: float, generator: np.random.Generator
) -> tuple[tuple[slice, slice], np.ndarray]:
    """A random window of a mask (H, W) uint8, and its pixels after a random dilation or erosion.

    Args:
        mask: the mask of the moment.
        pixels: flat indices of the true object; most windows are squares round one of them.
        scale: 1: these squares are as large as the object; smaller ones change the IoU less.
        generator: the source of chance.
    """
    near = generator.random() < NEAR_OBJECT
    window = _near_window(mask.shape[1], pixels, scale, generator) if near else _any_window(mask, generator)
    changed = mask[window].copy()
    if generator.random() < SPECK:
        changed[changed.shape[0] // 2, changed.shape[1] // 2] = generator.integers(2)
    operation = cv2.dilate if generator.random() < 0.5 else cv2.erode
    return window, operation(changed, _kernel(generator))


def _near_window(width: int, pixels: np.ndarray, scale: float, generator: np.random.Generator) -> tuple[slice, slice]:
    """A square round one of `pixels` with `scale` times the side of a square of the same area."""
    y, x = divmod(int(pixels[generator.integers(len(pixels))]), width)
    half = max(1, round(0.5 * scale * len(pixels) ** 0.5))
    return slice(max(0, y - half), y + half + 1), slice(max(0, x - half), x + half + 1)


def _any_window(mask: np.ndarray, generator: np.random.Generator) -> tuple[slice, slice]:
    """Any rectangle with two random corners."""
    (y0, y1), (x0, x1) = (np.sort(generator.integers(side, size=2)) for side in mask.shape)
    return slice(int(y0), int(y1) + 1), slice(int(x0), int(x1) + 1)


def _kernel(generator: np.random.Generator) -> np.ndarray:
    """A rectangle, an ellipse, or an ellipse half as high or half as wide; 3 to 9 pixels."""
    size, kind = int(generator.integers(3, 10)), int(generator.integers(4))
    if kind == 0:
        return cv2.getStructuringElement(cv2.MORPH_RECT, (size, size))
    sides = {1: (size, size), 2: (size, size // 2), 3: (size // 2, size)}
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, sides[kind])


class _Search:
    """The mask of the moment, the closest one met, and IoUs that cost only the pixels of a window."""

    def __init__(self, truth: np.ndarray, known: np.ndarray, wanted: float) -> None:
        self.truth, self.known, self.wanted = truth & known, known, wanted
        self.area = int(self.truth.sum())
        self.closest, self.closest_iou = truth, 1.0
        self.take(truth.copy())

    @property
    def distance(self) -> float:
        """How far the IoU of the moment is from the wanted one."""
        return abs(self.iou - self.wanted)

    def take(self, mask: np.ndarray) -> None:
        """Goes on from this mask (H, W) uint8."""
        self.mask = mask
        self.shared, self.size = int((mask & self.truth).sum()), int((mask & self.known).sum())
        self.iou = self._iou(self.shared, self.size)

    def counts(self, window: tuple[slice, slice], pixels: np.ndarray) -> tuple[int, int]:
        """(shared, size) if the pixels of a window were these."""
        truth, known, now = self.truth[window], self.known[window], self.mask[window]
        shared = self.shared + int((pixels & truth).sum()) - int((now & truth).sum())
        return shared, self.size + int((pixels & known).sum()) - int((now & known).sum())

    def step(self, window: tuple[slice, slice], pixels: np.ndarray, floor: float, repair: bool) -> bool:
        """Changes a window unless the IoU would fall below `floor`, or rise without `repair`; False: it would fall."""
        shared, size = self.counts(window, pixels)
        iou = self._iou(shared, size)
        if iou < floor:
            if self._remember(iou):
                self.closest[window] = pixels
            return False
        if iou < self.iou or repair:
            if abs(iou - self.wanted) > self.distance:
                self._remember(self.iou)
            self.mask[window] = pixels
            self.shared, self.size, self.iou = shared, size, iou
        return True

    def result(self, tolerance: float) -> PerturbedMask:
        """The closest mask met."""
        self._remember(self.iou)
        reached = abs(self.closest_iou - self.wanted) <= tolerance
        return PerturbedMask(self.closest.astype(bool), self.closest_iou, reached)

    def _remember(self, iou: float) -> bool:
        """Keeps the mask of the moment if an IoU is the closest so far."""
        closer = abs(iou - self.wanted) < abs(self.closest_iou - self.wanted)
        if closer:
            self.closest, self.closest_iou = self.mask.copy(), iou
        return closer

    def _iou(self, shared: int, size: int) -> float:
        union = size + self.area - shared
        return shared / union if union else 1.0
