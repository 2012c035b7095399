"""Files in iCMFormer's official format: the same logits and clicks, sizes from the keys, files that are not right."""

import json
from pathlib import Path

import pytest
import torch
from official_icmformer import SWIN, VIT, official_checkpoint, official_shapes, probe_inputs
from official_simpleclick import official_checkpoint as simpleclick_checkpoint

from clicklab.checkpoint import load
from clicklab.evaluation.play import play
from clicklab.evaluation.protocol import EvaluationProtocol
from clicklab.external_checkpoint import rename_keys
from clicklab.inference.predictor import predictor_for
from clicklab.methods import official_method
from clicklab.methods.icmformer import VARIANTS, ICMFormerSwin, ICMFormerViT, from_official, matches
from clicklab.methods.icmformer.official import KEYS, SWIN_KEYS, infer_arguments, infer_swin_arguments
from data_modules.datasets import open_dataset
from data_modules.scenes import EvaluationObjects

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "icmformer.json").read_text())


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: f"{case['variant']}-{case['size']}")
def test_golden_logits(case):
    """What the official code answers with the same weights, at the paper's sizes and where windows want padding."""
    network = from_official(official_checkpoint(case["variant"])).eval()
    image, clicks, prev_mask = probe_inputs(case["size"])
    part = slice(case["samples"])
    with torch.inference_mode():
        logits = network(image[part], clicks[part], prev_mask[part]).logits[:, 0]
    ours = torch.stack([logits[:, y, x] for y, x in case["pixels"]], dim=1)
    official = torch.tensor(case["logits"])
    torch.testing.assert_close(ours, official, rtol=1e-4, atol=1e-4 * official.abs().max().item())


@pytest.mark.parametrize("name", GOLDEN["plays"])
def test_grabcut_plays_as_officially(name, shared_data):
    checkpoint = official_checkpoint(name)
    checkpoint["state_dict"]["head.conv_seg.weight"] *= 20
    expected = GOLDEN["plays"][name]
    predictor = predictor_for(
        from_official(checkpoint).eval(), EvaluationProtocol(max_clicks=len(expected[0]["clicks"]))
    )
    objects = EvaluationObjects(open_dataset("GrabCut", shared_data / "GrabCut"), limit=len(expected))
    results = play(predictor, [objects[i] for i in range(len(objects))], batch_size=2)
    for result, official in zip(sorted(results, key=lambda r: r.index), expected, strict=True):
        assert result.name == official["name"]
        assert [list(click) for click in result.clicks] == official["clicks"]
        assert result.ious == pytest.approx(official["ious"], abs=1e-3)


@pytest.mark.parametrize("name", [*VIT, *SWIN])
def test_keys_name_the_method(name):
    weights = {key: torch.empty(shape, device="meta") for key, shape in official_shapes(name).items()}
    assert official_method(weights) == "icmformer"


@pytest.mark.parametrize("name", ["base", "large", "huge", "swin_base", "swin_small"])
def test_architecture_from_the_keys(name):
    with torch.device("meta"):
        weights = {key: torch.empty(shape) for key, shape in official_shapes(name).items()}
        renamed = rename_keys(weights, SWIN_KEYS if name in SWIN else KEYS)
        arguments = (infer_swin_arguments if name in SWIN else infer_arguments)(renamed, {})
        network = (ICMFormerSwin if name in SWIN else ICMFormerViT)(**arguments)
    assert renamed.keys() == network.state_dict().keys()
    wanted = VARIANTS[name] | ({"cross_blocks": 8} if name in SWIN else {})  # the released code has 8 in every Swin
    for key, value in wanted.items():
        assert arguments[key] == (list(value) if isinstance(value, tuple) else value), key


def test_number_of_cross_blocks_and_window_follow_the_keys():
    state = official_checkpoint("swin_mini")["state_dict"]
    kept = {k: v for k, v in state.items() if not k.startswith(("backbone.blocks2.6", "backbone.blocks2.7"))}
    assert from_official({"state_dict": kept}).arguments["cross_blocks"] == 6
    table = "backbone.layers.0.blocks.0.attn.relative_position_bias_table"
    weights = rename_keys(kept, SWIN_KEYS)
    assert infer_swin_arguments(weights | {table: torch.zeros(23 * 23, 1)}, {})["window_size"] == 12
    with pytest.raises(ValueError, match="24 rows is of no square window"):
        infer_swin_arguments(weights | {table: torch.zeros(24, 1)}, {})


def test_files_are_told_apart(tmp_path):
    torch.save(official_checkpoint("swin_mini"), tmp_path / "swin.pth")
    torch.save(official_checkpoint("mini"), tmp_path / "vit.pth")
    assert isinstance(load(tmp_path / "swin.pth"), ICMFormerSwin)
    network = load(tmp_path / "vit.pth")
    assert isinstance(network, ICMFormerViT) and network.arguments["num_heads"] == 3
    assert not matches(simpleclick_checkpoint("mini")["state_dict"])


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("mini", {"backbone.blocks2.1.norm4.weight": 1}, r"1 unknown keys: backbone\.blocks2\.1\.norm4\.weight"),
        ("mini", {"backbone.blocks2.1.norm3.weight": None}, r"1 keys missing: cross_blocks\.1\.norm3\.weight"),
        ("swin_mini", {"backbone.layers.1.extra": 1}, r"1 unknown keys: backbone\.layers\.1\.extra"),
        ("swin_mini", {"backbone.norm2.bias": None}, r"1 keys missing: backbone\.norms\.2\.bias"),
        ("swin_mini", {"head.conv_seg.weight": None}, r"1 keys missing \(our names\): head\.conv_seg\.weight"),
    ],
)
def test_keys_that_do_not_fit(name, change, message):
    checkpoint = official_checkpoint(name)
    state = checkpoint["state_dict"] | {k: None if v is None else torch.zeros(v) for k, v in change.items()}
    checkpoint["state_dict"] = {k: v for k, v in state.items() if v is not None}
    with pytest.raises(ValueError, match=message):
        from_official(checkpoint)


def test_settings_that_no_official_model_has():
    checkpoint = official_checkpoint("mini")
    checkpoint["config"]["params"]["random_split"]["value"] = True
    with pytest.raises(ValueError, match="random_split=True, which no released iCMFormer has"):
        from_official(checkpoint)
