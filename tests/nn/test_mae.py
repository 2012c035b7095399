"""Starting from MAE weights: a local file, timm (never over the network here), and what can go wrong."""

import pytest
import timm
import torch

from clicklab.nn import mae
from clicklab.nn.mae import load_mae
from clicklab.nn.vit import VisionTransformer, resample_positions


def vit(**options):
    return VisionTransformer(
        **{"image_size": 64, "patch_size": 16, "embed_dim": 24, "depth": 4, "num_heads": 3} | options
    )


def mae_weights(backbone, side):
    """What an official pre-training file holds, decoder included."""
    dim = backbone.pos_embed.shape[-1]
    weights = {k: torch.randn_like(v) for k, v in backbone.state_dict().items() if k != "pos_embed"}
    extra = {"cls_token": torch.randn(1, 1, dim), "norm.weight": torch.ones(dim), "mask_token": torch.zeros(1, 1, 8)}
    extra |= {"decoder_blocks.0.norm1.weight": torch.ones(8), "decoder_pos_embed": torch.zeros(1, 5, 8)}
    return weights | extra | {"pos_embed": torch.randn(1, 1 + side * side, dim)}


@pytest.mark.parametrize("side", [2, 4])
def test_local_file(tmp_path, side):
    backbone = vit()
    weights = mae_weights(backbone, side)
    torch.save({"model": weights}, tmp_path / "mae.pth")
    load_mae(backbone, tmp_path / "mae.pth")
    positions = weights["pos_embed"][:, 1:].view(1, side, side, 24)
    torch.testing.assert_close(
        backbone.pos_embed.data, positions if side == 4 else resample_positions(positions, (4, 4))
    )
    assert torch.equal(backbone.blocks[3].attn.qkv.weight, weights["blocks.3.attn.qkv.weight"])


def test_file_of_another_size(tmp_path):
    torch.save({"model": mae_weights(vit(depth=8), 4)}, tmp_path / "mae.pth")
    with pytest.raises(ValueError, match=r"mae.pth.*another variant.*unknown: blocks\.4"):
        load_mae(vit(), tmp_path / "mae.pth")
    torch.save({"model": {"a": torch.zeros(1)}}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other.pth: not a MAE file"):
        load_mae(vit(), tmp_path / "other.pth")
    with pytest.raises(FileNotFoundError, match=r"absent\.pth"):
        load_mae(vit(), tmp_path / "absent.pth")


def test_through_timm(monkeypatch):
    backbone = vit()
    weights = mae_weights(backbone, 2)
    monkeypatch.setitem(mae.TIMM_NAMES, (16, 24, 4), "small.mae")
    asked = []

    class Model:
        def state_dict(self):
            return weights

    def create_model(name, **options):
        asked.append((name, options["pretrained"]))
        return Model()

    monkeypatch.setattr(timm, "create_model", create_model)
    load_mae(backbone, "mae")
    assert asked == [("small.mae", True)]
    assert torch.equal(backbone.patch_embed.proj.bias, weights["patch_embed.proj.bias"])


def test_offline_says_what_to_do(monkeypatch):
    def offline(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setitem(mae.TIMM_NAMES, (16, 24, 4), "small.mae")
    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ValueError, match=r"could not fetch small.mae.*no route to host.*path of mae_pretrain"):
        load_mae(vit(), "mae")


def test_sizes_without_pretraining():
    with pytest.raises(ValueError, match="patch 16, width 24, depth 4"):
        load_mae(vit(), "mae")


@pytest.mark.parametrize("size", mae.TIMM_NAMES)
def test_timm_names_exist_and_fit(size):
    patch, dim, depth = size
    with torch.device("meta"):
        theirs = timm.create_model(mae.TIMM_NAMES[size], pretrained=False, num_classes=0).state_dict()
        ours = vit(
            image_size=224, patch_size=patch, embed_dim=dim, depth=depth, num_heads=16 if depth > 12 else 12
        ).state_dict()
    kept = {k: v.shape for k, v in theirs.items() if not k.startswith(mae._UNUSED)}
    assert kept.keys() == ours.keys()
    assert all(kept[k] == ours[k].shape for k in kept if k != "pos_embed")
    assert kept["pos_embed"][1] == 1 + (224 // patch) ** 2
