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
from clicklab.inference.session import Session

WORK_PIXELS = 25_000_000  # a larger photo is answered in a scaled copy: its floats alone would take gigabytes


@dataclass(frozen=True)
class Answer:
    """What a network said. `candidates` masks were answered, `chosen` is the number of the one that is the mask."""

    mask: masks.Rle
    candidates: int = 1
    chosen: int = 0


class PhotoSession:
    """One photo, encoded once, and new sessions on it.

    Args:
        session: without an image.
        pixels: (H, W, 3) uint8 RGB.
    """

    def __init__(self, session: Session, pixels: np.ndarray) -> None:
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
        session = Session(self._first.predictor)
        session._pixels = self._first._pixels
        session.reset()
        return session

    def encode(self) -> None:
        """Does what depends on the photo alone, so that the first click costs what a later one does."""
        self.new_session().add_click(self.work_size[0] // 2, self.work_size[1] // 2)

    def point(self, click: Event) -> tuple[float, float, bool]:
        """(y, x, positive) of a click in the network's copy of the photo."""
        assert click.y is not None and click.x is not None and click.positive is not None
        if self.factor == 1:
            return click.y, click.x, click.positive
        scales = (work / full for work, full in zip(self.work_size, self.size, strict=True))
        y, x = ((place + 0.5) * scale - 0.5 for place, scale in zip((click.y, click.x), scales, strict=True))
        height, width = self.work_size
        return min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0), click.positive

    def smaller(self, mask: np.ndarray) -> np.ndarray:
        """A mask (H, W) bool of the photo in the network's copy."""
        if self.factor == 1:
            return mask
        height, width = self.work_size
        return cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA) >= 0.5

    def larger(self, probability: np.ndarray, threshold: float) -> np.ndarray:
        """(H, W) bool of the photo, of a probability in the network's copy."""
        found = probability > threshold
        if self.factor == 1:
            return found
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


class Dialogue:
    """The session of one object.

    Args:
        photo: where the object is.
    """

    def __init__(self, photo: PhotoSession) -> None:
        self.photo = photo
        self._session: Session | None = None
        self._given: str | None = None  # key of the click that corrected a given mask
        self._played: tuple[Event, ...] = ()  # clicks and choices that the session has gone through

    def click(self, history: History, click: Event) -> Answer:
        """Answers a new click. Raises ValueError: the network cannot; the text says why."""
        if history.protected:
            before = self._mask(history)
            self._correct(before, history.clicks, click)
        else:
            before = None
            self._play(_to_play(history.applied[history.beginning :]))
            self._session_now().add_click(*self.photo.point(click))
            self._played = (*self._played, click)
        shown = masks.encode(self._shown(None, history.threshold, before, click))
        return Answer(shown, self._count(), self._best())

    def choose(self, history: History, index: int) -> Answer:
        """Takes another candidate of the last click. Raises BadRequest: there is none of that number."""
        before, last = self._at_last_click(history)
        count = self._count()
        if index >= count:
            raise BadRequest(f"there is no candidate {index + 1}: the network gave {count}")
        return Answer(masks.encode(self._shown(index, history.threshold, before, last)), count, index)

    def at_threshold(self, history: History, value: float) -> Answer:
        """The mask of the last click with another threshold. Raises BadRequest: nothing was clicked."""
        before, last = self._at_last_click(history)
        return Answer(masks.encode(self._shown(None, value, before, last)))

    def candidates(self, history: History) -> tuple[list[masks.Rle], list[float], int]:
        """All masks of the last click, their scores, and which is taken. Raises BadRequest: nothing was clicked."""
        before, last = self._at_last_click(history)
        scores = self._session_now().scores
        shown = [masks.encode(self._shown(index, history.threshold, before, last)) for index in range(self._count())]
        choices = _choices_after(history.applied, last)
        chosen = choices[-1] if choices else self._best()
        return shown, [1.0] if scores is None else [float(score) for score in scores], chosen

    def _count(self) -> int:
        scores = self._session_now().scores
        return 1 if scores is None else len(scores)

    def _best(self) -> int:
        """The candidate that the network itself takes."""
        scores = self._session_now().scores
        return 0 if scores is None else int(scores.argmax())

    def _shown(self, index: int | None, threshold: float | None, before: np.ndarray | None, click: Event) -> np.ndarray:
        """(H, W) bool: the network's mask, or one of its candidates; of a given mask only the change at the click."""
        session = self._session_now()
        if index is None and threshold is None and self.photo.factor == 1:
            answer = session.mask
        else:
            probability = session.probability if index is None else session.candidates[index]
            answer = self.photo.larger(
                probability, session.predictor.mask_threshold if threshold is None else threshold
            )
        if before is None:
            return answer
        assert click.y is not None and click.x is not None and click.positive is not None
        return masks.corrected_at_click(before, answer, click.y, click.x, click.positive)

    def _at_last_click(self, history: History) -> tuple[np.ndarray | None, Event]:
        """Brings the session to the last click in force; the mask that it corrected, if any, and the click."""
        steps = history.applied
        places = [place for place, step in enumerate(steps) if step.kind == "click" and place >= history.beginning]
        if not places or any(step.kind not in ("choose", "threshold") for step in steps[places[-1] + 1 :]):
            raise BadRequest("there is no answer of the network to choose from: click first")
        last = steps[places[-1]]
        if not last.payload.get("protect"):
            self._play(_to_play(steps[history.beginning :]))
            return None, last
        earlier = History(steps, places[-1])
        before = self._mask(earlier)
        if self._given != last.key:
            self._correct(before, earlier.clicks, last)
        if choices := _choices_after(steps, last):
            self._session_now().choose(choices[-1])
        return before, last

    def _correct(self, before: np.ndarray, clicks: Sequence[Event], click: Event) -> None:
        """A new session that starts from a mask, knows the clicks before, and is asked about one more."""
        self._session, self._played = self.photo.new_session(), ()
        self._session.set_mask(self.photo.smaller(before))
        for earlier in clicks:
            self._session.place_click(*self.photo.point(earlier))
        self._session.add_click(*self.photo.point(click))
        self._given = click.key

    def _play(self, wanted: tuple[Event, ...]) -> None:
        """Brings a session that began from nothing to the end of these clicks and choices."""
        same = 0
        for mine, yours in zip(self._played, wanted, strict=False):
            if mine.key != yours.key:
                break
            same += 1
        surplus = self._played[same:]
        if self._session is None or self._given is not None or any(step.kind == "choose" for step in surplus):
            self._session, self._given, self._played, same = self.photo.new_session(), None, (), 0
        else:
            for _ in surplus:
                self._session.undo()
            self._played = self._played[:same]
        for step in wanted[same:]:
            if step.kind == "click":
                self._session.add_click(*self.photo.point(step))
            else:
                self._session.choose(step.payload["index"])
            self._played = (*self._played, step)

    def _mask(self, history: History) -> np.ndarray:
        height, width = self.photo.size
        counts = history.counts
        return (
            np.zeros((height, width), bool)
            if counts is None
            else masks.decode({"size": [height, width], "counts": counts})
        )

    def _session_now(self) -> Session:
        assert self._session is not None
        return self._session


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
