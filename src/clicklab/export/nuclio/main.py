"""A CVAT interactor on nuclio: clicks in, a mask out. Needs numpy, onnxruntime and pillow; `session.py` lies beside it.

CVAT sends the frame and all clicks every time, positive and negative ones apart. Frames are known by their checksum,
and the clicks that are answered already are not asked again.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import threading
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from session import Session  # ty: ignore[import-not-found]  (it lies beside this file where nuclio runs it)

FRAMES = 4  # kept, with what the network made of them
Click = tuple[int, int, bool]  # y, x, positive
Frames = OrderedDict[str, Session]  # checksum of a frame -> its dialogue


class BadRequest(ValueError):
    """The text says what is wrong with a request."""


def init_context(context: Any) -> None:
    """Called once by nuclio."""
    context.user_data.frames = OrderedDict()
    context.user_data.turn = threading.Lock()
    context.user_data.first = Session(Path(__file__).parent)  # says at once when a file is missing
    context.logger.info("the network is ready")


def handler(context: Any, event: Any) -> Any:
    """Called for every click."""
    try:
        with context.user_data.turn:
            mask = answer(context.user_data.frames, event.body)
        body, status = {"mask": (mask * np.uint8(255)).tolist()}, 200
    except BadRequest as error:
        body, status = {"error": str(error)}, 400
    except Exception as error:  # nuclio would answer with a traceback
        context.logger.error(f"{type(error).__name__}: {error}")
        body, status = {"error": f"{type(error).__name__}: {error}"}, 500
    return context.Response(body=json.dumps(body), headers={}, content_type="application/json", status_code=status)


def answer(frames: Frames, body: Any) -> np.ndarray:
    """The mask (H, W) bool of a request."""
    if isinstance(body, (bytes, str)):
        body = json.loads(body)
    if not isinstance(body, dict):
        raise BadRequest("the request must be a json object")
    points = [(*point(place), True) for place in body.get("pos_points") or []]
    if not points:
        raise BadRequest("there is no positive click: the object has to be clicked first")
    points += [(*point(place), False) for place in body.get("neg_points") or []]
    session = session_of(frames, body.get("image"))
    for y, x, positive in continue_from(session, points):
        try:
            session.add_click(y, x, positive)
        except ValueError as error:  # outside the frame, or one too many
            raise BadRequest(str(error)) from error
    threshold = body.get("threshold")
    return session.mask if threshold is None else session.probability > float(threshold)


def point(place: Any) -> tuple[int, int]:
    """Row and column of the pixel under (x, y)."""
    try:
        x, y = (int(np.floor(float(value))) for value in place)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadRequest(f"a click needs x and y, got {place!r}") from error
    return y, x


def session_of(frames: Frames, image: Any) -> Session:
    """The dialogue on a frame, given as base64."""
    if not isinstance(image, str) or not image:
        raise BadRequest("the image is missing")
    try:
        content = base64.b64decode(image)
        key = hashlib.sha256(content).hexdigest()
        if key not in frames:
            pixels = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
            frames[key] = Session(Path(__file__).parent)
            frames[key].set_image(pixels)
    except (ValueError, OSError, Image.DecompressionBombError) as error:
        raise BadRequest(f"the image cannot be read ({error})") from error
    frames.move_to_end(key)
    while len(frames) > FRAMES:
        frames.popitem(last=False)
    return frames[key]


def continue_from(session: Session, points: list[Click]) -> list[Click]:
    """Takes back clicks from the first one that is no longer wanted; returns those still to be made."""
    wanted, kept = Counter(points), 0
    for y, x, label in session.state.clicks:
        click = (int(y), int(x), label == 1)
        if not wanted[click]:
            break
        wanted[click] -= 1
        kept += 1
    while len(session.state.clicks) > kept:
        session.undo()
    new = []
    for click in points:
        if wanted[click]:
            wanted[click] -= 1
            new.append(click)
    return new
