"""Networks with made-up weights and their exported folders."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from torch import Tensor, nn

from clicklab.clicks.maps import disk_maps
from clicklab.export.folder import export_folder
from clicklab.methods import method_package
from clicklab.nn.network import ClickNetwork, as_click_network
from clicklab.records import Clicks, Prediction


class Plain(nn.Module):
    """A network of somebody else: `forward` only, views of any size."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(6, 8, 5, stride=2, padding=2), nn.Conv2d(8, 1, 3, padding=1)

    def forward(self, image: Tensor, clicks: Clicks, prev_mask: Tensor) -> Prediction:
        size = (image.shape[-2], image.shape[-1])
        seen = torch.cat([image, prev_mask, disk_maps(clicks, size, 5.0)], dim=1)
        return Prediction(nn.functional.interpolate(self.last(self.first(seen).relu()), size, mode="bilinear"))


def built(method: str) -> ClickNetwork:
    """A network of the method with made-up weights that do not leave every answer at one half."""
    torch.manual_seed(0)
    if method == "plain":
        return as_click_network(Plain().eval())
    options = {"first_size": 48} if method == "clicklite" else {}  # its later views are of 64
    network = method_package(method).build({"variant": "mini", "network_options": options}).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.05 * torch.randn_like(parameter))
    return network


@pytest.fixture(scope="session")
def exported(tmp_path_factory) -> Callable[[str], tuple[ClickNetwork, Path]]:
    """Method -> (network, its folder), exported once for all test processes when it is first asked for."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root

    def network_and_folder(method: str) -> tuple[ClickNetwork, Path]:
        network, place = built(method), root / f"exported-{method}"
        with FileLock(f"{place}.lock"):
            if not (place / "README.md").is_file():  # the last of its files
                export_folder(network, place, source="made up")
        return network, place

    return network_and_folder
