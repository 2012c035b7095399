"""ImageNet-22k weights of Swin (Liu et al., ICCV 2021): where the official Swin-B and Swin-S start from."""

from __future__ import annotations

from pathlib import Path

import torch.nn.functional as F
from torch import Tensor

from clicklab.external_checkpoint import KeyTable, fill, read_backbone, rename_keys
from clicklab.nn.swin import SwinTransformer
from clicklab.nn.timm_weights import fetch_through_timm

TIMM_NAMES = {
    (128, 12): "swin_base_patch4_window12_384.ms_in22k",
    (96, 7): "swin_small_patch4_window7_224.ms_in22k",
}  # (channels of the first stage, window)
_COMMON: KeyTable = [
    (r"(norm|head)\..*", None),  # image classification
    (r".*\.(attn_mask|relative_position_index)", None),  # follow from the sizes
    (r"(patch_embed\.(proj|norm)\.(weight|bias))", r"\1"),
    (r"(layers\.\d+\.blocks\.\d+\..*)", r"\1"),
]
FILE_KEYS: KeyTable = [*_COMMON, (r"(layers\.\d+\.downsample\..*)", r"\1")]
# timm hangs the merging before a stage, the official files after the one before
TIMM_KEYS: KeyTable = [*_COMMON, *((rf"layers\.{n + 1}\.(downsample\..*)", rf"layers.{n}.\1") for n in range(3))]
TABLE = "relative_position_bias_table"


def load_swin(backbone: SwinTransformer, source: str | Path = "swin") -> None:
    """Fills embedding and stages in place; the norms of the four outputs, which no such file has, stay as they are.

    Position-bias tables of another window are resampled, bicubic, as the official loader does.

    Args:
        backbone: the Swin to fill.
        source: `swin` to fetch the weights through timm, or the path of an official file
            (`swin_base_patch4_window12_384_22k.pth`, `swin_small_patch4_window7_224_22k.pth`).

    Raises:
        ValueError: no such weights exist for this size, timm could not fetch them, or the file does not fit.
        FileNotFoundError: no file at the path.
    """
    if str(source) == "swin":
        weights = rename_keys(_fetch(backbone), TIMM_KEYS)
    else:
        weights = _read(Path(source))
    own = backbone.state_dict()
    weights |= {key: value for key, value in own.items() if key.startswith("norms.")}
    for key, value in weights.items():
        if key.endswith(TABLE) and key in own:
            weights[key] = resample_table(value, own[key].shape[0])
    try:
        fill(backbone, weights)
    except ValueError as error:
        raise ValueError(f"{source}: is this the file for another variant? {error}") from error


def resample_table(table: Tensor, rows: int) -> Tensor:
    """(s * s, heads) bias table to (rows, heads), rows a square number; bicubic, align_corners=False."""
    side, wanted = round(table.shape[0] ** 0.5), round(rows**0.5)
    if side == wanted:
        return table
    planes = table.T.reshape(1, -1, side, side)
    return F.interpolate(planes, size=(wanted, wanted), mode="bicubic").flatten(2)[0].T.contiguous()


def _read(path: Path) -> dict[str, Tensor]:
    tensors = read_backbone(path)
    if "patch_embed.norm.weight" not in tensors:
        raise ValueError(f"{path}: not a Swin file: it has no patch_embed.norm")
    try:
        return rename_keys(tensors, FILE_KEYS)
    except ValueError as error:
        raise ValueError(f"{path}: not a Swin file of the official repository: {error}") from error


def _fetch(backbone: SwinTransformer) -> dict[str, Tensor]:
    size = (backbone.widths[0], backbone.window_size)
    if size not in TIMM_NAMES:
        raise ValueError(
            f"no ImageNet-22k weights are known for a Swin of {size[0]} channels and window {size[1]}; there are for "
            "swin_base and swin_small. Set pretrained to null to start from scratch, or to the path of a Swin file"
        )
    return fetch_through_timm(TIMM_NAMES[size], "swin_*_22k.pth", num_classes=0)
