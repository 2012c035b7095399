"""HRNet: four resolutions side by side, exchanged again and again (Wang et al., TPAMI 2020), as RITM runs it.

Layers carry the names of the published ImageNet files. Differences from the image classifier: maps are brought to
another size by bilinear interpolation with align_corners=True, so that any input size works, and all scales come out
as one map (docs/models.md#hrnet-with-ocr).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clicklab.external_checkpoint import fill, read_backbone
from clicklab.nn.fold_norms import NormedLayers, NormedSequence
from clicklab.nn.resize import resize
from clicklab.nn.timm_weights import fetch_through_timm

Size = tuple[int, int]
TIMM_NAMES = {
    (18, 2, (1, 3, 2)): "hrnet_w18_small_v2.ms_in1k",
    (18, 4, (1, 4, 3)): "hrnet_w18.ms_in1k",
    (32, 4, (1, 4, 3)): "hrnet_w32.ms_in1k",
}  # (width, blocks, modules)


class HRNet(NormedLayers):
    """Image to one feature map at a quarter of its size. HRNet-W18-small-v2 has blocks 2 and modules (1, 3, 2).

    Args:
        width: channels of the finest scale; the others have 2, 4 and 8 times as many.
        blocks: residual blocks of every branch, and of the stage before the branches.
        modules: exchange modules of the stages with two, three and four scales.
        stem_channels: channels of the first two convolutions; 64 in all published files.

    Attributes:
        channels: of the map that comes out, 15 * width.
    """

    norm_of = {"conv1": "bn1", "conv2": "bn2"}  # noqa: RUF012

    def __init__(
        self, width: int, blocks: int = 4, modules: Sequence[int] = (1, 4, 3), stem_channels: int = 64
    ) -> None:
        super().__init__()
        two, three, four = modules
        widths = [width * 2**scale for scale in range(4)]
        self.size = (width, blocks, (two, three, four))
        self.channels = sum(widths)
        self.conv1 = nn.Conv2d(3, stem_channels, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem_channels)
        self.conv2 = nn.Conv2d(stem_channels, stem_channels, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(stem_channels)
        deep = stem_channels * Bottleneck.expansion
        self.layer1 = nn.Sequential(
            Bottleneck(stem_channels, stem_channels), *(Bottleneck(deep, stem_channels) for _ in range(blocks - 1))
        )
        self.transition1 = nn.ModuleList([_conv3x3(deep, widths[0]), nn.Sequential(_conv3x3(deep, widths[1], 2))])
        self.stage2 = _stage(two, widths[:2], blocks)
        self.transition2 = _add_scale(widths[1], 2)
        self.stage3 = _stage(three, widths[:3], blocks)
        self.transition3 = _add_scale(widths[2], 3)
        self.stage4 = _stage(four, widths, blocks)

    def stem(self, image: Tensor) -> Tensor:
        """The first layer, behind which a click network adds what it knows of clicks.

        Args:
            image: (B, 3, H, W), normalised.

        Returns:
            (B, stem_channels, ceil(H / 2), ceil(W / 2)), in channels-last order: all layers keep it, and convolutions
            of few channels are up to 1.6 times as fast in it on a CPU.
        """
        return F.relu_(self.bn1(self.conv1(image.contiguous(memory_format=torch.channels_last))))

    def forward(self, stem: Tensor) -> Tensor:
        """From the output of `stem` to (B, channels, ceil(H / 4), ceil(W / 4))."""
        maps = [self.layer1(F.relu_(self.bn2(self.conv2(stem))))]
        for transition, stage in (
            (self.transition1, self.stage2),
            (self.transition2, self.stage3),
            (self.transition3, self.stage4),
        ):
            # a new scale starts from the coarsest one so far
            maps = stage([layer(maps[min(scale, len(maps) - 1)]) for scale, layer in enumerate(transition)])
        size = (maps[0].shape[-2], maps[0].shape[-1])
        return torch.cat([maps[0], *(_resize(coarse, size) for coarse in maps[1:])], dim=1)


class ExchangeModule(nn.Module):
    """Residual blocks at every scale, then every scale gets the sum of all of them.

    Args:
        widths: channels of the scales, finest first; each scale has half the size of the one before.
        blocks: residual blocks per scale.
    """

    def __init__(self, widths: Sequence[int], blocks: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*(BasicBlock(w) for _ in range(blocks))) for w in widths)
        scales = range(len(widths))
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_fuse_layer(widths, source, target) for source in scales) for target in scales
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """As many maps of the same sizes."""
        maps = [branch(one) for branch, one in zip(self.branches, maps, strict=True)]
        fused = []
        for target, layers in zip(maps, self.fuse_layers, strict=True):
            size = (target.shape[-2], target.shape[-1])
            parts = [_resize(layer(one), size) for layer, one in zip(layers, maps, strict=True)]  # ty: ignore[invalid-argument-type]
            total = parts[0]
            for part in parts[1:]:
                total = total + part
            fused.append(F.relu_(total))
        return fused


class BasicBlock(NormedLayers):
    """Two 3x3 convolutions with a skip; `channels` in and out."""

    norm_of = {"conv1": "bn1", "conv2": "bn2"}  # noqa: RUF012

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu_(self.bn1(self.conv1(x)))
        return F.relu_(self.bn2(self.conv2(out)) + x)


class Bottleneck(NormedLayers):
    """1x1, 3x3 and 1x1 convolution with a skip: `inputs` channels in, 4 * `inner` out."""

    norm_of = {"conv1": "bn1", "conv2": "bn2", "conv3": "bn3"}  # noqa: RUF012
    expansion = 4

    def __init__(self, inputs: int, inner: int) -> None:
        super().__init__()
        outputs = inner * self.expansion
        self.conv1 = nn.Conv2d(inputs, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = nn.Identity() if inputs == outputs else _conv1x1(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu_(self.bn1(self.conv1(x)))
        out = F.relu_(self.bn2(self.conv2(out)))
        return F.relu_(self.bn3(self.conv3(out)) + self.downsample(x))


def load_imagenet(backbone: HRNet, source: str | Path = "imagenet") -> None:
    """Fills an HRNet in place with weights learnt by image classification.

    Args:
        backbone: the network to fill.
        source: `imagenet` to fetch Microsoft's published weights through timm, or the path of one of the official
            files (`hrnetv2_w18_imagenet_pretrained.pth`, linked from github HRNet/HRNet-Image-Classification).

    Raises:
        ValueError: no weights are published for this size, timm could not fetch them, or the file does not fit.
        FileNotFoundError: no file at the path.
    """
    weights = _fetch(backbone) if str(source) == "imagenet" else _read(source)
    wanted = backbone.state_dict()
    matching = {name: value for name, value in weights.items() if name in wanted}
    if not matching:
        raise ValueError(f"{source}: not an HRNet file: no layer of it has a name of HRNet's")
    # files from before PyTorch 0.4.1 do not count batches, and nothing depends on that number
    counters = {name: value for name, value in wanted.items() if name.endswith("num_batches_tracked")}
    try:
        fill(backbone, counters | matching)
    except ValueError as error:
        raise ValueError(f"{source}: is this the file for another variant? {error}") from error


def _fetch(backbone: HRNet) -> dict[str, Tensor]:
    if backbone.size not in TIMM_NAMES:
        width, blocks, modules = backbone.size
        raise ValueError(
            f"no ImageNet weights are published for an HRNet of width {width}, {blocks} blocks and modules {modules}. "
            "Set pretrained to null to start from scratch"
        )
    return fetch_through_timm(TIMM_NAMES[backbone.size], "an official HRNet file")


def _read(path: str | Path) -> dict[str, Tensor]:
    return {name.removeprefix("model."): value for name, value in read_backbone(path).items()}


def _stage(modules: int, widths: Sequence[int], blocks: int) -> nn.Sequential:
    return nn.Sequential(*(ExchangeModule(widths, blocks) for _ in range(modules)))


def _add_scale(coarsest: int, scales: int) -> nn.ModuleList:
    """The scales so far as they are, and one of half the size and twice the channels of the coarsest."""
    new = nn.Sequential(_conv3x3(coarsest, 2 * coarsest, 2))
    return nn.ModuleList([*(nn.Identity() for _ in range(scales)), new])


def _fuse_layer(widths: Sequence[int], source: int, target: int) -> nn.Module:
    """What brings the scale `source` to the channels of `target`, and, from a finer one, to its size."""
    if source == target:
        return nn.Identity()
    if source > target:
        return _conv1x1(widths[source], widths[target])
    halvings = [_conv3x3(widths[source], widths[source], 2) for _ in range(target - source - 1)]
    return nn.Sequential(*halvings, _conv3x3(widths[source], widths[target], 2, relu=False))


def _conv1x1(inputs: int, outputs: int) -> NormedSequence:
    return NormedSequence(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))


def _conv3x3(inputs: int, outputs: int, stride: int = 1, relu: bool = True) -> NormedSequence:
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs)]
    return NormedSequence(*layers, *([nn.ReLU(inplace=True)] if relu else []))


def _resize(maps: Tensor, size: Size) -> Tensor:
    """(B, C, h, w) to (B, C, *size); those that have the size already stay as they are."""
    if maps.shape[-2:] == size:
        return maps
    return resize(maps, size)
