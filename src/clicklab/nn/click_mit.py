"""Mix Transformer and SegFormer head that read clicks: FocalClick's coarse segmentor, with its official key table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from clicklab.external_checkpoint import KeyTable
from clicklab.nn.mit import MIT_KEYS, MixTransformer, OverlapPatchEmbed, initialise
from clicklab.nn.segformer_head import SegFormerHead

_EXTRACTOR = r"feature_extractor"
_HEAD = rf"{_EXTRACTOR}\.decode_head"
# official `SegFormerModel` -> a network that calls its ClickMiT `segmentor` (docs/methods/focalclick.md)
CLICK_MIT_KEYS: KeyTable = [
    (r"maps_transform\..*", None),  # inherited from RITM's model class and never run
    (rf"{_EXTRACTOR}\.backbone\.patch_embed_side1\.(proj|norm)\.(\w+)", r"segmentor.clicks.\1.\2"),
    *((rf"{_EXTRACTOR}\.backbone\.{key}", rf"segmentor.backbone.{ours}") for key, ours in MIT_KEYS),
    *((rf"{_HEAD}\.linear_c{i + 1}\.proj\.(\w+)", rf"segmentor.head.levels.{i}.\1") for i in range(4)),
    (rf"{_HEAD}\.linear_fuse\.conv\.weight", r"segmentor.head.fuse.weight"),
    (rf"{_HEAD}\.linear_fuse\.bn\.(\w+)", r"segmentor.head.norm.\1"),
    (rf"{_HEAD}\.linear_pred\.(\w+)", r"segmentor.head.predict.\1"),
]


class SegFormerOutput(NamedTuple):
    """What the segmentor says of an image, at a quarter of its size.

    Attributes:
        logits: (B, 1, h, w) the mask.
        aux: None: unlike the OCR head there is no first guess.
        features: (B, C, h, w) what the mask is read from.
    """

    logits: Tensor
    aux: None
    features: Tensor


class ClickMiT(nn.Module):
    """SegFormer; click and mask maps are embedded like the image and join it behind the first stage.

    They join on the way into the second stage only: what the head reads of the first stage is the image's alone.

    Args:
        maps: number of click and mask maps: 3 (previous mask, positive, negative).
        dims: see `MixTransformer`.
        depths: see `MixTransformer`.
        heads: see `MixTransformer`.
        channels: width of the head and of the features.
        drop_path: see `MixTransformer`.
    """

    def __init__(
        self,
        maps: int,
        dims: Sequence[int],
        depths: Sequence[int],
        heads: Sequence[int],
        channels: int,
        drop_path: float = 0.1,
    ) -> None:
        super().__init__()
        self.clicks = OverlapPatchEmbed(maps, dims[0], 7, 4)
        self.clicks.apply(initialise)
        self.backbone = MixTransformer(dims, depths, heads, drop_path=drop_path)
        self.head = SegFormerHead(dims, channels)

    def stem(self, image: Tensor) -> Tensor:
        """What depends on the image alone: (B, 3, H, W), normalised, to features at a quarter of the size."""
        return self.backbone.first_stage(image)

    def forward(self, stem: Tensor, maps: Tensor) -> SegFormerOutput:
        """The answer at a quarter of the size.

        Args:
            stem: what `stem` gave.
            maps: (B, maps, H, W), previous mask first.
        """
        later = self.backbone.later_stages(stem + self.clicks(maps))
        logits, features = self.head([stem, *later])
        return SegFormerOutput(logits, None, features)
