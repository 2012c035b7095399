"""What all tests share: quiet libraries and the optional real images beside the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("WANDB_SILENT", "true")

torch.set_num_threads(1)  # small tensors are faster on one thread, and test processes do not fight for cores

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images (GrabCut, COCO_MVal, BSDS500, LVIS); not part of the product."""
    folder = Path(os.environ.get("CLICKLAB_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(
            f"real images are absent: {folder} (set CLICKLAB_SHARED_DATA to a folder with GrabCut, BSDS500, ...)"
        )
    return folder
