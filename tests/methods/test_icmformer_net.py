"""iCMFormer's networks: Swins at any size, what clicks share, the orders of Table 5, pretrained Swin weights."""

import pytest
import timm
import torch

from clicklab.external_checkpoint import rename_keys
from clicklab.methods.icmformer import VARIANTS, ICMFormerSwin, ICMFormerViT, build, swin_weights
from clicklab.methods.icmformer.swin_weights import TIMM_KEYS, load_swin, resample_table
from clicklab.records import Clicks

CLICKS = Clicks.from_list([[(10.5, 20.0, 1), (3.0, 60.0, 0)], [(40.0, 8.0, 1)]])
ORDERS = {
    "X ; Y->X": {"clicks_attend": False, "guide": "clicks"},
    "X ; X->Y": {"clicks_attend": False},
    "X,Y ; Y->X": {"guide": "clicks"},
    "X,Y ; X->Y": {},
}  # rows of the paper's Table 5, X the image and Y the clicks
ABLATIONS = [("mini", options) for options in (*ORDERS.values(), {"cross_blocks": 0})]
ABLATIONS += [("swin_mini", {}), ("swin_mini", {"cross_blocks": 0})]


def small(variant="mini", **options):
    torch.manual_seed(0)
    return build({"variant": variant, "network_options": options})


def pair(height=64, width=64):
    torch.manual_seed(1)
    return torch.rand(2, 3, height, width), torch.rand(2, 1, height, width)


@pytest.mark.parametrize("size", [(64, 96), (50, 37)])
def test_a_swin_answers_images_of_any_size(size):
    network = small("swin_mini").eval()
    image, prev_mask = pair(*size)
    with torch.no_grad():
        whole = network(image, CLICKS, prev_mask)
        step = network.step(network.start(image), CLICKS, prev_mask)
        empty = network(image, CLICKS, torch.zeros_like(prev_mask))
        unclicked = network(image, Clicks.empty(2), prev_mask)
        alone = network(image[1:], CLICKS[1:], prev_mask[1:])
    assert whole.logits.shape == (2, 1, *size)
    assert torch.equal(whole.logits, step.logits)
    assert not torch.equal(whole.logits, empty.logits)
    assert not torch.equal(whole.logits, unclicked.logits)
    torch.testing.assert_close(alone.logits, whole.logits[1:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", ORDERS.values(), ids=ORDERS)
def test_a_vit_keeps_the_image_branch_between_clicks(options):
    network, runs = small(**options).eval(), []
    for number, block in enumerate(network.backbone.blocks):
        block.register_forward_hook(lambda *_, number=number: runs.append(number))
    image, prev_mask = pair()
    with torch.no_grad():
        state = network.start(image)
        assert runs == [0, 1, 2, 3]
        runs.clear()
        network.step(state, CLICKS, prev_mask)
    clicks = [0, 1, 2, 3] if network.clicks_attend else []
    assert runs == [*clicks, 4, 5, 6, 7]


def test_a_swin_keeps_the_image_branch_between_clicks():
    network, runs = small("swin_mini").eval(), []
    for number, stage in enumerate(network.backbone.stages):
        stage.register_forward_hook(lambda *_, number=number: runs.append(number))
    image, prev_mask = pair()
    with torch.no_grad():
        state = network.start(image)
        assert runs == [0, 1]
        runs.clear()
        network.step(state, CLICKS, prev_mask)
    assert sorted(runs) == [0, 0, 1, 1, 2, 3]  # clicks, and the stream of both that brings the fine maps


def test_orders_differ_in_nothing_but_the_order():
    """Same weights, same image branch, same second half; only who guides whom and what the clicks went through."""
    networks = {name: small(**options).eval() for name, options in ORDERS.items()}
    weights = networks["X,Y ; X->Y"].state_dict()
    image, prev_mask = pair()
    fed, logits, states = {}, [], []
    for name, network in networks.items():
        network.load_state_dict(weights)
        network.cross_blocks[0].register_forward_pre_hook(lambda _, inputs, name=name: fed.update({name: inputs}))
        with torch.no_grad():
            states.append(network.start(image))
            logits.append(network.step(states[-1], CLICKS, prev_mask).logits)
    assert all(torch.equal(state, states[0]) for state in states)
    assert all(not torch.equal(logits[i], logits[j]) for i in range(4) for j in range(i))
    tokens = states[0].flatten(1, 2)
    for name, (asking, guide) in fed.items():
        assert torch.equal(asking if name.endswith("Y->X") else guide, tokens), name
    clicks = {name: inputs[0 if name.endswith("X->Y") else 1] for name, inputs in fed.items()}
    assert torch.equal(clicks["X ; Y->X"], clicks["X ; X->Y"])
    assert torch.equal(clicks["X,Y ; Y->X"], clicks["X,Y ; X->Y"])
    assert not torch.equal(clicks["X ; X->Y"], clicks["X,Y ; X->Y"])


def test_cross_blocks_of_a_vit_see_windows():
    """All but the last of each group of six at depth 12 (docs/models.md#plain-vit)."""
    network, seen = small(image_size=448, patch_size=16, depth=12, cross_blocks=7).eval(), []
    for block in network.cross_blocks:
        block.register_forward_pre_hook(lambda _, inputs: seen.append([tuple(x.shape[:2]) for x in inputs]))
    with torch.no_grad():
        network(torch.rand(1, 3, 448, 448), Clicks.empty(1), torch.zeros(1, 1, 448, 448))
    assert seen == [[(4, 196)] * 2] * 5 + [[(1, 784)] * 2] + [[(4, 196)] * 2]


@pytest.mark.parametrize(("variant", "options"), ABLATIONS, ids=str)
def test_every_parameter_learns(variant, options):
    """DDP runs without a search for unused parameters."""
    network = small(variant, dropout=0.0, **options)
    image, prev_mask = pair()
    network(image, CLICKS, prev_mask).logits.square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_streams_of_a_swin_drop_their_own_paths():
    network = small("swin_mini", drop_path=0.9, dropout=0.0).train()
    image, prev_mask = pair()
    with torch.no_grad():
        assert not torch.equal(network(image, CLICKS, prev_mask).logits, network(image, CLICKS, prev_mask).logits)
        network.eval()
        assert torch.equal(network(image, CLICKS, prev_mask).logits, network(image, CLICKS, prev_mask).logits)


def up_convs(channels):
    """Parameters of the two upsamplings that official files carry and never run."""
    halves = (channels // 2, channels // 4)
    return sum(8 * half * half + half + half * half + half + 4 * half for half in halves)


# Parameters of the official models (docs/methods/icmformer.md) less what never runs.
@pytest.mark.parametrize(
    ("name", "official", "dead"),
    [
        ("base", 126_380_841, (2 + 2 + 1000) * 768 + 1000 + up_convs(256)),
        ("large", 408_189_737, (2 + 2 + 1000) * 1024 + 1000 + up_convs(256)),
        ("huge", 819_617_113, (2 + 2 + 1000) * 1280 + 1000 + up_convs(256)),
        ("swin_base", 121_459_833, (48 + 3) * 128 + up_convs(256)),
        ("swin_small", 68_305_867, (48 + 3) * 96 + up_convs(192)),
    ],
)
def test_sizes_of_the_official_variants(name, official, dead):
    options = {"cross_blocks": 8} if name.startswith("swin") else {}
    with torch.device("meta"):
        network = build({"variant": name, "network_options": options})
    assert sum(p.numel() for p in network.parameters()) == official - dead
    assert network.zoom_in.target_size == ((384, 384) if name.startswith("swin") else (448, 448))


def test_initial_weights():
    """Cross blocks: Xavier beside a plain ViT, normal 0.02 beside a Swin (docs/methods/icmformer.md#training)."""
    xavier = small(embed_dim=96).cross_blocks[0].attn2.qkv
    assert xavier.weight.std().item() == pytest.approx((2 / (96 + 288)) ** 0.5, rel=0.02)
    normal = small("swin_mini", embed_dim=32).cross_blocks[0].attn2.qkv
    assert normal.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert not xavier.bias.any() and not normal.bias.any()


def test_bfloat16_of_a_swin():
    network = small("swin_mini").eval()
    image, prev_mask = pair()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert network(image, CLICKS, prev_mask).logits.isfinite().all()
    network = network.bfloat16()
    with torch.no_grad():
        assert network(image.bfloat16(), CLICKS, prev_mask.bfloat16()).logits.dtype == torch.bfloat16


def test_checkpointed_blocks_give_the_same_gradients():
    image, prev_mask = pair()
    gradients = []
    for checkpointed in (False, True):
        network = small(checkpoint_blocks=checkpointed, dropout=0.0)
        network(image, CLICKS, prev_mask).logits.square().mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters()]))
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(("variant", "options"), [*ABLATIONS, ("tiny", {})], ids=str)
def test_arguments_rebuild_the_network(variant, options):
    network = small(variant, **options)
    again = build({"variant": None, "network_options": network.arguments})
    assert type(again) is type(network) and again.arguments == network.arguments
    side = network.arguments["image_size"]
    with torch.no_grad():
        logits = again(torch.rand(1, 3, side, side), Clicks.empty(1), torch.zeros(1, 1, side, side)).logits
    assert logits.shape == (1, 1, side, side)


def test_errors():
    with pytest.raises(ValueError, match=f"giant.*{', '.join(VARIANTS)}"):  # those of both networks
        small("giant")
    with pytest.raises(ValueError, match="ICMFormerSwin has no option 'guide'"):
        small("swin_mini", guide="clicks")
    with pytest.raises(ValueError, match="guide is 'me', expected 'image' or 'clicks'"):
        small(guide="me")
    for kind in (ICMFormerViT, ICMFormerSwin):
        with pytest.raises(ValueError, match="cross_blocks is -1"):
            kind(cross_blocks=-1)
    with pytest.raises(ValueError, match=r"four stages, got \[2, 2\]"):
        small("swin_mini", depths=(2, 2))


def swin_file(network, window=None):
    """What an official ImageNet file of this backbone would hold, perhaps for another window."""
    state = {k: torch.rand_like(v) for k, v in network.backbone.state_dict().items() if not k.startswith("norms.")}
    if window:
        state = {k: torch.rand((2 * window - 1) ** 2, v.shape[1]) if "table" in k else v for k, v in state.items()}
    state |= {"norm.weight": torch.rand(1), "head.bias": torch.rand(1), "layers.0.blocks.1.attn_mask": torch.rand(1)}
    return state | {"layers.0.blocks.1.attn.relative_position_index": torch.zeros(1, dtype=torch.long)}


@pytest.mark.parametrize("window", [None, 3])
def test_swin_weights_from_a_file(window, tmp_path):
    network = small("swin_mini")
    state = swin_file(network, window)
    torch.save({"model": state}, tmp_path / "swin.pth")
    network.load_pretrained(tmp_path / "swin.pth")
    for key, value in network.backbone.state_dict().items():
        if key in state:
            wanted = resample_table(state[key], 49) if "table" in key else state[key]
            assert torch.equal(value, wanted), key
        else:
            assert torch.equal(value, torch.full_like(value, float("weight" in key))), key


def test_resampled_bias_table_keeps_its_orientation():
    """A table that grows with the row offset alone still does, with about the same ends."""
    slope = torch.arange(5.0)[:, None].expand(5, 5).reshape(25, 1)
    table = resample_table(slope, 81).view(9, 9)
    assert (table.diff(dim=0) > 0).all() and table.diff(dim=1).abs().max() < 1e-5
    assert table.min().item() == pytest.approx(0, abs=0.3) and table.max().item() == pytest.approx(4, abs=0.3)


def test_swin_weights_through_timm(monkeypatch):
    theirs = timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=128, window_size=4, embed_dim=16, depths=(2, 2, 2, 2),
        num_heads=(1, 2, 2, 4), num_classes=0,
    )  # fmt: skip
    network = small("swin_mini")
    backbone = network.backbone
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: theirs)
    monkeypatch.setitem(swin_weights.TIMM_NAMES, (16, 4), "made up")
    network.load_pretrained("swin")
    named = rename_keys(theirs.state_dict(), TIMM_KEYS)
    assert named.keys() == {key for key in backbone.state_dict() if not key.startswith("norms.")}
    assert all(torch.equal(backbone.state_dict()[key], value) for key, value in named.items())


def test_wrong_swin_weights(tmp_path):
    network = small("swin_mini")
    with pytest.raises(ValueError, match="no ImageNet-22k weights are known for a Swin of 16 channels and window 4"):
        network.load_pretrained("swin")
    with pytest.raises(FileNotFoundError, match=r"no checkpoint file at .*absent\.pth"):
        network.load_pretrained(tmp_path / "absent.pth")
    torch.save({"model": {"conv.weight": torch.zeros(1)}}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other\.pth: not a Swin file: it has no patch_embed\.norm"):
        network.load_pretrained(tmp_path / "other.pth")
    torch.save({"model": swin_file(network)}, tmp_path / "mini.pth")
    with pytest.raises(ValueError, match=r"mini\.pth: is this the file for another variant\? .*of another shape"):
        load_swin(small("swin_mini", embed_dim=32).backbone, tmp_path / "mini.pth")
