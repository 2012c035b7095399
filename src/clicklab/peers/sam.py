"""The SAM family behind the network contract: SAM, SAM-HQ, SAM 2 and 2.1, EdgeTAM, SAM 3's tracker head.

Networks, image processors and thresholds are those of the `transformers` library. What is done here is what its authors
do in an interactive session: the image is encoded once; the first click is answered with three masks, every later
prompt with one; the low-resolution logits of the mask chosen are its mask prompt with the next click.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clicklab.nn.network import ClickNetwork
from clicklab.nn.network_state import PerSample
from clicklab.peers.seeds import rgb8
from clicklab.records import EMPTY, Clicks, Prediction

Given = Literal["mask", "box"]
LEAST = 1e-3  # a mask from outside becomes logits of probabilities in [LEAST, 1 - LEAST]
ABSENT = -1e9  # score of a place among the candidates that no mask stands in


@dataclass(frozen=True)
class ImageState:
    """What is kept of one image between clicks.

    Attributes:
        embeddings: arguments of the model that stand for the image.
        size: (H, W) of the image.
        resized: (h, w) of the image inside the model's square input, which is filled up at right and bottom.
        square: side of that input in pixels.
        low_res: (K, h, w) logits of the masks answered last, None before the first answer.
        box: (x0, y0, x1, y1) in pixels of the image, where the dialogue began with one.
    """

    embeddings: dict[str, Any]
    size: tuple[int, int]
    resized: tuple[int, int]
    square: int
    low_res: Tensor | None = None
    box: tuple[float, float, float, float] | None = None


class SamNetwork(ClickNetwork):
    """A model of the SAM family.

    Args:
        model: of the library, e.g. `transformers.Sam2Model`.
        processor: the library's processor for it.
        source: where the weights came from, for the record.
        given: what becomes of a mask that is there before the first click: SAM's mask prompt, or the box round it
            (`box`), which stays a prompt for the whole dialogue. A box alone is a filled rectangle.
    """

    zoom_in = None
    flip = False
    mask_threshold = 0.5  # the library's threshold is 0, of the logits
    num_candidates = 3

    def __init__(self, model: nn.Module, processor: Any, source: str = "", given: Given = "mask") -> None:
        super().__init__()
        if given not in ("mask", "box"):
            raise ValueError(f"given is {given!r}, expected mask or box")
        self.arguments = {"source": source, "given": given}
        self.model = model
        self.images = processor.image_processor
        # SAM 1's processors place clicks in float64, those from SAM 2 on in float32; a click that lies one rounding
        # elsewhere turns pixels whose logit is nearly 0
        pads = getattr(self.images, "pad_size", None) is not None
        self.placing = torch.float64 if pads else torch.float32
        self.given = given

    @property
    def class_name(self) -> str:
        """Name of the network in records and messages."""
        return type(self.model).__name__

    def start(self, image: Tensor) -> PerSample:
        """The embeddings of each image, resized, padded and normalised as the library does.

        Args:
            image: (B, 3, H, W) RGB in [0, 1].
        """
        return PerSample(self._encode(one) for one in image)

    def step(self, state: PerSample, clicks: Clicks, prev_mask: Tensor) -> Prediction:
        """See `ClickNetwork.step`; an empty previous mask means that there was none."""
        return self.answer(state, clicks, prev_mask, prev_mask.flatten(1).any(dim=1))

    def answer(self, state: PerSample, clicks: Clicks, prev_mask: Tensor, has_prev: Tensor) -> Prediction:
        """See `ClickNetwork.answer`.

        Returns:
            Logits (B, K, H, W) and the model's own estimate of each mask's IoU (B, K). K is 3 where a sample is at its
            first click, else 1; a sample with fewer masks repeats its first one, with the score `ABSENT`.
        """
        after: list[ImageState] = []
        maps: list[Tensor] = []
        scores: list[Tensor] = []
        for sample, before in enumerate(state):
            shown = prev_mask[sample, 0] if has_prev[sample] else None
            entry, score = self._decode(before, clicks[sample : sample + 1], shown)
            after.append(entry)
            maps.append(self._full_size(entry))
            scores.append(score)
        most = max(len(score) for score in scores)
        logits = torch.stack([torch.cat([one, one[:1].expand(most - len(one), -1, -1)]) for one in maps])
        score = torch.stack([F.pad(one, (0, most - len(one)), value=ABSENT) for one in scores])
        return Prediction(logits, score, PerSample(after))

    def _encode(self, image: Tensor) -> ImageState:
        """The state of one image (3, H, W) before the first click."""
        inputs = self.images(images=rgb8(image), return_tensors="pt")
        pixels = inputs["pixel_values"].to(image)
        square = pixels.shape[-1]
        resized = inputs.get("reshaped_input_sizes", [(pixels.shape[-2], square)])[0]
        found = self.model.get_image_embeddings(pixels)  # ty: ignore[not-callable]
        if isinstance(found, tuple):  # SAM-HQ: also what its early layers saw
            embeddings = {"image_embeddings": found[0], "intermediate_embeddings": found[1]}
        else:
            embeddings = {"image_embeddings": found}
        size = (image.shape[-2], image.shape[-1])
        return ImageState(embeddings, size, (int(resized[0]), int(resized[1])), square)

    def _decode(self, entry: ImageState, clicks: Clicks, shown: Tensor | None) -> tuple[ImageState, Tensor]:
        """The state with the logits for one sample's clicks, and their scores (K,).

        Args:
            entry: of the image.
            clicks: of one sample.
            shown: (H, W) probability of the mask shown last, None where there was none.
        """
        mask_prompt = None
        if shown is not None and entry.low_res is not None:
            mask_prompt = entry.low_res[self._candidate(entry, shown)]
        elif shown is not None and self.given == "box":
            entry = replace(entry, box=box_round(shown > self.mask_threshold))
        elif shown is not None:
            mask_prompt = self._as_prompt(entry, shown)
        valid = clicks.label[0] != EMPTY
        alone = int(valid.sum()) == 1 and shown is None and entry.box is None
        xy = clicks.yx[0, valid].cpu().flip(-1)
        points = self._in_input(xy, entry).to(clicks.yx.device)
        prompts: dict[str, Tensor] = {}
        if len(points):
            prompts = {"input_points": points[None, None], "input_labels": clicks.label[0, valid].long()[None, None]}
        if entry.box is not None:
            box = self._in_input(torch.tensor(entry.box).view(2, 2), entry)
            prompts["input_boxes"] = box.view(1, 1, 4).to(clicks.yx.device)
        if mask_prompt is not None:
            prompts["input_masks"] = mask_prompt[None, None]
        answered = self.model(**entry.embeddings, **prompts, multimask_output=alone)
        return replace(entry, low_res=answered.pred_masks[0, 0].float()), answered.iou_scores[0, 0].float()

    def _full_size(self, entry: ImageState) -> Tensor:
        """(K, H, W) logits of the masks answered, at the size of the image."""
        assert entry.low_res is not None
        (maps,) = self.images.post_process_masks(
            [entry.low_res[None]],
            original_sizes=[entry.size],
            reshaped_input_sizes=[entry.resized],  # from SAM 2 on not asked for
            binarize=False,
        )
        return maps[0]

    def _in_input(self, xy: Tensor, entry: ImageState) -> Tensor:
        """(N, 2) places (x, y) in the image as places in the model's input, float32."""
        scale = [entry.resized[1] / entry.size[1], entry.resized[0] / entry.size[0]]
        return (xy.to(self.placing) * torch.tensor(scale, dtype=self.placing)).float()

    def _candidate(self, entry: ImageState, shown: Tensor) -> int:
        """Which of the masks answered last is the one shown: somebody may have chosen another than the model did."""
        if entry.low_res is None or len(entry.low_res) == 1:
            return 0
        differences = (self._full_size(entry).sigmoid() - shown).abs().mean(dim=(1, 2))
        return int(differences.argmin())

    def _as_prompt(self, entry: ImageState, mask: Tensor) -> Tensor:
        """A mask (H, W) from outside as low-resolution logits in the frame of the model's input."""
        logits = mask.clamp(LEAST, 1 - LEAST).logit()[None, None]
        framed = F.interpolate(logits, entry.resized, mode="bilinear", align_corners=False, antialias=True)
        right, below = entry.square - entry.resized[1], entry.square - entry.resized[0]
        framed = F.pad(framed, (0, right, 0, below), value=float(logits.min()))
        rows, columns = self.model.prompt_encoder.image_embedding_size  # ty: ignore
        size = (4 * rows, 4 * columns)  # the mask prompt is four times as fine as the image's embedding
        return F.interpolate(framed, size, mode="bilinear", align_corners=False, antialias=True)[0, 0]


def box_round(mask: Tensor) -> tuple[float, float, float, float] | None:
    """(x0, y0, x1, y1), pixels included, round a mask (H, W) bool; None round an empty one."""
    rows, columns = mask.any(dim=1).nonzero()[:, 0], mask.any(dim=0).nonzero()[:, 0]
    if not len(rows):
        return None
    return float(columns[0]), float(rows[0]), float(columns[-1]), float(rows[-1])
