"""The content of official FocalClick files, written down: keys, shapes, weights by a rule."""

import official_ritm
from official_ritm import rule

# name -> class, arguments of the key list, recorded settings
MIT = {
    "segformerb0": ((32, 64, 160, 256), (2, 2, 2, 2), 256),
    "segformerb3": ((64, 128, 320, 512), (3, 4, 18, 3), 512),
}
HRNET = {"hrnet18s": (18, 48, 2, (1, 3, 2)), "hrnet32": (32, 128, 4, (1, 4, 3))}
REDUCTIONS = (8, 4, 2, 1)


def segformer_shapes(dims, depths, channels):
    """Every key of an official `SegFormerModel` but for the refiner's (docs/methods/focalclick.md#coarse-network)."""
    shapes = {"maps_transform.3.scale": (1,)}

    def layer(name, *weight):
        shapes[f"{name}.weight"] = weight
        shapes[f"{name}.bias"] = (weight[0],)

    def embed(name, dim, inputs, side):
        layer(f"{name}.proj", dim, inputs, side, side)
        layer(f"{name}.norm", dim)

    layer("maps_transform.0", 16, 3, 3, 3)
    layer("maps_transform.2", 32, 16, 3, 3)
    net = "feature_extractor.backbone"
    embed(f"{net}.patch_embed_side1", dims[0], 3, 7)
    for i, (dim, depth) in enumerate(zip(dims, depths, strict=True)):
        embed(f"{net}.patch_embed{i + 1}", dim, *((dims[i - 1], 3) if i else (3, 7)))
        layer(f"{net}.norm{i + 1}", dim)
        for block in (f"{net}.block{i + 1}.{b}" for b in range(depth)):
            layer(f"{block}.norm1", dim)
            layer(f"{block}.norm2", dim)
            layer(f"{block}.attn.q", dim, dim)
            layer(f"{block}.attn.kv", 2 * dim, dim)
            layer(f"{block}.attn.proj", dim, dim)
            if REDUCTIONS[i] > 1:
                layer(f"{block}.attn.sr", dim, dim, REDUCTIONS[i], REDUCTIONS[i])
                layer(f"{block}.attn.norm", dim)
            layer(f"{block}.mlp.fc1", 4 * dim, dim)
            layer(f"{block}.mlp.dwconv.dwconv", 4 * dim, 1, 3, 3)
            layer(f"{block}.mlp.fc2", dim, 4 * dim)
    head = "feature_extractor.decode_head"
    for i, dim in enumerate(dims):
        layer(f"{head}.linear_c{i + 1}.proj", channels, dim)
    shapes[f"{head}.linear_fuse.conv.weight"] = (channels, 4 * channels, 1, 1)
    shapes |= norm(f"{head}.linear_fuse.bn", channels)
    layer(f"{head}.linear_pred", 1, channels, 1, 1)
    return shapes


def norm(name, channels):
    """Keys of a BatchNorm."""
    parts = {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}
    return parts | {f"{name}.num_batches_tracked": ()}


def refiner_shapes(features, gated, width=32):
    """Every key of an official `RefineLayer` (docs/methods/focalclick.md#refiner)."""
    shapes = {}

    def conv(name, *weight):
        shapes[f"refiner.{name}.weight"] = weight
        shapes[f"refiner.{name}.bias"] = (weight[0],)

    for name, inputs, side in (("image_conv1", 6, 3), ("refine_fusion", features, 1)):
        conv(f"{name}.conv", width, inputs, side, side)
        shapes |= norm(f"refiner.{name}.norm", width)
    for name in ("image_conv2", "image_conv3", "refine_fusion2", "refine_fusion3"):
        conv(f"{name}.conv3x3", width, 1, 3, 3)
        conv(f"{name}.conv1x1", width, width, 1, 1)
        shapes |= norm(f"refiner.{name}.norm", width)
    if gated:
        conv("feature_gate.0", 1, width, 1, 1)
    conv("refine_pred", 1, width, 3, 3)
    conv("refine_trimap", 1, width, 3, 3)
    return shapes


def official_shapes(name):
    """Every key of an official FocalClick file with its shape."""
    if name in MIT:
        return segformer_shapes(*MIT[name]) | refiner_shapes(MIT[name][2], gated=True)
    return official_ritm.official_shapes(*HRNET[name]) | refiner_shapes(2 * HRNET[name][1], gated=False)


def official_checkpoint(name, pipeline="s2"):
    """`{'state_dict', 'config'}` as the official code saves it."""
    params = {
        "pipeline_version": pipeline,
        "use_leaky_relu": True,
        "use_rgb_conv": False,
        "use_disks": True,
        "norm_radius": 5,
        "binary_prev_mask": False,
        "with_prev_mask": True,
        "with_aux_output": True,
    }
    config = {key: {"type": "builtin", "value": value, "specified": True} for key, value in params.items()}
    config["norm_layer"] = {"type": "class", "value": "torch.nn.modules.batchnorm.BatchNorm2d", "specified": False}
    kind = "is_segformer_model.SegFormerModel" if name in MIT else "is_hrnet_model.HRNetModel"
    return {
        "state_dict": {key: rule(key, shape) for key, shape in official_shapes(name).items()},
        "config": {"class": f"isegm.model.{kind}", "params": config},
    }
