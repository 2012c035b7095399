"""The same official weights as six tools would store them give the same network."""

from __future__ import annotations

import pytest
import torch
from official_simpleclick import official_checkpoint
from safetensors.torch import save_file

import clicklab
from clicklab.external_checkpoint import find_weights
from clicklab.nn.mae import load_mae
from clicklab.nn.vit import VisionTransformer


def official() -> dict:
    return official_checkpoint("mini")


def with_prefix(prefix: str) -> dict:
    content = official()
    return content | {"state_dict": {prefix + key: value for key, value in content["state_dict"].items()}}


STORED = {
    "module": with_prefix("module."),
    "compiled": with_prefix("_orig_mod."),
    "lightning": with_prefix("model."),
    "network": with_prefix("network."),
    "ddp around a compiled Lightning module": with_prefix("module._orig_mod.model."),
    "compiled inside": with_prefix("model._orig_mod."),
    "another name": {"model_state_dict": official()["state_dict"], "config": official()["config"]},
    "in two": {"model": {"state_dict": official()["state_dict"]}, "config": official()["config"]},
    "average": {"state_dict_ema": official()["state_dict"], "config": official()["config"]},
    "averaged model": {
        "state_dict": with_prefix("module.")["state_dict"] | {"n_averaged": torch.tensor(7)},
        "config": official()["config"],
    },
}


@pytest.fixture(scope="module")
def right(tmp_path_factory):
    path = tmp_path_factory.mktemp("official") / "official.pth"
    torch.save(official(), path)
    return clicklab.load(path).state_dict()


@pytest.mark.parametrize("way", STORED)
def test_wrappers_are_taken_off(tmp_path, way, right):
    torch.save(STORED[way], tmp_path / "x.pth")
    found = clicklab.load(tmp_path / "x.pth").state_dict()
    assert found.keys() == right.keys() and all(torch.equal(found[key], right[key]) for key in right)


@pytest.mark.parametrize("form", ["pth", "safetensors"])
def test_bare_weights(tmp_path, form):
    """Without the settings beside them: a size that was released tells its number of heads."""
    weights = official_checkpoint("xtiny")["state_dict"]
    path = tmp_path / f"x.{form}"
    torch.save(weights, path) if form == "pth" else save_file(weights, path)
    assert clicklab.load(path).arguments["num_heads"] == 4


def test_the_average_is_read_and_said_so():
    with pytest.warns(UserWarning, match="state_dict_ema, the average, is read"):
        found = find_weights({"state_dict": {"a": torch.zeros(1)}, "state_dict_ema": {"a": torch.ones(1)}})
    assert found["a"] == 1


def test_a_bare_network_of_ours_says_what_it_lacks(tmp_path, right):
    torch.save(right, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"without its settings.*clicklab convert"):
        clicklab.load(tmp_path / "x.pth")


@pytest.mark.parametrize("config", [[1], "text", {"params": [1]}, {"params": {"norm_radius": 5}}])
def test_settings_in_no_known_form(tmp_path, config):
    torch.save(official() | {"config": config}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"x\.pth: its `config` is not what official code stores"):
        clicklab.load(tmp_path / "x.pth")


@pytest.mark.parametrize(
    "changes",
    [
        {"norm_radius": "five"},
        {"norm_radius": float("nan")},
        {"backbone_params": [1]},
        {"backbone_params": {"num_heads": -3}},
        {"backbone_params": {"num_heads": 5}},
        {"backbone_params": {"num_heads": 10**30}},
    ],
)
def test_settings_of_another_type_end_in_one_line(tmp_path, changes):
    content = official()
    content["config"]["params"] |= {key: {"value": value} for key, value in changes.items()}
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"x\.pth: ") as error:
        clicklab.load(tmp_path / "x.pth")
    assert "\n" not in str(error.value) and len(str(error.value).replace(str(tmp_path), "")) <= 200


def test_a_layer_number_far_beyond_the_weights(tmp_path):
    content = official()
    content["state_dict"]["backbone.blocks.99999999.norm1.weight"] = torch.ones(96)
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(ValueError, match="far larger network"):
        clicklab.load(tmp_path / "x.pth")


def small_vit() -> VisionTransformer:
    return VisionTransformer(image_size=32, patch_size=8, embed_dim=32, depth=8, num_heads=2)


@pytest.mark.parametrize("positions", [(1, 16, 32), (1, 13, 32), (1, 1, 32), (17, 32), (2, 17, 32)])
def test_a_mae_file_with_other_positions_is_named(tmp_path, positions):
    state = dict(small_vit().state_dict()) | {"pos_embed": torch.zeros(positions)}
    torch.save({"model": state}, tmp_path / "mae.pth")
    with pytest.raises(ValueError, match=r"mae\.pth: pos_embed is .*square"):
        load_mae(small_vit(), tmp_path / "mae.pth")


def test_pretrained_with_a_whole_network_says_how_to_fine_tune(tmp_path):
    torch.save(official(), tmp_path / "official.pth")
    torch.save({"clicklab_method": "simpleclick", "state_dict": {"network.a": torch.zeros(1)}}, tmp_path / "ours.ckpt")
    for name in ("official.pth", "ours.ckpt"):
        with pytest.raises(ValueError, match=rf"{name}: a whole interactive network.*VARIANT=finetune FROM="):
            load_mae(small_vit(), tmp_path / name)
