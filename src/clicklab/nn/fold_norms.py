"""Batch norms as part of the convolutions before them: fewer passes over the maps, for networks that learn no more."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from clicklab.nn.network import ClickNetwork, WrappedModule


class NormedLayers(nn.Module):
    """A module that says which of its batch norms belongs to which of its convolutions.

    Only who wrote `forward` knows: a norm may follow a sum, or be shared, whatever stands beside it in the class. So
    nothing is folded that is not declared.

    Attributes:
        norm_of: name of a convolution -> name of the batch norm that alone sees its output.
    """

    norm_of: Mapping[str, str]


class NormedSequence(NormedLayers, nn.Sequential):
    """Layers in a row, where a batch norm right behind a convolution belongs to it."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.norm_of = {
            str(place): str(place + 1)
            for place, (layer, behind) in enumerate(pairwise(layers))
            if isinstance(layer, nn.Conv2d) and isinstance(behind, nn.BatchNorm2d)
        }


def fold_norms(network: ClickNetwork) -> ClickNetwork:
    """A network that answers the same (but for rounding) with fewer layers.

    In evaluation mode a batch norm is a linear map of each channel, so the convolution before it can do its work.

    Args:
        network: stays as it is.

    Returns:
        A copy in evaluation mode, without the norms that `NormedLayers` declare; the network itself where it is
        training, declares none, or is a plain module in a wrapper.
    """
    if network.training or isinstance(network, WrappedModule):
        return network
    if not any(isinstance(module, NormedLayers) for module in network.modules()):
        return network
    folded = copy.deepcopy(network)
    for module in list(folded.modules()):
        if isinstance(module, NormedLayers):
            _fold(module)
    return folded


def _fold(module: NormedLayers) -> None:
    """Folds the declared norms of one module in place."""
    for layer_name, norm_name in module.norm_of.items():
        layer, norm = module.get_submodule(layer_name), module.get_submodule(norm_name)
        if type(layer) is nn.Conv2d and type(norm) is nn.BatchNorm2d:  # no subclass, which may do more than its name
            setattr(module, layer_name, fuse_conv_bn_eval(layer, norm))
            setattr(module, norm_name, nn.Identity())
