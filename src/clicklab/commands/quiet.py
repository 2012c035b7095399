"""What libraries say in passing: advertisements, remarks on their own future, hints that do not fit."""

from __future__ import annotations

import logging
import os
import warnings

ADVERTISEMENTS = ("Tip:", "TPU available", "HPU available", "litlogger", "litmodels")
REMARKS = (
    r"LightningCLI's args parameter",  # for callers that give a command line as well
    r".*there is no last checkpoint available",  # the first line of `fit` says whether a run starts or goes on
    r".*isinstance\(treespec, LeafSpec\)",  # Lightning's use of PyTorch
    r".*LeafSpec.*deprecated",
    r".*does not have many workers",  # recipes say how many
    r".*Checkpoint directory .* exists and is not empty",  # a run that goes on
    r".*number of training batches .* is smaller than the logging interval",  # short recipes
)


class _NoAdvertisements(logging.Filter):
    """Drops lines that sell something, or say which other devices are not there."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not any(words in record.getMessage() for words in ADVERTISEMENTS)


def quiet_libraries() -> None:
    """Silences what is listed above; everything else is still said. W&B is silent offline (WANDB_SILENT=false)."""
    for remark in REMARKS:
        warnings.filterwarnings("ignore", message=remark)
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    if not any(isinstance(one, _NoAdvertisements) for one in logger.filters):
        logger.addFilter(_NoAdvertisements())
    if os.environ.get("WANDB_OFFLINE", "true").lower() in ("true", "1", "yes", ""):
        os.environ.setdefault("WANDB_SILENT", "true")
