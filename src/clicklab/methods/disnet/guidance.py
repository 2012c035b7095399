"""How clicks change the image features: first-click guidance, and SAM's own way for comparison."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clicklab.clicks.maps import sine_encoding
from clicklab.methods.disnet.evidence import Evidence
from clicklab.nn.sine_maps import SineMaps
from clicklab.records import EMPTY, NEGATIVE, POSITIVE, Clicks

REDUCTION = 16  # of the channel gates, as in SENet
LEAST_INNER = 8  # so that the gates of small networks are not dead from the start


class ClickCodes(nn.Module):
    """Enc1D: a sine code of the place plus a learnt vector for the sign. (B, N) clicks to (B, N, D)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.sign = nn.Parameter(torch.randn(2, dim))  # of negative and of positive clicks

    def forward(self, clicks: Clicks, size: tuple[int, int]) -> Tensor:
        place = sine_encoding(clicks.yx, size, self.sign.shape[1])
        return place.to(self.sign) + self.sign[clicks.label.clamp_min(0).long()]


class SamGuidance(nn.Module):
    """Every place of the features looks at the token and all clicks, as in SAM; the ablation without guidance.

    Args:
        dim: width D.
        heads: attention heads.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.codes = ClickCodes(dim)
        self.sine = SineMaps(dim)
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)

    def forward(self, token: Tensor, features: Tensor, evidence: Evidence) -> Tensor:
        """Change of the features (B, D, h, w), without residual; `token` (B, D)."""
        clicks = evidence.clicks
        keys = torch.cat([token[:, None], self.codes(clicks, evidence.size)], dim=1)
        hidden = F.pad(clicks.label == EMPTY, (1, 0))
        places = features.flatten(2).transpose(1, 2)
        places = places + self.sine((features.shape[-2], features.shape[-1]), places)
        answer, _ = self.attention(places, keys, keys, key_padding_mask=hidden, need_weights=False)
        return answer.transpose(1, 2).unflatten(2, features.shape[-2:])


class FirstClickGuidance(nn.Module):
    """Formulas 9 to 13: what the first click finds in the other clicks opens and closes channels of the features.

    One gate for the inside of the proposal, from the positive clicks, and one for the outside, from the negative ones.
    The first click is among the positive ones, and each sign has a learnt empty answer: otherwise there would be
    nothing to look at without negative clicks, and a single click could not be turned down (A-18 of
    docs/methods/disnet.md).

    Args:
        dim: width D, a multiple of `heads`.
        heads: attention heads.
        augmented: clicks are seen as image feature and click code together; False (ablation AC): image feature alone.
    """

    def __init__(self, dim: int, heads: int, augmented: bool = True) -> None:
        super().__init__()
        self.codes = ClickCodes(dim) if augmented else None
        self.project = nn.Linear(2 * dim if augmented else dim, dim)
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.nothing = nn.Parameter(torch.zeros(2, dim))  # of positive and of negative clicks
        self.inside, self.outside = _gate(dim), _gate(dim)

    def forward(self, token: Tensor, features: Tensor, evidence: Evidence) -> Tensor:
        """Change of the features (B, D, h, w), without residual; the token is not looked at."""
        found = self.relation(features, evidence)
        gates = torch.stack([self.inside(found[:, 0]), self.outside(found[:, 1])], dim=1)
        return features * torch.einsum("bsd,bshw->bdhw", gates, evidence.mask.to(gates))

    def relation(self, features: Tensor, evidence: Evidence) -> Tensor:
        """(B, 2, D) formula 10: answers of the positive and of the negative clicks to the first one."""
        clicks, size = evidence.clicks, evidence.size
        seen = sample(features, clicks, size)
        if self.codes is not None:
            seen = torch.cat([seen, self.codes(clicks, size).to(seen)], dim=-1)
        seen = self.project(seen)
        others = torch.stack([clicks.label != sign for sign in (POSITIVE, NEGATIVE)], dim=1)
        hidden = F.pad(others, (1, 0)).flatten(0, 1)  # the empty answer never is
        keys = seen[:, None].expand(-1, 2, -1, -1)
        nothing = self.nothing[None, :, None].expand(len(seen), -1, -1, -1).to(seen)
        keys = torch.cat([nothing, keys], dim=2).flatten(0, 1)
        query = seen[:, :1].repeat_interleave(2, dim=0)
        answer, _ = self.attention(query, keys, keys, key_padding_mask=hidden, need_weights=False)
        return answer.view(len(seen), 2, -1)


def sample(features: Tensor, clicks: Clicks, size: tuple[int, int]) -> Tensor:
    """(B, N, D): features (B, D, h, w) at the clicks, bilinear; clicks beyond the border read the border.

    Args:
        features: of an image of `size` (H, W).
        clicks: in pixels of that image.
        size: (H, W).
    """
    y, x = ((clicks.yx[..., axis] + 0.5) * (2 / side) - 1 for axis, side in enumerate(size))
    grid = torch.stack([x, y], dim=-1)
    found = F.grid_sample(
        features.float(), grid[:, :, None], mode="bilinear", padding_mode="border", align_corners=False
    )
    return found[..., 0].transpose(1, 2).to(features)


def _gate(dim: int) -> nn.Sequential:
    inner = max(LEAST_INNER, dim // REDUCTION)
    return nn.Sequential(nn.Linear(dim, inner), nn.ReLU(), nn.Linear(inner, dim), nn.Sigmoid())
