"""One image and its dialogue: the interface of evaluation, web tool, export and Python users alike."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from clicklab.inference.mask_prediction import InitialMask
from clicklab.inference.options import InferenceOptions
from clicklab.inference.partial_mask import PartialMask
from clicklab.inference.predictor import Predictor, predictor_for
from clicklab.inference.state import SessionImage, SessionState
from clicklab.views.frames import Click, Size


class Session:
    """Clicks on one image and the masks answered.

    Example:
        session = Session(clicklab.load("simpleclick.pth"))
        session.set_image(image)                      # (H, W, 3) uint8 RGB
        mask = session.add_click(120, 80)             # row, column; (H, W) bool
        mask = session.add_click(30, 40, positive=False)
        mask = session.undo()

    Args:
        network: answers clicks: a network, or a predictor that several sessions share.
        options: what a network sees; a predictor has its own. Default: no quirks of official code.
        keep_history: False keeps only the last state (no undo), which is all that an evaluation needs.

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
        self.history: list[SessionState] = []  # the present state is the last
        self._undone: list[SessionState] = []

    def set_image(self, image: np.ndarray) -> None:
        """Starts anew on an image.

        Args:
            image: (H, W, 3) uint8 RGB.

        Raises:
            ValueError: another shape or type.
        """
        self._start(SessionImage.from_array(image, self.predictor.device, keeps_first=self.keep_history))

    def new_object(self) -> Session:
        """A session for another object of the same image, with the same predictor; this one stays as it is.

        Views of the image that are encoded already are not encoded again.

        Raises:
            ValueError: no image yet.
        """
        session = Session(self.predictor, keep_history=self.keep_history)
        session._start(self.state.image)
        return session

    def add_click(self, y: float, x: float, positive: bool = True) -> np.ndarray:
        """Clicks, asks the predictor, returns the new mask (H, W) bool.

        Args:
            y: row, 0 <= y < H.
            x: column, 0 <= x < W.
            positive: on the object, or on what is not.

        Raises:
            ValueError: no image yet, coordinates that are not numbers, a click outside the image, or an answer of the
                network that breaks its contract. The session is then as before.
        """
        return self.answer_click(y, x, positive).whole()

    def answer_click(self, y: float, x: float, positive: bool = True) -> PartialMask:
        """As `add_click`, but gives the mask as it is kept: in a large photo only the part that holds pixels."""
        (answered,) = self.predictor.predict([self.state.with_click(y, x, positive)])
        self._commit(answered)
        return self.partial_mask

    def place_click(self, y: float, x: float, positive: bool = True) -> None:
        """Clicks without asking: the next `add_click` is answered with this click too. Arguments as there."""
        self._commit(self.state.with_click(y, x, positive))

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
        given_mask = InitialMask(probability.to(self.predictor.device))
        self._commit(SessionState(self.state.image, prediction=given_mask))

    def undo(self) -> np.ndarray:
        """Takes the last click (or `set_mask`) back and returns the mask before it.

        Raises:
            ValueError: there is nothing to undo.
        """
        if len(self.history) < 2:
            raise ValueError("there is nothing to undo")
        self._undone.append(self.history.pop().without_cache())
        return self.mask

    def redo(self) -> np.ndarray:
        """Brings back what `undo` took back last, and returns its mask; a new click or mask ends this.

        Raises:
            ValueError: there is nothing to redo.
        """
        if not self._undone:
            raise ValueError("there is nothing to redo")
        self.history.append(self._undone.pop())
        return self.mask

    def reset(self) -> None:
        """Forgets all clicks and masks; the image stays."""
        if self.history:
            self._start(self.state.image)

    def choose(self, index: int) -> np.ndarray:
        """Makes another candidate the mask from which the next click goes on, and returns it.

        Raises:
            ValueError: there is no such candidate.
        """
        self.history[-1:] = [self.state.with_choice(index)]
        return self.mask

    @property
    def state(self) -> SessionState:
        """The present state of the dialogue. Raises ValueError before `set_image`."""
        if not self.history:
            raise ValueError("the session has no image yet: call set_image first")
        return self.history[-1]

    @property
    def pixels(self) -> Tensor:
        """(3, H, W) float32 in [0, 1] on the predictor's device. Raises ValueError before `set_image`."""
        return self.state.image.pixels

    @property
    def size(self) -> Size:
        """(H, W) of the image. Raises ValueError before `set_image`."""
        return self.state.image.size

    @property
    def clicks(self) -> tuple[Click, ...]:
        """(y, x, label) so far."""
        return self.state.clicks

    @property
    def probability_tensor(self) -> Tensor:
        """(H, W) float32 probability of the mask, on the predictor's device; zeros at the start."""
        return self.state.probability_tensor

    @property
    def probability(self) -> np.ndarray:
        """(H, W) float32 probability of the mask; zeros at the start. A copy, as all arrays given out."""
        return _copied(self.probability_tensor)

    @property
    def mask(self) -> np.ndarray:
        """(H, W) bool: probability above the threshold of the predictor. A copy, as all arrays given out."""
        return self.partial_mask.whole()

    @property
    def partial_mask(self) -> PartialMask:
        """`mask` as it is kept: in a large photo only the part that holds pixels."""
        return self.state.mask(self.predictor.mask_threshold)

    @property
    def candidates(self) -> np.ndarray:
        """(K, H, W) float32 probability of all masks answered to the last click; (0, H, W) at the start."""
        prediction = self.state.prediction
        return np.zeros((0, *self.size), dtype=np.float32) if prediction is None else _copied(prediction.maps())

    @property
    def scores(self) -> np.ndarray | None:
        """(K,) the network's trust in each candidate; None when it gives one mask only."""
        return None if self.state.score is None else _copied(self.state.score)

    def _start(self, image: SessionImage) -> None:
        self.history, self._undone = [SessionState(image)], []

    def _commit(self, state: SessionState) -> None:
        """Makes a state the present one; only here does a session's history grow."""
        earlier = [*self.history[:-1], self.state.without_cache()] if self.keep_history else []
        self.history, self._undone = [*earlier, state], []


def _copied(values: Tensor) -> np.ndarray:
    """An array of the caller's own: on a CPU a tensor's `numpy` is the dialogue's memory."""
    return values.to("cpu", copy=True).numpy()
