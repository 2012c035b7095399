"""PiClick against the official code: outputs, loss terms, assignments, flip pairs, clicks and IoUs.

The golden file holds what the official code (commit 765fb3e) answers for weights by `official_simpleclick.rule` and the
inputs of `official_piclick`; the tests below are the snippet of our side.
"""

import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from official_piclick import OFFICIAL, official_checkpoint, official_shapes, probe_inputs, probe_set
from torch import nn
from torch.nn.functional import interpolate

import clicklab
from clicklab.evaluation.play import play
from clicklab.evaluation.protocol import EvaluationProtocol
from clicklab.external_checkpoint import rename_keys
from clicklab.inference.predictor import predictor_for
from clicklab.losses.matching import assign, mask_cost
from clicklab.masks.candidate_sets import MaskSets
from clicklab.methods.piclick import VARIANTS, PiClickNet, from_official, matches
from clicklab.methods.piclick.loss import LossWeights, set_loss
from clicklab.methods.piclick.net import SCORE_RULES
from clicklab.methods.piclick.official import KEYS
from clicklab.nn.linear import TokenLinear
from clicklab.nn.resize import resize
from data_modules.datasets import open_dataset
from data_modules.scenes import EvaluationObjects

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "piclick.json").read_text())


@pytest.fixture(scope="module")
def network():
    return from_official(official_checkpoint("tiny")).eval()


def close(found, wanted, tolerance=1e-4):
    torch.testing.assert_close(found.detach(), torch.as_tensor(wanted), rtol=0, atol=tolerance, check_dtype=False)


def test_all_predictions_equal_the_official_ones(network):
    wanted, (image, clicks, previous) = GOLDEN["network"], probe_inputs()
    with torch.no_grad():
        answer = network(image, clicks, previous)
        network.train()  # no dropout anywhere: training mode only keeps all predictions
        extras = network(image, clicks, previous).extras
        network.eval()
    close(answer.logits[:, :, 7::87, 3::111], wanted["masks"])
    close(resize(extras["masks"][0], (448, 448))[:, :, 7::87, 3::111], wanted["first_masks"])
    for name in ("class_logits", "iou_logits", "onehot_logits"):
        close(extras[name], wanted[name], 1e-5)
    confidence = torch.tensor(wanted["class_logits"][-1]).softmax(-1)[..., 0]
    close(answer.extras["confidence"], confidence, 1e-5)
    close(answer.score, confidence * torch.tensor(wanted["iou_logits"][-1]).sigmoid(), 1e-5)


@pytest.mark.parametrize("seed", ["5", "6"])
def test_loss_terms_and_assignments_equal_the_official_ones(seed):
    wanted = GOLDEN["loss"][seed]
    masks, (classes, iou, onehot), targets, valid = probe_set(int(seed), wanted["numbers"])
    cost = torch.stack([mask_cost(maps, targets) for maps in masks]) - classes.softmax(-1)[..., :1]
    found = torch.zeros(4, 2, 7, dtype=torch.long)
    p, b, q, n = assign(cost, valid)
    found[p, b, q] = n + 1
    assert found.tolist() == wanted["assigned"]
    extras = {"masks": list(masks), "class_logits": classes}
    extras |= {"iou_logits": iou[..., 0], "onehot_logits": onehot[..., 0]}
    meant = targets[torch.arange(2), torch.tensor(wanted["numbers"]) - 1][:, None].float()
    terms = set_loss(extras, MaskSets(targets, valid), meant, LossWeights())
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(wanted["terms"], rel=1e-5)


@pytest.mark.parametrize("mask_threshold", [None, 0.1, 0.9])  # officially they are paired at 0.49 all the same
def test_flip_pairs_with_their_official_flaw(network, mask_threshold):
    """The probe's pairing has cycles of three, for which the permutation is not its own inverse."""
    rng = np.random.default_rng(11)
    coarse = torch.tensor(rng.normal(size=(2, 7, 6, 8)), dtype=torch.float32) * 2
    logits = interpolate(coarse, size=(24, 32), mode="bilinear", align_corners=True)
    confidence, iou, onehot = (torch.tensor(rng.random((2, 7)), dtype=torch.float32) for _ in range(3))
    score = SCORE_RULES["released"](confidence, iou, onehot)
    official = predictor_for(network, EvaluationProtocol(mask_threshold=mask_threshold))
    merged, merged_score = official.merge(logits[None], score[None], {"confidence": confidence, "iou": iou})
    close(merged[0, :, ::7, ::9], GOLDEN["pairs"]["merged"])
    assert merged_score.argmax().item() == GOLDEN["pairs"]["best"]
    clean = predictor_for(network, EvaluationProtocol(preset="clean"))
    fair, _ = clean.merge(logits[None], score[None], {"confidence": confidence, "iou": iou})
    assert min((merged[0, 0] - one).abs().max().item() for one in fair[0]) > 0.1


@pytest.mark.parametrize("choice", ["oracle", "automatic"])
def test_same_clicks_and_ious_as_the_official_evaluation(network, choice, shared_data, monkeypatch):
    # with the matrix products of the official run: a pixel of a masked attention lies 5e-6 from its threshold, less
    # than rounding (1e-5): it falls to the side of the exact answer with these, to the other with `TokenLinear`'s
    monkeypatch.setattr(TokenLinear, "forward", nn.Linear.forward)
    network.score_rule = "released"
    protocol = EvaluationProtocol(max_clicks=3, target_iou=1.01, choice=choice)
    objects = EvaluationObjects(open_dataset("GrabCut", shared_data / "GrabCut"), 2)
    for result in play(predictor_for(network, protocol), objects, 2):
        wanted = GOLDEN["evaluation"][f"{result.name} {choice}"]
        assert [list(click) for click in result.clicks] == wanted["clicks"]
        np.testing.assert_allclose(result.ious, wanted["ious"], rtol=0, atol=1e-3)
        assert choice == "oracle" or result.selections == 0
    network.score_rule = "product"


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_with_easydict_inside_loads(tmp_path, network, zipped):
    with pytest.MonkeyPatch.context() as patch:
        module = types.ModuleType("easydict")
        kind = type("EasyDict", (dict,), {"__module__": "easydict"})
        module.EasyDict = kind
        patch.setitem(sys.modules, "easydict", module)

        def wrap(**values):
            made = kind(values)
            made.__dict__.update(values)  # as the real class: every key is an attribute too
            return made

        torch.save(official_checkpoint("tiny", wrap), tmp_path / "piclick.pth", _use_new_zipfile_serialization=zipped)
    opened = clicklab.load(tmp_path / "piclick.pth")
    assert isinstance(opened, PiClickNet)
    assert opened.arguments == network.arguments
    assert all(torch.equal(a, b) for a, b in zip(opened.parameters(), network.parameters(), strict=True))


@pytest.mark.parametrize("name", ["base", "large", "huge"])
def test_released_sizes(name):
    shapes = official_shapes(name)
    assert matches(shapes)
    with torch.device("meta"):
        network = PiClickNet.from_variant(name)
        renamed = rename_keys({key: torch.empty(shape) for key, shape in shapes.items()}, KEYS)
    patch, width, *_ = OFFICIAL[name]
    renamed["click_embed"] = torch.cat([renamed.pop("negative"), renamed.pop("positive")])
    renamed["backbone.pos_embed"] = renamed["backbone.pos_embed"][:, 1:].unflatten(1, (448 // patch, -1))
    wanted = network.state_dict()
    assert {key: value.shape for key, value in renamed.items()} == {key: value.shape for key, value in wanted.items()}
    unused = width + 2 * width + 1000 * width + 1000 + width  # class token, its norm and probe, its position
    published = {"base": 116_360_748, "large": 383_461_228, "huge": 721_623_964}[name]
    assert sum(p.numel() for p in network.parameters()) + unused == published
    assert VARIANTS[name]["num_heads"] == OFFICIAL[name][3]


def test_ablation_files_are_recognised():
    checkpoint = official_checkpoint("tiny")
    weights = checkpoint["state_dict"]
    tokens = {**weights, "patch_embed_coords.proj.weight": weights["patch_embed_coords.proj.weight"][:, :1]}
    assert from_official({**checkpoint, "state_dict": tokens}).arguments["click_encoding"] == "tokens"
    maps = {key: value for key, value in weights.items() if "positional_embed" not in key}
    assert from_official({**checkpoint, "state_dict": maps}).arguments["click_encoding"] == "maps"


def test_files_that_do_not_fit():
    checkpoint = official_checkpoint("tiny")
    weights = checkpoint["state_dict"]
    with pytest.raises(ValueError, match=r"1 unknown keys: head\.more"):
        from_official({**checkpoint, "state_dict": weights | {"head.more": torch.zeros(1)}})
    with pytest.raises(ValueError, match=r"missing.*onehot_head\.0\.bias"):
        from_official({"state_dict": {k: v for k, v in weights.items() if "onehot" not in k}, **_config(checkpoint)})
    with pytest.raises(ValueError, match="positive or negative click"):
        from_official({"state_dict": {k: v for k, v in weights.items() if "negative_" not in k}})
    with pytest.raises(ValueError, match=r"patch 16, width 192.*number of attention heads"):
        from_official({"state_dict": weights})


def _config(checkpoint):
    return {"config": checkpoint["config"]}
