"""Fine-tuning: a run begins with all weights of a trained network, at a fraction of its recipe's learning rates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from torch import nn

from clicklab.checkpoint import read_network


class StartFrom(pl.Callback):
    """Fills the module's network from a checkpoint, ours or an official one; a run that goes on has its own weights.

    It works with every method: it needs no more than a module that owns `network`.

    Args:
        path: the checkpoint.
        rate: learning rates are those of the recipe times this.

    Raises:
        ValueError: no file is named, or the rate is not positive.
    """

    def __init__(self, path: str | Path, rate: float = 0.1) -> None:
        if not str(path):
            raise ValueError("fine-tuning wants a network to start from: FROM=checkpoint.pth")
        if rate <= 0:
            raise ValueError(f"StartFrom: rate is {rate}; give a positive factor, for example 0.1")
        self.path, self.rate = Path(path), rate

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Fills the network; the weights of image classification, which a recipe names, are not asked for."""
        if stage != "fit" or trainer.ckpt_path:
            return
        module: Any = pl_module
        module.pretrained = None
        fill_from(module.network, self.path, module.method)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Lowers the learning rates of all groups; a run that goes on restores the lowered ones."""
        if trainer.ckpt_path:
            return
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] *= self.rate
                if "initial_lr" in group:
                    group["initial_lr"] *= self.rate
        for config in trainer.lr_scheduler_configs:
            scheduler: Any = config.scheduler
            scheduler.base_lrs = [rate * self.rate for rate in scheduler.base_lrs]


def fill_from(network: nn.Module, path: Path, method: str) -> None:
    """Copies the weights of a checkpoint into a network of the same form.

    Args:
        network: to be filled.
        path: the checkpoint.
        method: what the network belongs to; a file that two methods share is read as this one's.

    Raises:
        FileNotFoundError, ValueError: as `clicklab.load`; or the file holds another network, and then both are named.
    """
    _, found = read_network(path)
    if type(found) is not type(network):
        _, found = read_network(path, method)
    theirs, ours = found.state_dict(), network.state_dict()
    other = [
        name
        for name in {**ours, **theirs}
        if getattr(ours.get(name), "shape", 0) != getattr(theirs.get(name), "shape", 1)
    ]
    if other:
        raise ValueError(
            f"{path} holds a {_said(found)}, the settings make a {_said(network)} (they differ in {other[0]} and "
            f"{len(other) - 1} more weights): put the file's variant into VARIANT, for example "
            'VARIANT="large finetune photos"'
        )
    network.load_state_dict(theirs)


def _said(network: nn.Module) -> str:
    """Class and arguments of a network."""
    given = getattr(network, "arguments", {})
    told = ", ".join(f"{name}={value}" for name, value in given.items())
    return f"{type(network).__name__}({told[:150]}{'...' if len(told) > 150 else ''})"
