"""Official SimpleClick files: the same logits, the key table, and files that are not quite right."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from official_simpleclick import HEADS, OFFICIAL, official_checkpoint, official_shapes

from clicklab.checkpoint import load
from clicklab.external_checkpoint import rename_keys
from clicklab.methods.simpleclick import VARIANTS, SimpleClickNet, from_official, matches
from clicklab.methods.simpleclick.official import KEYS, infer_arguments
from clicklab.records import Clicks

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "simpleclick.json").read_text())["cases"]


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"{case['variant']}-{case['size']}")
def test_golden_logits(official_file, case):
    """What the official code answers with the same weights, also with positions resampled and 3 x 3 windows."""
    network = load(official_file(case["variant"]))
    height, width = case["size"]
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.random((2, 3, height, width), dtype=np.float32))
    prev_mask = torch.from_numpy(rng.random((2, 1, height, width), dtype=np.float32))
    clicks = Clicks.from_list(
        [
            [(height * 0.3, width * 0.4, 1), (10.25, width - 3.5, 0), (height - 1.0, 5.0, 1)],
            [(height * 0.5 + 0.5, width * 0.5 - 0.25, 1)],
        ]
    )
    with torch.inference_mode():
        logits = network(image, clicks, prev_mask).logits[:, 0]
    ours = torch.stack([logits[:, y, x] for y, x in case["pixels"]], dim=1)
    official = torch.tensor(case["logits"])
    torch.testing.assert_close(ours, official, rtol=1e-4, atol=1e-4 * official.abs().max().item())


@pytest.mark.parametrize("name", OFFICIAL)
def test_architecture_from_the_keys(name):
    with torch.device("meta"):
        weights = {key: torch.empty(shape) for key, shape in official_shapes(*OFFICIAL[name]).items()}
        assert matches(weights)
        renamed = rename_keys(weights, KEYS)
        arguments = infer_arguments(renamed, {})
        network = SimpleClickNet(**arguments)
    wanted = SimpleClickNet.from_variant("mini").arguments | VARIANTS[name] if name == "mini" else VARIANTS[name]
    assert {k: arguments[k] for k in wanted if k in arguments} == {
        k: list(v) if k == "neck_dims" else v for k, v in wanted.items() if k in arguments
    }
    assert arguments["image_size"] == 448
    assert renamed.keys() == network.state_dict().keys()


def test_heads_are_read_from_the_file_first():
    checkpoint = official_checkpoint("mini")
    checkpoint["config"]["params"]["backbone_params"]["value"]["num_heads"] = 6
    checkpoint["config"]["params"]["norm_radius"]["value"] = 7
    network = from_official(checkpoint)
    assert network.arguments["num_heads"] == 6 != HEADS["mini"]
    assert network.click_radius == 7
    del checkpoint["config"]
    assert from_official(checkpoint).arguments["num_heads"] == 3


def test_unknown_heads():
    shapes = official_shapes(16, 48, 8, (8, 8, 8, 8), 8)
    weights = rename_keys({key: torch.empty(shape, device="meta") for key, shape in shapes.items()}, KEYS)
    with pytest.raises(ValueError, match=r"width 48, depth 8 is no released one.*num_heads"):
        infer_arguments(weights, {})


def change(checkpoint, **weights):
    state = {**checkpoint["state_dict"], **{k.replace("__", "."): v for k, v in weights.items()}}
    return {**checkpoint, "state_dict": {k: v for k, v in state.items() if v is not None}}


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"neck__extra": torch.zeros(1)}, r"1 unknown keys: neck\.extra"),
        ({"backbone__blocks__3__attn__qkv__bias": None}, r"1 keys missing: backbone\.blocks\.3\.attn\.qkv\.bias"),
        ({"backbone__pos_embed": None, "head__conv_seg__weight": None}, "2 keys missing.*pos_embed.*conv_seg"),
        (
            {"head__conv_seg__bias": torch.zeros(3)},
            r"1 keys of another shape: head\.conv_seg\.bias \[3\] instead of \[1\]",
        ),
        ({"backbone__pos_embed": torch.zeros(1, 771, 96)}, "770 positions, which is no square grid"),
    ],
)
def test_keys_that_do_not_fit(weights, message):
    with pytest.raises(ValueError, match=message):
        from_official(change(official_checkpoint("mini"), **weights))


def test_settings_that_no_release_has():
    checkpoint = official_checkpoint("mini")
    checkpoint["config"]["params"]["random_split"]["value"] = True
    with pytest.raises(ValueError, match="random_split=True"):
        from_official(checkpoint)
