"""Analytic networks (real masks from colour and distance to the clicks, without weights) and drawn objects to play."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from clicklab.nn.network import ClickNetwork
from clicklab.records import Clicks, EvaluationObject, Prediction


def analytic(kind: str, image: Tensor, clicks: Clicks, prev_mask: Tensor) -> Tensor:
    """(B, 1, H, W) logits: high where colour and place are nearer to a positive click than to any negative one.

    `colour` uses the previous mask as well; `moody` answers an empty mask to clicks 3, 7, 11, .., so that a zoom-in
    loses its object.
    """
    size = torch.tensor(image.shape[-2:])
    height, width = image.shape[-2:]
    place = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")) / size[:, None, None]
    near = [torch.full((len(image), height, width), 1.0), torch.full((len(image), height, width), 0.45)]
    for slot in range(clicks.slots):
        yx, label = clicks.yx[:, slot], clicks.label[:, slot]
        pixel = torch.minimum(yx.round().clamp(min=0), size - 1).long()
        colour = image[torch.arange(len(image)), :, pixel[:, 0], pixel[:, 1]]
        distance = (image - colour[..., None, None]).square().mean(dim=1).sqrt()
        distance = distance + 0.5 * (place - (yx / size)[..., None, None]).square().sum(dim=1).sqrt()
        for sign in (1, 0):
            seen = (label == sign)[:, None, None]
            near[1 - sign] = torch.where(seen, torch.minimum(near[1 - sign], distance), near[1 - sign])
    logits = 12 * (near[1] - near[0]) + 2 * prev_mask[:, 0] - 1
    if kind == "moody":
        empty = clicks.valid.sum(dim=1) % 4 == 3
        logits = torch.where(empty[:, None, None], logits - 50, logits)
    return logits[:, None]


class Analytic(nn.Module):
    """A network with `forward` only. `calls` notes the batch sizes it was asked for."""

    def __init__(self, kind: str = "colour") -> None:
        super().__init__()
        self.kind = kind
        self.calls: list[int] = []

    def forward(self, image: Tensor, clicks: Clicks, prev_mask: Tensor) -> Prediction:
        self.calls.append(len(image))
        return Prediction(analytic(self.kind, image, clicks, prev_mask))


class Staged(ClickNetwork):
    """`start` and `step` with a nested state, K candidates with scores; notes what was started and stepped.

    The first candidate is the answer of `analytic`, the k-th is shifted down by k; the last one has the highest score.
    """

    def __init__(self, candidates: int = 1) -> None:
        super().__init__()
        self.num_candidates = candidates
        self.started: list[int] = []
        self.stepped: list[int] = []

    def start(self, image: Tensor) -> dict[str, object]:
        self.started.append(len(image))
        return {"image": image, "nested": (image.mean(dim=(1, 2, 3)), [image[:, :1]]), "missing": None}

    def step(self, state: dict[str, Tensor], clicks: Clicks, prev_mask: Tensor) -> Prediction:
        self.stepped.append(len(prev_mask))
        logits = (
            analytic("colour", state["image"], clicks, prev_mask) - torch.arange(self.num_candidates)[:, None, None]
        )
        score = None if self.num_candidates == 1 else torch.arange(self.num_candidates).expand(len(logits), -1).float()
        return Prediction(logits, score, state=state)


def drawn_object(seed: int, size: tuple[int, int] = (260, 330)) -> EvaluationObject:
    """A slanted ellipse of one colour on a smooth background, with an ignore band along its outline."""
    rng = np.random.default_rng(seed)
    height, width = size
    y, x = np.mgrid[:height, :width]
    background = (
        90 + 50 * np.sin(x / 40 + rng.uniform(0, 6))[..., None] + 30 * np.cos(y / 30)[..., None] * rng.uniform(-1, 1, 3)
    )
    centre_y, centre_x = rng.uniform(0.3, 0.7) * height, rng.uniform(0.3, 0.7) * width
    across, along = (x - centre_x) + 0.4 * (y - centre_y), (y - centre_y) - 0.4 * (x - centre_x)
    distance = np.hypot(across / (0.05 * width), along / (0.16 * height))
    image = np.where((distance < 1)[..., None], rng.uniform(100, 250, 3), background) + rng.normal(
        0, 6, (height, width, 3)
    )
    target = (distance < 1).astype(np.int8)
    target[abs(distance - 1) < 0.04] = -1
    return EvaluationObject(image.clip(0, 255).astype(np.uint8), target, f"drawn{seed}", 1, seed)


def tensors_of(value: object) -> list[Tensor]:
    """All tensors that an object holds, in its attributes, lists, tuples and dictionaries."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        return [tensor for part in value.values() for tensor in tensors_of(part)]
    if isinstance(value, (list, tuple)):
        return [tensor for part in value for tensor in tensors_of(part)]
    return tensors_of(vars(value)) if hasattr(value, "__dict__") else []
