"""RITM's network: any size, the variants, the official views. What all networks keep: test_contract.py."""

import numpy as np
import pytest
import torch

from clicklab.inference.predictor import predictor_for
from clicklab.inference.session import Session
from clicklab.methods.ritm import RITMNet
from clicklab.nn.hrnet import HRNet
from clicklab.records import Clicks
from clicklab.views.zoom_in import ZoomIn

CLICKS = Clicks.from_list([[(10.5, 20.0, 1), (3.0, 60.0, 0)], [(40.0, 8.0, 1)]])


def mini(**options):
    torch.manual_seed(0)
    return RITMNet.from_variant("mini", **options)


@pytest.mark.parametrize("size", [(64, 96), (51, 67)])
def test_images_of_any_size(size):
    network = mini().eval()
    image, prev_mask = torch.rand(2, 3, *size), torch.rand(2, 1, *size)
    with torch.no_grad():
        whole = network(image, CLICKS, prev_mask)
        alone = network(image[1:], CLICKS[1:], prev_mask[1:])
    assert whole.logits.shape == whole.extras["aux"].shape == (2, 1, *size)
    torch.testing.assert_close(alone.logits, whole.logits[1:], rtol=1e-4, atol=1e-5)


def test_the_baseline_reads_clicks_but_no_mask():
    network = mini(reads_prev_mask=False).eval()
    image, nothing = torch.rand(2, 3, 64, 64), torch.zeros(2, 1, 64, 64)
    with torch.no_grad():
        clicked, unclicked = (network(image, clicks, nothing).logits for clicks in (CLICKS, Clicks.empty(2)))
        again = network(image, CLICKS, nothing + 0.5).logits
    assert torch.equal(clicked, again)
    assert not torch.equal(clicked, unclicked)


# All parameters: the official figures (docs/models.md#hrnet-with-ocr) less the attention to a single object.
@pytest.mark.parametrize(
    ("name", "options", "official", "ocr"),
    [
        ("hrnet18s", {}, 4_220_047, 48),
        ("hrnet18", {}, 10_032_019, 64),
        ("hrnet18", {"reads_prev_mask": False}, 10_032_003, 64),
        ("hrnet32", {}, 30_951_363, 128),
    ],
)
def test_sizes_of_the_released_variants(name, options, official, ocr):
    with torch.device("meta"):
        network = RITMNet.from_variant(name, **options)
    attention = 2 * (2 * ocr * ocr + ocr * ocr + 2 * 2 * ocr)
    assert sum(p.numel() for p in network.parameters()) == official - attention
    assert network.zoom_in == ZoomIn(400, skip_clicks=1)


def test_evaluation_looks_as_officially(monkeypatch):
    """The first click sees the image as it is; then the object found, with 400 pixels as the longer side."""
    network = mini(zoom_size=400).eval()
    torch.nn.init.zeros_(network.segmentor.ocr.mask.weight)
    torch.nn.init.constant_(network.segmentor.ocr.mask.bias, 5.0)  # all is object
    sizes, start = [], network.start
    monkeypatch.setattr(network, "start", lambda image: sizes.append(tuple(image.shape)) or start(image))
    session = Session(predictor_for(network))
    session.set_image(np.zeros((300, 500, 3), dtype=np.uint8))
    for y in (150, 20):
        session.add_click(y, 250)
    assert sizes == [(2, 3, 300, 500), (2, 3, 240, 400)]


def test_pretrained_weights_go_into_the_backbone(tmp_path):
    torch.manual_seed(1)
    donor = HRNet(4, 1, (1, 1, 1), 8)
    torch.save({"state_dict": donor.state_dict()}, tmp_path / "hrnet.pth")
    network = mini()
    heads = {name: value.clone() for name, value in network.segmentor.ocr.state_dict().items()}
    network.load_pretrained(tmp_path / "hrnet.pth")
    for name, value in donor.state_dict().items():
        assert torch.equal(network.segmentor.backbone.state_dict()[name], value)
    for name, value in network.segmentor.ocr.state_dict().items():
        assert torch.equal(heads[name], value)
