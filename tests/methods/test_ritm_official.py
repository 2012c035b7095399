"""Official RITM files: the same logits, the key table, and files that are not quite right."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from official_ritm import OFFICIAL, official_checkpoint, official_shapes

from clicklab.checkpoint import load
from clicklab.external_checkpoint import rename_keys
from clicklab.methods.ritm import VARIANTS, from_official, matches
from clicklab.nn.click_hrnet import CLICK_HRNET_KEYS, ClickHRNet, infer_click_hrnet_arguments
from clicklab.records import Clicks

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "ritm.json").read_text())["cases"]


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"{case['file']}-{case['size']}")
def test_golden_logits(tmp_path, case):
    """What the official code answers with the same weights, at sizes that 32 does and does not divide."""
    torch.save(official_checkpoint(case["file"]), tmp_path / "official.pth")
    network = load(tmp_path / "official.pth")
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
        answer = network(image, clicks, prev_mask)
    for name, maps in (("logits", answer.logits), ("aux", answer.extras["aux"])):
        ours = torch.stack([maps[:, 0, y, x] for y, x in case["pixels"]], dim=1)
        official = torch.tensor(case[name])
        torch.testing.assert_close(ours, official, rtol=1e-5, atol=1e-5 * official.abs().max().item())


# Number of keys and of parameters: the official files (docs/models.md#hrnet-with-ocr).
@pytest.mark.parametrize(
    ("name", "keys", "parameters"),
    [
        ("hrnet18s", 929, 4_220_047),
        ("hrnet18", 1895, 10_032_019),
        ("hrnet32", 1895, 30_951_363),
        ("hrnet18-baseline", 1895, 10_032_003),
    ],
)
def test_architecture_from_the_keys(name, keys, parameters):
    shapes = official_shapes(*OFFICIAL[name])
    learnt = {key: shape for key, shape in shapes.items() if "running" not in key and "tracked" not in key}
    assert (len(shapes), sum(int(np.prod(shape)) for shape in learnt.values())) == (keys, parameters)
    with torch.device("meta"):
        weights = {key: torch.empty(shape) for key, shape in shapes.items()}
        assert matches(weights)
        renamed = rename_keys(weights, CLICK_HRNET_KEYS)
        arguments = infer_click_hrnet_arguments(renamed)
        network = ClickHRNet(**arguments)
    assert {f"segmentor.{key}" for key in network.state_dict()} == renamed.keys()
    variant = {"blocks": 4, "modules": (1, 4, 3)} | VARIANTS[name.removesuffix("-baseline")]
    assert arguments == {**variant, "modules": list(variant["modules"]), "maps": OFFICIAL[name][4], "stem_channels": 64}


def test_settings_are_read_from_the_file():
    checkpoint = official_checkpoint("narrow-baseline")
    checkpoint["config"]["params"]["norm_radius"]["value"] = 7
    network = from_official(checkpoint)
    assert network.click_radius == 7
    assert not network.reads_prev_mask
    del checkpoint["config"]
    assert from_official(checkpoint).click_radius == 5
    checkpoint = official_checkpoint("narrow")
    checkpoint["config"]["params"]["use_rgb_conv"]["value"] = True
    with pytest.raises(ValueError, match="use_rgb_conv=True"):
        from_official(checkpoint)


def test_networks_built_on_it_are_not_taken_for_it():
    keys = dict.fromkeys(official_shapes(*OFFICIAL["narrow"]), torch.zeros(1))
    assert matches(keys)
    assert not matches(keys | {"refiner.image_conv1.conv.weight": torch.zeros(1)})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"feature_extractor.extra.weight": torch.zeros(1)}, r"1 unknown keys: feature_extractor\.extra\.weight"),
        (
            {"feature_extractor.stage3.1.fuse_layers.2.0.1.0.weight": None},
            r"1 keys missing: segmentor\.backbone\.stage3\.1\.fuse_layers\.2\.0\.1\.0\.weight",
        ),
        (
            {"maps_transform.0.weight": None, "feature_extractor.conv1.weight": None},
            r"2 keys missing.*clicks\.first\.weight, segmentor\.backbone\.conv1\.weight",
        ),
        (
            {"feature_extractor.cls_head.bias": torch.zeros(3)},
            r"1 keys of another shape: segmentor\.ocr\.mask\.bias \[3\] instead of \[1\]",
        ),
    ],
)
def test_keys_that_do_not_fit(changed, message):
    checkpoint = official_checkpoint("narrow")
    weights = {**checkpoint["state_dict"], **changed}
    checkpoint["state_dict"] = {key: value for key, value in weights.items() if value is not None}
    with pytest.raises(ValueError, match=message):
        from_official(checkpoint)
