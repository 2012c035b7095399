"""Models of the SAM family of a few thousand made-up weights, with the library's own processors for their sizes."""

from __future__ import annotations

from typing import Any

import torch
import transformers

SIDE, PATCH, WIDTH = 64, 8, 16
PROMPTS = {"hidden_size": WIDTH, "image_size": SIDE, "patch_size": PATCH, "mask_input_channels": 8}
DECODER = {
    "hidden_size": WIDTH, "mlp_dim": 32, "num_hidden_layers": 2, "num_attention_heads": 1, "iou_head_hidden_dim": 16,
}  # fmt: skip
VIT = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": SIDE, "patch_size": PATCH,
    "output_channels": WIDTH, "num_pos_feats": WIDTH // 2, "global_attn_indexes": [1], "window_size": 4, "mlp_dim": 128,
}  # fmt: skip
# four stages of a pyramid: strides 4, 8, 16, 32 at SIDE, with 8 x 8 the grid of the embedding
GRIDS = [[SIDE // 2, SIDE // 2], [SIDE // 4, SIDE // 4], [SIDE // 8, SIDE // 8]]
HIERA = {
    "model_type": "sam2_hiera_det_model",
    "hidden_size": 8, "image_size": [SIDE, SIDE], "patch_kernel_size": [3, 3], "patch_stride": [2, 2],
    "patch_padding": [1, 1], "blocks_per_stage": [1, 1, 2, 1], "embed_dim_per_stage": [8, 16, 32, 64],
    "num_attention_heads_per_stage": [1, 1, 2, 2], "window_size_per_stage": [4, 4, 4, 4],
    "global_attention_blocks": [3], "window_positional_embedding_background_size": [4, 4],
}  # fmt: skip
PYRAMID = {"backbone_feature_sizes": GRIDS, "fpn_hidden_size": WIDTH, "num_feature_levels": 3}


def tiny_sam(kind: str) -> tuple[Any, Any]:
    """Model and processor of `Sam`, `SamHQ`, `Sam2` or `Sam3Tracker`."""
    config = getattr(transformers, f"{kind}Config")(
        vision_config=_vision(kind),
        prompt_encoder_config=PROMPTS,
        mask_decoder_config=DECODER | ({"vit_dim": VIT["hidden_size"]} if kind == "SamHQ" else {}),
    )
    model = _with_loud_weights(getattr(transformers, f"{kind}Model")(config)).eval()
    if kind in ("Sam", "SamHQ"):
        images = transformers.SamImageProcessor(
            size={"longest_edge": SIDE}, pad_size={"height": SIDE, "width": SIDE}, mask_size={"longest_edge": SIDE // 4}
        )
    else:
        images = transformers.Sam2ImageProcessor(size={"height": SIDE, "width": SIDE})
    processor = {"Sam3Tracker": "Sam3TrackerProcessor", "EdgeTam": "Sam2Processor"}.get(kind, f"{kind}Processor")
    return model, getattr(transformers, processor)(images)


def _vision(kind: str) -> dict[str, Any]:
    if kind in ("Sam", "SamHQ"):
        return VIT
    if kind == "Sam3Tracker":
        backbone = {
            "model_type": "sam3_vit_model", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 2, "image_size": SIDE, "patch_size": PATCH, "window_size": 4,
            "global_attn_indexes": [1], "pretrain_image_size": SIDE,
        }  # fmt: skip
        grids = [[4 * SIDE // PATCH] * 2, [2 * SIDE // PATCH] * 2, [SIDE // PATCH] * 2]
        return {"backbone_config": backbone, "backbone_feature_sizes": grids, "fpn_hidden_size": WIDTH}
    return PYRAMID | {"backbone_config": HIERA, "backbone_channel_list": [64, 32, 16, 8]}


def _with_loud_weights(model: Any) -> Any:
    """Weights large enough for masks that are not all ties: the library's own initial ones give logits of 1e-6."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for _, weight in sorted(model.named_parameters()):
            if weight.ndim > 1:
                scale = 0.8 / weight[0].numel() ** 0.5
                weight.copy_(scale * torch.randn(weight.shape, generator=generator))
    return model
