"""A click network as ONNX graphs: one that sees the image, one that answers clicks; or both in one.

Click maps are drawn inside of the graph: its inputs are the image, clicks (1, SLOTS, 3) and the previous mask.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from clicklab.export.names import CLICK, IMAGE, PROPOSE, REFINE, SLOTS, WHOLE
from clicklab.methods.disnet.state import Chosen, Proposals
from clicklab.methods.disnet.steps import ProposeAndRefine
from clicklab.nn.coarse_to_fine import CoarseToFine
from clicklab.nn.network import ClickNetwork
from clicklab.records import Clicks, Prediction
from clicklab.whole_file import written_whole

OPSET = 20
PROPOSALS, CHOSEN = Proposals._fields, Chosen._fields  # outputs of `propose.onnx`, inputs of its `click.onnx`
PRIMES = (5, 7)  # sides of the first example in multiples, so that heights and widths are told apart
LARGEST = 8192  # pixels of a side; a bound that the exporter wants


@dataclass(frozen=True)
class GraphFacts:
    """What the runtime has to know about the graphs.

    Attributes:
        size: (height, width) of the view where it is fixed, None where any will do.
        side_multiple: sides of a view are filled up to multiples of it.
        state: names of the state's tensors, inputs of `click.onnx`; empty for `model.onnx`.
        outputs: names of the outputs of the graph that answers clicks, `logits` first.
    """

    size: tuple[int, int] | None
    side_multiple: int
    state: tuple[str, ...]
    outputs: tuple[str, ...]


class _Start(nn.Module):
    """`ClickNetwork.start` with its state as a flat tuple."""

    def __init__(self, network: ClickNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(flat_state(self.network.start(image)).values())


class _Step(nn.Module):
    """`ClickNetwork.step` with clicks as one tensor and the state as a flat tuple."""

    def __init__(self, network: ClickNetwork, example: Any, outputs: Sequence[str]) -> None:
        super().__init__()
        self.network, self.example, self.outputs = network, example, tuple(outputs)

    def forward(self, clicks: Tensor, prev_mask: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        whole = nested_state(self.example, state)
        answer = self.network.step(whole, from_rows(clicks), prev_mask)
        return tuple(_output(answer, name) for name in self.outputs)


class _Whole(nn.Module):
    """`ClickNetwork.forward` with clicks as one tensor."""

    def __init__(self, network: ClickNetwork, outputs: Sequence[str]) -> None:
        super().__init__()
        self.network, self.outputs = network, tuple(outputs)

    def forward(self, image: Tensor, clicks: Tensor, prev_mask: Tensor) -> tuple[Tensor, ...]:
        answer = self.network(image, from_rows(clicks), prev_mask)
        return tuple(_output(answer, name) for name in self.outputs)


class _Refine(nn.Module):
    """The second stage of a coarse-to-fine network, from the coarse features and logits."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, clicks: Tensor, features: Tensor, logits: Tensor, boxes: Tensor) -> Tensor:
        coarse = Prediction(logits, extras={"features": features})
        return self.network.refine(image, from_rows(clicks), coarse, boxes).logits


class _Propose(nn.Module):
    """The proposal network of DISNet: its state after the first click."""

    def __init__(self, network: ProposeAndRefine, size: tuple[int, int]) -> None:
        super().__init__()
        self.network, self.size = network, size

    def forward(self, clicks: Tensor, state: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.network.propose(state, from_rows(clicks), self.size).state)


class _Correct(nn.Module):
    """The refinement network of DISNet: logits from the chosen proposal and all clicks."""

    def __init__(self, network: ProposeAndRefine, size: tuple[int, int]) -> None:
        super().__init__()
        self.network, self.size = network, size

    def forward(self, clicks: Tensor, features: Tensor, query: Tensor, prior: Tensor) -> Tensor:
        return self.network.refine(Chosen(features, query, prior), from_rows(clicks), self.size)


def export_graphs(network: ClickNetwork, folder: Path, size: int | tuple[int, int] | None = None) -> GraphFacts:
    """Writes the graphs of a network.

    Args:
        network: in eval mode, on the CPU.
        folder: where `image.onnx` and `click.onnx`, or `model.onnx`, are written; and `refine.onnx` of a second stage.
        size: of the view; None: what the network's zoom-in asks for. An int is a square.

    Raises:
        ValueError: the network cannot be exported at this size; the message says which it can.
    """
    fixed = _view_size(network, size)
    network = network.eval().float()
    height, width = fixed or (PRIMES[0] * network.side_multiple, PRIMES[1] * network.side_multiple)
    if fixed is None and network.side_multiple == 1:
        height, width = 96, 128
    with torch.no_grad():
        try:
            image, clicks, prev_mask = _example(height, width)
            state = network.start(image)
            answer = network.step(state, from_rows(clicks), prev_mask)
        except (RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:120]
            raise ValueError(
                f"the network cannot look at {height} x {width} pixels ({reason}): leave --size out"
            ) from error
        if isinstance(network, ProposeAndRefine):
            _export_proposals(network, folder, (image, clicks), state)
            return GraphFacts(fixed, network.side_multiple, tuple(flat_state(state)), PROPOSALS)
        outputs = _output_names(network, answer)
        if fixed is None and state is image:
            _export_whole(network, folder, outputs, (image, clicks, prev_mask))
            facts = GraphFacts(None, 1, (), outputs)
        else:
            _export_steps(network, folder, outputs, (image, clicks, prev_mask), state, free=fixed is None)
            facts = GraphFacts(fixed, network.side_multiple, tuple(flat_state(state)), outputs)
        if isinstance(network, CoarseToFine):
            _export_refine(network, folder, answer, height, width)
    return facts


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


def _view_size(network: ClickNetwork, size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """The fixed (height, width), or None for a network that may look at any."""
    if size is not None:
        return (size, size) if isinstance(size, int) else size
    target = None if network.zoom_in is None else network.zoom_in.target_size
    return tuple(target) if isinstance(target, (tuple, list)) else None


def _example(height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs that no constant is made of: an image, two clicks, a mask."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, height, width, generator=generator)
    clicks = torch.full((1, SLOTS, 3), -1.0)
    clicks[0, 0] = torch.tensor([height / 2, width / 2, 1.0])
    clicks[0, 1] = torch.tensor([height / 4, width / 4, 0.0])
    return image, clicks, torch.rand(1, 1, height, width, generator=generator)


def _output_names(network: ClickNetwork, answer: Prediction) -> tuple[str, ...]:
    """`logits`, `score` where there is one, and what the predictor of several masks or two stages reads."""
    names = ["logits"] if answer.score is None else ["logits", "score"]
    if network.num_candidates > 1 or network.second_stage:
        names += [name for name, value in answer.extras.items() if isinstance(value, Tensor) and name != "aux"]
    return tuple(names)


def _output(answer: Prediction, name: str) -> Tensor:
    if name == "logits":
        return answer.logits
    return answer.score if name == "score" and answer.score is not None else answer.extras[name]


def _export_whole(
    network: ClickNetwork, folder: Path, outputs: Sequence[str], example: tuple[Tensor, Tensor, Tensor]
) -> None:
    sides = {2: torch.export.Dim("height", min=16, max=LARGEST), 3: torch.export.Dim("width", min=16, max=LARGEST)}
    _write(
        _Whole(network, outputs),
        example,
        (sides, None, sides),
        ("image", "clicks", "prev_mask"),
        outputs,
        folder / WHOLE,
    )


def _export_steps(
    network: ClickNetwork,
    folder: Path,
    outputs: Sequence[str],
    example: tuple[Tensor, Tensor, Tensor],
    state: Any,
    free: bool,
) -> None:
    image, clicks, prev_mask = example
    flat = flat_state(state)
    start_shapes = step_shapes = None
    if free:
        multiple = network.side_multiple
        most = LARGEST // multiple
        height, width = (torch.export.Dim(name, min=1, max=most) for name in ("rows", "columns"))
        sides = {2: multiple * height, 3: multiple * width} if multiple > 1 else {2: height, 3: width}
        other = flat_state(network.start(torch.zeros(1, 3, 6 * multiple, 8 * multiple)))
        maps = tuple(_free_sides(one, other[name], height, width) for name, one in flat.items())
        start_shapes, step_shapes = (sides,), (None, sides, maps)
    _write(_Start(network), (image,), start_shapes, ("image",), tuple(flat), folder / IMAGE)
    step, inputs = _Step(network, state, outputs), (clicks, prev_mask, *flat.values())
    _write(step, inputs, step_shapes, ("clicks", "prev_mask", *flat), outputs, folder / CLICK)


def _free_sides(one: Tensor, other: Tensor, height: Any, width: Any) -> dict[int, Any]:
    """Which axes of a state's tensor follow the sides of the view, and how: from what two views gave."""
    free = {}
    for axis, (length, changed) in enumerate(zip(one.shape, other.shape, strict=True)):
        if length != changed:
            side, units = (height, PRIMES[0]) if length % PRIMES[0] == 0 and changed % 6 == 0 else (width, PRIMES[1])
            free[axis] = length // units * side
    return free


def _export_refine(network: ClickNetwork, folder: Path, coarse: Prediction, height: int, width: int) -> None:
    image, clicks, _ = _example(height, width)
    boxes = torch.tensor([[width / 8, height / 8, width / 2, height / 2]])
    inputs = (image, clicks, coarse.extras["features"], coarse.logits, boxes)
    names = ("image", "clicks", "features", "logits", "boxes")
    _write(_Refine(network), inputs, None, names, ("refined",), folder / REFINE)


def _export_proposals(network: ProposeAndRefine, folder: Path, example: tuple[Tensor, Tensor], state: Tensor) -> None:
    image, clicks = example
    size = (image.shape[-2], image.shape[-1])
    _write(_Start(network), (image,), None, ("image",), tuple(flat_state(state)), folder / IMAGE)
    _write(_Propose(network, size), (clicks, state), None, ("clicks", "state"), PROPOSALS, folder / PROPOSE)
    proposals: Proposals = network.propose(state, from_rows(clicks), size).state
    chosen = proposals.choose(torch.zeros(1, dtype=torch.long))
    _write(_Correct(network, size), (clicks, *chosen), None, ("clicks", *CHOSEN), ("logits",), folder / CLICK)


def _write(
    module: nn.Module, inputs: tuple[Tensor, ...], shapes: Any, names: Sequence[str], outputs: Sequence[str], path: Path
) -> None:
    """Exports one graph; the exporter's chatter is dropped, its errors are not."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            inputs,
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=shapes,
            input_names=list(names),
            output_names=[f"{name}_out" if name in names else name for name in outputs],
            verbose=False,
        )
        assert program is not None  # it is given back where no file is named
        with written_whole(path) as part:
            program.save(part, external_data=False)
