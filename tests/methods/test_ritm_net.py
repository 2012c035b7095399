"""RITM's network: the contract at any size, the variants, every parameter used."""

import numpy as np
import pytest
import torch

from clicklab.inference.predictor import predictor_for
from clicklab.inference.session import Session
from clicklab.methods.ritm import VARIANTS, RITMNet, build
from clicklab.nn.hrnet import HRNet
from clicklab.records import Clicks
from clicklab.views.zoom_in import ZoomIn

CLICKS = Clicks.from_list([[(10.5, 20.0, 1), (3.0, 60.0, 0)], [(40.0, 8.0, 1)]])


def mini(**options):
    torch.manual_seed(0)
    return RITMNet.from_variant("mini", **options)


@pytest.mark.parametrize("size", [(64, 96), (51, 67)])
def test_contract(size):
    network = mini().eval()
    image, prev_mask = torch.rand(2, 3, *size), torch.rand(2, 1, *size)
    with torch.no_grad():
        whole = network(image, CLICKS, prev_mask)
        state = network.start(image)
        before = state.clone()
        step = network.step(state, CLICKS, prev_mask)
        again = network.step(step.state, CLICKS, prev_mask)
        alone = network(image[1:], CLICKS[1:], prev_mask[1:])
    assert whole.logits.shape == whole.extras["aux"].shape == (2, 1, *size)
    assert whole.score is None
    assert torch.equal(state, before)
    assert torch.equal(whole.logits, step.logits)
    assert torch.equal(whole.logits, again.logits)
    torch.testing.assert_close(alone.logits, whole.logits[1:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("reads_prev_mask", [True, False])
def test_clicks_and_previous_mask_are_read(reads_prev_mask):
    network = mini(reads_prev_mask=reads_prev_mask).eval()
    image, nothing = torch.rand(1, 3, 64, 64), torch.zeros(1, 1, 64, 64)
    answers = [
        (Clicks.empty(1), nothing),
        (Clicks.empty(1, 3), nothing),
        (Clicks.from_list([[(9, 9, 1)]]), nothing),
        (Clicks.from_list([[(9, 9, 0)]]), nothing),
        (Clicks.from_list([[(9, 9, 1)]]), nothing + 0.5),
    ]
    with torch.no_grad():
        logits = [network(image, *answer).logits for answer in answers]
    assert torch.equal(logits[0], logits[1])
    for i in range(1, 4):
        assert all(not torch.equal(logits[i], logits[j]) for j in range(1, i))
    assert torch.equal(logits[2], logits[4]) is not reads_prev_mask


def test_every_parameter_learns():
    """DDP runs without a search for unused parameters; a bias that BatchNorm takes out again gets a gradient of 0."""
    network = mini()
    answer = network(torch.rand(2, 3, 64, 64), CLICKS, torch.rand(2, 1, 64, 64))
    (answer.logits.square().mean() + answer.extras["aux"].square().mean()).backward()
    taken_out = {"segmentor.ocr.aux.0.bias", "segmentor.ocr.pixels.0.bias"}
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert name in taken_out or parameter.grad.abs().sum() > 0, name


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


def test_bfloat16():
    network = mini().eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert network(torch.rand(2, 3, 64, 64), CLICKS, torch.rand(2, 1, 64, 64)).logits.isfinite().all()
    network = network.bfloat16()
    image, prev_mask = torch.rand(2, 3, 64, 64).bfloat16(), torch.rand(2, 1, 64, 64).bfloat16()
    with torch.no_grad():
        assert network(image, CLICKS, prev_mask).logits.dtype == torch.bfloat16


def test_arguments_rebuild_the_network():
    network = mini(click_radius=3.5)
    assert build({"variant": None, "network_options": network.arguments}).arguments == network.arguments
    options = {"click_radius": 3.5}
    assert build({"variant": "mini", "network_options": options, "learning_rate": 1.0}).arguments == network.arguments


def test_errors():
    with pytest.raises(ValueError, match=f"unknown RITM variant 'hrnet48'; known: {', '.join(VARIANTS)}"):
        RITMNet.from_variant("hrnet48")
    with pytest.raises(ValueError, match="no option 'radius'"):
        mini(radius=3)
