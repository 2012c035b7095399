"""Training with a compiled network, switched on by `experiments/_base/compile.yaml`."""

from __future__ import annotations

import lightning.pytorch as pl

from clicklab.nn.compiled import compile_parts


class CompileParts(pl.Callback):
    """Compiles the parts of the module's `network` when a run starts, see `clicklab.nn.compiled`."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit":
            compile_parts(pl_module.network)  # ty: ignore[invalid-argument-type]
