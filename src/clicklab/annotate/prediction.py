"""Masks from clicks that are known beforehand: on the command line, in a json, or recorded by `clicklab annotate`."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from clicklab.annotate import masks
from clicklab.annotate.dialogue import Dialogue, PhotoSession
from clicklab.annotate.events import Event, History
from clicklab.annotate.exports import COLOURS
from clicklab.annotate.imports import MaskFiles

CLICK = re.compile(r"(\d+(?:\.\d+)?),(\d+(?:\.\d+)?)([+-])")
Click = tuple[float, float, bool]  # y, x, positive


@dataclass(frozen=True)
class Wish:
    """An object to be found.

    Attributes:
        image: path or name of the photo.
        clicks: on it, in order.
        class_name: of the object.
        start: a mask to correct, None: from nothing.
    """

    image: str
    clicks: tuple[Click, ...]
    class_name: str = "object"
    start: masks.Rle | None = None


def parse_clicks(text: str) -> tuple[Click, ...]:
    """Clicks as on the command line: `120,80+ 30,40-`, row and column, then the sign.

    Raises:
        ValueError: naming the word that is none.
    """
    found = []
    for word in text.split():
        match = CLICK.fullmatch(word)
        if match is None:
            raise ValueError(f"--clicks: {word!r} is no click; write row,column and + or -: 120,80+ 30,40-")
        found.append((float(match[1]), float(match[2]), match[3] == "+"))
    if not found:
        raise ValueError("--clicks is empty; write row,column and + or -: 120,80+ 30,40-")
    return tuple(found)


def read_clicks(file: Path) -> list[Wish]:
    """Wishes of a json: `clicks.json` of `clicklab annotate`, or {"photo.jpg": [[y, x, true], ...]}.

    Raises:
        ValueError: naming the file and the image whose clicks make no sense.
        OSError: the file cannot be read.
    """
    try:
        record = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: not json ({error})") from error
    if not isinstance(record, dict):
        raise ValueError(f'{file}: must be clicks.json of `clicklab annotate`, or {{"photo.jpg": [[y, x, true]]}}')
    if record.get("format") == "clicklab-clicks":
        rows = record.get("dialogues")
        if not isinstance(rows, list) or not all(isinstance(row, dict) and "image" in row for row in rows):
            raise ValueError(f"{file}: dialogues must be a list of objects with an image")
        return [
            Wish(
                str(row["image"]),
                _checked(row.get("clicks"), file, row["image"]),
                str(row.get("class", "object")),
                _start(row.get("start"), file, row["image"]),
            )
            for row in rows
        ]
    return [Wish(name, _checked(clicks, file, name)) for name, clicks in record.items()]


def _start(start: Any, file: Path, image: str) -> masks.Rle | None:
    """A mask of a json. Raises ValueError naming the file and the image where it is none."""
    if start is None:
        return None
    try:
        size, counts = [int(side) for side in start["size"]], start["counts"]
        if len(size) != 2 or not isinstance(counts, str):
            raise ValueError
        rle = masks.Rle(size=size, counts=counts)
        if masks.decode(rle).sum() != masks.area(rle):  # runs that go on behind the last pixel
            raise ValueError
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file}: start of {image} must be {{size: [H, W], counts: run lengths of COCO}}") from error
    return rle


def _checked(clicks: Any, file: Path, image: str) -> tuple[Click, ...]:
    found = []
    for click in clicks if isinstance(clicks, list) else [None]:
        plain = isinstance(click, list) and len(click) == 3 and isinstance(click[2], bool)
        if not plain or not all(type(value) in (int, float) for value in click[:2]):
            raise ValueError(
                f"{file}: clicks of {image} must be a list of [y, x, true or false], got {str(click)[:60]}"
            )
        found.append((float(click[0]), float(click[1]), click[2]))
    return tuple(found)


def read_start(file: Path, files: MaskFiles) -> masks.Rle:
    """A mask to correct: what is not background is the object.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        return masks.encode(files.read(file) > 0)
    except (OSError, ValueError) as error:
        raise ValueError(f"--start: {error}") from error


def predicted(photo: PhotoSession, wish: Wish) -> masks.Rle:
    """The mask after all clicks of a wish.

    Raises:
        ValueError: a click lies outside the photo, or the start has another size.
    """
    height, width = photo.size
    history = History()
    if wish.start is not None:
        if list(wish.start["size"]) != [height, width]:
            size = "{1} x {0}".format(*wish.start["size"])
            raise ValueError(f"{wish.image}: the mask to start from has {size} pixels, the photo {width} x {height}")
        history = history.after(Event("start", "start", counts=wish.start["counts"]))
    mask = masks.empty(height, width) if wish.start is None else wish.start
    dialogue = Dialogue(photo)
    for number, (y, x, positive) in enumerate(wish.clicks):
        if not (0 <= y < height and 0 <= x < width):
            raise ValueError(
                f"{wish.image}: click {y:g},{x:g} lies outside the photo of {height} rows, {width} columns"
            )
        click = Event(f"click-{number}", "click", y, x, positive, {"protect": history.protected})
        mask = dialogue.click(history, click).mask
        history = history.after(Event(click.key, "click", y, x, positive, click.payload, mask["counts"]))
    return mask


def overlay(pixels: np.ndarray, found: Sequence[np.ndarray], clicks: Sequence[Sequence[Click]]) -> np.ndarray:
    """(H, W, 3) uint8: a photo with masks (H, W) bool in colours, outlined dark and light, and the clicks on it."""
    picture = pixels.copy()
    thick = max(1, round(max(pixels.shape[:2]) / 600))
    for number, mask in enumerate(found):
        text = COLOURS[number % len(COLOURS)]
        colour = np.array([int(text[place : place + 2], 16) for place in (1, 3, 5)])
        picture[mask] = (0.6 * picture[mask] + 0.4 * colour).astype(np.uint8)
        contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, contours, -1, (10, 14, 18), 3 * thick)
        cv2.drawContours(picture, contours, -1, (255, 255, 255), thick)
    for y, x, positive in (click for one in clicks for click in one):
        place, reach = (round(x), round(y)), 5 * thick
        shape = (0, 114, 178) if positive else (213, 94, 0)
        cv2.circle(picture, place, reach + thick, (255, 255, 255), cv2.FILLED, cv2.LINE_AA)
        cv2.circle(picture, place, reach, shape, cv2.FILLED, cv2.LINE_AA)
        cv2.line(picture, (place[0] - reach // 2, place[1]), (place[0] + reach // 2, place[1]), (255, 255, 255), thick)
        if positive:
            ends = (place[0], place[1] - reach // 2), (place[0], place[1] + reach // 2)
            cv2.line(picture, *ends, (255, 255, 255), thick)
    return picture
