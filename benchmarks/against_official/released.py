"""The released code of SimpleClick and RITM, from a folder of the user's, and both codes with the same weights.

None of that code is part of this repository: fetch it first (HOMES). Packages that it imports and that do nothing in
what is measured here (mmcv, tensorboard, easydict) are replaced by stand-ins, because some of them cannot be installed
beside a current PyTorch.
"""

from __future__ import annotations

import argparse
import logging
import sys
import types
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clicklab.device import usable_device
from clicklab.external_checkpoint import read_foreign
from clicklab.methods import method_package

VITS = {  # width, blocks, heads, pyramid, head
    "xtiny": (160, 8, 4, (96, 192, 288, 384), 128),
    "base": (768, 12, 12, (128, 256, 512, 1024), 256),
    "large": (1024, 24, 16, (192, 384, 768, 1536), 256),
}
HRNETS = {"hrnet18s": (18, 48, True), "hrnet18": (18, 64, False), "hrnet32": (32, 128, False)}
HOMES = {
    "simpleclick": "https://github.com/uncbiag/SimpleClick",
    "ritm": "https://github.com/SamsungLabs/ritm_interactive_segmentation",
}
MODELS = {"simpleclick": "is_plainvit_model", "ritm": "is_hrnet_model"}


def method_of(name: str) -> str:
    """Which of the two methods a network belongs to."""
    return "ritm" if name in HRNETS else "simpleclick"


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The options that both measurements have, beside their own, and where the released code must be."""
    parser.add_argument("code", type=Path, help="folder of the released code")
    parser.add_argument("network", choices=(*VITS, *HRNETS))
    parser.add_argument("--batch", type=int, help="default: 8, with --gpu 32")
    parser.add_argument("--gpu", action="store_true")
    options = parser.parse_args()
    options.device = str(usable_device("cuda", "--gpu:")) if options.gpu else "cpu"
    options.batch = options.batch or (32 if options.gpu else 8)
    method = method_of(options.network)
    file = options.code / "isegm" / "model" / f"{MODELS[method]}.py"
    if not file.is_file():
        parser.error(f"no {file}: give the folder of a clone of {HOMES[method]}")
    return options


def device_name(device: str) -> str:
    """The device as a table names it."""
    return torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"


def open_code(folder: Path) -> None:
    """Makes the package `isegm` in `folder` importable with current packages and without what nothing here uses."""
    logging.disable(logging.INFO)  # it lists every parameter
    vars(np).setdefault("int", int)  # numpy dropped this name
    sys.path.insert(0, str(folder))
    _stand_in_for_mmcv()
    _stand_in("torch.utils.tensorboard", SummaryWriter=object)
    _stand_in("easydict", EasyDict=Settings)
    _stand_in("isegm.data.transforms", remove_image_only_transforms=_unused)  # written for an albumentations of 2020


class Settings(dict[str, Any]):
    """A dictionary whose entries are attributes as well."""

    __getattr__ = dict.__getitem__
    __setattr__ = dict.__setitem__


class ConvModule(nn.Module):
    """A convolution and a ReLU: all that SimpleClick's head asks of mmcv."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, act_cfg: Any = True, **rest: Any) -> None:
        super().__init__()
        if rest.pop("norm_cfg", None) is not None:
            raise ValueError("a norm is asked for: this network is not the released one")
        rest = {key: value for key, value in rest.items() if key in ("stride", "padding", "dilation", "groups")}
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, **rest)
        self.activate = nn.ReLU(inplace=True) if act_cfg else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.activate(self.conv(x))


class _Base(nn.Module):
    def __init__(self, init_cfg: Any = None) -> None:
        super().__init__()


class _Registry:
    """Accepts what is registered and forgets it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def register_module(self, *args: Any, **kwargs: Any) -> Any:
        return lambda kind: kind


def _unused(*args: Any, **kwargs: Any) -> Any:
    raise NotImplementedError("a part of the released code that what is measured does not use")


def _undecorated(*args: Any, **kwargs: Any) -> Any:
    return lambda function: function


def _stand_in(name: str, **members: Any) -> None:
    module = types.ModuleType(name)
    module.__path__ = []  # a package, whose parts may be imported
    vars(module).update(members)
    sys.modules[name] = module


def _stand_in_for_mmcv() -> None:
    unused = dict.fromkeys(("build_conv_layer", "build_norm_layer", "build_activation_layer", "Conv2d"), _unused)
    _stand_in("mmcv", load=_unused)
    _stand_in("mmcv.cnn", ConvModule=ConvModule, MODELS=_Registry(), **unused)
    _stand_in("mmcv.cnn.bricks")
    _stand_in("mmcv.cnn.bricks.drop", build_dropout=_unused)
    _stand_in("mmcv.cnn.bricks.registry", ATTENTION=_Registry())
    _stand_in("mmcv.cnn.bricks.transformer", MultiheadAttention=nn.Module)
    _stand_in("mmcv.fileio", FileClient=object, load=_unused)
    _stand_in("mmcv.parallel", is_module_wrapper=_unused)
    containers = {"BaseModule": _Base, "ModuleList": nn.ModuleList, "Sequential": nn.Sequential}
    decorators = {"auto_fp16": _undecorated, "force_fp32": _undecorated}
    _stand_in("mmcv.runner", _load_checkpoint=_unused, get_dist_info=_unused, **containers, **decorators)
    _stand_in("mmcv.runner.base_module", BaseModule=_Base)
    _stand_in("mmcv.utils", get_logger=_unused, Registry=_Registry, build_from_cfg=_unused, mkdir_or_exist=_unused)


def released_network(name: str) -> nn.Module:
    """The released class with the sizes of the released file; `open_code` comes first."""
    if name in HRNETS:
        from isegm.model.is_hrnet_model import HRNetModel  # ty: ignore[unresolved-import]

        width, ocr, small = HRNETS[name]
        looks = {"use_leaky_relu": True, "use_rgb_conv": False, "use_disks": True, "norm_radius": 5}
        return HRNetModel(width=width, ocr_width=ocr, small=small, with_aux_output=True, with_prev_mask=True, **looks)
    from isegm.model.is_plainvit_model import PlainVitModel  # ty: ignore[unresolved-import]
    from isegm.model.modeling.transformer_helper.cross_entropy_loss import (  # ty: ignore[unresolved-import]
        CrossEntropyLoss,
    )

    width, blocks, heads, pyramid, channels = VITS[name]
    backbone = {"img_size": (448, 448), "patch_size": (16, 16), "in_chans": 3, "mlp_ratio": 4, "qkv_bias": True}
    head = {"in_index": [0, 1, 2, 3], "dropout_ratio": 0.1, "num_classes": 1, "align_corners": False, "upsample": "x1"}
    return PlainVitModel(
        use_disks=True,
        norm_radius=5,
        with_prev_mask=True,
        random_split=False,
        backbone_params=backbone | {"embed_dim": width, "depth": blocks, "num_heads": heads},
        neck_params={"in_dim": width, "out_dims": list(pyramid)},
        head_params=head | {"in_channels": list(pyramid), "channels": channels, "loss_decode": CrossEntropyLoss()},
    )


def drawn_weights(network: nn.Module) -> dict[str, Tensor]:
    """Weights drawn at random, so wide that masks are neither empty nor full: those of the tests' golden values."""
    weights = {}
    for name, tensor in network.state_dict().items():
        draw = np.random.default_rng(zlib.crc32(name.encode()))
        noise = torch.from_numpy(draw.standard_normal(tuple(tensor.shape)).astype(np.float32))
        if not tensor.is_floating_point():
            noise = tensor
        elif name.endswith("running_var"):
            noise = 1 + 0.1 * noise.abs()
        elif name.endswith("running_mean"):
            noise = 0.05 * noise
        elif tensor.ndim <= 1:
            noise = 1 + 0.05 * noise if name.endswith(("weight", "scale")) else 0.02 * noise
        else:
            noise = noise / tensor[0].numel() ** 0.5
        weights[name] = noise
    return weights


def both(name: str, weights: str | None, device: str) -> tuple[nn.Module, nn.Module]:
    """The released network and ours with the same weights, those of an official file or drawn ones, for evaluation.

    Raises:
        FileNotFoundError, ValueError: see `read_foreign`.
        RuntimeError: the file's network has other sizes than `name`.
    """
    theirs = released_network(name)
    checkpoint = read_foreign(weights) if weights else {"state_dict": drawn_weights(theirs), "config": theirs._config}
    theirs.load_state_dict(checkpoint["state_dict"])
    ours = method_package(method_of(name)).from_official(checkpoint)
    return theirs.to(device).eval(), ours.to(device).eval()
