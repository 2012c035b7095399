"""How the chosen proposal's token reads the image features: masked click attention, and SAM's own for comparison."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clicklab.methods.disnet.evidence import Evidence


class PlainAttention(nn.Module):
    """Multi-head attention of one token over a feature map, as in SAM; the ablation without masked click attention.

    There is one token, so neither keys nor values are made for the whole map: q (W_K f + b_K) = (W_K^T q) f + q b_K,
    and the values are projected after they are summed. Exact, at a fraction of the work
    (docs/methods/disnet.md#one-token-less-work).

    Args:
        dim: width D, a multiple of `heads`.
        heads: attention heads.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, token: Tensor, features: Tensor, evidence: Evidence) -> Tensor:
        """What the token (B, D) finds in the features (B, D, h, w): (B, D), without residual."""
        flat = features.flatten(2)
        return self.gather(self.affinity(token, flat).softmax(-1), flat)

    def affinity(self, token: Tensor, flat: Tensor) -> Tensor:
        """(B, heads, n): q k / sqrt(width of a head) for features (B, D, n); in float32 at least, for the softmax."""
        width = token.shape[-1] // self.heads
        query = self.query(token).unflatten(-1, (self.heads, width)) * width**-0.5
        probe = torch.einsum("bhc,hcd->bhd", query, self.key.weight.unflatten(0, (self.heads, width)))
        constant = (query * self.key.bias.view(self.heads, width)).sum(-1, keepdim=True)
        affinity = torch.einsum("bhd,bdn->bhn", probe, flat) + constant
        return affinity.to(torch.promote_types(affinity.dtype, torch.float32))

    def gather(self, weights: Tensor, flat: Tensor) -> Tensor:
        """(B, D): values of features (B, D, n) summed with `weights` (B, heads, n), projected."""
        projection = self.value.weight.unflatten(0, (self.heads, -1))
        pooled = torch.einsum("bhn,bcn->bhc", weights.to(flat.dtype), flat)
        shift = weights.sum(-1, keepdim=True).to(flat.dtype) * self.value.bias.view(self.heads, -1)
        return self.out((torch.einsum("bhc,hdc->bhd", pooled, projection) + shift).flatten(1))


class MaskedClickAttention(PlainAttention):
    """Formulas 5 to 8: once for the positive clicks inside the mask, once for the negative ones outside, added.

    The decay maps multiply the affinity, the logarithm of the mask is added to it, and only then comes the softmax.
    """

    def forward(self, token: Tensor, features: Tensor, evidence: Evidence) -> Tensor:
        flat = features.flatten(2)
        affinity = self.affinity(token, flat)[:, None] * evidence.near.flatten(2)[:, :, None]
        weights = (affinity + evidence.log_mask.flatten(2)[:, :, None]).softmax(-1)  # (B, 2, heads, n)
        return self.gather(weights.sum(1), flat)
