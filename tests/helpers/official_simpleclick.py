"""The content of official SimpleClick files, written down: keys, shapes, weights by a rule."""

import zlib

import numpy as np
import torch


def rule(name, shape):
    """The weights that the official model was given when the golden values were made: seeded by the key's name."""
    noise = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
    if len(shape) <= 1:
        return torch.from_numpy(1 + 0.05 * noise if name.endswith("weight") else 0.02 * noise)
    return torch.from_numpy((noise / np.sqrt(np.prod(shape[1:]))).astype(np.float32))


def official_shapes(patch, dim, depth, neck, channels, tokens=784):
    """Every key of an official `PlainVitModel` with its shape (docs/models.md#plain-vit)."""
    shapes = {"backbone.cls_token": (1, 1, dim), "backbone.pos_embed": (1, 1 + tokens, dim)}

    def layer(name, *weight, outputs=None):
        shapes[f"{name}.weight"] = weight
        shapes[f"{name}.bias"] = (outputs or weight[0],)

    for name in ("patch_embed_coords", "backbone.patch_embed"):
        layer(f"{name}.proj", dim, 3, patch, patch)
    for block in (f"backbone.blocks.{i}" for i in range(depth)):
        layer(f"{block}.norm1", dim)
        layer(f"{block}.norm2", dim)
        layer(f"{block}.attn.qkv", 3 * dim, dim)
        layer(f"{block}.attn.proj", dim, dim)
        layer(f"{block}.mlp.fc1", 4 * dim, dim)
        layer(f"{block}.mlp.fc2", dim, 4 * dim)
    layer("backbone.fc_norm", dim)
    layer("backbone.head", 1000, dim)
    wide = max(2 * neck[0], dim // 2)
    layer("neck.down_4.0", dim, wide, 2, 2, outputs=wide)
    layer("neck.down_4.1", wide)
    layer("neck.down_4.3", wide, wide // 2, 2, 2, outputs=wide // 2)
    layer("neck.down_4.4", wide // 2)
    layer("neck.down_4.5", neck[0], wide // 2, 1, 1)
    layer("neck.down_4.6", neck[0])
    wide = max(neck[1], dim // 2)
    layer("neck.down_8.0", dim, wide, 2, 2, outputs=wide)
    layer("neck.down_8.1", wide)
    layer("neck.down_8.2", neck[1], wide, 1, 1)
    layer("neck.down_8.3", neck[1])
    layer("neck.down_16.0", neck[2], dim, 1, 1)
    layer("neck.down_16.1", neck[2])
    wide = max(neck[3], 2 * dim)
    layer("neck.down_32.0", wide, dim, 2, 2)
    layer("neck.down_32.1", wide)
    layer("neck.down_32.2", neck[3], wide, 1, 1)
    layer("neck.down_32.3", neck[3])
    for i, width in enumerate(neck):
        layer(f"head.convs.{i}.conv", channels, width, 1, 1)
    layer("head.fusion_conv.conv", channels, 4 * channels, 1, 1)
    layer("head.conv_seg", 1, channels, 1, 1)
    for i, width in enumerate((channels, channels // 2), start=1):
        layer(f"head.up_conv{i}.0", width, width // 2, 2, 2, outputs=width // 2)
        layer(f"head.up_conv{i}.1", width // 2)
        layer(f"head.up_conv{i}.2", width // 2, width // 2, 1, 1)
        layer(f"head.up_conv{i}.3", width // 2)
    return shapes


OFFICIAL = {
    "mini": (16, 96, 8, (16, 32, 64, 128), 32),
    "xtiny": (16, 160, 8, (96, 192, 288, 384), 128),
    "base": (16, 768, 12, (128, 256, 512, 1024), 256),
    "large": (16, 1024, 24, (192, 384, 768, 1536), 256),
    "huge": (14, 1280, 32, (240, 480, 960, 1920), 256, 1024),
}
HEADS = {"mini": 3, "xtiny": 4, "base": 12, "large": 16, "huge": 16}


def official_checkpoint(name):
    """`{'state_dict', 'config'}` as the official code saves it, but for the pickled loss."""
    params = {
        "norm_radius": 5,
        "use_disks": True,
        "with_prev_mask": True,
        "random_split": False,
        "use_rgb_conv": False,
        "backbone_params": {"num_heads": HEADS[name], "embed_dim": OFFICIAL[name][1]},
        "head_params": {"upsample": "x1", "loss_decode": None},
    }
    config = {k: {"type": "builtin", "value": v, "specified": True} for k, v in params.items()}
    return {
        "state_dict": {key: rule(key, shape) for key, shape in official_shapes(*OFFICIAL[name]).items()},
        "config": {"class": "isegm.model.is_plainvit_model.PlainVitModel", "params": config},
    }
