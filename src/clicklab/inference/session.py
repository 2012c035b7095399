"""One image and its dialogue: the interface of evaluation, web tool, export and Python users alike."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from clicklab.inference.mask_prediction import Given
from clicklab.inference.options import InferenceOptions
from clicklab.inference.predictor import Predictor, predictor_for
from clicklab.inference.state import SessionState
from clicklab.records import NEGATIVE, POSITIVE
from clicklab.views.frames import Click, Size


class Session:
    """Clicks on one image and the masks answered.

    Example:
        session = Session(clicklab.load("simpleclick.pth"))
        session.set_image(image)                      # (H, W, 3) uint8 RGB
        mask = session.add_click(120, 80)             # (H, W) bool
        mask = session.add_click(30, 40, positive=False)
        mask = session.undo()

    Args:
        network: answers clicks: a network, or a predictor that several sessions share.
        options: what a network sees; a predictor has its own.
        keep_history: False keeps only the last turn (no undo), which is all that an evaluation needs.

    Raises:
        TypeError: neither a network nor a predictor, or options together with a predictor.
    """

    def __init__(
        self,
        network: nn.Module | Predictor,
        options: InferenceOptions | None = None,
        keep_history: bool = True,
    ) -> None:
        if isinstance(network, Predictor) and options is not None:
            raise TypeError("options belong to a network: a predictor was made with its own")
        self.predictor = network if isinstance(network, Predictor) else predictor_for(network, options)
        self.keep_history = keep_history
        self._pixels: Tensor | None = None
        self.turns: list[SessionState] = []
        self._undone: list[SessionState] = []

    def set_image(self, image: np.ndarray) -> None:
        """Starts anew on an image.

        Args:
            image: (H, W, 3) uint8 RGB.

        Raises:
            ValueError: another shape or type.
        """
        if not isinstance(image, np.ndarray):
            raise ValueError(f"image must be a numpy array (H, W, 3) uint8 RGB, got a {type(image).__name__}")
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise ValueError(f"image must be (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}")
        pixels = torch.from_numpy(np.array(image)).to(self.predictor.device)  # a copy: it may be read-only
        self._pixels = pixels.permute(2, 0, 1).float().div_(255)
        self.reset()

    def new_object(self) -> Session:
        """A session for another object of the same image, with the same predictor; this one stays as it is.

        Raises:
            ValueError: no image yet.
        """
        session = Session(self.predictor, keep_history=self.keep_history)
        session._pixels = self.pixels
        session.reset()
        return session

    def add_click(self, y: float, x: float, positive: bool = True) -> np.ndarray:
        """Clicks, asks the predictor, returns the new mask (H, W) bool.

        Raises:
            ValueError: no image yet, no numbers, or the click lies outside the image.
        """
        before, undone = list(self.turns), self._undone
        self.place_click(y, x, positive)
        try:
            self.predictor.answer([self])
        except BaseException:
            self.turns, self._undone = before, undone
            raise
        return self.mask

    def place_click(self, y: float, x: float, positive: bool = True) -> None:
        """Clicks without asking: `predictor.answer` asks for many sessions in one go. Raises as `add_click`."""
        height, width = self.size
        try:
            inside_image = 0 <= y <= height - 1 and 0 <= x <= width - 1
        except TypeError as error:
            raise ValueError(f"a click is a row and a column, two numbers: got y={y!r}, x={x!r}") from error
        if not inside_image:
            raise ValueError(
                f"click (y={y}, x={x}) lies outside the image of height {height} and width {width}; "
                f"y must be in 0..{height - 1} and x in 0..{width - 1}"
            )
        click = (y, x, POSITIVE if positive else NEGATIVE)
        self._push(replace(self.turn, clicks=(*self.turn.clicks, click), changes=()))

    def set_mask(self, mask: np.ndarray) -> None:
        """Starts anew from an existing mask that the next clicks correct; `undo` takes it back.

        As officially, the zoom-in does not look at a mask given from outside.

        Args:
            mask: (H, W) bool or probability in [0, 1].

        Raises:
            ValueError: no image yet, no array of numbers, another size than the image, or values outside [0, 1].
        """
        if not isinstance(mask, np.ndarray) or mask.dtype.kind not in "biuf":
            given = mask.dtype if isinstance(mask, np.ndarray) else type(mask).__name__
            raise ValueError(f"mask must be a numpy array (H, W) of bools or probabilities, got {given}")
        if mask.shape != self.size:
            raise ValueError(f"mask is {mask.shape}, the image {self.size}: they must have the same height and width")
        probability = torch.from_numpy(np.array(mask, dtype=np.float32))  # a copy: the array stays the caller's own
        if not ((probability >= 0) & (probability <= 1)).all():
            raise ValueError("mask values must lie between 0 and 1 (True and False, or probabilities)")
        self._push(SessionState(answer=Given(probability.to(self.predictor.device))))

    def undo(self) -> np.ndarray:
        """Takes the last click (or `set_mask`) back and returns the mask before it.

        Raises:
            ValueError: there is nothing to undo.
        """
        if len(self.turns) < 2:
            raise ValueError("there is nothing to undo")
        self._undone.append(self.turns.pop().without_cache())
        return self.mask

    def redo(self) -> np.ndarray:
        """Brings back what `undo` took back last, and returns its mask; a new click or mask ends this.

        Raises:
            ValueError: there is nothing to redo.
        """
        if not self._undone:
            raise ValueError("there is nothing to redo")
        self.turns.append(self._undone.pop())
        return self.mask

    def reset(self) -> None:
        """Forgets all clicks and masks; the image stays."""
        self.turns = [SessionState()] if self._pixels is not None else []
        self._undone = []

    def choose(self, index: int) -> np.ndarray:
        """Makes another candidate the mask from which the next click goes on, and returns it.

        Raises:
            ValueError: there is no such candidate.
        """
        answer = self.turn.answer
        count = 0 if answer is None else len(answer)
        if index not in range(count):
            raise ValueError(f"there is no candidate {index}: there are {count}, counted from 0")
        self.turns[-1] = replace(self.turn, chosen=int(index))
        return self.mask

    @property
    def turn(self) -> SessionState:
        """The present state of the dialogue. Raises ValueError before `set_image`."""
        if not self.turns:
            raise ValueError("the session has no image yet: call set_image first")
        return self.turns[-1]

    @property
    def pixels(self) -> Tensor:
        """(3, H, W) float32 in [0, 1] on the predictor's device. Raises ValueError before `set_image`."""
        if self._pixels is None:
            raise ValueError("the session has no image yet: call set_image first")
        return self._pixels

    @property
    def size(self) -> Size:
        """(H, W) of the image. Raises ValueError before `set_image`."""
        return self.pixels.shape[-2], self.pixels.shape[-1]

    @property
    def clicks(self) -> tuple[Click, ...]:
        """(y, x, label) so far."""
        return self.turn.clicks

    @property
    def map(self) -> Tensor:
        """(H, W) float32 probability on the predictor's device; zeros at the start."""
        turn = self.turn
        if turn.answer is None:
            return torch.zeros(self.size, device=self.predictor.device)
        return turn.answer.map(turn.chosen)

    @property
    def probability(self) -> np.ndarray:
        """(H, W) float32 probability of the mask; zeros at the start. A copy, as all arrays given out."""
        return _copied(self.map)

    @property
    def mask(self) -> np.ndarray:
        """(H, W) bool: probability above the protocol's threshold."""
        return (self.map > self.predictor.mask_threshold).cpu().numpy()

    @property
    def candidates(self) -> np.ndarray:
        """(K, H, W) float32 probability of all masks answered to the last click; (0, H, W) at the start."""
        answer = self.turn.answer
        return np.zeros((0, *self.size), dtype=np.float32) if answer is None else _copied(answer.maps())

    @property
    def scores(self) -> np.ndarray | None:
        """(K,) the network's trust in each candidate; None when it gives one mask only."""
        return None if self.turn.score is None else _copied(self.turn.score)

    def _push(self, turn: SessionState) -> None:
        earlier = [*self.turns[:-1], self.turn.without_cache()] if self.keep_history else []
        self.turns = [*earlier, turn]
        self._undone = []


def _copied(values: Tensor) -> np.ndarray:
    """An array of the caller's own: on a CPU a tensor's `numpy` is the dialogue's memory."""
    return values.to("cpu", copy=True).numpy()
