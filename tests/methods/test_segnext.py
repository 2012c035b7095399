"""SegNext against its official code on made-up weights: logits, a dialogue, a training step, the keys of its files.

The golden file was made by the official model (its keys and shapes are in it: width 48, depth 12, 448 x 448) with the
weights of `official_simpleclick.rule`, its predictor and evaluation loop, and its loss after two scripted rounds
without gradient.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from official_simpleclick import rule
from torch import nn

import clicklab
from clicklab.evaluation.play import play
from clicklab.evaluation.protocol import EvaluationProtocol
from clicklab.inference.predictor import predictor_for
from clicklab.inference.session import Session
from clicklab.methods.segnext import SegNextNet, from_official, matches
from clicklab.methods.segnext.module import SegNext
from clicklab.records import Batch, Clicks, EvaluationObject

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "segnext.json").read_text())
SIZES = {
    "image_size": 448, "embed_dim": 48, "depth": 12, "num_heads": 3, "neck_dims": [8, 8, 16, 16], "head_channels": 8,
}  # fmt: skip


def official_checkpoint(fusion_depth: int = 2) -> dict:
    """As the official trainer stores it; settings that shapes do not tell are recorded."""
    last = f"fusion_blocks.{fusion_depth}."
    weights = {key: rule(key, tuple(shape)) for key, shape in GOLDEN["shapes"].items() if not key.startswith(last)}
    params = {"backbone_params": {"num_heads": 3}, "use_disks": True, "norm_radius": 5}
    config = {"params": {name: {"value": value} for name, value in params.items()}}
    return {"state_dict": weights, "config": config}


def official_network(fusion_depth: int = 2) -> SegNextNet:
    return from_official(official_checkpoint(fusion_depth)).eval()


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: f"sax{case['fusion_depth']}-{case['size']}")
def test_logits_are_the_official_ones(case):
    network = official_network(case["fusion_depth"])
    height, width = case["size"]
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.random((2, 3, height, width), dtype=np.float32))
    prev_mask = torch.from_numpy(rng.random((2, 1, height, width), dtype=np.float32))
    with torch.inference_mode():
        logits = network(image, Clicks.from_list(case["clicks"]), prev_mask).logits[:, 0]
    ours = torch.stack([logits[:, y, x] for y, x in case["pixels"]], dim=1)
    torch.testing.assert_close(ours, torch.tensor(case["logits"]), rtol=1e-4, atol=1e-5)


def test_a_dialogue_is_the_official_one():
    image = np.random.default_rng(3).integers(0, 256, (150, 210, 3), dtype=np.uint8)
    target = np.zeros((150, 210), dtype=np.int8)
    target[40:110, 60:150] = 1
    target[:20] = -1
    protocol = EvaluationProtocol(max_clicks=6)
    item = EvaluationObject(image, target, "drawn", 1, 0)
    (result,) = play(predictor_for(official_network(), protocol), [item])
    assert [list(click) for click in result.clicks] == GOLDEN["dialogue"]["clicks"]
    np.testing.assert_allclose(result.ious, GOLDEN["dialogue"]["ious"], atol=1e-4)


class ScriptedUser:
    """Plays written-down clicks, as the golden step was made."""

    def __init__(self, script) -> None:
        self.script = script

    def warm_up(self, batch, predict_prev_mask, rounds=None):
        for clicks in self.script[:-1]:
            shown = predict_prev_mask(batch.replace(clicks=Clicks.from_list(clicks)))
            batch = batch.replace(prev_mask=shown)
        return batch.replace(clicks=Clicks.from_list(self.script[-1]))


def test_a_training_step_is_the_official_one(monkeypatch):
    golden = GOLDEN["training_step"]
    module = SegNext("base", {**SIZES, "dropout": 0.0}, learning_rate=golden["learning_rate"])
    module.network.load_state_dict(official_network().state_dict())
    module.train()
    rng = np.random.default_rng(5)
    image = torch.from_numpy(rng.random((2, 3, 448, 448), dtype=np.float32))
    target = torch.zeros(2, 1, 448, 448)
    target[0, 0, 100:300, 80:260] = 1
    target[1, 0, 200:400, 30:200] = 1
    target[1, 0, :10] = -1
    batch = Batch(image, target, Clicks.from_list(golden["script"][0]), torch.zeros(2, 1, 448, 448))
    module.user = ScriptedUser(golden["script"])
    monkeypatch.setattr(module, "log", lambda *args, **kwargs: None)
    started = []
    start = module.network.start
    monkeypatch.setattr(module.network, "start", lambda image: started.append(1) or start(image))
    loss = module.training_step(batch, 0)
    loss.backward()
    assert len(started) == 1
    assert loss.item() == pytest.approx(golden["loss"], rel=1e-5)
    weights = dict(module.network.named_parameters())
    for name, norm in golden["grad_norms"].items():
        assert weights[our_name(name)].grad.norm().item() == pytest.approx(norm, rel=1e-3), name
    configured = module.configure_optimizers()
    configured["optimizer"].step()
    for name, total in golden["sums_after"].items():
        found = weights[our_name(name)].detach().flatten()[:50].double().sum().item()
        assert found == pytest.approx(total, abs=2e-3), name


def our_name(official: str) -> str:
    for theirs, ours in {
        "visual_prompts_encoder": "prompt_embed",
        "fusion_blocks": "fusion",
        "neck.down_8": "neck.levels.1",
        "head.seg_conv": "head.conv_seg",
    }.items():
        official = official.replace(theirs, ours)
    return official


def test_the_image_is_encoded_once_in_a_session():
    network = SegNextNet.from_variant("mini")
    calls = []
    network.backbone.patch_embed.register_forward_hook(lambda *_: calls.append(1))
    session = Session(network)
    session.set_image(np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8))
    for y, x in ((10, 10), (20, 40), (45, 5)):
        session.add_click(y, x)
    assert len(calls) == 1


def test_files_are_recognised_by_their_keys_and_say_their_sizes(tmp_path):
    torch.save(official_checkpoint(), tmp_path / "vitb.pth")
    network = clicklab.load(tmp_path / "vitb.pth")
    assert isinstance(network, SegNextNet)
    assert {name: network.arguments[name] for name in SIZES} == SIZES
    assert network.arguments["fusion_depth"] == 2
    assert from_official(official_checkpoint(1)).arguments["fusion_depth"] == 1
    assert not matches({"patch_embed_coords.proj.weight": torch.zeros(1), "head.conv_seg.weight": torch.zeros(1)})


def test_the_released_sizes_are_those_of_the_configs():
    with torch.device("meta"):
        network = SegNextNet.from_variant("base")
    assert network.arguments["image_size"] == 1024
    assert network.backbone.group == 3
    assert [norm.eps for norm in network.modules() if isinstance(norm, nn.LayerNorm)] == 24 * [1e-6] + 4 * [1e-5]


def test_another_fusion_is_refused():
    checkpoint = official_checkpoint()
    checkpoint["config"]["params"]["fusion_params"] = {"value": {"type": "cross_attention"}}
    with pytest.raises(ValueError, match="cross_attention"):
        from_official(checkpoint)


def test_clicks_are_rounded_half_up_in_the_square():
    network = SegNextNet.from_variant("mini")  # a square of 64
    clicks = Clicks.from_list([[(1, 3, 1), (2, 2, 0)], [(0, 0, 1)]])
    moved = network._squeezed_clicks(clicks, (128, 128))
    assert moved.yx[0].tolist() == [[1, 2], [1, 1]]  # 0.5 -> 1, 1.5 -> 2, 1 -> 1
    assert moved.yx[1, 1].tolist() == [-1, -1]  # an empty slot stays one
