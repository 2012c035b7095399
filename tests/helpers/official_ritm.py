"""The content of official RITM files, written down: keys, shapes, weights by a rule."""

import zlib

import numpy as np
import torch


def rule(name, shape):
    """The weights that the official model was given when the golden values were made: seeded by the key's name."""
    if name.endswith("num_batches_tracked"):
        return torch.tensor(0)
    noise = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
    if name.endswith("running_var"):
        return torch.from_numpy(1 + 0.1 * np.abs(noise))
    if name.endswith("running_mean"):
        return torch.from_numpy(0.05 * noise)
    if len(shape) == 1:
        return torch.from_numpy(1 + 0.05 * noise if name.endswith(("weight", "scale")) else 0.02 * noise)
    return torch.from_numpy((noise / np.sqrt(np.prod(shape[1:]))).astype(np.float32))


def official_shapes(width, ocr, blocks, modules, maps=3):
    """Every key of an official `HRNetModel` with its shape (docs/models.md#hrnet-with-ocr)."""
    shapes = {"maps_transform.3.scale": (1,)}

    def conv(name, outputs, inputs, side, bias=False):
        shapes[f"{name}.weight"] = (outputs, inputs, side, side)
        if bias:
            shapes[f"{name}.bias"] = (outputs,)

    def norm(name, channels):
        shapes[f"{name}.num_batches_tracked"] = ()
        shapes.update({f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")})

    def unit(name, outputs, inputs, side, bias=False):
        conv(f"{name}.0", outputs, inputs, side, bias)
        norm(f"{name}.1", outputs)

    conv("maps_transform.0", 16, maps, 1, bias=True)
    conv("maps_transform.2", 64, 16, 3, bias=True)
    net = "feature_extractor"
    for i, inputs in ((1, 3), (2, 64)):
        conv(f"{net}.conv{i}", 64, inputs, 3)
        norm(f"{net}.bn{i}", 64)
    for block in range(blocks):
        layers = [(64, 256 if block else 64, 1), (64, 64, 3), (256, 64, 1)]
        for i, (outputs, inputs, side) in enumerate(layers, start=1):
            conv(f"{net}.layer1.{block}.conv{i}", outputs, inputs, side)
            norm(f"{net}.layer1.{block}.bn{i}", outputs)
    unit(f"{net}.layer1.0.downsample", 256, 64, 1)
    unit(f"{net}.transition1.0", width, 256, 3)
    unit(f"{net}.transition1.1.0", 2 * width, 256, 3)
    unit(f"{net}.transition2.2.0", 4 * width, 2 * width, 3)
    unit(f"{net}.transition3.3.0", 8 * width, 4 * width, 3)
    for stage, number in zip((2, 3, 4), modules, strict=True):
        for module in (f"{net}.stage{stage}.{m}" for m in range(number)):
            for here in range(stage):
                for block in (f"{module}.branches.{here}.{b}" for b in range(blocks)):
                    for i in (1, 2):
                        conv(f"{block}.conv{i}", width << here, width << here, 3)
                        norm(f"{block}.bn{i}", width << here)
                for other in range(stage):
                    name = f"{module}.fuse_layers.{here}.{other}"
                    if other > here:
                        unit(name, width << here, width << other, 1)
                    for step in range(here - other):
                        last = step == here - other - 1
                        unit(f"{name}.{step}", width << (here if last else other), width << other, 3)
    features = 15 * width
    unit(f"{net}.conv3x3_ocr", 2 * ocr, features, 3, bias=True)
    block = f"{net}.ocr_distri_head.object_context_block"
    for name, outputs, inputs in (
        *((f"{block}.{branch}.{i}", ocr, ocr if i else 2 * ocr) for branch in ("f_pixel", "f_object") for i in (0, 2)),
        (f"{block}.f_down.0", ocr, 2 * ocr),
        (f"{block}.f_up.0", 2 * ocr, ocr),
        (f"{net}.ocr_distri_head.conv_bn_dropout.0", 2 * ocr, 4 * ocr),
    ):
        conv(name, outputs, inputs, 1)
        norm(f"{name[:-1]}{int(name[-1]) + 1}.0", outputs)
    conv(f"{net}.cls_head", 1, 2 * ocr, 1, bias=True)
    unit(f"{net}.aux_head", features, features, 1, bias=True)
    conv(f"{net}.aux_head.3", 1, features, 1, bias=True)
    return shapes


# name -> (width, OCR width, blocks, modules, maps); narrow ones are no release, but the official class builds them
OFFICIAL = {
    "hrnet18s": (18, 48, 2, (1, 3, 2), 3),
    "hrnet18": (18, 64, 4, (1, 4, 3), 3),
    "hrnet32": (32, 128, 4, (1, 4, 3), 3),
    "hrnet18-baseline": (18, 64, 4, (1, 4, 3), 2),
    "narrow": (4, 8, 4, (1, 4, 3), 3),
    "narrow-baseline": (4, 8, 4, (1, 4, 3), 2),
}


def official_checkpoint(name):
    """`{'state_dict', 'config'}` as the official code saves it."""
    params = {
        "width": OFFICIAL[name][0],
        "ocr_width": OFFICIAL[name][1],
        "small": OFFICIAL[name][2] == 2,
        "with_aux_output": True,
        "use_leaky_relu": True,
        "use_rgb_conv": False,
        "use_disks": True,
        "norm_radius": 5,
        "with_prev_mask": OFFICIAL[name][4] == 3,
        "clicks_groups": None,
    }
    config = {k: {"type": "builtin", "value": v, "specified": True} for k, v in params.items()}
    config["norm_layer"] = {"type": "class", "value": "torch.nn.modules.batchnorm.BatchNorm2d", "specified": False}
    return {
        "state_dict": {key: rule(key, shape) for key, shape in official_shapes(*OFFICIAL[name]).items()},
        "config": {"class": "isegm.model.is_hrnet_model.HRNetModel", "params": config},
    }
