"""Clicks on an image with the graphs of this folder. Needs numpy and onnxruntime, nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime


class State(NamedTuple):
    """A dialogue after some clicks: clicks (y, x, label), probability (H, W) or None, and the region looked at."""

    clicks: tuple[tuple[float, float, int], ...] = ()
    probability: np.ndarray | None = None
    given: bool = False
    region: tuple[int, int, int, int] | None = None


class Session:
    """One image and its dialogue.

    Args:
        folder: with `options.json` and the graphs.
        threads: of onnxruntime; 0: its own choice.
    """

    def __init__(self, folder: str | Path, threads: int = 0) -> None:
        self.folder = Path(folder)
        self.options: dict[str, Any] = json.loads((self.folder / "options.json").read_text(encoding="utf-8"))
        self._settings = onnxruntime.SessionOptions()
        self._settings.intra_op_num_threads = threads
        self._settings.log_severity_level = 3
        names = ["image", "click"] if self.options["state"] else ["model"]
        self._graphs = {name: self._open(name) for name in names}
        self._encoded: dict[Any, dict[str, np.ndarray]] = {}
        self._pixels: np.ndarray | None = None
        self._states, self._undone = [State()], []

    def set_image(self, image: np.ndarray) -> None:
        """Starts anew on an image (H, W, 3) uint8 RGB."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"image must be (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}")
        self._pixels = image.transpose(2, 0, 1).astype(np.float32) / 255
        self._encoded, self._states, self._undone = {}, [State()], []

    def set_mask(self, mask: np.ndarray) -> None:
        """Goes on from a mask (H, W) of bools or probabilities, which the next clicks correct."""
        if mask.shape != self._size:
            raise ValueError(f"mask is {mask.shape}, the image {self._size}")
        self._commit(State(probability=mask.astype(np.float32), given=True))

    def add_click(self, y: float, x: float, positive: bool = True) -> np.ndarray:
        """Clicks and returns the new mask (H, W) bool."""
        height, width = self._size
        if not (0 <= y < height and 0 <= x < width):
            raise ValueError(f"click ({y}, {x}) lies outside the image of {height} x {width}")
        if len(self.state.clicks) >= self.options["slots"]:
            raise ValueError(f"the graphs take {self.options['slots']} clicks")
        clicks = (*self.state.clicks, (float(y), float(x), int(positive)))
        region, box, size = self._look(clicks)
        logits = self._answer(clicks, box, size)
        full = np.zeros(self._size, np.float32)
        inside = slice(box[0], box[2] + 1), slice(box[1], box[3] + 1)
        full[inside] = resize(1 / (1 + np.exp(-logits)), (box[2] - box[0] + 1, box[3] - box[1] + 1))[0]
        self._commit(State(clicks, full, False, region))
        return self.mask

    def undo(self) -> np.ndarray:
        """Takes the last click back and returns the mask before it."""
        if len(self._states) < 2:
            raise ValueError("there is nothing to undo")
        self._undone.append(self._states.pop())
        return self.mask

    def redo(self) -> np.ndarray:
        """Takes the last undo back and returns the mask."""
        if not self._undone:
            raise ValueError("there is nothing to redo")
        self._states.append(self._undone.pop())
        return self.mask

    @property
    def state(self) -> State:
        """The present state."""
        return self._states[-1]

    @property
    def mask(self) -> np.ndarray:
        """(H, W) bool."""
        return self.probability > self.options["mask_threshold"]

    @property
    def probability(self) -> np.ndarray:
        """(H, W) float32, zeros at the start."""
        known = self.state.probability
        return np.zeros(self._size, np.float32) if known is None else known

    @property
    def _size(self) -> tuple[int, int]:
        if self._pixels is None:
            raise ValueError("the session has no image yet: call set_image first")
        return self._pixels.shape[1], self._pixels.shape[2]

    def _commit(self, state: State) -> None:
        self._states.append(state)
        self._undone = []

    def _open(self, name: str) -> onnxruntime.InferenceSession:
        path = str(self.folder / f"{name}.onnx")
        return onnxruntime.InferenceSession(path, self._settings, providers=["CPUExecutionProvider"])

    def _look(self, clicks: Any) -> tuple[Any, tuple[int, int, int, int], tuple[int, int]]:
        """The zoom-in: region to keep, box of the image that is seen, size of the view."""
        size, rule, kept = self._size, self.options["zoom_in"], self.state.region
        whole = (0, 0, size[0] - 1, size[1] - 1)
        if rule is None or len(clicks) <= rule["skip_clicks"]:
            return kept, whole, size
        positive = [(y, x) for y, x, label in clicks if label == 1]
        wanted, target = whole, rule.get("first_size") or rule["target_size"]
        known = self.probability if self.state.probability is not None and not self.state.given else None
        found = np.zeros((1, 1), bool) if known is None else known > rule["probability"]
        rows, columns = (np.flatnonzero(found.any(axis)) for axis in (1, 0))
        if len(rows):
            ys = [int(rows[0]), int(rows[-1]), *(int(y) for y, _ in positive)]
            xs = [int(columns[0]), int(columns[-1]), *(int(x) for _, x in positive)]
            (y0, y1), (x0, x1) = (_widened(min(side), max(side), rule) for side in (ys, xs))
            wanted = max(0, y0), max(0, x0), min(size[0] - 1, y1), min(size[1] - 1, x1)
            target = rule["target_size"]
        elif rule["skip_clicks"] >= 0:
            return None, whole, size
        holds = kept is not None and all(kept[0] <= y < kept[2] and kept[1] <= x < kept[3] for y, x in positive)
        if not holds or _overlap(wanted, kept) < rule["recompute_iou"]:
            kept = wanted
        sides = kept[2] - kept[0] + 1, kept[3] - kept[1] + 1
        if isinstance(target, int):
            target = [max(1, round(side * target / max(sides))) for side in sides]
        return kept, kept, (target[0], target[1])

    def _answer(self, clicks: Any, box: tuple[int, int, int, int], size: tuple[int, int]) -> np.ndarray:
        """(1, h, w) logits of the view; the mean of the view and its mirror where the network asks for it."""
        scale = size[0] / (box[2] - box[0] + 1), size[1] / (box[3] - box[1] + 1)
        moved = [((y - box[0]) * scale[0], (x - box[1]) * scale[1], label) for y, x, label in clicks]
        logits = self._run(moved, box, size, mirrored=False)
        if not self.options["flip"]:
            return logits
        mirror = [(y, size[1] - x - 1, label) for y, x, label in moved]
        return (logits + self._run(mirror, box, size, mirrored=True)[..., ::-1]) / 2

    def _run(self, clicks: Any, box: tuple[int, int, int, int], size: tuple[int, int], mirrored: bool) -> np.ndarray:
        rows = np.full((1, self.options["slots"], 3), -1, np.float32)
        rows[0, : len(clicks)] = clicks
        fed = {"clicks": rows, "prev_mask": self._seen(self.probability[None], box, size, mirrored, 0.0)}
        if not self.options["state"]:
            fed["image"] = self._seen(self._pixels, box, size, mirrored, 0.5)
            return self._asked("model", fed)[0][0]
        key = box, size, mirrored
        if key not in self._encoded:
            found = self._asked("image", {"image": self._seen(self._pixels, box, size, mirrored, 0.5)})
            self._encoded[key] = dict(zip(self.options["state"], found, strict=True))
        return self._asked("click", fed | self._encoded[key])[0][0][..., : size[0], : size[1]]

    def _asked(self, name: str, fed: dict[str, np.ndarray]) -> list[Any]:
        return list(self._graphs[name].run(None, fed))

    def _seen(self, maps: Any, box: Any, size: tuple[int, int], mirrored: bool, fill: float) -> np.ndarray:
        """Maps (C, H, W) through the view, filled up to sides that the graphs take: (1, C, h, w)."""
        seen = resize(maps[:, box[0] : box[2] + 1, box[1] : box[3] + 1], size)
        seen = seen[..., ::-1] if mirrored else seen
        more = [-side % self.options["side_multiple"] for side in size]
        return np.pad(seen, ((0, 0), (0, more[0]), (0, more[1])), constant_values=fill)[None].astype(np.float32)


def resize(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(C, H, W) -> (C, h, w), bilinear, corners on corners."""
    for axis, length in ((1, size[0]), (2, size[1])):
        if maps.shape[axis] != length:
            place = np.linspace(0, maps.shape[axis] - 1, length, dtype=np.float64)
            low = np.minimum(place.astype(int), max(0, maps.shape[axis] - 2))
            share = (place - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
            high = np.minimum(low + 1, maps.shape[axis] - 1)
            maps = maps.take(low, axis) * (1 - share) + maps.take(high, axis) * share
    return maps


def _widened(first: int, last: int, rule: dict[str, Any]) -> tuple[int, int]:
    centre = 0.5 * (first + last)
    length = max(rule["expansion_ratio"] * (last - first + 1), rule["min_crop_size"])
    return round(centre - 0.5 * length), round(centre + 0.5 * length)


def _overlap(one: Any, other: Any) -> float:
    """Product of the IoUs of rows and columns."""
    product = 1.0
    for low, high in ((0, 2), (1, 3)):
        shared = min(one[high], other[high]) - max(one[low], other[low]) + 1
        product *= max(0, shared) / (max(one[high], other[high]) - min(one[low], other[low]) + 1)
    return product
