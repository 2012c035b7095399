"""What the routes do: store, photos and engine together, without a word of HTTP.

Every method may be called from several threads. An object's events are taken one at a time.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any

from clicklab.annotate import masks
from clicklab.annotate.dialogue import Answer, edited
from clicklab.annotate.engine import Engine
from clicklab.annotate.events import BadRequest, Event, History
from clicklab.annotate.exports import write_masks
from clicklab.annotate.photos import Photos, UnreadablePhoto
from clicklab.annotate.store import Annotated, Conflict, Photo, Store

MOST_WIDTH = 4096  # of a picture that the page asks for
ANSWER_SECONDS = 300  # the longest that a page waits for a network


@dataclass(frozen=True)
class Person:
    """Who asks: `id` is made by the browser and kept there, `name` is what others see."""

    id: str
    name: str


class Desk:
    """Where people work on the photos of one folder.

    Args:
        store: keeps everything.
        photos: of the folder.
        engine: answers clicks.
    """

    def __init__(self, store: Store, photos: Photos, engine: Engine) -> None:
        self.store, self.photos, self.engine = store, photos, engine
        self._turns: defaultdict[int, threading.Lock] = defaultdict(threading.Lock)
        self._turns_turn = threading.Lock()

    def photo_list(self, now: float | None = None) -> list[dict[str, Any]]:
        """All photos that lie in the folder, with their states and who works on them."""
        now = time.time() if now is None else now
        return [_photo_row(photo, now) for photo in self.store.photos() if photo.present]

    def open_photo(self, photo_id: int, person: Person) -> dict[str, Any]:
        """A photo with its objects, leased to the person if it is free.

        Raises:
            KeyError: there is no such photo.
            UnreadablePhoto: the text says why and what to do.
        """
        photo = self.measured(photo_id)
        holder = None
        try:
            photo = self.store.lease(photo_id, person.id, person.name)
        except Conflict as conflict:
            holder = str(conflict)
        objects = [self.shown(found) for found in self.store.objects(photo_id) if found.state != "deleted"]
        return {**_photo_row(photo, time.time()), "locked": holder, "objects": objects}

    def measured(self, photo_id: int) -> Photo:
        """The photo with its size, read if it was not yet. Raises KeyError, UnreadablePhoto."""
        photo = self.store.photo(photo_id)
        if not photo.present:
            raise UnreadablePhoto(f"{photo.path} is no longer in the folder: put it back, its masks are kept")
        pixels, content_hash = self.photos.read(photo.path)
        height, width = pixels.shape[:2]
        if photo.hash == content_hash:
            return photo
        if photo.hash is not None and (photo.width, photo.height) != (width, height) and self.store.objects(photo_id):
            raise UnreadablePhoto(
                f"{photo.path} has {width} x {height} pixels, but it was annotated with {photo.width} x "
                f"{photo.height}: put the old file back, or give the new one another name"
            )
        self.store.set_content(photo_id, content_hash, width, height)
        return self.store.photo(photo_id)

    def shown(self, found: Annotated, history: History | None = None) -> dict[str, Any]:
        """An object as the page wants it."""
        history = History.of(self.store.events(found.id)) if history is None else history
        photo = self.store.photo(found.photo)
        clicks = [[click.y, click.x, click.positive] for click in history.clicks]
        return {
            "id": found.id,
            "key": found.key,
            "class": found.class_id,
            "state": history.state,
            "number": history.length,
            "mask": None if history.counts is None else {"size": [photo.height, photo.width], "counts": history.counts},
            "clicks": clicks,
            "undo": history.position,
            "redo": len(history.steps) - history.position,
            "threshold": history.threshold,
            "candidates": _candidates(history),
        }

    def add_object(self, photo_id: int, class_id: int, key: str, person: Person) -> dict[str, Any]:
        """A new object. Raises KeyError, Conflict, UnreadablePhoto."""
        self.measured(photo_id)
        self.store.need_lease(photo_id, person.id)
        return self.shown(self.store.add_object(photo_id, class_id, key))

    def set_class(self, object_id: int, class_id: int, person: Person) -> dict[str, Any]:
        """Raises KeyError, Conflict."""
        self.store.need_lease(self.store.object(object_id).photo, person.id)
        self.store.set_class(object_id, class_id)
        return self.shown(self.store.object(object_id))

    def take(self, object_id: int, event: Event, number: int, person: Person) -> dict[str, Any]:
        """Answers an event, writes it, and gives the object as it stands then.

        The same event again changes nothing and gets the same answer.

        Raises:
            KeyError: there is no such object.
            Conflict: another window or person was there first.
            BadRequest: the event is impossible now.
            ValueError: the network cannot answer, or the photo cannot be read.
        """
        with self._turn(object_id):
            found = self.store.object(object_id)
            if (known := self.store.known_event(event.key)) is not None:
                if known[0] != object_id:
                    raise Conflict("this key belongs to an event of another object: reload the page")
                return self.shown(found)
            self.store.need_lease(found.photo, person.id)
            if found.length != number:
                raise Conflict("the object was changed in another window: reload the page (F5), nothing is lost")
            history = History.of(self.store.events(object_id))
            done = self._with_mask(self.store.photo(found.photo), object_id, history, event)
            done = replace(done, time=time.time(), person=person.name)
            after = self.store.append(object_id, done, number)
        return self.shown(self.store.object(object_id), after)

    def preview(self, object_id: int, value: float) -> masks.Rle:
        """The last answer at another threshold; nothing is written. Raises as `take`."""
        history, photo = self._at(object_id)
        return self.engine.at_threshold(photo.path, object_id, history, value).result(ANSWER_SECONDS).mask

    def candidates(self, object_id: int) -> dict[str, Any]:
        """All masks of the last click with their scores. Raises as `take`."""
        history, photo = self._at(object_id)
        found, scores, chosen = self.engine.candidates(photo.path, object_id, history).result(ANSWER_SECONDS)
        return {"masks": found, "scores": scores, "chosen": chosen}

    def size_of(self, object_id: int) -> tuple[int, int]:
        """(height, width) of the photo of an object. Raises KeyError."""
        photo = self.store.photo(self.store.object(object_id).photo)
        assert photo.height is not None and photo.width is not None  # it was measured before the object was made
        return photo.height, photo.width

    def set_state(self, photo_id: int, state: str, person: Person) -> None:
        """Raises KeyError, Conflict, BadRequest."""
        self.store.need_lease(photo_id, person.id)
        self.store.set_photo_state(photo_id, state)

    def release(self, photo_id: int, person_id: str) -> None:
        """The person is done with a photo: its masks are written to a file. Raises KeyError."""
        self.store.photo(photo_id)
        self.store.release(photo_id, person_id)
        if photo_id in self.store.unwritten():
            write_masks(self.store, photo_id)

    def prepare(self, ahead: Any) -> None:
        """Reads and encodes a photo before somebody opens it; nothing happens where there is none of that number."""
        known = {photo.id: photo for photo in self.store.photos() if photo.present}
        if isinstance(ahead, int) and ahead in known:
            self.engine.prepare(known[ahead].path)

    def picture(self, photo_id: int, side: str | None, box: str | None, width: str | None) -> tuple[bytes, str]:
        """A scaled picture of a photo or of a part of it, and a tag that changes with it.

        Raises:
            KeyError: there is no such photo.
            BadRequest: no such part or size.
            UnreadablePhoto: the text says why.
        """
        photo = self.store.photo(photo_id)
        if side is not None:
            small = self.photos.thumbnail(photo.path, _in_range(side, "side", 16, 512))
            return small, f"{photo_id}-{side}-{len(small)}"
        photo = self.measured(photo_id)
        assert photo.height is not None and photo.width is not None
        left, top, right, bottom = _box(box, photo.width, photo.height)
        wide = _in_range(width, "w", 1, MOST_WIDTH) if width is not None else min(right - left, MOST_WIDTH)
        picture = self.photos.picture(photo.path, (left, top, right, bottom), min(wide, right - left))
        return picture, f"{photo.hash}-{left}-{top}-{right}-{bottom}-{wide}"

    def close(self) -> None:
        """Writes what is not in files yet, and lets everything go."""
        self.engine.close()
        for photo_id in self.store.unwritten():
            write_masks(self.store, photo_id)
        self.store.close()

    def _at(self, object_id: int) -> tuple[History, Photo]:
        found = self.store.object(object_id)
        return History.of(self.store.events(object_id)), self.store.photo(found.photo)

    def _turn(self, object_id: int) -> threading.Lock:
        with self._turns_turn:
            return self._turns[object_id]

    def _with_mask(self, photo: Photo, object_id: int, history: History, event: Event) -> Event:
        """The event with what comes after it."""
        history.after(event)  # says what is impossible before the network is asked
        kind, where = event.kind, (photo.path, object_id, history)
        if kind in ("click", "choose", "threshold"):
            began = time.perf_counter()
            answer = self._answer(where, event)
            counts, took = answer.mask["counts"], time.perf_counter() - began
            payload = dict(event.payload)
            if kind == "click":
                payload |= {"protect": history.protected, "count": answer.candidates, "chosen": answer.chosen}
            return replace(event, payload=payload, counts=counts, network=self.engine.name, seconds=took)
        if kind in ("brush", "fill", "specks"):
            assert photo.height is not None and photo.width is not None
            size = [photo.height, photo.width]
            before = masks.empty(*size) if history.counts is None else masks.Rle(size=size, counts=history.counts)
            return replace(event, counts=masks.encode(edited(masks.decode(before), event))["counts"])
        if kind == "drop":
            dropped = history.dropped()
            return replace(event, payload=dropped.payload, counts=dropped.counts)
        return event

    def _answer(self, where: tuple[str, int, History], event: Event) -> Answer:
        if event.kind == "click":
            return self.engine.click(*where, event).result(ANSWER_SECONDS)
        if event.kind == "choose":
            return self.engine.choose(*where, event.payload["index"]).result(ANSWER_SECONDS)
        return self.engine.at_threshold(*where, event.payload["value"]).result(ANSWER_SECONDS)


def _photo_row(photo: Photo, now: float) -> dict[str, Any]:
    held = photo.holder is not None and photo.held_until > now
    return {
        "id": photo.id,
        "name": photo.path,
        "width": photo.width,
        "height": photo.height,
        "state": photo.state,
        "holder": photo.holder if held else None,
        "holder_name": photo.holder_name if held else None,
    }


def _candidates(history: History) -> int:
    """So many masks were answered to the last step, if it is a click or what may follow one."""
    for step in reversed(history.applied):
        if step.kind == "click":
            return int(step.payload.get("count", 1))
        if step.kind not in ("choose", "threshold"):
            return 1
    return 1


def _in_range(text: str, name: str, least: int, most: int) -> int:
    """A whole number of an address. Raises BadRequest."""
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and least <= int(text) <= most):
        raise BadRequest(f"{name} must be a whole number from {least} to {most}")
    return int(text)


def _box(text: str | None, width: int, height: int) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of an address, all of the photo without one. Raises BadRequest."""
    if text is None:
        return 0, 0, width, height
    numbers = text.split(",")
    if len(numbers) != 4:
        raise BadRequest("box must be four numbers: left,top,right,bottom")
    left, top = _in_range(numbers[0], "box", 0, width - 1), _in_range(numbers[1], "box", 0, height - 1)
    return left, top, _in_range(numbers[2], "box", left + 1, width), _in_range(numbers[3], "box", top + 1, height)
