"""FocalClick's network: the contract, the refiner's crops and edge head, every parameter used."""

import pytest
import torch
import torch.nn.functional as F

from clicklab.methods.focalclick import FocalClickNet, build
from clicklab.nn.coarse_to_fine import VARIANTS, CoarseToFine
from clicklab.records import Clicks

CLICKS = Clicks.from_list([[(10.5, 20.0, 1), (3.0, 60.0, 0)], [(40.0, 8.0, 1)]])


def mini(**options):
    torch.manual_seed(0)
    return CoarseToFine.from_variant("mini", **options)


@pytest.mark.parametrize("halve", [False, True])
def test_state_and_features_lie_at_a_quarter_or_with_halve_at_an_eighth(halve):
    network = mini(halve=halve).eval()
    image, prev_mask = torch.rand(2, 3, 64, 96), torch.rand(2, 1, 64, 96)
    with torch.no_grad():
        state = network.start(image)
        step = network.step(state, CLICKS, prev_mask)
    shrunk = (8, 12) if halve else (16, 24)
    assert step.logits.shape == (2, 1, 64, 96)
    assert state.shape == (2, 8, *shrunk)
    assert step.extras["features"].shape == (2, 16, *shrunk)
    assert torch.equal(step.logits, network(image, CLICKS, prev_mask).logits)


def test_every_parameter_learns_by_both_passes():
    """DDP runs without a search for unused parameters."""
    network = mini()
    image = torch.rand(2, 3, 64, 64)
    coarse = network(image, CLICKS, torch.rand(2, 1, 64, 64))
    fine = network.refine(image, CLICKS, coarse, torch.tensor([[3.0, 4.0, 40.0, 50.0], [0.0, 0.0, 64.0, 64.0]]))
    (coarse.logits.square().mean() + fine.logits.square().mean() + fine.edge.square().mean()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_refiner_sees_the_coarse_crop_and_decides_near_edges_only():
    network = mini().eval()
    image = torch.rand(2, 3, 64, 64)
    boxes = torch.tensor([[8.0, 16.0, 40.0, 48.0], [0.0, 0.0, 64.0, 64.0]])
    with torch.no_grad():
        coarse = network(image, CLICKS, torch.zeros(2, 1, 64, 64))
        network.refiner.edge.weight.zero_()
        network.refiner.edge.bias.fill_(-100.0)
        away = network.refine(image, CLICKS, coarse, boxes)
        network.refiner.edge.bias.fill_(100.0)
        near = network.refine(image, CLICKS, coarse, boxes)
    # a region of 32 pixels at 64: bilinear with half-pixel centres, whatever lies outside
    wide = F.interpolate(coarse.logits[:1], scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(away.coarse[0], wide[0, :, 32:96, 16:80], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(away.coarse[1], coarse.logits[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(away.logits, away.coarse)
    assert not torch.allclose(near.logits, near.coarse, atol=1e-3)


def test_refined_rows_do_not_mix():
    network = mini().eval()
    image = torch.rand(2, 3, 64, 64)
    boxes = torch.tensor([[8.0, 16.0, 40.0, 48.0], [1.5, 2.25, 60.0, 33.0]])
    with torch.no_grad():
        both = network.refine(image, CLICKS, network(image, CLICKS, torch.zeros(2, 1, 64, 64)), boxes)
        second = network(image[1:], CLICKS[1:], torch.zeros(1, 1, 64, 64))
        alone = network.refine(image[1:], CLICKS[1:], second, boxes[1:])
    torch.testing.assert_close(alone.logits, both.logits[1:], rtol=1e-4, atol=1e-4)


def test_names_and_ways_back():
    with pytest.raises(ValueError, match=r"unknown backbone 'b9'.*b0, b3.*hrnet18s"):
        CoarseToFine("b9")
    network = build({"variant": "mini", "network_options": {"halve": True}})
    assert isinstance(network, FocalClickNet)
    assert network.arguments == {"backbone": "mini", "image_size": 64, "halve": True, "click_radius": 5.0}
    assert build({"network_options": network.arguments}).arguments == network.arguments
    assert network.zoom_in.target_size == (64, 64)
    assert set(VARIANTS) == {"b0", "b3", "hrnet18s", "hrnet32", "tiny", "mini"}


def test_pretrained_weights_go_into_the_backbone(tmp_path):
    network = mini()
    with pytest.raises(FileNotFoundError, match=r"mit\.pth"):
        network.load_pretrained(tmp_path / "mit.pth")
    torch.save({"conv9.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="Mix Transformer"):
        network.load_pretrained(tmp_path / "other.pth")
    with torch.device("meta"):
        hrnet = CoarseToFine("hrnet18s")
    with pytest.raises(ValueError, match="HRNet"):
        hrnet.load_pretrained(tmp_path / "other.pth")
