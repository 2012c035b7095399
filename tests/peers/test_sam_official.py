"""Official `.pth` files of SAM: figures of segment-anything 1.0 itself on made-up weights (tests/golden).

The golden file holds the keys and shapes of its model (ViT of width 32, depth 2, window 4; decoder of width 64, 2
heads; input 64 x 64), which its `SamPredictor` was run with: three masks after the first click, then one, each time
with the low-resolution logits of the best mask as mask prompt. The weights come from the keys, see `made_up`.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("transformers", reason="the extra clicklab[sam] is not installed")

import clicklab
from clicklab.inference.session import Session

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "sam_official.json").read_text())


def made_up(key: str, shape: list[int]) -> torch.Tensor:
    """Weights that depend on the key alone; vectors called weight are near 1, as those of norms."""
    noise = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape)
    if len(shape) == 1:
        values = 0.1 * noise + key.endswith("weight")
    else:
        values = noise * (0.9 / np.prod(shape[1:]) ** 0.5)
    return torch.from_numpy(values.astype(np.float32))


@pytest.fixture
def official_file(tmp_path):
    path = tmp_path / "sam_vit_t.pth"
    torch.save({key: made_up(key, shape) for key, shape in GOLDEN["shapes"].items()}, path)
    return path


def test_masks_scores_and_logits_are_those_of_the_official_code(official_file):
    session = Session(clicklab.load(f"sam:{official_file}"))
    session.set_image(np.random.default_rng(1).integers(0, 256, (64, 48, 3), dtype=np.uint8))
    for (y, x, label), step in zip(GOLDEN["clicks"], GOLDEN["steps"], strict=True):
        mask = session.add_click(y, x, bool(label))
        np.testing.assert_allclose(session.scores, step["scores"], atol=1e-4)
        areas = (session.candidates > 0.5).sum(axis=(1, 2))
        assert abs(areas - np.array(step["area"])).max() <= 2  # pixels whose logit is 0 but for rounding
        logits = torch.from_numpy(session.probability[31, ::6]).logit()
        np.testing.assert_allclose(logits, step["row"], atol=1e-4)
        assert mask.sum() == pytest.approx(step["area"][int(np.argmax(step["scores"]))], abs=2)


def test_the_file_of_another_network_is_refused_by_name(official_file, tmp_path):
    other = tmp_path / "other.pth"
    torch.save({"backbone.weight": torch.zeros(1)}, other)
    with pytest.raises(ValueError, match=r"image_encoder\.pos_embed.*backbone\.weight"):
        clicklab.load(f"sam:{other}")


def test_a_missing_or_unknown_key_is_listed(tmp_path):
    weights = {key: made_up(key, shape) for key, shape in GOLDEN["shapes"].items()}
    del weights["mask_decoder.iou_token.weight"]
    torch.save(weights, tmp_path / "short.pth")
    with pytest.raises(ValueError, match=r"mask_decoder\.iou_token"):
        clicklab.load(f"sam:{tmp_path}/short.pth")
