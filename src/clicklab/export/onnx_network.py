"""A folder of ONNX graphs as a click network: a checkpoint like any other for `evaluate`, `predict` and `annotate`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from clicklab.export.names import CLICK, IMAGE, SLOTS, WHOLE
from clicklab.nn.network import ClickNetwork
from clicklab.records import Clicks, Prediction
from clicklab.views.zoom_in import ZoomIn

OPTIONS = "options.json"
FORMAT = "clicklab-onnx-1"
Listener = Callable[[str, dict[str, np.ndarray]], None]


class OnnxNetwork(ClickNetwork):
    """The graphs of `clicklab export` behind the contract of networks; they run in onnxruntime, one image at a time.

    Networks of two stages are subclasses (`clicklab.export.onnx_stages`, whose `open_exported` knows which).

    Args:
        folder: made by `clicklab export`.
        listener: is told the name of a graph and its inputs before it runs.

    Raises:
        FileNotFoundError: a file of the folder is missing.
        ValueError: the folder is of another version, or onnxruntime is not installed.
    """

    def __init__(self, folder: str | Path, listener: Listener | None = None) -> None:
        super().__init__()
        self.folder, self.listener = Path(folder), listener
        self.options = read_options(self.folder)
        zoom_in = self.options["zoom_in"]
        self.zoom_in = None if zoom_in is None else ZoomIn(**zoom_in)
        for name in ("flip", "mask_threshold", "num_candidates", "exact_clicks", "reads_prev_mask", "second_stage"):
            setattr(self, name, self.options[name])
        self.predictor = self.options["predictor"]
        self.side_multiple = self.options["side_multiple"]
        self.state_names = self.options["state"]
        self.outputs = self.options["outputs"]
        self._graphs: dict[str, Any] = {}

    @property
    def class_name(self) -> str:
        """Name in records: the exported network's own, with what it runs in."""
        return f"{self.options['network']} (ONNX)"

    def start(self, image: Tensor) -> Any:
        """As `ClickNetwork.start`; the image itself where one graph does everything."""
        if not self.state_names:
            return image
        filled = self._filled(image, 0.5)
        rows = [self.run_graph(IMAGE, {"image": one[None]}) for one in filled]
        return {name: torch.cat([row[place] for row in rows]) for place, name in enumerate(self.state_names)}

    def step(self, state: Any, clicks: Clicks, prev_mask: Tensor) -> Prediction:
        """As `ClickNetwork.step`."""
        height, width = prev_mask.shape[-2:]
        given = as_rows(clicks)
        previous = self._filled(prev_mask, 0.0)
        found = []
        for row in range(len(prev_mask)):
            inputs = {"clicks": given[row : row + 1], "prev_mask": previous[row : row + 1]}
            if isinstance(state, Tensor):
                found.append(self.run_graph(WHOLE, inputs | {"image": state[row : row + 1]}))
            else:
                found.append(
                    self.run_graph(CLICK, inputs | {name: state[name][row : row + 1] for name in self.state_names})
                )
        answers = {name: torch.cat([row[place] for row in found]) for place, name in enumerate(self.outputs)}
        logits = answers.pop("logits")[..., :height, :width]
        return Prediction(logits, answers.pop("score", None), state, answers)

    def _filled(self, maps: Tensor, value: float) -> Tensor:
        """Maps filled up at bottom and right to sides that the graphs take."""
        bottom, right = (-side % self.side_multiple for side in maps.shape[-2:])
        return F.pad(maps, (0, right, 0, bottom), value=value) if bottom or right else maps

    def run_graph(self, name: str, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """The outputs of one graph for one image."""
        graph = self._graph(name)
        fed = {key: np.ascontiguousarray(value.float().cpu().numpy()) for key, value in inputs.items()}
        if self.listener is not None:
            self.listener(name, fed)
        return [torch.from_numpy(output) for output in graph.run(None, fed)]

    def _graph(self, name: str) -> Any:
        """A graph, opened when it is first asked for."""
        if name not in self._graphs:
            self._graphs[name] = open_graph(self.folder / name)
        return self._graphs[name]

    def __deepcopy__(self, memo: dict[int, Any]) -> OnnxNetwork:
        return type(self)(self.folder, self.listener)  # onnxruntime's sessions cannot be copied


def read_options(folder: Path) -> dict[str, Any]:
    """What `clicklab export` wrote about its graphs. Raises as `OnnxNetwork`."""
    path = folder / OPTIONS
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: name a folder that `clicklab export` made")
    options = json.loads(path.read_text(encoding="utf-8"))
    if options.get("format") != FORMAT:
        raise ValueError(
            f"{path} is of the format {options.get('format')!r}, expected {FORMAT}: export the network again"
        )
    return options


def open_graph(path: Path) -> Any:
    """An onnxruntime session with as many threads as torch has.

    Raises:
        FileNotFoundError: no such file.
        ValueError: onnxruntime is not installed, or does not take the file.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ValueError("exported networks run in onnxruntime: pip install 'clicklab[export]'") from error
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: export the network again")
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    settings.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own classes share no base
        raise ValueError(f"{path}: onnxruntime does not take it ({' '.join(str(error).split())[:120]})") from error


def as_rows(clicks: Clicks) -> Tensor:
    """Clicks as (B, SLOTS, 3) float32 of y, x, label.

    Raises:
        ValueError: more clicks than the graphs have slots.
    """
    if clicks.slots > SLOTS:
        raise ValueError(
            f"{clicks.slots} clicks, but exported graphs have {SLOTS} slots: give net_clicks_limit={SLOTS}"
        )
    padded = clicks.padded(SLOTS)
    return torch.cat([padded.yx.float(), padded.label[..., None].float()], dim=-1)
