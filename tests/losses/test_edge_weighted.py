"""The refiner's loss: the official value, and what its weights mean."""

import json
from pathlib import Path

import numpy as np
import torch

from clicklab.losses.focus import edge_weighted_focal_loss
from clicklab.losses.nfl import normalized_focal_loss

OFFICIAL = json.loads((Path(__file__).parents[1] / "golden" / "focalclick.json").read_text())["loss"]


def inputs():
    rng = np.random.default_rng(1)
    logits = torch.from_numpy(rng.normal(size=(3, 1, 40, 50)).astype(np.float32))
    return logits, *(torch.from_numpy((rng.random((3, 1, 40, 50)) > level).astype(np.float32)) for level in (0.6, 0.8))


def test_official_value():
    torch.testing.assert_close(edge_weighted_focal_loss(*inputs()), torch.tensor(OFFICIAL), rtol=1e-5, atol=0)


def test_without_edges_it_is_the_normalised_focal_loss():
    logits, target, edge = inputs()
    torch.testing.assert_close(
        edge_weighted_focal_loss(logits, target, 0 * edge), normalized_focal_loss(logits, target).mean()
    )
    torch.testing.assert_close(
        edge_weighted_focal_loss(logits, target, edge, share=0.0), normalized_focal_loss(logits, target).mean()
    )


def test_ignored_pixels_do_not_count():
    logits, target, edge = inputs()
    target[..., 25:] = -1
    kept = edge_weighted_focal_loss(logits[..., :25], target[..., :25], edge[..., :25])
    torch.testing.assert_close(edge_weighted_focal_loss(logits, target, edge), kept)
    assert edge_weighted_focal_loss(logits, torch.full_like(target, -1), edge) == 0
