"""Mix Transformer: sizes of the paper, attention and MixFFN by hand, ImageNet files of the authors."""

import pytest
import torch
import torch.nn.functional as F

from clicklab.external_checkpoint import rename_keys
from clicklab.nn.mit import MIT_KEYS, Block, EfficientAttention, MixFFN, MixTransformer, load_mit
from clicklab.nn.segformer_head import SegFormerHead

SMALL = {"dims": (8, 16, 24, 32), "depths": (1, 2, 1, 1), "heads": (1, 2, 3, 4)}


def small():
    torch.manual_seed(0)
    return MixTransformer(**SMALL)


# Parameters of the encoders, in millions: SegFormer paper, table 1.
@pytest.mark.parametrize(
    ("dims", "depths", "millions"),
    [((32, 64, 160, 256), (2, 2, 2, 2), 3.4), ((64, 128, 320, 512), (3, 4, 18, 3), 44.0)],
    ids=["B0", "B3"],
)
def test_sizes_of_the_paper(dims, depths, millions):
    with torch.device("meta"):
        network = MixTransformer(dims, depths)
        maps = network(torch.zeros(1, 3, 256, 256))
    assert [tuple(one.shape[1:]) for one in maps] == [(dim, 64 >> i, 64 >> i) for i, dim in enumerate(dims)]
    assert abs(sum(p.numel() for p in network.parameters()) / 1e6 - millions) < 0.03 * millions


def test_two_halves_are_the_whole_and_odd_sizes_work():
    network = small().eval()
    image = torch.rand(2, 3, 70, 101)
    with torch.no_grad():
        whole = network(image)
        first = network.first_stage(image)
        halves = [first, *network.later_stages(first)]
        alone = network(image[1:])
    assert all(torch.equal(a, b) for a, b in zip(whole, halves, strict=True))
    assert [tuple(one.shape[-2:]) for one in whole] == [(18, 26), (9, 13), (5, 7), (3, 4)]
    for a, b in zip(alone, whole, strict=True):
        torch.testing.assert_close(a, b[1:], rtol=1e-4, atol=1e-5)


def test_attention_by_hand():
    """Every token asks; keys and values are the shrunk map's tokens, head by head."""
    torch.manual_seed(0)
    layer = EfficientAttention(6, heads=2, reduction=2).double()
    x = torch.rand(1, 4 * 6, 6, dtype=torch.float64)
    shrunk = F.conv2d(x.transpose(1, 2).view(1, 6, 4, 6), layer.sr.weight, layer.sr.bias, stride=2)
    source = F.layer_norm(shrunk.flatten(2).transpose(1, 2), (6,), layer.norm.weight, layer.norm.bias, 1e-5)[0]
    query, pair = layer.q(x[0]), layer.kv(source)
    heads = []
    for head in range(2):
        part = slice(3 * head, 3 * head + 3)
        key, value = pair[:, :6][:, part], pair[:, 6:][:, part]
        heads.append((query[:, part] @ key.T / 3**0.5).softmax(dim=1) @ value)
    torch.testing.assert_close(layer(x, (4, 6))[0], layer.proj(torch.cat(heads, dim=1)))


def test_feed_forward_sees_its_neighbours_only():
    torch.manual_seed(0)
    layer = MixFFN(4, 8)
    x = torch.rand(1, 5 * 7, 4)
    changed = x.clone()
    changed[0, 2 * 7 + 3] += 1  # row 2, column 3
    moved = (layer(changed, (5, 7)) - layer(x, (5, 7))).abs().sum(dim=2).view(5, 7) > 1e-7
    near = torch.zeros(5, 7, dtype=torch.bool)
    near[1:4, 2:5] = True
    assert torch.equal(moved, near)


def test_branches_are_dropped_in_training_only():
    torch.manual_seed(0)
    block = Block(8, 2, 1, 4, drop_path=1.0)
    x = torch.rand(3, 6, 8)
    assert torch.equal(block(x, (2, 3)), x)
    assert not torch.equal(block.eval()(x, (2, 3)), x)
    drops = [b.drop_path.p for stage in MixTransformer(**SMALL, drop_path=0.2).stages for b in stage.blocks]
    assert drops == pytest.approx([0.0, 0.05, 0.1, 0.15, 0.2])


def official_file(network):
    """The network's weights by the authors' names, with the classifier that their files have."""
    weights = network.state_dict()
    names = {}
    for i in range(4):
        names |= {f"stages.{i}.embed.": f"patch_embed{i + 1}.", f"stages.{i}.blocks.": f"block{i + 1}."}
        names |= {f"stages.{i}.norm.": f"norm{i + 1}."}
    renamed = {}
    for name, value in weights.items():
        start = next(ours for ours in names if name.startswith(ours))
        renamed[names[start] + name.removeprefix(start).replace(".mix.", ".dwconv.dwconv.")] = value
    return renamed | {"head.weight": torch.zeros(1000, 32), "head.bias": torch.zeros(1000)}


@pytest.mark.parametrize("nested", [False, True])
def test_imagenet_files(tmp_path, nested):
    source, other = small(), MixTransformer(**SMALL)
    weights = official_file(source)
    assert len(rename_keys(weights, [*MIT_KEYS, (r"head\..*", None)])) == len(source.state_dict())
    torch.save({"state_dict": weights} if nested else weights, tmp_path / "mit.pth")
    load_mit(other, tmp_path / "mit.pth")
    assert all(
        torch.equal(a, b) for a, b in zip(source.state_dict().values(), other.state_dict().values(), strict=True)
    )
    with pytest.raises(ValueError, match="another Mix Transformer"):
        load_mit(MixTransformer((8, 16, 24, 32), (1, 1, 1, 1), (1, 2, 3, 4)), tmp_path / "mit.pth")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth"):
        load_mit(other, tmp_path / "nowhere.pth")


def test_head_fuses_all_levels_at_the_finest():
    torch.manual_seed(0)
    head = SegFormerHead((8, 16, 24, 32), 12).eval()
    maps = [torch.rand(2, dim, 16 >> i, 20 >> i) for i, dim in enumerate((8, 16, 24, 32))]
    logits, features = head(maps)
    assert (logits.shape, features.shape) == ((2, 1, 16, 20), (2, 12, 16, 20))
    for i in range(4):
        changed = [one + 1 if i == j else one for j, one in enumerate(maps)]
        assert not torch.allclose(head(changed)[0], logits)
    # the official order: resize, stack the coarsest first, then fuse
    levels = [level(x.movedim(1, -1)).movedim(-1, 1) for level, x in zip(head.levels, maps, strict=True)]
    levels = [F.interpolate(x, size=(16, 20), mode="bilinear") for x in levels]
    torch.testing.assert_close(features, F.relu(head.norm(head.fuse(torch.cat(levels[::-1], dim=1)))))


def test_branches_are_dropped_sample_by_sample():
    torch.manual_seed(0)
    block, x = Block(8, 2, 1, 4, drop_path=0.5), torch.rand(1, 6, 8).expand(64, -1, -1)
    rows = block(x, (2, 3))
    kinds = rows.flatten(1).unique(dim=0)
    assert len(kinds) == 4  # each of the two branches is there or not
    untouched = (rows == x).flatten(1).all(1).double().mean().item()
    assert abs(untouched - 0.25) < 5 * (0.25 * 0.75 / 64) ** 0.5
