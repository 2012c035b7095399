"""Batch norms as part of the convolutions before them: fewer passes over the maps, for networks that learn no more."""

from __future__ import annotations

import copy
from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from clicklab.nn.network import ClickNetwork


def fold_norms(network: ClickNetwork) -> ClickNetwork:
    """A network that answers the same (but for rounding) with fewer layers.

    In evaluation mode a batch norm is a linear map of each channel, so the convolution before it can do its work. A
    norm is taken to follow the convolution that its module registers right before it, as all networks here have it.

    Args:
        network: stays as it is.

    Returns:
        A copy in evaluation mode; the network itself where it is training, or has no batch norm.
    """
    if network.training or not any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules()):
        return network
    folded = copy.deepcopy(network)
    for module in list(folded.modules()):
        for (name, layer), (norm_name, norm) in pairwise(module.named_children()):
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(layer, norm))
                setattr(module, norm_name, nn.Identity())
    return folded
