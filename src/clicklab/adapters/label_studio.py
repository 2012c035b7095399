"""Label Studio's machine learning backend: smart key points in, brush masks out.

Label Studio asks POST /setup once with its own address, then POST /predict for every click. The labelling interface
needs `<BrushLabels>` for the answer and `<KeyPointLabels smart="true">` for the clicks, both on one `<Image>`.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from clicklab.adapters.brush_rle import encode
from clicklab.adapters.dialogues import Dialogues, Point
from clicklab.adapters.images import fetch, pixels_of


@dataclass(frozen=True)
class Tags:
    """The tags of a labelling interface that matter here.

    Attributes:
        brush: name of the `<BrushLabels>`.
        image: name of the `<Image>`.
        source: key of a task's data under which the image's address stands.
    """

    brush: str
    image: str
    source: str


class LabelStudio:
    """The backend.

    Args:
        dialogues: answer the clicks.
        version: name of the model, shown in Label Studio.
        host: address of Label Studio, for images that lie there. Default: what `/setup` says.
        token: lets this server fetch images from there: a token of a user. Default: what `/setup` says.
    """

    def __init__(self, dialogues: Dialogues, version: str, host: str = "", token: str = "") -> None:
        self.dialogues, self.version = dialogues, version
        self.host, self.token = host, token
        self._own_host, self._own_token = host, token

    def health(self) -> dict[str, Any]:
        """GET /health."""
        return {"status": "UP", "model_class": "ClickLab", "model_version": self.version}

    def setup(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST /setup: Label Studio says where it is. An address given to this server at its start counts more."""
        if not self._own_host:
            self.host = str(body.get("hostname") or "")
            self.token = self._own_token or str(body.get("access_token") or "")
        return {"model_version": self.version}

    def predict(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST /predict: a mask for the clicks in its context; nothing for tasks without clicks.

        Raises:
            ValueError: the request or the labelling interface makes no sense, or the image cannot be had.
        """
        tasks = body.get("tasks")
        if not isinstance(tasks, list) or not tasks or not isinstance(tasks[0], Mapping):
            raise ValueError("the request names no task")
        context = (body.get("params") or {}).get("context") or {}
        drawn = context.get("result") or []
        if not drawn:
            return {"results": [], "model_version": self.version}
        tags = read_tags(str(body.get("label_config") or ""))
        region, score = self._region(tags, tasks[0], drawn)
        answer = {"result": [region] if region else [], "score": score, "model_version": self.version}
        return {"results": [answer], "model_version": self.version}

    def _region(self, tags: Tags, task: Mapping[str, Any], drawn: list[Any]) -> tuple[dict[str, Any] | None, float]:
        address = (task.get("data") or {}).get(tags.source)
        if not isinstance(address, str):
            raise ValueError(f"the task has no image: its data has no {tags.source}")
        points, label, size = read_points(drawn)
        key = hashlib.sha256(f"{self.host} {address}".encode()).hexdigest()
        answer = self.dialogues.answer(key, lambda: pixels_of(fetch(address, self.host, self.token)), points)
        if answer.mask.shape != size:
            height, width = answer.mask.shape
            raise ValueError(f"the image is {width} x {height}, but the page speaks of {size[1]} x {size[0]}")
        if not answer.mask.any():
            return None, 0.0
        value = {"format": "rle", "rle": encode(answer.mask), "brushlabels": [label]}
        region = {
            "id": uuid.uuid4().hex[:10],
            "from_name": tags.brush,
            "to_name": tags.image,
            "type": "brushlabels",
            "original_width": size[1],
            "original_height": size[0],
            "image_rotation": 0,
            "value": value,
            "score": answer.score,
            "readonly": False,
        }
        return region, answer.score


def read_tags(config: str) -> Tags:
    """What a labelling interface (XML) calls its tags.

    Raises:
        ValueError: not XML, or there are no brush labels on an image in it.
    """
    try:
        root = ElementTree.fromstring(config)
    except ElementTree.ParseError as error:
        raise ValueError(f"the labelling interface is not XML ({error})") from error
    images = {tag.get("name"): str(tag.get("value", "")) for tag in root.iter("Image")}
    for brush in root.iter("BrushLabels"):
        image, name = brush.get("toName"), brush.get("name")
        if name and image and image in images:
            return Tags(name, image, images[image].removeprefix("$"))
    raise ValueError("the labelling interface needs <BrushLabels> on an <Image>: masks are answered as brush regions")


def read_points(drawn: list[Any]) -> tuple[list[Point], str, tuple[int, int]]:
    """Clicks in pixels, their label, and (H, W) of the image.

    Raises:
        ValueError: something else than key points, or places that are no percentages.
    """
    points: list[Point] = []
    for region in drawn:
        kind = region.get("type") if isinstance(region, Mapping) else None
        if kind != "keypointlabels":
            raise ValueError(f"a {kind} was drawn, only smart key points (KeyPointLabels) are understood")
        try:
            value, width, height = region["value"], int(region["original_width"]), int(region["original_height"])
            x, y, label = float(value["x"]), float(value["y"]), str(value[kind][0])
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ValueError(f"a key point lacks its place, label or the image's size ({error!r})") from error
        if not (0 <= x <= 100 and 0 <= y <= 100):
            raise ValueError(f"a key point at {x} % of the width and {y} % of the height lies outside the image")
        column, row = (min(int(share * side / 100), side - 1) for share, side in ((x, width), (y, height)))
        points.append((row, column, bool(int(region.get("is_positive", 1)))))
    return points, label, (height, width)
