"""The contract between a network and everything that asks it: sessions, evaluation, training, exports, adapters.

This is the page to read before a network or an adapter is written. Subclass `ClickNetwork`, or hand any torch module to
`as_click_network`. Images are RGB in [0, 1]; coordinates are (row, column) in pixels of the image given.
"""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

from torch import Tensor, nn

from clicklab.records import Clicks, Prediction
from clicklab.views.zoom_in import ZoomIn


class ClickNetwork(nn.Module):
    """A network that answers clicks on an image with one or several masks.

    A class overrides the attributes below where it differs; values that depend on constructor arguments are set there.

    Attributes:
        zoom_in: the part of the image that it looks at, click by click; None: always the whole image as it is.
        flip: its logits are averaged with those of the mirrored view.
        mask_threshold: a pixel belongs to the mask when its probability is larger.
        num_candidates: masks that it answers at most, K of `Prediction.logits`; more than one come with scores.
        exact_clicks: it gets clicks in float64, as the official code of some methods computes them; else in float32.
        reads_prev_mask: its answer depends on the previous mask; without, refinement by that mask has no effect.
        side_multiple: it fills sides of views up to multiples of this, zeros behind its normalisation (grey 0.5);
            whoever runs an exported graph does that outside.
        second_stage: a part of it is not run by `forward`, so that a loss on `forward` alone would not train it.
        predictor: dotted path of the predictor class that asks it.
        arguments: what its constructor was given, defaults filled in, sequences as lists; it goes into checkpoints.
    """

    zoom_in: ZoomIn | None = ZoomIn()
    flip: bool = True
    mask_threshold: float = 0.49
    num_candidates: int = 1
    exact_clicks: bool = False
    reads_prev_mask: bool = True
    side_multiple: int = 1
    second_stage: bool = False
    predictor: str = "clicklab.inference.predictor.Predictor"
    arguments: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Notes the constructor's arguments, so that no subclass has to."""
        network = super().__new__(cls)
        network.__dict__["arguments"] = _bound_arguments(cls, args, kwargs)  # before `nn.Module` is set up
        return network

    @property
    def class_name(self) -> str:
        """Name of the network in records and messages."""
        return type(self).__name__

    def start(self, image: Tensor) -> Any:
        """What depends on the image alone. It is computed once for a view of an image, and kept by its sessions.

        Args:
            image: (B, 3, H, W) RGB in [0, 1].

        Returns:
            The state of `step`: a tensor with leading axis B, or tuples, lists and dicts of such tensors. Anything else
            stands in a `clicklab.nn.network_state.PerSample` of B entries. Default: the image itself.
        """
        return image

    @abstractmethod
    def step(self, state: Any, clicks: Clicks, prev_mask: Tensor) -> Prediction:
        """The masks after some clicks.

        Args:
            state: what `start` gave, or `Prediction.state` of an earlier step on the same view.
            clicks: all clicks so far, B samples, in pixels of the image; they may lie outside a zoomed view.
            prev_mask: (B, 1, H, W) probability of the mask shown last, zeros where there is none.

        Returns:
            Logits (B, K, H, W) at the size of the image, and a score (B, K) where K > 1.
        """
        raise NotImplementedError

    def answer(self, state: Any, clicks: Clicks, prev_mask: Tensor, has_prev: Tensor) -> Prediction:
        """`step`, as a predictor calls it. Override it where "no mask yet" and "an empty mask" are different things.

        Args:
            state: as in `step`.
            clicks: as in `step`.
            prev_mask: as in `step`.
            has_prev: (B,) bool, a mask was shown already; False: the zeros of `prev_mask` mean nothing.
        """
        return self.step(state, clicks, prev_mask)

    def forward(self, image: Tensor, clicks: Clicks, prev_mask: Tensor) -> Prediction:
        """`start` and `step` together.

        Args:
            image: (B, 3, H, W) RGB in [0, 1].
            clicks: B samples, in pixels of the image.
            prev_mask: (B, 1, H, W) probability of the mask shown last, zeros at the start.
        """
        return self.step(self.start(image), clicks, prev_mask)


class WrappedModule(ClickNetwork):
    """A plain torch module behind the contract, made by `as_click_network`.

    Args:
        module: answers `module(image, clicks, prev_mask) -> Prediction`, or has methods `start` and `step`.
        settings: attributes of `ClickNetwork` and their values.
    """

    def __init__(self, module: nn.Module, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.arguments = {}
        self.module = module
        self.training = module.training
        self.in_steps = callable(getattr(module, "start", None)) and callable(getattr(module, "step", None))
        for name, value in settings.items():
            setattr(self, name, value)
        asked = module.step if self.in_steps else module.forward
        self.wants_has_prev = "has_prev" in inspect.signature(asked).parameters  # ty: ignore[invalid-argument-type]

    @property
    def class_name(self) -> str:
        """As `ClickNetwork.class_name`, of the module."""
        return type(self.module).__name__

    def start(self, image: Tensor) -> Any:
        """As `ClickNetwork.start`; the image itself for a module without steps."""
        return self.module.start(image) if self.in_steps else image  # ty: ignore[not-callable]

    def step(self, state: Any, clicks: Clicks, prev_mask: Tensor) -> Prediction:
        """As `ClickNetwork.step`; for a module without steps the state is the image."""
        return self._asked(state, clicks, prev_mask)

    def answer(self, state: Any, clicks: Clicks, prev_mask: Tensor, has_prev: Tensor) -> Prediction:
        """As `ClickNetwork.answer`; `has_prev` reaches a module that has an argument of this name."""
        if self.wants_has_prev:
            return self._asked(state, clicks, prev_mask, has_prev=has_prev)
        return self._asked(state, clicks, prev_mask)

    def _asked(self, state: Any, clicks: Clicks, prev_mask: Tensor, **more: Tensor) -> Prediction:
        asked: Any = self.module.step if self.in_steps else self.module
        prediction = asked(state, clicks, prev_mask, **more)
        if isinstance(prediction, Prediction) and not self.in_steps:
            return replace(prediction, state=state)
        return prediction


SETTINGS = (
    "zoom_in",
    "flip",
    "mask_threshold",
    "num_candidates",
    "exact_clicks",
    "reads_prev_mask",
    "side_multiple",
    "second_stage",
    "predictor",
)  # of `ClickNetwork`, which a wrapped module may have under the same names


def as_click_network(module: nn.Module, **settings: Any) -> ClickNetwork:
    """Any torch module as a `ClickNetwork`; one that is one already is returned as it is.

    This is the one place where a module is looked at for what it may or may not have.

    Args:
        module: answers `module(image, clicks, prev_mask) -> Prediction`, or has `start` and `step`.
        settings: attributes of `ClickNetwork`, e.g. `num_candidates=3`. What is not given is taken from the module's
            attribute of the same name, or else has its default.

    Raises:
        TypeError: no torch module, or a setting that does not exist.
    """
    if unknown := settings.keys() - set(SETTINGS):
        raise TypeError(f"a click network has no setting {', '.join(sorted(unknown))}; known: {', '.join(SETTINGS)}")
    if not isinstance(module, nn.Module):
        raise TypeError(f"network is a {type(module).__name__}, expected a torch module; clicklab.load(FILE) gives one")
    if isinstance(module, ClickNetwork):
        return module
    own = {name: getattr(module, name) for name in SETTINGS if hasattr(module, name)}
    if "num_candidates" not in own and isinstance(count := getattr(module, "candidates", None), int):
        own["num_candidates"] = count  # the attribute's earlier name
    return WrappedModule(module, own | settings)


def _bound_arguments(kind: type[ClickNetwork], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The constructor's arguments by name, defaults filled in; {} where they do not fit, which it then says itself."""
    try:
        bound = inspect.signature(kind.__init__).bind_partial(None, *args, **kwargs)  # None: self
    except TypeError:
        return {}
    bound.apply_defaults()
    _, *given = bound.arguments.items()
    return {name: _plain(value) for name, value in given}


def _plain(value: Any) -> Any:
    """Sequences as lists, as checkpoints and JSON give them back."""
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value
