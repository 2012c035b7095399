"""FocalClick against the official code: logits, crops, clicks, IoUs, merges, targets and losses; the key table.

The golden file holds what the official code (commit 0c801cf) answers for weights by `official_ritm.rule` and the inputs
below.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from official_focalclick import HRNET, MIT, official_checkpoint, official_shapes

from clicklab.checkpoint import load
from clicklab.evaluation.play import play
from clicklab.evaluation.protocol import EvaluationProtocol
from clicklab.inference.predictor import predictor_for
from clicklab.methods import official_method
from clicklab.methods.focalclick import FocalClickNet, from_official, matches
from clicklab.nn.coarse_to_fine_keys import read_official
from clicklab.records import Clicks
from data_modules.datasets import open_dataset
from data_modules.scenes import EvaluationObjects

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "focalclick.json").read_text())
NAMES = {"segformerb0": "b0", "segformerb3": "b3", "hrnet18s": "hrnet18s", "hrnet32": "hrnet32"}


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: f"{case['file']}-{case['pipeline']}")
def test_golden_logits_of_both_passes(case):
    network = from_official(official_checkpoint(case["file"], case["pipeline"])).eval()
    assert network.halve == (case["pipeline"] == "s1")
    rng = np.random.default_rng(0)
    image, prev_mask, focus = (
        torch.from_numpy(rng.random((2, channels, 256, 256), dtype=np.float32)) for channels in (3, 1, 3)
    )
    clicks = Clicks.from_list([[(76.8, 102.4, 1), (10.25, 252.5, 0), (255.0, 5.0, 1)], [(128.5, 127.75, 1)]])
    boxes = torch.tensor([[10.0, 20.5, 200.25, 180.0], [0.0, 0.0, 256.0, 256.0]])
    with torch.inference_mode():
        coarse = network(image, clicks, prev_mask)
        fine = network.refine(focus, clicks, coarse, boxes)
    found = {"logits": coarse.logits, "refined": fine.logits, "edge": fine.edge, "coarse": fine.coarse}
    found |= {"aux": coarse.extras["aux"]} if "aux" in case else {}
    for name, maps in found.items():
        ours = torch.stack([maps[:, 0, y, x] for y, x in case["pixels"]], dim=1)
        official = torch.tensor(case[name])
        torch.testing.assert_close(ours, official, rtol=1e-4, atol=1e-4 * official.abs().max().item())


def test_official_clicks_and_ious_on_photographs(shared_data):
    network = from_official(official_checkpoint("segformerb0")).eval()
    photographs = EvaluationObjects(open_dataset("GrabCut", shared_data / "GrabCut"))
    items = [photographs[case["index"]] for case in GOLDEN["grabcut"]]
    results = list(play(predictor_for(network, EvaluationProtocol(max_clicks=4, target_iou=1.01)), items, 2))
    for case, result in zip(GOLDEN["grabcut"], sorted(results, key=lambda result: result.index), strict=True):
        assert (result.name, [list(click) for click in result.clicks]) == (case["name"], case["clicks"])
        np.testing.assert_allclose(result.ious, case["ious"], atol=1e-4)


# Number of keys and of parameters: the official files (docs/methods/focalclick.md#files).
@pytest.mark.parametrize(
    ("name", "keys", "parameters"),
    [
        ("segformerb0", 257, 3_740_773),
        ("segformerb3", 653, 45_687_941),
        ("hrnet18s", 983, 4_231_377),
        ("hrnet32", 1949, 30_967_813),
    ],
)
def test_architecture_from_the_keys(name, keys, parameters):
    shapes = official_shapes(name)
    learnt = {key: shape for key, shape in shapes.items() if "running" not in key and "tracked" not in key}
    assert (len(shapes), sum(int(np.prod(shape)) for shape in learnt.values())) == (keys, parameters)
    with torch.device("meta"):
        weights = {key: torch.empty(shape) for key, shape in shapes.items()}
        config = {"params": {"pipeline_version": {"value": "s2"}}}
        arguments, renamed = read_official({"state_dict": weights, "config": config})
        network = FocalClickNet(**arguments)
    assert arguments["backbone"] == NAMES[name]
    assert renamed.keys() == network.state_dict().keys()
    assert official_method(weights) == "focalclick"


@pytest.mark.parametrize(("name", "radius"), [("segformerb0", 3), ("hrnet18s", 2)])
def test_s1_is_read_from_the_file(tmp_path, name, radius):
    torch.save(official_checkpoint(name, "s1"), tmp_path / "official.pth")
    network = load(tmp_path / "official.pth")
    assert isinstance(network, FocalClickNet)
    assert network.arguments == {
        "backbone": NAMES[name],
        "image_size": 256,
        "halve": True,
        "click_radius": radius,
    }


def test_files_that_are_not_quite_right():
    checkpoint = official_checkpoint("segformerb0")
    state, params = checkpoint["state_dict"], checkpoint["config"]["params"]
    with pytest.raises(ValueError, match=r"1 unknown keys: refiner\.extra"):
        from_official(checkpoint | {"state_dict": state | {"refiner.extra": torch.zeros(1)}})
    without = {key: value for key, value in state.items() if key != "refiner.refine_pred.bias"}
    with pytest.raises(ValueError, match=r"1 keys missing: refiner\.mask\.bias"):
        from_official(checkpoint | {"state_dict": without})
    without = {key: value for key, value in state.items() if "norm2.weight" not in key}
    with pytest.raises(ValueError, match="keys missing"):
        from_official(checkpoint | {"state_dict": without})
    with pytest.raises(ValueError, match=r"pipeline_version.*s1 or s2"):
        from_official({"state_dict": state})
    with pytest.raises(ValueError, match="binary_prev_mask=True"):
        params["binary_prev_mask"]["value"] = True
        from_official(checkpoint)


def test_sizes_that_no_release_has():
    config = {"params": {"pipeline_version": {"value": "s2"}}}
    with torch.device("meta"):
        for name, kept in (("segformerb0", "block1.1"), ("hrnet18s", "stage3.2.")):
            weights = {key: torch.empty(shape) for key, shape in official_shapes(name).items() if kept not in key}
            with pytest.raises(ValueError, match="is no released one"):
                read_official({"state_dict": weights, "config": config})


def test_all_released_files_are_known():
    assert set(NAMES) == {*MIT, *HRNET}
    assert not matches({"refiner.refine_trimap.weight": torch.zeros(1)})
