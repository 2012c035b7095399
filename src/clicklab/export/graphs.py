"""A click network as ONNX graphs: one that sees the image, one that answers clicks; or both in one.

Click maps are drawn inside of the graph: its inputs are the image, clicks (1, SLOTS, 3) and the previous mask.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from clicklab.export.names import CLICK, IMAGE, PROPOSE, REFINE, SLOTS, WHOLE
from clicklab.export.parts import Correct, Propose, Refine, Start, Step, Whole, flat_state, from_rows
from clicklab.methods.disnet.state import Chosen, Proposals
from clicklab.methods.disnet.steps import ProposeAndRefine
from clicklab.nn.coarse_to_fine import CoarseToFine
from clicklab.nn.network import ClickNetwork
from clicklab.records import Prediction
from clicklab.whole_file import written_whole

OPSET = 20  # the oldest with the GridSample and Gelu that the graphs are made of
NEWEST_OPSET = 23  # the newest that was tried
PROPOSALS, CHOSEN = Proposals._fields, Chosen._fields  # outputs of `propose.onnx`, inputs of its `click.onnx`
PRIMES = (5, 7)  # sides of the first example in multiples, so that heights and widths are told apart
SOME_SIZE = (96, 128)  # of an example, for networks that take any
LARGEST = 8192  # pixels of a side; a bound that the exporter wants
REACH = 64  # pixels: how far from a size that does not work others are tried


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


@dataclass(frozen=True)
class _Example:
    """A first call of a network: what it is asked and what it says.

    Attributes:
        image: (1, 3, h, w).
        clicks: (1, SLOTS, 3), two of them filled.
        prev_mask: (1, 1, h, w).
        state: of `start`.
        answer: of `step`.
    """

    image: Tensor
    clicks: Tensor
    prev_mask: Tensor
    state: Any
    answer: Prediction

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) of the view."""
        return self.image.shape[-2], self.image.shape[-1]


@dataclass(frozen=True)
class _Writer:
    """Where graphs go, and of which opset they are."""

    folder: Path
    opset: int

    def write(
        self,
        module: nn.Module,
        inputs: dict[str, Tensor],
        outputs: Sequence[str],
        name: str,
        shapes: Any = None,
    ) -> None:
        """Exports one graph; the exporter's chatter is dropped, its errors are not.

        Args:
            module: takes and gives tensors only.
            inputs: name -> example, in the order of `forward`.
            outputs: names.
            name: of the file.
            shapes: axes that are free, as `torch.export` wants them; None: all sizes are fixed.
        """
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module.eval(),
                tuple(inputs.values()),
                dynamo=True,
                opset_version=self.opset,
                dynamic_shapes=shapes,
                input_names=list(inputs),
                output_names=[f"{one}_out" if one in inputs else one for one in outputs],
                verbose=False,
            )
            assert program is not None  # it is given back where no file is named
            with written_whole(self.folder / name) as part:
                program.save(part, external_data=False)


def export_graphs(
    network: ClickNetwork, folder: Path, size: int | tuple[int, int] | None = None, opset: int = OPSET
) -> GraphFacts:
    """Writes the graphs of a network.

    Args:
        network: in eval mode, on the CPU.
        folder: where `image.onnx` and `click.onnx`, or `model.onnx`, are written; and `refine.onnx` of a second stage.
        size: of the view; None: what the network's zoom-in asks for. An int is a square.
        opset: of ONNX's operators, 20 to 23.

    Raises:
        ValueError: the network cannot be exported at this size, and the message says which it can; or the opset is out
            of range.
    """
    if not OPSET <= opset <= NEWEST_OPSET:
        raise ValueError(
            f"--opset {opset}: graphs can be of opset {OPSET} to {NEWEST_OPSET}; older ones lack the Gelu and the "
            "GridSample that the networks are made of"
        )
    fixed = _view_size(network, size)
    network, writer = network.eval().float(), _Writer(folder, opset)
    with torch.no_grad():
        example = _first_call(network, fixed or _some_size(network))
        state = tuple(flat_state(example.state))
        if isinstance(network, ProposeAndRefine):
            _export_proposals(network, writer, example)
            return GraphFacts(fixed, network.side_multiple, state, PROPOSALS)
        outputs = _output_names(network, example.answer)
        if fixed is None and network.side_multiple == 1 and _state_follows_the_view(network, example):
            _export_whole(network, writer, example, outputs)
            return GraphFacts(None, 1, (), outputs)
        _export_steps(network, writer, example, outputs, free=fixed is None)
        if isinstance(network, CoarseToFine):
            _export_refine(network, writer, example)
    return GraphFacts(fixed, network.side_multiple, state, outputs)


def _view_size(network: ClickNetwork, size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """The fixed (height, width), or None for a network that may look at any."""
    if size is None:
        target = None if network.zoom_in is None else network.zoom_in.target_size
        return tuple(target) if isinstance(target, (tuple, list)) else None
    sides = (size, size) if isinstance(size, int) else size
    if not all(1 <= side <= LARGEST for side in sides):
        raise ValueError(f"--size {sides[0]}: a view has sides of 1 to {LARGEST} pixels")
    return sides


def _some_size(network: ClickNetwork) -> tuple[int, int]:
    """(height, width) of an example for a network that takes any."""
    multiple = network.side_multiple
    return SOME_SIZE if multiple == 1 else (PRIMES[0] * multiple, PRIMES[1] * multiple)


def _first_call(network: ClickNetwork, size: tuple[int, int]) -> _Example:
    """The network's answer at this size. Raises ValueError that says which sizes are possible."""
    try:
        return _called(network, size)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        near = " and ".join(map(str, _possible_sides(network, size[0])))
        others = f"near it {near} would do" if near else f"none within {REACH} pixels would do"
        raise ValueError(
            f"the network cannot look at {size[0]} x {size[1]} pixels ({reason}): {others}; "
            "without --size it takes its own"
        ) from error


def _called(network: ClickNetwork, size: tuple[int, int]) -> _Example:
    """A call whose inputs are told apart by no constant: an image, two clicks, a mask."""
    height, width = size
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, height, width, generator=generator)
    prev_mask = torch.rand(1, 1, height, width, generator=generator)
    clicks = torch.full((1, SLOTS, 3), -1.0)
    clicks[0, 0] = torch.tensor([height / 2, width / 2, 1.0])
    clicks[0, 1] = torch.tensor([height / 4, width / 4, 0.0])
    state = network.start(image)
    return _Example(image, clicks, prev_mask, state, network.step(state, from_rows(clicks), prev_mask))


def _possible_sides(network: ClickNetwork, side: int) -> list[int]:
    """Sides of square views that the network can look at: the nearest smaller and the nearest larger one."""
    smaller, larger = range(side - 1, max(0, side - REACH - 1), -1), range(side + 1, side + REACH + 1)
    nearest = (next((one for one in sides if _can_look_at(network, one)), None) for sides in (smaller, larger))
    return [one for one in nearest if one is not None]


def _can_look_at(network: ClickNetwork, side: int) -> bool:
    try:
        _called(network, (side, side))
    except (RuntimeError, ValueError):
        return False
    return True


def _output_names(network: ClickNetwork, answer: Prediction) -> tuple[str, ...]:
    """`logits`, `score` where there is one, and what the predictor of several masks or two stages reads."""
    names = ["logits"] if answer.score is None else ["logits", "score"]
    if network.num_candidates > 1 or network.second_stage:
        names += [name for name, value in answer.extras.items() if isinstance(value, Tensor) and name != "aux"]
    return tuple(names)


def _state_follows_the_view(network: ClickNetwork, example: _Example) -> bool:
    """Whether the state of another view has other sizes (rounded ones, where a view may have any)."""
    other = flat_state(network.start(torch.zeros(1, 3, 64, 80)))
    return any(one.shape != other[name].shape for name, one in flat_state(example.state).items())


def _export_whole(network: ClickNetwork, writer: _Writer, example: _Example, outputs: Sequence[str]) -> None:
    sides = {2: torch.export.Dim("height", min=16, max=LARGEST), 3: torch.export.Dim("width", min=16, max=LARGEST)}
    inputs = {"image": example.image, "clicks": example.clicks, "prev_mask": example.prev_mask}
    writer.write(Whole(network, outputs), inputs, outputs, WHOLE, (sides, None, sides))


def _export_steps(
    network: ClickNetwork, writer: _Writer, example: _Example, outputs: Sequence[str], free: bool
) -> None:
    flat = flat_state(example.state)
    start_shapes = step_shapes = None
    if free:
        multiple = network.side_multiple
        most = LARGEST // multiple
        height, width = (torch.export.Dim(name, min=1, max=most) for name in ("rows", "columns"))
        sides = {2: multiple * height, 3: multiple * width} if multiple > 1 else {2: height, 3: width}
        other = flat_state(network.start(torch.zeros(1, 3, 6 * multiple, 8 * multiple)))
        maps = tuple(_free_sides(one, other[name], height, width) for name, one in flat.items())
        start_shapes, step_shapes = (sides,), (None, sides, maps)
    writer.write(Start(network), {"image": example.image}, tuple(flat), IMAGE, start_shapes)
    step = Step(network, example.state, outputs)
    writer.write(step, {"clicks": example.clicks, "prev_mask": example.prev_mask, **flat}, outputs, CLICK, step_shapes)


def _free_sides(one: Tensor, other: Tensor, height: Any, width: Any) -> dict[int, Any]:
    """Which axes of a state's tensor follow the sides of the view, and how: from what two views gave."""
    free = {}
    for axis, (length, changed) in enumerate(zip(one.shape, other.shape, strict=True)):
        if length != changed:
            side, units = (height, PRIMES[0]) if length % PRIMES[0] == 0 and changed % 6 == 0 else (width, PRIMES[1])
            free[axis] = length // units * side
    return free


def _export_refine(network: CoarseToFine, writer: _Writer, example: _Example) -> None:
    height, width = example.size
    inputs = {
        "image": example.image,
        "clicks": example.clicks,
        "features": example.answer.extras["features"],
        "logits": example.answer.logits,
        "boxes": torch.tensor([[width / 8, height / 8, width / 2, height / 2]]),
    }
    writer.write(Refine(network), inputs, ("refined",), REFINE)


def _export_proposals(network: ProposeAndRefine, writer: _Writer, example: _Example) -> None:
    state: Tensor = example.state
    writer.write(Start(network), {"image": example.image}, tuple(flat_state(state)), IMAGE)
    inputs = {"clicks": example.clicks, "state": state}
    writer.write(Propose(network, example.size), inputs, PROPOSALS, PROPOSE)
    proposals: Proposals = network.propose(state, from_rows(example.clicks), example.size).state
    chosen = proposals.choose(torch.zeros(1, dtype=torch.long))
    inputs = {"clicks": example.clicks, **chosen._asdict()}
    writer.write(Correct(network, example.size), inputs, ("logits",), CLICK)
