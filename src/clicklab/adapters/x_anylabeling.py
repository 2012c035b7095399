"""X-AnyLabeling's remote server: points in, polygons out. The client has no masks, so outlines have to do."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from clicklab.adapters.dialogues import Dialogues, Point
from clicklab.adapters.images import from_base64, pixels_of
from clicklab.annotate.outlines import Line, Ring, families, joined, rings
from clicklab.annotate.photos import UnreadablePhoto

MODEL = "clicklab"
LABEL = "AUTOLABEL_OBJECT"  # the client's own word for an object that has no class yet
FINENESS = 0.0  # of outlines where a client does not say: exact
WIDGETS = (
    "button_add_point",
    "button_remove_point",
    "button_clear",
    "button_finish_object",
    "mask_fineness_slider",
    "mask_fineness_value_label",
)  # of the client, shown when the model is chosen


class RequestError(ValueError):
    """A request that cannot be answered; `code` is one of the protocol's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class XAnyLabeling:
    """The server.

    Args:
        dialogues: answer the clicks.
        name: of the network, shown in the client's list of models.
    """

    def __init__(self, dialogues: Dialogues, name: str) -> None:
        self.dialogues, self.name = dialogues, name

    def models(self) -> dict[str, Any]:
        """GET /v1/models."""
        widgets = [{"name": widget, "value": None} for widget in WIDGETS]
        facts = {"display_name": f"ClickLab {self.name}", "widgets": widgets, "params": {}}
        return {"success": True, "data": {MODEL: facts | {"batch_processing_mode": None}}}

    def predict(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST /v1/predict.

        Raises:
            RequestError: another model, no image, no clicks, or clicks that make no sense.
        """
        if body.get("model") != MODEL:
            raise RequestError("MODEL_NOT_FOUND", f"there is no model {body.get('model')!r} here, only {MODEL}")
        params = body.get("params") or {}
        if not isinstance(params, Mapping):
            raise RequestError("INFERENCE_ERROR", "params must be an object")
        points = read_marks(params.get("marks"))
        try:
            content = from_base64(body.get("image"))
        except ValueError as error:
            raise RequestError("INVALID_IMAGE", str(error)) from error
        try:
            answer = self.dialogues.answer(hashlib.sha256(content).hexdigest(), lambda: pixels_of(content), points)
            shapes = polygons(answer.mask, float(params.get("epsilon_factor") or FINENESS))
        except UnreadablePhoto as error:
            raise RequestError("INVALID_IMAGE", str(error)) from error
        except (TypeError, ValueError) as error:
            raise RequestError("INFERENCE_ERROR", str(error)) from error
        facts = {"label": LABEL, "shape_type": "polygon", "score": answer.score}
        found = [facts | {"points": [[float(x), float(y)] for x, y in shape]} for shape in shapes]
        return {"success": True, "data": {"shapes": found, "description": "", "replace": False}}


def read_marks(marks: object) -> list[Point]:
    """Clicks of the client's marks.

    Raises:
        RequestError: there are none, or something else than points.
    """
    if not isinstance(marks, list) or not marks:
        raise RequestError("INFERENCE_ERROR", "there are no points: click on an object (Q adds, E takes away)")
    points: list[Point] = []
    for mark in marks:
        if not isinstance(mark, Mapping) or mark.get("type") != "point":
            raise RequestError("INFERENCE_ERROR", "only points are understood, no rectangles")
        place = mark.get("data")
        if not isinstance(place, (list, tuple)) or len(place) != 2 or not all(_is_number(value) for value in place):
            raise RequestError("INFERENCE_ERROR", f"a point needs x and y, got {place!r}")
        x, y = place
        points.append((math.floor(y), math.floor(x), bool(mark.get("label", 1))))
    return points


def polygons(mask: np.ndarray, fineness: float) -> list[Line]:
    """A closed line for every part of a mask, with its holes, along the edges of pixels.

    Args:
        mask: (H, W) bool.
        fineness: how far a line may leave them, as a share of its length; 0: not at all.
    """
    found: list[Line] = []
    for outer, *holes in families(rings(mask)):
        inner = [_simpler(hole, fineness) for hole in holes]
        found.append(joined([_simpler(outer, fineness) or outer, *(hole for hole in inner if hole)]))
    return found


def _simpler(ring: Ring, fineness: float) -> Ring:
    """With fewer corners; nothing where fewer than three are left."""
    if fineness <= 0:
        return ring
    line = np.array(ring, dtype=np.int32)[:, None]
    simple = cv2.approxPolyDP(line, fineness * cv2.arcLength(line, closed=True), closed=True)
    return [(int(x), int(y)) for x, y in simple[:, 0]] if len(simple) >= 3 else []


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
