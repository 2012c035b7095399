"""NoC in Lightning: the callback that plays the evaluation objects and feeds the metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import torch.distributed
from lightning.pytorch.loggers import WandbLogger
from torch import Tensor

from clicklab.evaluation.lockstep import LockstepPlayer
from clicklab.evaluation.noc import SPC, NoCMetric
from clicklab.evaluation.object_result import SCHEMA, ObjectResult, from_tensors
from clicklab.evaluation.play import view_scale_of
from clicklab.evaluation.protocol import BATCH_SIZE, ORACLE, EvaluationProtocol
from clicklab.evaluation.results import SHOWN_CLICKS, dataset_record, save_results
from clicklab.evaluation.robustness import runs_of
from clicklab.inference.predictor import Predictor, predictor_for
from clicklab.nn.network import as_click_network
from clicklab.records import EvaluationObject, SkippedObject
from clicklab.visualize.curves import save_curve

LATEST = "latest"


class _Dataset:
    """One evaluation dataset during one epoch, with a row of results for each way to choose among candidates."""

    def __init__(self, predictor: Predictor, rows: Mapping[str, EvaluationProtocol], batch_size: int) -> None:
        self.player = LockstepPlayer(predictor, batch_size)
        self.rows = rows
        self.row_of = {way.choice == "oracle": row for row, way in rows.items()}
        self.metrics = {row: NoCMetric(way).to(predictor.device) for row, way in rows.items()}
        self.names: dict[int, str] = {}
        self.skipped: dict[int, SkippedObject] = {}

    def submit(self, item: EvaluationObject | SkippedObject) -> None:
        """Plays one more object."""
        self.take(self.player.submit(item, list(self.row_of)))

    def drain(self) -> None:
        """Plays what was submitted to its end."""
        self.take(list(self.player.drain()))

    def take(self, outcomes: Sequence[ObjectResult | SkippedObject]) -> None:
        """Files what the player gave back."""
        self.skipped |= {outcome.index: outcome for outcome in outcomes if isinstance(outcome, SkippedObject)}
        for oracle, row in self.row_of.items():
            played = [one for one in outcomes if isinstance(one, ObjectResult) and one.oracle == oracle]
            self.names |= {result.index: result.name for result in played}
            if played:
                self.metrics[row].update(played)

    def finish(self) -> dict[str, tuple[dict[str, Tensor], dict[str, Any]]]:
        """Row -> values and record of all ranks together; every rank must call it."""
        self.drain()
        computed = {row: metric.compute() for row, metric in self.metrics.items()}
        names, skipped = _gather(self.names), list(_gather(self.skipped).values())
        zoom_in = self.player.predictor.zoom_in
        return {
            row: (values, dataset_record(from_tensors(values, names), skipped, self.rows[row], zoom_in))
            for row, values in computed.items()
        }


class NoCCallback(pl.Callback):
    """Plays the evaluation robot on the objects of every evaluation dataset, in `fit`, `validate` and `test`.

    Loaders yield `list[EvaluationObject | SkippedObject]`; the datamodule's `evaluation_names(stage)` names them in
    order, with stage `val` or `test`. The module must have `network`. Logs `<stage>/<dataset>/NoC@90` and so on, and
    `<stage>/NoC@90`, the mean over the datasets, to monitor. Writes the files of `save_results` and the curve
    to `<run folder>/results/<stage>/<step or latest>/`, and IoU curves as W&B line series. A sanity check plays, but
    leaves no trace.

    Args:
        protocol: the settings; default: the official ones.
        batch_size: objects in lockstep on each device.
    """

    def __init__(self, protocol: EvaluationProtocol | None = None, batch_size: int = BATCH_SIZE) -> None:
        self.protocol = protocol or EvaluationProtocol()
        self.batch_size = batch_size
        self._datasets: list[_Dataset] = []  # one for each loader

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A new epoch: players and states start empty."""
        stage, loaders = _stage_and_loaders(trainer)
        names = trainer.datamodule.evaluation_names(stage)  # ty: ignore[missing-attribute]
        if len(names) != len(loaders):
            raise ValueError(f"evaluation_names({stage!r}) gives {len(names)} names for {len(loaders)} loaders")
        context, device = trainer.precision_plugin.forward_context, pl_module.device
        network = as_click_network(pl_module.network)  # ty: ignore[invalid-argument-type]
        self._datasets = []
        for name, loader in zip(names, loaders, strict=True):
            rows = {name + suffix: way for suffix, way in self.protocol.plays(network).items()}
            predictor = predictor_for(network, self.protocol, view_scale_of(loader.dataset), device, context)
            self._datasets.append(_Dataset(predictor, rows, self.batch_size))

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: list[EvaluationObject | SkippedObject],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Feeds the dataset's player, which goes on over batch borders."""
        for earlier in self._datasets[:dataloader_idx]:
            earlier.drain()
        for item in batch:
            for run in runs_of(item, self.protocol):
                self._datasets[dataloader_idx].submit(run)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Plays to the end, gathers the ranks, logs and writes."""
        finished = {row: found for dataset in self._datasets for row, found in dataset.finish().items()}
        self._datasets = []
        stage, _ = _stage_and_loaders(trainer)
        folder = Path(trainer.default_root_dir) / "results" / stage
        if trainer.sanity_checking or not finished:
            return
        pl_module.log_dict(_values_to_log(stage, finished), batch_size=1, sync_dist=True)
        if not trainer.is_global_zero:
            return
        settings = self.protocol.to_dict(as_click_network(pl_module.network))  # ty: ignore[invalid-argument-type]
        if settings["precision"] == "32-true":  # the protocol asks for nothing else: the network ran in the trainer's
            settings["precision"] = str(trainer.precision)
        results = {
            "schema": SCHEMA,
            "protocol": settings,
            "datasets": {name: record for name, (_, record) in finished.items()},
        }
        step = f"step{trainer.global_step:07d}" if trainer.state.fn == "fit" else LATEST
        save_results(results, folder / step)
        save_curve(results, folder / step)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                _log_curves(logger, stage, results)

    on_test_epoch_start = on_validation_epoch_start
    on_test_batch_end = on_validation_batch_end
    on_test_epoch_end = on_validation_epoch_end


def _stage_and_loaders(trainer: pl.Trainer) -> tuple[str, list[Any]]:
    """`val` or `test`, and the loaders that are evaluated in it."""
    stage, loaders = ("test", trainer.test_dataloaders) if trainer.testing else ("val", trainer.val_dataloaders)
    return stage, list(loaders) if isinstance(loaders, (list, tuple)) else [loaders]


def _values_to_log(stage: str, finished: Mapping[str, tuple[Mapping[str, Tensor], Any]]) -> dict[str, Tensor]:
    """`<stage>/<dataset>/<value>`, and `<stage>/<value>` as the mean over the datasets, oracles left out."""
    shown = {*SPC, *(f"IoU@{k}" for k in SHOWN_CLICKS)}
    per_dataset = {
        name: {key: value for key, value in values.items() if key[:4] in ("NoC@", "NoF@") or key in shown}
        for name, (values, _) in finished.items()
    }
    logged = {f"{stage}/{name}/{key}": v for name, values in per_dataset.items() for key, v in values.items()}
    averaged = [values for name, values in per_dataset.items() if not name.endswith(ORACLE)]
    averaged = averaged or list(per_dataset.values())  # nothing but oracles was asked for
    for key in averaged[0]:
        if key[:4] in ("NoC@", "IoU@"):
            logged[f"{stage}/{key}"] = torch.stack([values[key] for values in averaged]).nanmean()
    return {key: value.float() for key, value in logged.items()}


def _log_curves(logger: WandbLogger, stage: str, results: Mapping[str, Any]) -> None:
    import wandb  # the logger is in use, so it is installed; other runs do not pay for the import

    curves = {name: record["miou"] for name, record in results["datasets"].items()}
    clicks = list(range(1, results["protocol"]["max_clicks"] + 1))
    plot = wandb.plot.line_series(
        xs=clicks, ys=list(curves.values()), keys=list(curves), title=f"{stage}: mean IoU per click", xname="clicks"
    )
    logger.experiment.log({f"{stage}/mean IoU per click": plot})


def _gather(mine: dict[int, Any]) -> dict[int, Any]:
    """The dictionaries of all ranks in one."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return mine
    parts: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(parts, mine)
    return {key: value for part in parts for key, value in part.items()}
