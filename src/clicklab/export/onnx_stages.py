"""Exported graphs of networks of two stages, and which class a folder wants."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from clicklab.export.names import CLICK, PROPOSE, REFINE
from clicklab.export.onnx_network import Listener, OnnxNetwork, as_rows, read_options
from clicklab.methods.disnet.state import Chosen, Proposals
from clicklab.methods.disnet.steps import ProposeAndRefine
from clicklab.nn.resize import resize
from clicklab.records import Clicks, Prediction


class Refined(NamedTuple):
    """The second stage's answer, (B, 1, h, w) logits."""

    logits: Tensor


class OnnxCoarseToFine(OnnxNetwork):
    """As `OnnxNetwork`; `refine.onnx` stands for `clicklab.nn.coarse_to_fine.CoarseToFine.refine`."""

    @property
    def image_size(self) -> int:
        """Side of the views of a network of two stages."""
        return self.options["size"][0]

    def refine(self, image: Tensor, clicks: Clicks, coarse: Prediction, boxes: Tensor) -> Refined:
        """The second stage of a coarse-to-fine network (`clicklab.nn.coarse_to_fine.CoarseToFine.refine`)."""
        given = as_rows(clicks)
        features, logits = coarse.extras["features"], coarse.logits
        found = []
        for row in range(len(image)):
            one = slice(row, row + 1)
            inputs = {"image": image[one], "clicks": given[one], "features": features[one], "logits": logits[one]}
            found.append(self.run_graph(REFINE, inputs | {"boxes": boxes[one]})[0])
        return Refined(torch.cat(found))


class OnnxProposals(ProposeAndRefine, OnnxNetwork):
    """DISNet: proposals at the first click, corrections of the chosen one later.

    As `OnnxNetwork`; `image.onnx`, `propose.onnx` and `click.onnx` stand for `start`, P and R.
    """

    def __init__(self, folder: str | Path, listener: Listener | None = None) -> None:
        super().__init__(folder, listener)
        self.refine_first = bool(self.options["arguments"].get("refine_first", False))

    def propose(self, tokens: Any, clicks: Clicks, size: tuple[int, int]) -> Prediction:
        """As `DISNetNet.propose`."""
        rows = as_rows(clicks)
        found = []
        for row in range(clicks.yx.shape[0]):
            inputs = {name: value[row : row + 1] for name, value in tokens.items()}
            found.append(self.run_graph(PROPOSE, {"clicks": rows[row : row + 1], **inputs}))
        state = Proposals(*(torch.cat([answer[place] for answer in found]) for place in range(len(Proposals._fields))))
        return Prediction(resize(state.masks, size), state.score, state)

    def refine(self, chosen: Chosen, clicks: Clicks, size: tuple[int, int]) -> Tensor:
        """As `DISNetNet.refine`."""
        rows = as_rows(clicks)
        found = []
        for row in range(clicks.yx.shape[0]):
            inputs = {name: value[row : row + 1] for name, value in chosen._asdict().items()}
            found.append(self.run_graph(CLICK, {"clicks": rows[row : row + 1], **inputs})[0])
        return torch.cat(found)


def open_exported(folder: Path, listener: Listener | None = None) -> OnnxNetwork:
    """The network of a folder that `clicklab export` made. Arguments and errors as of `OnnxNetwork`."""
    graphs = read_options(folder)["sha256"]
    kind = OnnxProposals if PROPOSE in graphs else OnnxCoarseToFine if REFINE in graphs else OnnxNetwork
    return kind(folder, listener)
