"""Objects of one photo as sessions: brought to where the history of an object stands, and asked there.

A dialogue is a cache. What counts is the history of the object (`events.History`): an undo takes the session back, a
new server plays the clicks again, and an edited mask is handed to the network as the one that the next click corrects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from clicklab.annotate import masks
from clicklab.annotate.events import BadRequest, Event, History
from clicklab.inference.partial_mask import PartialMask, RegionMask
from clicklab.inference.session import Session

WORK_PIXELS = 25_000_000  # a larger photo is answered in a scaled copy: its floats alone would take gigabytes
ROOMS = (1.4, 3.0, float("inf"))  # a given mask is corrected in a part so many times as long as mask and click
LEAST_SIDE = 150  # pixels, times the same: at least so long
WHOLE_SHARE = 0.7  # a part that covers more of the photo is the photo


@dataclass(frozen=True)
class Answer:
    """What a network said. `candidates` masks were answered, `chosen` is the number of the one that is the mask."""

    mask: masks.Rle
    candidates: int = 1
    chosen: int = 0


class PhotoSession:
    """One photo, or a part of it, encoded once, and new sessions on it.

    Args:
        session: without an image.
        pixels: (H, W, 3) uint8 RGB.
    """

    def __init__(self, session: Session, pixels: np.ndarray) -> None:
        self.pixels = pixels
        self.size = pixels.shape[:2]
        self.factor = max(1.0, float(np.sqrt(pixels.shape[0] * pixels.shape[1] / WORK_PIXELS)))
        if self.factor > 1:
            height, width = (max(1, round(side / self.factor)) for side in self.size)
            pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
        self.work_size = pixels.shape[:2]
        self._first = session
        session.set_image(pixels)

    @property
    def bytes(self) -> int:
        """Memory that the pixels take as floats."""
        return 12 * self.work_size[0] * self.work_size[1]

    def new_session(self) -> Session:
        """A session for one more object."""
        return self._first.new_object()

    def part(self, top: int, left: int, bottom: int, right: int) -> PhotoSession:
        """A part of the photo in its own right, ends excluded."""
        return PhotoSession(Session(self._first.predictor), self.pixels[top:bottom, left:right])

    def encode(self) -> None:
        """Does what depends on the photo alone, so that the first click costs what a later one does."""
        self.new_session().answer_click(self.work_size[0] // 2, self.work_size[1] // 2)

    def point(self, y: float, x: float) -> tuple[float, float]:
        """Row and column of the photo in the network's copy."""
        if self.factor == 1:
            return y, x
        scaled = []
        for place, full, work in zip((y, x), self.size, self.work_size, strict=True):
            scaled.append(min(max((place + 0.5) * work / full - 0.5, 0.0), work - 1.0))
        return scaled[0], scaled[1]

    def smaller(self, mask: np.ndarray) -> np.ndarray:
        """A mask (H, W) bool of the photo in the network's copy."""
        if self.factor == 1:
            return mask
        height, width = self.work_size
        return cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA) >= 0.5

    def mask(self, session: Session, index: int | None, threshold: float | None) -> PartialMask:
        """The mask of the photo: a session's own, or one of its candidates, at a threshold of one's own."""
        level = session.predictor.mask_threshold if threshold is None else threshold
        state = session.state if index is None else session.state.with_choice(index)
        if self.factor == 1:
            return state.mask(level)
        return RegionMask.of(self.larger(state.probability_tensor.cpu().numpy(), level))

    def larger(self, probability: np.ndarray, threshold: float) -> np.ndarray:
        """(H, W) bool of the photo, of a probability in the network's copy, which is smaller."""
        found = probability > threshold
        full = np.zeros(self.size, dtype=bool)
        box = masks.bounding_box(found)
        if box is not None:  # only where the object is: all of a hundred million floats would take seconds
            height, width = self.work_size
            top, left = max(box[0] - 2, 0), max(box[1] - 2, 0)
            bottom, right = min(box[2] + 2, height), min(box[3] + 2, width)
            (above, below), (before, behind) = self._in_photo(top, bottom, 0), self._in_photo(left, right, 1)
            part = np.ascontiguousarray(probability[top:bottom, left:right])
            shown = cv2.resize(part, (behind - before, below - above), interpolation=cv2.INTER_LINEAR)
            full[above:below, before:behind] = shown > threshold
        return full

    def _in_photo(self, first: int, end: int, axis: int) -> tuple[int, int]:
        """Rows (axis 0) or columns of the network's copy in pixels of the photo."""
        scale = self.size[axis] / self.work_size[axis]
        return round(first * scale), round(end * scale)


@dataclass(frozen=True)
class _Place:
    """A session, and the part of the photo that it knows."""

    photo: PhotoSession
    session: Session
    top: int = 0
    left: int = 0
    corrects: str | None = None  # key of the click that corrected a given mask

    @property
    def window(self) -> tuple[slice, slice]:
        """The part, in arrays of the photo."""
        height, width = self.photo.size
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    def holds(self, click: Event) -> bool:
        """Whether a click lies in the part."""
        height, width = self.photo.size
        y, x, _ = _point(click)
        return self.top <= y < self.top + height and self.left <= x < self.left + width

    def point(self, click: Event) -> tuple[float, float, bool]:
        """(y, x, positive) of a click as the session takes it."""
        y, x, positive = _point(click)
        return *self.photo.point(y - self.top, x - self.left), positive


class Dialogue:
    """The session of one object.

    Args:
        photo: where the object is.
    """

    def __init__(self, photo: PhotoSession) -> None:
        self.photo = photo
        self._place: _Place | None = None
        self._played: tuple[Event, ...] = ()  # clicks and choices that the session has gone through

    def click(self, history: History, click: Event) -> Answer:
        """Answers a new click. Raises ValueError: the network cannot; the text says why."""
        if history.protected:
            before = self._mask(history)
            place = self._correct(before, history.clicks, click)
            shown = _shown(place, None, history.threshold, before, click)
        else:
            place = self._play(_to_play(history.applied[history.beginning :]))
            place.session.answer_click(*place.point(click))
            self._played = (*self._played, click)
            shown = _shown(place, None, history.threshold, None, click)
        return Answer(masks.encode_partial(shown), _count(place.session), _best(place.session))

    def choose(self, history: History, index: int) -> Answer:
        """Takes another candidate of the last click. Raises BadRequest: there is none of that number."""
        place, before, last = self._at_last_click(history)
        count = _count(place.session)
        if index >= count:
            raise BadRequest(f"there is no candidate {index + 1}: the network gave {count}")
        return Answer(masks.encode_partial(_shown(place, index, history.threshold, before, last)), count, index)

    def at_threshold(self, history: History, value: float) -> Answer:
        """The mask of the last click with another threshold. Raises BadRequest: nothing was clicked."""
        place, before, last = self._at_last_click(history)
        return Answer(masks.encode_partial(_shown(place, None, value, before, last)))

    def candidates(self, history: History) -> tuple[list[masks.Rle], list[float], int]:
        """All masks of the last click, their scores, and which is taken. Raises BadRequest: nothing was clicked."""
        place, before, last = self._at_last_click(history)
        scores, level = place.session.scores, history.threshold
        numbers = range(_count(place.session))
        shown = [masks.encode_partial(_shown(place, index, level, before, last)) for index in numbers]
        choices = _choices_after(history.applied, last)
        chosen = choices[-1] if choices else _best(place.session)
        return shown, [1.0] if scores is None else [float(score) for score in scores], chosen

    def _at_last_click(self, history: History) -> tuple[_Place, np.ndarray | None, Event]:
        """The session at the last click in force, the mask that it corrected, if any, and the click."""
        steps = history.applied
        places = [number for number, step in enumerate(steps) if step.kind == "click" and number >= history.beginning]
        if not places or any(step.kind not in ("choose", "threshold") for step in steps[places[-1] + 1 :]):
            raise BadRequest("there is no answer of the network to choose from: click first")
        last = steps[places[-1]]
        if not last.payload.get("protect"):
            return self._play(_to_play(steps[history.beginning :])), None, last
        earlier = History(steps, places[-1])
        before, place = self._mask(earlier), self._place
        if place is None or place.corrects != last.key:
            place = self._correct(before, earlier.clicks, last)
        if choices := _choices_after(steps, last):
            place.session.choose(choices[-1])
        return place, before, last

    def _correct(self, before: np.ndarray, clicks: Sequence[Event], click: Event) -> _Place:
        """A new session that starts from a mask, knows the clicks before, and is asked about one more.

        It sees the object and the click alone, because sessions do not zoom in on a mask that is given to them; and
        more of the photo where the change is cut off by the rim of that part.
        """
        for room in ROOMS:
            top, left, bottom, right = _region(before, click, room)
            whole = (bottom - top) * (right - left) >= WHOLE_SHARE * before.size
            photo = self.photo if whole else self.photo.part(top, left, bottom, right)
            corner = (0, 0) if whole else (top, left)
            place = _Place(photo, photo.new_session(), *corner, click.key)
            place.session.set_mask(photo.smaller(before[place.window]))
            for earlier in filter(place.holds, clicks):
                place.session.place_click(*place.point(earlier))
            place.session.answer_click(*place.point(click))
            if whole or not _cut_off(place, before, click):
                break
        self._place, self._played = place, ()
        return place

    def _play(self, wanted: tuple[Event, ...]) -> _Place:
        """Brings a session that began from nothing to the end of these clicks and choices."""
        same = 0
        for mine, yours in zip(self._played, wanted, strict=False):
            if mine.key != yours.key:
                break
            same += 1
        surplus, place = self._played[same:], self._place
        if place is None or place.corrects is not None or any(step.kind == "choose" for step in surplus):
            place, self._played, same = _Place(self.photo, self.photo.new_session()), (), 0
        for _ in surplus[: len(self._played) - same]:
            place.session.undo()
        self._place, self._played = place, self._played[:same]
        for step in wanted[same:]:
            if step.kind == "click":
                place.session.answer_click(*place.point(step))
            else:
                place.session.choose(step.payload["index"])
            self._played = (*self._played, step)
        return place

    def _mask(self, history: History) -> np.ndarray:
        if history.counts is None:
            return np.zeros(self.photo.size, dtype=bool)
        return masks.decode(masks.Rle(size=[*self.photo.size], counts=history.counts))


def _shown(
    place: _Place, index: int | None, threshold: float | None, before: np.ndarray | None, click: Event
) -> PartialMask:
    """The network's mask, or one of its candidates; of a given mask (H, W) bool only the change at the click."""
    answer = place.photo.mask(place.session, index, threshold)
    if before is None:
        return answer
    y, x, positive = _point(click)
    corrected = before.copy()
    part = before[place.window]
    corrected[place.window] = masks.corrected_at_click(part, answer.whole(), y - place.top, x - place.left, positive)
    return RegionMask.of(corrected)


def _cut_off(place: _Place, before: np.ndarray, click: Event) -> bool:
    """Whether the change at a click goes on beyond the part of the photo that was asked."""
    change = _shown(place, None, None, before, click).whole() != before
    rows, columns = place.window
    sides = [
        change[rows.start, columns] if rows.start > 0 else change[:0],
        change[rows.stop - 1, columns] if rows.stop < change.shape[0] else change[:0],
        change[rows, columns.start] if columns.start > 0 else change[:0],
        change[rows, columns.stop - 1] if columns.stop < change.shape[1] else change[:0],
    ]
    return any(side.any() for side in sides)


def _region(mask: np.ndarray, click: Event, room: float) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) of a mask and a click together, with room round them."""
    y, x, _ = _point(click)
    row, column = round(y), round(x)
    top, left, bottom, right = masks.bounding_box(mask) or (row, column, row + 1, column + 1)
    spans = []
    for first, end, at, most in ((top, bottom, row, mask.shape[0]), (left, right, column, mask.shape[1])):
        first, end = min(first, at), max(end, at + 1)
        margin = max((room - 1) * (end - first), room * LEAST_SIDE - (end - first)) / 2
        spans.append((int(max(0, first - margin)), int(min(most, end + margin + 1))))
    (top, bottom), (left, right) = spans
    return top, left, bottom, right


def _point(click: Event) -> tuple[float, float, bool]:
    assert click.y is not None and click.x is not None and click.positive is not None
    return click.y, click.x, click.positive


def _count(session: Session) -> int:
    return 1 if session.scores is None else len(session.scores)


def _best(session: Session) -> int:
    """The candidate that the network itself takes."""
    return 0 if session.scores is None else int(session.scores.argmax())


def _choices_after(steps: Sequence[Event], click: Event) -> list[int]:
    """Candidates chosen after a click."""
    place = next(place for place, step in enumerate(steps) if step.key == click.key)
    return [step.payload["index"] for step in steps[place + 1 :] if step.kind == "choose"]


def _to_play(steps: Sequence[Event]) -> tuple[Event, ...]:
    return tuple(step for step in steps if step.kind in ("click", "choose"))


def edited(mask: np.ndarray, event: Event) -> np.ndarray:
    """A mask (H, W) bool after a brush stroke, after filling its holes, or after dropping its specks."""
    settings = event.payload
    if event.kind == "brush":
        return masks.with_stroke(mask, settings["points"], settings["radius"], bool(event.positive))
    return masks.without_holes(mask) if event.kind == "fill" else masks.without_specks(mask, settings["pixels"])
