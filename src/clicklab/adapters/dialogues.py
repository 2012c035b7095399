"""What all adapters stand on: one dialogue for each of the last images, and every request as a continuation of it.

Annotation tools are stateless: each request brings all clicks so far. Here only the new ones are asked, because what
was answered to the others is still known; an image that is known is neither sent, read nor encoded again.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from clicklab.inference.session import Session

IMAGES = 10  # kept
PIXELS = 60_000_000  # of all images kept; each costs 12 bytes, and 4 more for every click
LARGEST = 40_000_000  # pixels of one image
PATIENCE = 60.0  # seconds that a request waits for its turn

Point = tuple[float, float, bool]  # y, x, positive


@dataclass(frozen=True)
class Answer:
    """A mask and how far the network trusts it.

    Attributes:
        mask: (H, W) bool.
        score: mean probability of the mask's pixels, 0 for an empty mask.
    """

    mask: np.ndarray
    score: float


class Dialogues:
    """Answers lists of clicks on images that are known by a key.

    Args:
        network: or a predictor, as of `Session`.
    """

    def __init__(self, network: nn.Module) -> None:
        self.predictor = Session(network).predictor
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._turn = threading.Lock()

    def answer(self, key: str, read: Callable[[], np.ndarray], points: Sequence[Point]) -> Answer:
        """The mask after some clicks.

        The clicks are those of the last request and new ones, or fewer: whatever the last dialogue on this image has
        in common with them is kept, so that clicks which a tool sends sorted by sign are still answered in the order
        in which a person gave them.

        Args:
            key: of the image, such as a hash of its file.
            read: gives the image (H, W, 3) uint8 RGB; it is called when the key is not known.
            points: all clicks, in pixels of the image.

        Raises:
            ValueError: no positive click, a click outside the image, a click too many, or an image that is too large.
            TimeoutError: others kept the network busy for too long.
        """
        if not any(positive for _, _, positive in points):
            raise ValueError("there is no positive click: the object has to be clicked first")
        if not self._turn.acquire(timeout=PATIENCE):
            raise TimeoutError("the network is busy with other requests: try again")
        try:
            session = self._session(key, read)
            for y, x, positive in continue_from(session, points):
                session.add_click(y, x, positive)
            mask, probability = session.mask, session.probability
        finally:
            self._turn.release()
        return Answer(mask, float(probability[mask].mean()) if mask.any() else 0.0)

    def _session(self, key: str, read: Callable[[], np.ndarray]) -> Session:
        if key not in self._sessions:
            image = read()
            if image.shape[0] * image.shape[1] > LARGEST:
                raise ValueError(f"the image has more than {LARGEST // 1_000_000} million pixels: scale it down")
            session = Session(self.predictor)
            session.set_image(image)
            self._sessions[key] = session
        self._sessions.move_to_end(key)
        while len(self._sessions) > 1 and (len(self._sessions) > IMAGES or self._pixels() > PIXELS):
            self._sessions.popitem(last=False)
        return self._sessions[key]

    def _pixels(self) -> int:
        return sum(session.size[0] * session.size[1] for session in self._sessions.values())


def continue_from(session: Session, points: Sequence[Point]) -> list[Point]:
    """Takes back clicks from the first one that is no longer wanted; returns those still to be made."""
    wanted = Counter((float(y), float(x), bool(positive)) for y, x, positive in points)
    kept = 0
    for y, x, label in session.clicks:
        click = (float(y), float(x), label == 1)
        if not wanted[click]:
            break
        wanted[click] -= 1
        kept += 1
    if kept == 0:
        session.reset()
    while len(session.clicks) > kept:
        session.undo()
    new = []
    for y, x, positive in points:
        click = (float(y), float(x), bool(positive))
        if wanted[click]:
            wanted[click] -= 1
            new.append(click)
    return new
