"""Networks on a CUDA device, as far as a machine without one can tell: fake tensors have its device and no values.

They find constants left on the CPU and types that do not fit together, which every other test here overlooks. Gradients
are out of their reach.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from clicklab.methods import METHODS, method_package
from clicklab.records import Clicks

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def moved(network: nn.Module, mode: FakeTensorMode) -> None:
    """Replaces all parameters and buffers by fakes on the device."""
    for part in network.modules():
        for name, value in list(part._parameters.items()):
            if value is not None:
                part._parameters[name] = nn.Parameter(mode.from_tensor(value).to("cuda").detach())
        for name, value in list(part._buffers.items()):
            if value is not None:
                part._buffers[name] = mode.from_tensor(value).to("cuda")


@pytest.mark.parametrize("precision", [None, torch.bfloat16, torch.float16], ids=["32-true", "bf16", "16"])
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("name", METHODS)
def test_networks_keep_to_their_device(name, training, precision):
    smoke = yaml.safe_load((EXPERIMENTS / name / "smoke.yaml").read_text())["model"]["init_args"]
    settings = {"variant": smoke["variant"], "network_options": smoke.get("network_options") or {}}
    network = method_package(name).build(settings).train(training)
    with FakeTensorMode() as mode:
        moved(network, mode)
        image, prev_mask = torch.rand(2, 3, 64, 64, device="cuda"), torch.zeros(2, 1, 64, 64, device="cuda")
        clicks = Clicks(torch.full((2, 1, 2), 20.0, device="cuda"), torch.ones(2, 1, dtype=torch.int8, device="cuda"))
        with nullcontext() if precision is None else torch.autocast("cuda", dtype=precision):
            logits = network(image, clicks, prev_mask).logits
    assert logits.device.type == "cuda" and logits.shape[-2:] == (64, 64)


def test_a_constant_on_the_cpu_is_found():
    class Careless(nn.Module):
        def forward(self, image):
            return image * torch.ones(3, 1, 1)

    with FakeTensorMode(), pytest.raises(RuntimeError, match=r"different devices|cpu"):
        Careless()(torch.rand(1, 3, 4, 4, device="cuda"))
