"""The content of official PiClick files: keys, shapes, weights by a rule; and probe inputs."""

import numpy as np
import torch
from official_simpleclick import official_shapes as plain_vit_shapes
from official_simpleclick import rule

from clicklab.records import Clicks

# (patch, width, depth, heads, neck, decoder width, pixel FFN, decoder FFN, pixel layers, decoder layers, tokens)
OFFICIAL = {
    "tiny": (16, 192, 8, 3, (64,) * 4, 64, 128, 128, 2, 4, 784),
    "base": (16, 768, 12, 12, (256,) * 4, 256, 1024, 2048, 6, 9, 784),
    "large": (16, 1024, 24, 16, (192, 384, 768, 1536), 512, 2048, 2048, 6, 9, 784),
    "huge": (14, 1280, 32, 16, (240, 480, 960, 1920), 512, 2048, 2048, 6, 9, 1024),
}


def official_shapes(name, queries=7):
    """Every key of an official `PiClickModel` with its shape (docs/methods/piclick.md)."""
    patch, width, depth, _, neck, dim, pixel_hidden, hidden, pixel_layers, layers, tokens = OFFICIAL[name]
    vit = plain_vit_shapes(patch, width, depth, neck, 8, tokens)
    shapes = {key: shape for key, shape in vit.items() if not key.startswith("head.")}

    def layer(key, *weight, bias=True):
        shapes[f"{key}.weight"] = weight
        if bias:
            shapes[f"{key}.bias"] = weight[:1]

    pixel = "head.pixel_decoder"
    for i in range(3):
        layer(f"{pixel}.input_convs.{i}.conv", dim, neck[3 - i], 1, 1)
        layer(f"{pixel}.input_convs.{i}.gn", dim)
    for key in (f"{pixel}.encoder.layers.{i}" for i in range(pixel_layers)):
        layer(f"{key}.attentions.0.sampling_offsets", 192, dim)
        layer(f"{key}.attentions.0.attention_weights", 96, dim)
        layer(f"{key}.attentions.0.value_proj", dim, dim)
        layer(f"{key}.attentions.0.output_proj", dim, dim)
        layer(f"{key}.ffns.0.layers.0.0", pixel_hidden, dim)
        layer(f"{key}.ffns.0.layers.1", dim, pixel_hidden)
        layer(f"{key}.norms.0", dim)
        layer(f"{key}.norms.1", dim)
    layer(f"{pixel}.level_encoding", 3, dim, bias=False)
    layer(f"{pixel}.lateral_convs.0.conv", dim, neck[0], 1, 1, bias=False)
    layer(f"{pixel}.lateral_convs.0.gn", dim)
    layer(f"{pixel}.output_convs.0.conv", dim, dim, 3, 3, bias=False)
    layer(f"{pixel}.output_convs.0.gn", dim)
    layer(f"{pixel}.mask_feature", dim, dim, 1, 1)
    for key in (f"head.transformer_decoder.layers.{i}" for i in range(layers)):
        for n in range(2):
            shapes[f"{key}.attentions.{n}.attn.in_proj_weight"] = (3 * dim, dim)
            shapes[f"{key}.attentions.{n}.attn.in_proj_bias"] = (3 * dim,)
            layer(f"{key}.attentions.{n}.attn.out_proj", dim, dim)
        layer(f"{key}.ffns.0.layers.0.0", hidden, dim)
        layer(f"{key}.ffns.0.layers.1", dim, hidden)
        for n in range(3):
            layer(f"{key}.norms.{n}", dim)
    layer("head.transformer_decoder.post_norm", dim)
    for key, rows in (("query_embed", queries), ("query_feat", queries), ("level_embed", 3)):
        layer(f"head.{key}", rows, dim, bias=False)
    layer("head.cls_embed", 2, dim)
    for key, outputs in (("mask", dim), ("iou", 1), ("onehot", 1)):
        for n, rows in ((0, dim), (2, dim), (4, outputs)):
            layer(f"head.{key}_embed.{n}", rows, dim)
    layer("positive_positional_embed", 1, dim, bias=False)
    layer("negative_positional_embed", 1, dim, bias=False)
    return shapes


def official_checkpoint(name, wrap=dict):
    """`{'state_dict', 'config'}` as the official code saves it; `wrap` makes the settings' inner dictionaries."""
    params = {
        "num_queries": 7,
        "num_classes": 1,
        "norm_radius": 5,
        "use_disks": True,
        "with_prev_mask": True,
        "backbone_params": {"num_heads": OFFICIAL[name][3], "embed_dim": OFFICIAL[name][1]},
        "head_params": {
            "feat_channels": OFFICIAL[name][5],
            "pixel_decoder": wrap(type="MSDeformAttn", encoder=wrap(n=6)),
        },
    }
    config = {k: {"type": "builtin", "value": v, "specified": True} for k, v in params.items()}
    return {
        "state_dict": {key: rule(key, shape) for key, shape in official_shapes(name).items()},
        "config": {"class": "isegm.model.is_piclick_model.PiClickModel", "params": config},
    }


CLICKS = [  # (y, x, label): fractions, clicks above and below the image, a negative fraction that counts as inside
    [(100.3, 200.7, 1), (-0.4, 20.0, 1), (300.0, 447.9, 0), (-20.0, 30.0, 0)],
    [(222.0, 111.0, 1), (500.0, 3.0, 0)],
]


def probe_inputs():
    """Image, clicks and previous mask that the golden outputs were made with."""
    rng = np.random.default_rng(7)
    image = torch.from_numpy(rng.random((2, 3, 448, 448), dtype=np.float32))
    previous = torch.from_numpy(rng.random((2, 1, 448, 448), dtype=np.float32))
    return image, Clicks.from_list(CLICKS), previous


def probe_set(seed, numbers):
    """Four predictions for two images, and `numbers` possible targets of each, the last one meant."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.normal(size=(8, 7, 5, 6)).astype(np.float32)) * 3
    masks = torch.nn.functional.interpolate(coarse, size=(40, 48), mode="bilinear", align_corners=True)
    heads = [torch.from_numpy(rng.normal(size=(4, 2, 7, k)).astype(np.float32)) for k in (2, 1, 1)]
    targets = torch.zeros(2, max(numbers), 40, 48, dtype=torch.bool)
    for b, number in enumerate(numbers):
        for n in range(number):
            y, x = rng.integers(0, 30), rng.integers(0, 38)
            targets[b, n, y : y + 4 + 3 * n, x : x + 8 + n] = True
    valid = torch.arange(max(numbers)) < torch.tensor(numbers)[:, None]
    return masks.view(4, 2, 7, 40, 48), heads, targets, valid
