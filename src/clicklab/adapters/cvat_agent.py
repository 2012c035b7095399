"""A native CVAT function: an agent (`cvat-cli function run-agent`) answers the clicks that people make in CVAT.

    cvat-cli function create-native ClickLab --function-module clicklab.adapters.cvat_agent
    cvat-cli function run-agent ID --function-module clicklab.adapters.cvat_agent -p checkpoint=str:FILE

CVAT sends a frame once; the agent keeps what `preprocess_image` made of it and calls `detect` for every click. No
previous mask is sent, so the clicks are played again (`Dialogues`).
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from math import floor

import numpy as np
from cvat_sdk import auto_annotation, models
from cvat_sdk.masks import encode_mask
from PIL import Image

from clicklab.adapters.dialogues import Dialogues, Point
from clicklab.loading import load


@dataclass(frozen=True)
class Frame:
    """A frame that an agent keeps.

    Attributes:
        key: under which its dialogue is known.
        pixels: (H, W, 3) uint8 RGB.
    """

    key: str
    pixels: np.ndarray


class ClickFunction:
    """CVAT's `InteractionFunction`.

    Args:
        checkpoint: any that `clicklab evaluate` takes; None: the network that ships.
        device: where it runs.
    """

    def __init__(self, checkpoint: str | None = None, device: str = "cpu") -> None:
        self._dialogues = Dialogues(load(checkpoint, device))

    @property
    def spec(self) -> auto_annotation.InteractionFunctionSpec:
        """At least one positive click, as many negative ones as wanted, no box."""
        return auto_annotation.InteractionFunctionSpec(min_pos_points=1, min_neg_points=0)

    def preprocess_image(self, context: auto_annotation.InteractionFunctionContext, image: Image.Image) -> Frame:
        """What the agent keeps of a frame."""
        return Frame(uuid.uuid4().hex, np.asarray(image.convert("RGB")))

    def detect(
        self,
        context: auto_annotation.InteractionFunctionContext,
        pp_image: Frame,
        prompts: auto_annotation.InteractionPrompts,
    ) -> list[auto_annotation.InteractionResultShape]:
        """The mask of the clicks, nothing where it is empty.

        Raises:
            ValueError: no positive click, or one outside the frame.
        """
        points: list[Point] = [(floor(y), floor(x), True) for x, y in prompts.pos_points]
        points += [(floor(y), floor(x), False) for x, y in prompts.neg_points]
        answer = self._dialogues.answer(pp_image.key, lambda: pp_image.pixels, points)
        if not answer.mask.any():
            return []
        confidence = models.AttributeValRequest(
            spec_id=int(auto_annotation.InteractionResultAttributes.CONFIDENCE), value=f"{answer.score:.4f}"
        )
        return [
            auto_annotation.InteractionResultShape(
                type="mask", points=encode_mask(answer.mask), attributes=[confidence]
            )
        ]


def create(checkpoint: str | None = None, device: str = "cpu") -> ClickFunction:
    """What `cvat-cli` calls; arguments as of `ClickFunction`."""
    return ClickFunction(checkpoint, device)
