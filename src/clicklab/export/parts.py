"""Parts of a click network as modules of tensors only, which is what graphs take and give.

Clicks are rows of y, x, label; a state is a flat tuple.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from clicklab.methods.disnet.state import Chosen
from clicklab.methods.disnet.steps import ProposeAndRefine
from clicklab.nn.network import ClickNetwork
from clicklab.records import Clicks, Prediction


class Start(nn.Module):
    """`ClickNetwork.start` with its state as a flat tuple."""

    def __init__(self, network: ClickNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(flat_state(self.network.start(image)).values())


class Step(nn.Module):
    """`ClickNetwork.step` with clicks as one tensor and the state as a flat tuple."""

    def __init__(self, network: ClickNetwork, example: Any, outputs: Sequence[str]) -> None:
        super().__init__()
        self.network, self.example, self.outputs = network, example, tuple(outputs)

    def forward(self, clicks: Tensor, prev_mask: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        whole = nested_state(self.example, state)
        answer = self.network.step(whole, from_rows(clicks), prev_mask)
        return tuple(_output(answer, name) for name in self.outputs)


class Whole(nn.Module):
    """`ClickNetwork.forward` with clicks as one tensor."""

    def __init__(self, network: ClickNetwork, outputs: Sequence[str]) -> None:
        super().__init__()
        self.network, self.outputs = network, tuple(outputs)

    def forward(self, image: Tensor, clicks: Tensor, prev_mask: Tensor) -> tuple[Tensor, ...]:
        answer = self.network(image, from_rows(clicks), prev_mask)
        return tuple(_output(answer, name) for name in self.outputs)


class Refine(nn.Module):
    """The second stage of a coarse-to-fine network, from the coarse features and logits."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, clicks: Tensor, features: Tensor, logits: Tensor, boxes: Tensor) -> Tensor:
        coarse = Prediction(logits, extras={"features": features})
        return self.network.refine(image, from_rows(clicks), coarse, boxes).logits


class Propose(nn.Module):
    """The proposal network of DISNet: its state after the first click."""

    def __init__(self, network: ProposeAndRefine, size: tuple[int, int]) -> None:
        super().__init__()
        self.network, self.size = network, size

    def forward(self, clicks: Tensor, state: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.network.propose(state, from_rows(clicks), self.size).state)


class Correct(nn.Module):
    """The refinement network of DISNet: logits from the chosen proposal and all clicks."""

    def __init__(self, network: ProposeAndRefine, size: tuple[int, int]) -> None:
        super().__init__()
        self.network, self.size = network, size

    def forward(self, clicks: Tensor, features: Tensor, query: Tensor, prior: Tensor) -> Tensor:
        return self.network.refine(Chosen(features, query, prior), from_rows(clicks), self.size)


def from_rows(rows: Tensor) -> Clicks:
    """(B, N, 3) float32 of y, x, label as clicks."""
    return Clicks(rows[..., :2], rows[..., 2].to(torch.int8))


def flat_state(state: Any, name: str = "state") -> dict[str, Tensor]:
    """A nested state as named tensors; None is left out.

    Raises:
        ValueError: something else than tensors in it, which a graph cannot hand on.
    """
    if state is None:
        return {}
    if isinstance(state, Tensor):
        return {name: state}
    if isinstance(state, Mapping):
        entries = [(f"{name}_{key}", value) for key, value in state.items()]
    elif isinstance(state, (list, tuple)):
        entries = [(f"{name}_{number}", value) for number, value in enumerate(state)]
    else:
        raise ValueError(f"the network keeps a {type(state).__name__} as its state, which an ONNX graph cannot hand on")
    return {key: tensor for path, value in entries for key, tensor in flat_state(value, path).items()}


def nested_state(example: Any, tensors: Sequence[Tensor]) -> Any:
    """Tensors of `flat_state` in the form of another state."""
    found = iter(tensors)

    def build(part: Any) -> Any:
        if part is None:
            return None
        if isinstance(part, Tensor):
            return next(found)
        if isinstance(part, Mapping):
            return {key: build(value) for key, value in part.items()}
        values = [build(value) for value in part]
        return type(part)(*values) if hasattr(part, "_fields") else type(part)(values)

    return build(example)


def _output(answer: Prediction, name: str) -> Tensor:
    if name == "logits":
        return answer.logits
    return answer.score if name == "score" and answer.score is not None else answer.extras[name]
