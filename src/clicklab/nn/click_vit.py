"""What networks share whose plain ViT reads the dialogue beside the image (SimpleClick, PiClick)."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path

from torch import Tensor

from clicklab.nn.mae import load_mae
from clicklab.nn.network import ClickNetwork
from clicklab.nn.normalise import Normalise
from clicklab.nn.variants import Variants
from clicklab.nn.vit import VisionTransformer
from clicklab.records import Clicks, Prediction


class ClickViT(Variants, ClickNetwork):
    """Image patches in `start`, everything that clicks touch in `step`.

    Attributes:
        backbone: the ViT.
        normalise: brings images to the statistics that the ViT was trained with.
    """

    backbone: VisionTransformer
    normalise: Normalise

    def load_pretrained(self, source: str | Path) -> None:
        """Fills the ViT from MAE pre-training: `mae` (through timm) or the path of an official MAE file."""
        load_mae(self.backbone, source)

    def start(self, image: Tensor) -> Tensor:
        """Image patches with positions. Clicks enter beside them, so nothing further depends on the image alone.

        Args:
            image: (B, 3, H, W) RGB in [0, 1].

        Returns:
            (B, H/p, W/p, D) tokens, the state of `step`.

        Raises:
            ValueError: if patches and attention windows do not tile the image.
        """
        return self.backbone.embed(self.normalise(image))

    @abstractmethod
    def step(self, state: Tensor, clicks: Clicks, prev_mask: Tensor) -> Prediction:
        """The answer to some clicks, see the network contract."""
