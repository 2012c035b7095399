"""Masked-autoencoder weights (He et al., CVPR 2022) for the plain ViT: where the official B, L and H start from."""

from __future__ import annotations

from math import isqrt
from pathlib import Path

from torch import Tensor

from clicklab.external_checkpoint import fill, read_backbone
from clicklab.nn.timm_weights import fetch_through_timm
from clicklab.nn.vit import VisionTransformer, resample_positions

TIMM_NAMES = {
    (16, 768, 12): "vit_base_patch16_224.mae",
    (16, 1024, 24): "vit_large_patch16_224.mae",
    (14, 1280, 32): "vit_huge_patch14_224.mae",
}  # (patch size, width, depth)
# of the class token, the probe, the decoder
_UNUSED = ("cls_token", "mask_token", "norm.", "fc_norm.", "head.", "decoder_")


def load_mae(backbone: VisionTransformer, source: str | Path = "mae") -> None:
    """Fills the ViT in place; positions are resampled to its own grid, bicubic without antialias.

    Args:
        backbone: the ViT to fill.
        source: `mae` to fetch the weights through timm, or the path of an official file (`mae_pretrain_vit_base.pth`).

    Raises:
        ValueError: no MAE weights exist for this size, timm could not fetch them, or the file does not fit.
        FileNotFoundError: no file at the path.
    """
    weights = _fetch(backbone) if str(source) == "mae" else read_backbone(source)
    weights = {name: value for name, value in weights.items() if not name.startswith(_UNUSED)}
    if "pos_embed" not in weights:
        raise ValueError(f"{source}: not a MAE file of a ViT, it has no pos_embed; such are mae_pretrain_vit_*.pth")
    weights["pos_embed"] = _positions(weights["pos_embed"], backbone, source)
    try:
        fill(backbone, weights)
    except ValueError as error:
        raise ValueError(f"{source}: is this the file for another variant? {error}") from error


def _positions(stored: Tensor, backbone: VisionTransformer, source: str | Path) -> Tensor:
    """(1, 1 + n * n, D) with the class token first to the grid of the ViT."""
    tokens = stored.shape[1] - 1 if stored.ndim == 3 and stored.shape[0] == 1 else 0
    side = isqrt(max(tokens, 0))
    if side == 0 or side**2 != tokens:
        raise ValueError(
            f"{source}: pos_embed is {tuple(stored.shape)}, expected (1, 1 + n * n, width), a class token before a "
            "square grid, as in mae_pretrain_vit_*.pth"
        )
    square = stored[:, 1:].reshape(1, side, side, -1)
    grid = (backbone.pos_embed.shape[1], backbone.pos_embed.shape[2])
    return square if grid == (side, side) else resample_positions(square, grid)


def _fetch(backbone: VisionTransformer) -> dict[str, Tensor]:
    size = (backbone.patch_size, backbone.pos_embed.shape[-1], len(backbone.blocks))
    if size not in TIMM_NAMES:
        raise ValueError(
            f"no MAE weights exist for a ViT of patch {size[0]}, width {size[1]}, depth {size[2]}; "
            "they do for base, large and huge. Set pretrained to null to start from scratch"
        )
    return fetch_through_timm(TIMM_NAMES[size], "mae_pretrain_vit_*.pth", num_classes=0)
