"""What people do to an object, as records: every click, edit, undo and finish is one event.

An object is nothing but its events in order. `History` replays them: which steps are in force, which can be undone and
redone, whether the object is open, finished or deleted. The masks stand in the events, so no network is needed for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

STEPS = ("start", "click", "choose", "threshold", "brush", "fill", "specks", "drop")  # each leaves a mask behind it
POINTERS = ("undo", "redo")
STATES = {"finish": "done", "reopen": "open", "delete": "deleted", "restore": "open"}  # kind -> state after it
ASKABLE = (*STEPS[1:], *POINTERS, *STATES)  # `start` comes with an imported mask, not from a person

MOST_POINTS = 20_000  # of one brush stroke
MOST_PIXELS = 10_000  # radius of a brush, size of a speck


class BadRequest(ValueError):
    """What was asked makes no sense; the text says why and what to do."""


@dataclass(frozen=True)
class Event:
    """One thing that somebody did.

    Attributes:
        key: made by the page; the same event sent twice is known by it.
        kind: one of `STEPS`, `POINTERS`, `STATES`.
        y: row of a click in pixels of the photo.
        x: its column.
        positive: its sign; of a brush stroke: it paints.
        payload: the rest. `choose`: index. `threshold`: value. `brush`: points [[y, x], ...], radius. `specks`:
            pixels. `click`: protect (the mask before it is corrected at the click only), count (of candidates),
            chosen. `drop`: clicks (how many stay).
        counts: run lengths of the mask after a step, as in `masks.Rle`.
        time: seconds since 1970 when the server took it.
        network: who answered a click.
        seconds: the answer took.
        person: who did it.
    """

    key: str
    kind: str
    y: float | None = None
    x: float | None = None
    positive: bool | None = None
    payload: Mapping[str, Any] = field(default_factory=dict)
    counts: str | None = None
    time: float = 0.0
    network: str | None = None
    seconds: float | None = None
    person: str = ""


@dataclass(frozen=True)
class History:
    """Where an object stands after its events.

    Attributes:
        steps: those that undo and redo walk through.
        position: so many of them are in force.
        state: `open`, `done` or `deleted`.
        length: events so far; the number of the next one.
        settled: steps that were in force when the object was last reopened.
    """

    steps: tuple[Event, ...] = ()
    position: int = 0
    state: str = "open"
    length: int = 0
    settled: int = 0

    @classmethod
    def of(cls, events: Iterable[Event]) -> History:
        """Replays events."""
        history = cls()
        for event in events:
            history = history.after(event)
        return history

    def after(self, event: Event) -> History:
        """The history with one more event.

        Raises:
            BadRequest: the event is impossible here.
        """
        steps, position, state, settled = self.steps, self.position, self.state, self.settled
        if event.kind in STATES:
            state = STATES[event.kind]
            settled = position if event.kind == "reopen" else settled
        elif self.state != "open":
            raise BadRequest(f"the object is {self.state}: reopen it (R) before you change it")
        elif event.kind == "undo":
            if position == 0:
                raise BadRequest("there is nothing to undo")
            position -= 1
        elif event.kind == "redo":
            if position == len(steps):
                raise BadRequest("there is nothing to redo")
            position += 1
        else:
            steps, position = (*steps[:position], event), position + 1
        return History(steps, position, state, self.length + 1, min(settled, position))

    @property
    def applied(self) -> tuple[Event, ...]:
        """The steps in force."""
        return self.steps[: self.position]

    @property
    def counts(self) -> str | None:
        """Run lengths of the present mask, None before the first step."""
        return self.steps[self.position - 1].counts if self.position else None

    @property
    def clicks(self) -> tuple[Event, ...]:
        """The clicks in force: the network sees them, the page shows them."""
        clicks: list[Event] = []
        for step in self.applied:
            if step.kind == "click":
                clicks.append(step)
            elif step.kind == "drop":
                clicks = clicks[: step.payload.get("clicks", 0)]
        return tuple(clicks)

    @property
    def beginning(self) -> int:
        """The first step that still matters: all before it were dropped, and the object began from nothing again."""
        empty = [number for number, step in enumerate(self.applied, 1) if step.kind == "drop" and step.counts is None]
        return empty[-1] if empty else 0

    @property
    def protected(self) -> bool:
        """The present mask was finished, given or edited by hand: a click corrects it at the click only."""
        since = self.applied[self.beginning :]
        return self.settled > self.beginning or any(step.kind not in ("click", "choose", "threshold") for step in since)

    @property
    def threshold(self) -> float | None:
        """What the person set, None: the network's own."""
        values = [step.payload["value"] for step in self.applied if step.kind == "threshold"]
        return values[-1] if values else None

    def dropped(self) -> Event:
        """A step back to where the object stood when it was last reopened, or to nothing. Its key is empty."""
        kept = History(self.steps, self.settled)
        return Event("", "drop", payload={"clicks": len(kept.clicks)}, counts=kept.counts)


def parse_event(body: Any, size: tuple[int, int]) -> Event:
    """An event as a page sends it.

    Args:
        body: the decoded json.
        size: (height, width) of the photo.

    Raises:
        BadRequest: naming the field that is missing, of another type, or out of range.
    """
    if not isinstance(body, dict):
        raise BadRequest("an event is a json object with `key` and `kind`")
    kind = body.get("kind")
    if kind not in ASKABLE:
        raise BadRequest(f"kind must be one of {', '.join(ASKABLE)}")
    event = Event(parse_key(body.get("key")), kind)
    if kind == "click":
        y, x = _point([body.get("y"), body.get("x")], size, "click")
        return Event(event.key, kind, y, x, _flag(body, "positive"))
    if kind == "choose":
        return Event(event.key, kind, payload={"index": _whole(body, "index", 0, 999)})
    if kind == "threshold":
        return Event(event.key, kind, payload={"value": parse_threshold(body)})
    if kind == "specks":
        return Event(event.key, kind, payload={"pixels": _whole(body, "pixels", 1, MOST_PIXELS)})
    if kind == "brush":
        points = body.get("points")
        if not isinstance(points, list) or not 1 <= len(points) <= MOST_POINTS:
            raise BadRequest(f"points must be a list of 1 to {MOST_POINTS} pairs [y, x]")
        margin = (MOST_PIXELS, MOST_PIXELS)  # a stroke may leave the photo
        stroke = [list(_point(point, size, "brush point", margin)) for point in points]
        radius = _number(body.get("radius"), "radius")
        if not 0 < radius <= MOST_PIXELS:
            raise BadRequest(f"radius must be above 0 and at most {MOST_PIXELS} pixels")
        return Event(event.key, kind, positive=_flag(body, "positive"), payload={"points": stroke, "radius": radius})
    return event


def parse_key(key: Any) -> str:
    """A key that a page made. Raises BadRequest."""
    if not isinstance(key, str) or not 8 <= len(key) <= 64 or not key.isascii() or not key.isprintable():
        raise BadRequest("key must be a text of 8 to 64 plain characters, new for every event")
    return key


def parse_threshold(body: Mapping[str, Any]) -> float:
    """A probability strictly between 0 and 1. Raises BadRequest."""
    value = _number(body.get("value"), "value")
    if not 0 < value < 1:
        raise BadRequest("value must lie between 0 and 1, both excluded")
    return value


def _point(pair: Any, size: tuple[int, int], what: str, margin: tuple[int, int] = (0, 0)) -> tuple[float, float]:
    if not isinstance(pair, list) or len(pair) != 2:
        raise BadRequest(f"a {what} is a pair of numbers: row and column")
    y, x = _number(pair[0], f"y of a {what}"), _number(pair[1], f"x of a {what}")
    height, width = size
    if not (-margin[0] <= y < height + margin[0] and -margin[1] <= x < width + margin[1]):
        raise BadRequest(f"the {what} (y={y:g}, x={x:g}) lies outside the photo of {width} x {height} pixels")
    return y, x


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadRequest(f"{name} must be a number")
    return float(value)


def _whole(body: Mapping[str, Any], name: str, least: int, most: int) -> int:
    value = body.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise BadRequest(f"{name} must be a whole number from {least} to {most}")
    return value


def _flag(body: Mapping[str, Any], name: str) -> bool:
    if not isinstance(body.get(name), bool):
        raise BadRequest(f"{name} must be true or false")
    return body[name]
