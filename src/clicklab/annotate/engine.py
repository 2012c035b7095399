"""The engine: one worker that owns the network and answers everybody in turn, clicks first.

Photos and dialogues that were not used for longest are let go; they are made again from the photo and the history.
"""

from __future__ import annotations

import itertools
import logging
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from clicklab.annotate.dialogue import Answer, Dialogue, PhotoSession
from clicklab.annotate.events import Event, History
from clicklab.annotate.masks import Rle
from clicklab.annotate.photos import Photos
from clicklab.inference.session import Session

FLOAT_BYTES = 1 << 29  # of photos kept as the network wants them
LEAST_PHOTOS = 2  # kept, however large: the one that is looked at, and the next
DIALOGUES = 200  # kept

CLICK, LOOK, AHEAD = range(3)  # who goes first
T = TypeVar("T")


class Engine:
    """Answers clicks on the photos of one folder.

    Args:
        new_session: a session of the network, without an image.
        photos: where the pixels come from.
        name: of the network, as it is written beside every click.
    """

    def __init__(self, new_session: Callable[[], Session], photos: Photos, name: str) -> None:
        self.name = name
        self.photos = photos
        self._new_session = new_session
        self._opened: OrderedDict[str, PhotoSession] = OrderedDict()
        self._dialogues: OrderedDict[int, tuple[str, Dialogue]] = OrderedDict()
        self._jobs: queue.PriorityQueue[tuple[int, int, Callable[[], Any] | None, Future]] = queue.PriorityQueue()
        self._order = itertools.count()
        self._ahead: set[str] = set()
        self._worker = threading.Thread(target=self._work, name="clicklab-network", daemon=True)
        self._worker.start()

    def click(self, path: str, object_id: int, history: History, click: Event) -> Future[Answer]:
        """The answer to a new click."""
        return self._ask(CLICK, lambda: self._dialogue(path, object_id).click(history, click))

    def choose(self, path: str, object_id: int, history: History, index: int) -> Future[Answer]:
        """Another candidate of the last click."""
        return self._ask(CLICK, lambda: self._dialogue(path, object_id).choose(history, index))

    def at_threshold(self, path: str, object_id: int, history: History, value: float) -> Future[Answer]:
        """The last answer at another threshold."""
        return self._ask(LOOK, lambda: self._dialogue(path, object_id).at_threshold(history, value))

    def candidates(self, path: str, object_id: int, history: History) -> Future[tuple[list[Rle], list[float], int]]:
        """All masks of the last click, their scores, and the one that is taken."""
        return self._ask(LOOK, lambda: self._dialogue(path, object_id).candidates(history))

    def prepare(self, path: str) -> None:
        """Reads and encodes a photo when nobody waits for anything else."""
        if path not in self._ahead:
            self._ahead.add(path)
            self._ask(AHEAD, lambda: self._prepare(path))

    def waiting(self) -> int:
        """Jobs that nobody has begun yet."""
        return self._jobs.qsize()

    def busy(self) -> bool:
        """Whether a photo is still to be read ahead, or somebody waits."""
        return bool(self._ahead) or not self._jobs.empty()

    def close(self) -> None:
        """Ends the worker after what it is doing."""
        self._jobs.put((-1, next(self._order), None, Future()))
        self._worker.join(timeout=30)

    def _ask(self, turn: int, job: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()
        self._jobs.put((turn, next(self._order), job, future))
        return future

    def _work(self) -> None:
        while True:
            _, _, job, future = self._jobs.get()
            if job is None:
                return
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(job())
            except Exception as error:  # it belongs to whoever asked; the worker goes on
                future.set_exception(error)

    def _prepare(self, path: str) -> None:
        try:
            if path not in self._opened:
                self._photo(path).encode()
        except Exception as error:  # whoever opens the photo is told
            logging.getLogger(__name__).info("%s was not read ahead: %s", path, error)
        finally:
            self._ahead.discard(path)

    def _dialogue(self, path: str, object_id: int) -> Dialogue:
        photo = self._photo(path)
        if object_id not in self._dialogues:
            self._dialogues[object_id] = path, Dialogue(photo)
        self._dialogues.move_to_end(object_id)
        if len(self._dialogues) > DIALOGUES:
            self._dialogues.popitem(last=False)
        return self._dialogues[object_id][1]

    def _photo(self, path: str) -> PhotoSession:
        if path not in self._opened:
            pixels, _ = self.photos.read(path)
            self._opened[path] = PhotoSession(self._new_session(), pixels)
        self._opened.move_to_end(path)
        while len(self._opened) > LEAST_PHOTOS and sum(photo.bytes for photo in self._opened.values()) > FLOAT_BYTES:
            gone, _ = self._opened.popitem(last=False)
            self._dialogues = OrderedDict((key, kept) for key, kept in self._dialogues.items() if kept[0] != gone)
        return self._opened[path]
