"""Official `.pth` files of SAM (segment-anything's key layout) as the library's `SamModel`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from clicklab.external_checkpoint import KeyTable, count_layers, fill, rename_keys

END = r"(weight|bias)"
ENCODER, BLOCK = r"image_encoder", r"image_encoder\.blocks\.(\d+)"
DECODER, LAYER = r"mask_decoder", r"mask_decoder\.transformer\.layers\.(\d+)"
MLP = r"mask_decoder\.(output_hypernetworks_mlps\.\d|iou_prediction_head)"
KEYS: KeyTable = [
    (rf"{ENCODER}\.pos_embed", r"vision_encoder.pos_embed"),
    (rf"{ENCODER}\.patch_embed\.proj\.{END}", r"vision_encoder.patch_embed.projection.\1"),
    (rf"{BLOCK}\.norm([12])\.{END}", r"vision_encoder.layers.\1.layer_norm\2.\3"),
    (rf"{BLOCK}\.(attn\..*|mlp\..*)", r"vision_encoder.layers.\1.\2"),
    (rf"{ENCODER}\.neck\.0\.weight", r"vision_encoder.neck.conv1.weight"),
    (rf"{ENCODER}\.neck\.1\.{END}", r"vision_encoder.neck.layer_norm1.\1"),
    (rf"{ENCODER}\.neck\.2\.weight", r"vision_encoder.neck.conv2.weight"),
    (rf"{ENCODER}\.neck\.3\.{END}", r"vision_encoder.neck.layer_norm2.\1"),
    (r"prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix", r"shared_image_embedding.positional_embedding"),
    (r"prompt_encoder\.point_embeddings\.(\d)\.weight", r"prompt_encoder.point_embed.\1.weight"),
    (r"prompt_encoder\.(not_a_point_embed|no_mask_embed)\.weight", r"prompt_encoder.\1.weight"),
    (rf"prompt_encoder\.mask_downscaling\.0\.{END}", r"prompt_encoder.mask_embed.conv1.\1"),
    (rf"prompt_encoder\.mask_downscaling\.1\.{END}", r"prompt_encoder.mask_embed.layer_norm1.\1"),
    (rf"prompt_encoder\.mask_downscaling\.3\.{END}", r"prompt_encoder.mask_embed.conv2.\1"),
    (rf"prompt_encoder\.mask_downscaling\.4\.{END}", r"prompt_encoder.mask_embed.layer_norm2.\1"),
    (rf"prompt_encoder\.mask_downscaling\.6\.{END}", r"prompt_encoder.mask_embed.conv3.\1"),
    (rf"{LAYER}\.norm([1-4])\.{END}", r"mask_decoder.transformer.layers.\1.layer_norm\2.\3"),
    (rf"{LAYER}\.((self|cross)_attn.*|mlp\..*)", r"mask_decoder.transformer.layers.\1.\2"),
    (rf"{DECODER}\.transformer\.norm_final_attn\.{END}", r"mask_decoder.transformer.layer_norm_final_attn.\1"),
    (rf"{DECODER}\.transformer\.(final_attn_token_to_image\..*)", r"mask_decoder.transformer.\1"),
    (rf"{DECODER}\.(iou_token|mask_tokens)\.weight", r"mask_decoder.\1.weight"),
    (rf"{DECODER}\.output_upscaling\.0\.{END}", r"mask_decoder.upscale_conv1.\1"),
    (rf"{DECODER}\.output_upscaling\.1\.{END}", r"mask_decoder.upscale_layer_norm.\1"),
    (rf"{DECODER}\.output_upscaling\.3\.{END}", r"mask_decoder.upscale_conv2.\1"),
    (rf"{MLP}\.layers\.0\.{END}", r"mask_decoder.\1.proj_in.\2"),
    (rf"{MLP}\.layers\.(\d+)\.{END}", r"mask_decoder.\1.MLP\2.\3"),
]  # fmt: skip
HEAD_WIDTH = 32  # of the mask decoder in all released files: 8 heads at width 256; shapes do not tell


def sam_from_official(checkpoint: Mapping[str, Any], transformers: Any) -> tuple[Any, Any]:
    """Model and processor for the weights of an official file.

    Args:
        checkpoint: weights by key.
        transformers: the library.

    Returns:
        A `SamModel` with these weights, and the `SamProcessor` for its input size.

    Raises:
        ValueError: unknown or missing keys, or shapes that do not fit.
    """
    if "image_encoder.pos_embed" not in checkpoint:
        found = ", ".join(list(map(str, checkpoint))[:5])
        raise ValueError(f"no official file of SAM, which has image_encoder.pos_embed; its keys begin with: {found}")
    weights = _named_layers(rename_keys(checkpoint, KEYS))
    positions = weights["shared_image_embedding.positional_embedding"]
    weights["prompt_encoder.shared_embedding.positional_embedding"] = positions  # one matrix, used in two places
    config = transformers.SamConfig(**infer_config(weights))
    model = transformers.SamModel(config)
    fill(model, weights)
    side = config.vision_config.image_size
    images = transformers.SamImageProcessor(
        size={"longest_edge": side}, pad_size={"height": side, "width": side}, mask_size={"longest_edge": side // 4}
    )
    return model, transformers.SamProcessor(images)


def infer_config(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Sizes of the three parts from the shapes of renamed weights, as arguments of `SamConfig`."""
    _, grid, _, width = weights["vision_encoder.pos_embed"].shape
    patch = weights["vision_encoder.patch_embed.projection.weight"].shape[-1]
    depth = count_layers(weights, "vision_encoder.layers.")
    # of a block that sees the whole image, the relative positions go from -(grid - 1) to grid - 1
    extents = [weights[f"vision_encoder.layers.{block}.attn.rel_pos_h"].shape[0] for block in range(depth)]
    windows = [(extent + 1) // 2 for extent in extents if extent != 2 * grid - 1]
    head_width = weights["vision_encoder.layers.0.attn.rel_pos_h"].shape[1]
    channels = weights["vision_encoder.neck.conv1.weight"].shape[0]
    hidden = weights["vision_encoder.layers.0.mlp.lin1.weight"].shape[0]
    iou = "mask_decoder.iou_prediction_head"
    return {
        "vision_config": {
            "hidden_size": width, "num_hidden_layers": depth, "num_attention_heads": width // head_width,
            "image_size": grid * patch, "patch_size": patch,
            "output_channels": channels, "num_pos_feats": channels // 2,
            "global_attn_indexes": [block for block, extent in enumerate(extents) if extent == 2 * grid - 1],
            "window_size": max(windows, default=0), "mlp_dim": hidden, "mlp_ratio": hidden / width,
        },
        "prompt_encoder_config": {
            "hidden_size": channels, "image_size": grid * patch, "patch_size": patch,
            "mask_input_channels": weights["prompt_encoder.mask_embed.conv2.weight"].shape[0],
        },
        "mask_decoder_config": {
            "hidden_size": channels, "num_attention_heads": max(1, channels // HEAD_WIDTH),
            "mlp_dim": weights["mask_decoder.transformer.layers.0.mlp.lin1.weight"].shape[0],
            "num_hidden_layers": count_layers(weights, "mask_decoder.transformer.layers."),
            "num_multimask_outputs": weights["mask_decoder.mask_tokens.weight"].shape[0] - 1,
            "iou_head_hidden_dim": weights[f"{iou}.proj_in.weight"].shape[0],
            "iou_head_depth": 2 + count_layers(weights, f"{iou}.layers."),
        },
    }  # fmt: skip


def _named_layers(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names of the decoder's MLPs: the library calls the last layer `proj_out` and counts those between from 0."""
    counted = {key.partition(".MLP")[0]: 0 for key in weights if ".MLP" in key}
    for key in weights:
        place, _, rest = key.partition(".MLP")
        if rest:
            counted[place] = max(counted[place], int(rest.partition(".")[0]))
    named: dict[str, Tensor] = {}
    for key, value in weights.items():
        place, _, rest = key.partition(".MLP")
        if rest:
            number, _, end = rest.partition(".")
            layer = "proj_out" if int(number) == counted[place] else f"layers.{int(number) - 1}"
            key = f"{place}.{layer}.{end}"
        named[key] = value
    return named
