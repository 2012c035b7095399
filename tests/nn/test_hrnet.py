"""HRNet and OCR head: sizes, the layers against timm's, the object's vector by hand, ImageNet files."""

import pytest
import timm
import torch

from clicklab.nn.click_hrnet import ClickHRNet, ClickStem
from clicklab.nn.hrnet import ExchangeModule, HRNet, load_imagenet
from clicklab.nn.ocr import OCRHead


@pytest.fixture(scope="module")
def classifier():
    """timm's HRNet-W18-small-v2, an independent implementation of the same layers, with random weights."""
    torch.manual_seed(0)
    return timm.create_model("hrnet_w18_small_v2", pretrained=False).eval()


def small():
    return HRNet(18, blocks=2, modules=(1, 3, 2)).eval()


@pytest.mark.parametrize("old", [False, True], ids=["plain", "old file"])
def test_imagenet_file_fills_every_layer(classifier, tmp_path, old):
    weights = classifier.state_dict()
    if old:  # another prefix, batches not counted
        kept = {name: value for name, value in weights.items() if not name.endswith("num_batches_tracked")}
        torch.save({f"model.{name}": value for name, value in kept.items()}, tmp_path / "hrnet.pth")
    else:
        torch.save(weights, tmp_path / "hrnet.pth")
    backbone = small()
    load_imagenet(backbone, tmp_path / "hrnet.pth")
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, weights[name]), name


def test_same_maps_as_timm_up_to_the_first_interpolation(classifier, tmp_path):
    torch.save(classifier.state_dict(), tmp_path / "hrnet.pth")
    backbone = small()
    load_imagenet(backbone, tmp_path / "hrnet.pth")
    image = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        theirs = classifier.act1(classifier.bn1(classifier.conv1(image)))
        torch.testing.assert_close(backbone.stem(image), theirs, rtol=1e-5, atol=1e-5)  # in another memory order
        theirs = classifier.layer1(classifier.act2(classifier.bn2(classifier.conv2(theirs))))
        scales = [layer(theirs) for layer in classifier.transition1]
        ours = [layer(theirs) for layer in backbone.transition1]
        # the coarser scale of an exchange takes no interpolation, so nearest or bilinear makes no difference there
        wanted = classifier.stage2[0]([one.clone() for one in scales])[1]
        torch.testing.assert_close(backbone.stage2[0](ours)[1], wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [(64, 64), (65, 97), (33, 50), (8, 5)])
def test_any_size(size):
    backbone = HRNet(4, blocks=1, modules=(1, 1, 1), stem_channels=8).eval()
    with torch.inference_mode():
        stem = backbone.stem(torch.rand(1, 3, *size))
        maps = backbone(stem)
    assert stem.shape == (1, 8, -(-size[0] // 2), -(-size[1] // 2))
    assert maps.shape == (1, backbone.channels, -(-size[0] // 4), -(-size[1] // 4))
    assert backbone.channels == 60


def test_an_exchange_is_the_sum_of_all_scales():
    """With the convolutions of an exchange made to give constants, each scale is their sum, then ReLU."""
    module = ExchangeModule([2, 4, 8], blocks=1).eval()
    for target, layers in enumerate(module.fuse_layers):
        for source, layer in enumerate(layers):
            if source != target:
                norm = [part for part in layer.modules() if isinstance(part, torch.nn.BatchNorm2d)][-1]
                torch.nn.init.zeros_(norm.weight)
                torch.nn.init.constant_(norm.bias, 10.0**source if source > target else -(10.0**source))
    maps = [torch.rand(1, 2, 9, 7), torch.rand(1, 4, 5, 4), torch.rand(1, 8, 3, 2)]
    with torch.inference_mode():
        alone = [branch(one) for branch, one in zip(module.branches, maps, strict=True)]
        fused = module(maps)
    for one, own, added in zip(fused, alone, (110.0, 99.0, -11.0), strict=True):
        torch.testing.assert_close(one, (own + added).relu())


def test_the_object_is_the_mean_of_its_pixels():
    """The vector that every pixel is told, by hand: pixels weighted by the softmax of the first guess."""
    torch.manual_seed(1)
    head = OCRHead(6, 4).eval()
    maps = torch.randn(2, 6, 5, 7)
    with torch.inference_mode():
        answer = head(maps)
        pixels = head.pixels(maps)
        vectors = []
        for sample, guess in zip(pixels, answer.aux, strict=True):
            weight = guess[0].exp() / guess[0].exp().sum()
            vectors.append((sample * weight).sum(dim=(1, 2)))
        context = head.up(head.down(torch.stack(vectors)[:, :, None, None]))
        features = head.fuse(torch.cat([context.expand(-1, -1, 5, 7), pixels], dim=1))
        torch.testing.assert_close(answer.features, features)
        torch.testing.assert_close(answer.logits, head.mask(features))
    assert answer.features.shape == (2, 8, 5, 7)


def test_clicks_add_little_at_first():
    stem = ClickStem(3, 8)
    maps = torch.rand(1, 3, 9, 12)
    assert stem(maps).shape == (1, 8, 5, 6)
    with torch.no_grad():
        full = stem.second(torch.nn.functional.leaky_relu(stem.first(maps), 0.2))
        torch.testing.assert_close(stem(maps), 0.05 * full)
        stem.scale.neg_()
        torch.testing.assert_close(stem(maps), 0.05 * full)


def test_initial_weights():
    """Normal with variance 2 / mean fan, zero biases, plain BatchNorm (docs/training.md#initial-weights)."""
    network = ClickHRNet(3, 18, 48, 2, (1, 3, 2))
    for layer, fan in ((network.ocr.pixels[0], (270 + 96) * 9), (network.backbone.conv2, 128 * 9)):
        assert layer.weight.std().item() == pytest.approx((2 / (fan / 2)) ** 0.5, rel=0.02)
    assert not network.ocr.pixels[0].bias.any() and not network.clicks.first.bias.any()
    assert (network.backbone.bn1.weight == 1).all() and not network.backbone.bn1.bias.any()


def test_files_that_do_not_fit(classifier, tmp_path, monkeypatch):
    path = tmp_path / "hrnet.pth"
    torch.save(classifier.state_dict(), path)
    with pytest.raises(ValueError, match=r"hrnet\.pth: is this the file for another variant\? .*missing: layer1\.2"):
        load_imagenet(HRNet(18), path)
    with pytest.raises(ValueError, match=r"another variant.*of another shape"):
        load_imagenet(HRNet(4, 2, (1, 3, 2)), path)
    torch.save({"patch_embed.proj.weight": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="not an HRNet file"):
        load_imagenet(small(), path)
    with pytest.raises(FileNotFoundError):
        load_imagenet(small(), tmp_path / "nothing.pth")
    with pytest.raises(ValueError, match="no ImageNet weights are published for an HRNet of width 4"):
        load_imagenet(HRNet(4))

    def offline(*args, **kwargs):
        raise OSError("no route")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(
        ValueError, match=r"could not fetch hrnet_w18_small_v2\.ms_in1k .*no route.*official HRNet file"
    ):
        load_imagenet(small())


def test_imagenet_weights_through_timm(classifier, monkeypatch):
    asked = []
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained: asked.append((name, pretrained)) or classifier)
    backbone = small()
    load_imagenet(backbone)
    assert asked == [("hrnet_w18_small_v2.ms_in1k", True)]
    assert torch.equal(backbone.conv1.weight, classifier.conv1.weight)
