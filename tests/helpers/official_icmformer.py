"""The content of files in iCMFormer's official format, written down: keys, shapes, weights by a rule."""

import numpy as np
import torch
from official_simpleclick import official_shapes as simpleclick_shapes
from official_simpleclick import rule

from clicklab.records import Clicks

# patch, width, depth, pyramid, head; cross blocks: depth // 6 + 1
VIT = {
    "mini": (16, 48, 8, (16, 32, 64, 128), 32),
    "twelve": (16, 24, 12, (16, 32, 64, 128), 32),  # as ViT-B, but narrow
    "base": (16, 768, 12, (128, 256, 512, 1024), 256),
    "large": (16, 1024, 24, (192, 384, 768, 1536), 256),
    "huge": (14, 1280, 32, (240, 480, 960, 1920), 256, 1024),
}
VIT_HEADS = {"mini": 3, "twelve": 3, "base": 12, "large": 16, "huge": 16}
# channels, depths, heads, window, head; 8 cross blocks
SWIN = {
    "swin_mini": (16, (2, 2, 2, 2), (1, 2, 2, 4), 4, 16),
    "swin_base": (128, (2, 2, 18, 2), (4, 8, 16, 32), 12, 256),
    "swin_small": (96, (2, 2, 18, 2), (3, 6, 12, 24), 7, 192),
}


def cross_shapes(count, dim):
    """Keys of `backbone.blocks2`."""
    shapes = {}
    for block in (f"backbone.blocks2.{i}" for i in range(count)):
        layers = {f"norm{i}": (dim,) for i in (1, 2, 3)}
        layers |= {f"attn{i}.qkv": (3 * dim, dim) for i in (1, 2)} | {f"attn{i}.proj": (dim, dim) for i in (1, 2)}
        layers |= {"mlp.fc1": (4 * dim, dim), "mlp.fc2": (dim, 4 * dim)}
        for name, weight in layers.items():
            shapes[f"{block}.{name}.weight"], shapes[f"{block}.{name}.bias"] = weight, weight[:1]
    return shapes


def swin_shapes(dim, depths, heads, window, channels):
    """Every key of an official `SwinformerModel` with its shape (docs/methods/icmformer.md#swin)."""
    shapes = {}

    def layer(name, *weight, outputs=None):
        shapes[f"{name}.weight"] = weight
        shapes[f"{name}.bias"] = (outputs or weight[0],)

    for name in ("patch_embed", "patch_embed_coords"):
        layer(f"backbone.{name}.proj", dim, 3, 4, 4)
        layer(f"backbone.{name}.norm", dim)
    for stage, (depth, number) in enumerate(zip(depths, heads, strict=True)):
        width = dim * 2**stage
        for block in (f"backbone.layers.{stage}.blocks.{i}" for i in range(depth)):
            layer(f"{block}.norm1", width)
            shapes[f"{block}.attn.relative_position_bias_table"] = ((2 * window - 1) ** 2, number)
            shapes[f"{block}.attn.relative_position_index"] = (window**2, window**2)
            layer(f"{block}.attn.qkv", 3 * width, width)
            layer(f"{block}.attn.proj", width, width)
            layer(f"{block}.norm2", width)
            layer(f"{block}.mlp.fc1", 4 * width, width)
            layer(f"{block}.mlp.fc2", width, 4 * width)
        if stage < 3:
            shapes[f"backbone.layers.{stage}.downsample.reduction.weight"] = (2 * width, 4 * width)
            layer(f"backbone.layers.{stage}.downsample.norm", 4 * width)
        layer(f"backbone.norm{stage}", width)
        layer(f"head.convs.{stage}.conv", channels, width, 1, 1)
    layer("head.fusion_conv.conv", channels, 4 * channels, 1, 1)
    layer("head.conv_seg", 1, channels, 1, 1)
    for i, width in enumerate((channels, channels // 2), start=1):
        layer(f"head.up_conv{i}.0", width, width // 2, 2, 2, outputs=width // 2)
        layer(f"head.up_conv{i}.1", width // 2)
        layer(f"head.up_conv{i}.2", width // 2, width // 2, 1, 1)
        layer(f"head.up_conv{i}.3", width // 2)
    return shapes | cross_shapes(8, 4 * dim)


def official_shapes(name):
    """Keys and shapes of one of the models above."""
    if name in SWIN:
        return swin_shapes(*SWIN[name])
    return simpleclick_shapes(*VIT[name]) | cross_shapes(VIT[name][2] // 6 + 1, VIT[name][1])


def official_checkpoint(name):
    """`{'state_dict', 'config'}` as the official code saves it, but for the pickled loss."""
    params = {"norm_radius": 5, "use_disks": True, "with_prev_mask": True, "use_rgb_conv": False}
    if name in VIT:
        params |= {"random_split": False, "backbone_params": {"num_heads": VIT_HEADS[name], "embed_dim": VIT[name][1]}}
    weights = {}
    for key, shape in official_shapes(name).items():
        index = key.endswith("relative_position_index")
        weights[key] = torch.zeros(shape, dtype=torch.long) if index else rule(key, shape)
    config = {k: {"type": "builtin", "value": v, "specified": True} for k, v in params.items()}
    return {"state_dict": weights, "config": {"class": "isegm.model.of.iCMFormer", "params": config}}


def probe_inputs(size):
    """Image, clicks and previous mask of two samples that the golden values were made with."""
    height, width = size
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.random((2, 3, height, width), dtype=np.float32))
    prev_mask = torch.from_numpy(rng.random((2, 1, height, width), dtype=np.float32))
    clicks = [
        [(height * 0.3, width * 0.4, 1), (10.25, width - 3.5, 0), (height - 1.0, 5.0, 1)],
        [(height * 0.5 + 0.5, width * 0.5 - 0.25, 1)],
    ]
    return image, Clicks.from_list(clicks), prev_mask
