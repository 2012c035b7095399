"""NoC as a torchmetrics state that is exact under DDP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from clicklab.evaluation.metrics import miou_curve, noc, nof, seconds_per_click
from clicklab.evaluation.object_result import ObjectResult, number_columns, to_tensors
from clicklab.evaluation.protocol import EvaluationProtocol
from clicklab.evaluation.results import percent

SPC = ("SPC", "SPC@1", "SPC@2+")  # of all clicks, of the first ones, of the later ones


class NoCMetric(Metric):
    """Curves and clicks of all objects of one dataset; rows carry the object's index, so none is counted twice.

    The states are the numbers of `ObjectResult`: lists of tensors (n, ...), concatenated over ranks and filled up as
    its columns say.
    """

    full_state_update = False

    def __init__(self, protocol: EvaluationProtocol | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.protocol = protocol or EvaluationProtocol()
        for name in number_columns():
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, results: Sequence[ObjectResult]) -> None:
        """Adds played objects."""
        sizes = {"clicks": self.protocol.max_clicks, "passes": max(1, self.protocol.cascade)}
        for name, values in to_tensors(results, sizes).items():
            getattr(self, name).append(values.to(self.device))

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Gathers the ranks. A rank without objects takes part with tensors of no rows but the right shape."""
        if not getattr(self, "index", None):
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
