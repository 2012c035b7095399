"""NoC as a torchmetrics state that is exact under DDP."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from clicklab.evaluation.lockstep import ObjectResult
from clicklab.evaluation.metrics import miou_curve, noc, nof, seconds_per_click
from clicklab.evaluation.protocol import EvaluationProtocol
from clicklab.evaluation.results import percent
from clicklab.records import EMPTY

SPC = ("SPC", "SPC@1", "SPC@2+")  # of all clicks, of the first ones, of the later ones
COLUMNS = [
    "index", "object", "ious", "boundary_ious", "clicks", "seconds", "selections", "changes", "initial_iou",
    "first_seconds",
]  # fmt: skip


class NoCMetric(Metric):
    """Curves and clicks of all objects of one dataset; rows carry the object's index, so none is counted twice.

    States are lists of tensors (n, ...) concatenated over ranks; curves and IoUs of masks that were not there at the
    start are filled up with nan, clicks and changed pixels with -1.
    """

    full_state_update = False
    index: list[Tensor]
    object: list[Tensor]
    ious: list[Tensor]
    boundary_ious: list[Tensor]
    clicks: list[Tensor]
    seconds: list[Tensor]
    selections: list[Tensor]
    changes: list[Tensor]
    initial_iou: list[Tensor]
    first_seconds: list[Tensor]

    def __init__(self, protocol: EvaluationProtocol | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.protocol = protocol or EvaluationProtocol()
        for name in COLUMNS:
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, results: Sequence[ObjectResult]) -> None:
        """Adds played objects."""
        limit = self.protocol.max_clicks
        ious = np.full((len(results), limit), np.nan, dtype=np.float32)
        boundary = np.full((len(results), limit), np.nan, dtype=np.float32)
        clicks = np.full((len(results), limit, 3), EMPTY, dtype=np.int64)
        changes = np.full((len(results), limit, max(1, self.protocol.cascade)), EMPTY, dtype=np.int64)
        for row, result in enumerate(results):
            ious[row, : len(result.ious)] = result.ious
            clicks[row, : len(result.clicks)] = result.clicks
            boundary[row, : len(result.boundary_ious or ())] = result.boundary_ious or ()
            for click, changed in enumerate(result.changes or ()):
                changes[row, click, : len(changed)] = changed
        self.index.append(self._tensor([result.index for result in results], torch.int64))
        self.object.append(self._tensor([result.object for result in results], torch.int64))
        self.ious.append(torch.from_numpy(ious).to(self.device))
        self.boundary_ious.append(torch.from_numpy(boundary).to(self.device))
        self.clicks.append(torch.from_numpy(clicks).to(self.device))
        self.seconds.append(self._tensor([result.seconds for result in results], torch.float32))
        self.selections.append(self._tensor([result.selections for result in results], torch.int64))
        self.changes.append(torch.from_numpy(changes).to(self.device))
        initial = [math.nan if result.initial_iou is None else result.initial_iou for result in results]
        self.initial_iou.append(self._tensor(initial, torch.float32))
        self.first_seconds.append(self._tensor([result.first_seconds for result in results], torch.float32))

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Gathers the ranks. A rank without objects takes part with tensors of no rows but the right shape."""
        if not self.index:
            self.update([])
        super().sync(*args, **kwargs)

    def compute(self) -> dict[str, Tensor]:
        """The values NoC@.., NoF@.., IoU@k, SPC, and the rows: an entry per state, each object once, by index.

        SPC is that of all clicks, SPC@1 of the first ones and SPC@2+ of the later ones; nan where there are none.
        """
        rows = self._rows()
        curves = [curve[~np.isnan(curve)].tolist() for curve in rows["ious"].numpy()]
        limit, late = self.protocol.max_clicks, self.protocol.quirk("late_success_fails")
        values: dict[str, float] = {}
        for threshold in self.protocol.thresholds:
            values[f"NoC@{percent(threshold)}"] = noc(curves, threshold, limit)
            values[f"NoF@{percent(threshold)}"] = nof(curves, threshold, limit, late)
        values |= {f"IoU@{k}": value for k, value in enumerate(miou_curve(curves, limit), start=1)}
        spent, first = rows["seconds"].tolist(), rows["first_seconds"].tolist()
        values |= zip(SPC, seconds_per_click(spent, first, [len(curve) for curve in curves]), strict=True)
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()} | rows

    def _rows(self) -> dict[str, Tensor]:
        # after a sync the states are tensors, before it lists of tensors
        rows = {}
        for name in self._defaults:
            state = getattr(self, name)
            rows[name] = torch.cat(state) if isinstance(state, list) and state else state
        if isinstance(rows["index"], list):
            self.update([])
            return self._rows()
        _, first = np.unique(rows["index"].cpu().numpy(), return_index=True)
        return {name: value.cpu()[torch.from_numpy(first)] for name, value in rows.items()}

    def _tensor(self, values: list[Any], dtype: torch.dtype) -> Tensor:
        return torch.tensor(values, dtype=dtype, device=self.device)


def results_of(rows: Mapping[str, Tensor], names: Mapping[int, str]) -> list[ObjectResult]:
    """The rows of `NoCMetric.compute` as results again; `names` gives the image of each index."""
    indices = rows["index"].reshape(-1).tolist()  # torchmetrics makes numbers of tensors with one element
    limit = rows["ious"].numel() // max(1, len(indices))
    numbers = ("object", "seconds", "selections", "initial_iou", "first_seconds")
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(numbers, ())
    shapes |= {"ious": (limit,), "boundary_ious": (limit,), "clicks": (limit, 3), "changes": (limit, -1)}
    columns = {name: rows[name].reshape(len(indices), *shape).tolist() for name, shape in shapes.items() if indices}
    results = []
    for row, index in enumerate(indices):
        ious, boundary = ([iou for iou in columns[key][row] if iou == iou] for key in ("ious", "boundary_ious"))
        clicks = [(y, x, label) for y, x, label in columns["clicks"][row][: len(ious)]]
        changes = [[n for n in passes if n != EMPTY] for passes in columns["changes"][row][: len(ious)]]
        number, seconds, selections = (columns[key][row] for key in ("object", "seconds", "selections"))
        played = (index, names[index], number, clicks, ious, seconds)
        initial = columns["initial_iou"][row]
        results.append(
            ObjectResult(
                *played,
                boundary_ious=boundary or None,
                selections=selections,
                changes=changes if any(changes) else None,
                initial_iou=None if math.isnan(initial) else initial,
                first_seconds=columns["first_seconds"][row],
            )
        )
    return results
