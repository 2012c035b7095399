"""What networks share whose plain ViT reads the dialogue beside the image (SimpleClick, PiClick)."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from clicklab.nn.mae import load_mae
from clicklab.nn.normalise import Normalise
from clicklab.nn.vit import VisionTransformer
from clicklab.records import Clicks, Prediction


class ClickViT(nn.Module):
    """Image patches in `start`, everything that clicks touch in `step`.

    Attributes:
        variants: name -> arguments of the constructor.
        arguments: the plain values that the constructor was given; they go into checkpoints.
        backbone: the ViT.
        normalise: brings images to the statistics that the ViT was trained with.
    """

    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    arguments: dict[str, Any]
    backbone: VisionTransformer
    normalise: Normalise

    @classmethod
    def from_variant(cls, name: str, **overrides: Any) -> Self:
        """A network of `variants` with some arguments replaced.

        Raises:
            ValueError: on a name that is not in the table, or an argument that does not exist.
        """
        if name not in cls.variants:
            method = cls.__name__.removesuffix("Net")
            raise ValueError(f"unknown {method} variant {name!r}; known: {', '.join(cls.variants)}")
        unknown = overrides.keys() - inspect.signature(cls).parameters.keys()
        if unknown:
            raise ValueError(f"{cls.__name__} has no option {', '.join(sorted(unknown))}")
        return cls(**{**cls.variants[name], **overrides})

    @classmethod
    def from_hyper_parameters(cls, values: Mapping[str, Any]) -> Self:
        """From `variant` (None: the options are complete) and `network_options` of a checkpoint; the rest is left."""
        variant, options = values.get("variant"), dict(values.get("network_options") or {})
        return cls(**options) if variant is None else cls.from_variant(variant, **options)

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

    def forward(self, image: Tensor, clicks: Clicks, prev_mask: Tensor) -> Prediction:
        """`start` and `step` together."""
        return self.step(self.start(image), clicks, prev_mask)
