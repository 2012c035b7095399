"""Official files, made on the spot."""

import sys
import types

import pytest
import torch
from official_simpleclick import official_checkpoint

LOSS = "isegm.model.modeling.transformer_helper.cross_entropy_loss"


@pytest.fixture(scope="session")
def official_file(tmp_path_factory):
    """Writes an official file with the loss object that real ones carry; its class is gone when the file is read."""
    folder = tmp_path_factory.mktemp("official")

    def make(name, zipped=True):
        path = folder / f"{name}-{'new' if zipped else 'old'}.pth"
        if not path.exists():
            checkpoint = official_checkpoint(name)
            head = checkpoint["config"]["params"]["head_params"]["value"]
            with pytest.MonkeyPatch.context() as patch:
                head["loss_decode"] = _official_loss(patch)
                torch.save(checkpoint, path, _use_new_zipfile_serialization=zipped)
        return path

    return make


def _official_loss(patch):
    """An instance of a module class that pickle believes to live in the official package, with a function in it."""
    parts = LOSS.split(".")
    for i in range(1, len(parts) + 1):
        patch.setitem(sys.modules, ".".join(parts[:i]), types.ModuleType(".".join(parts[:i])))
    kind = type("CrossEntropyLoss", (torch.nn.Module,), {"__module__": LOSS})

    def cross_entropy():
        """Never called."""

    cross_entropy.__module__, cross_entropy.__qualname__ = LOSS, "cross_entropy"
    sys.modules[LOSS].CrossEntropyLoss, sys.modules[LOSS].cross_entropy = kind, cross_entropy
    loss = kind()
    loss.cls_criterion = cross_entropy
    return loss
