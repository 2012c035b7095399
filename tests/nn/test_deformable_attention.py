"""Deformable attention against its definition, pixel by pixel in float64."""

import math

import pytest
import torch

from clicklab.nn.deformable_attention import DeformableAttention, sample_levels, sums_of_rows

SIZES = [(2, 3), (4, 5)]


def bilinear(plane, x, y):
    """Value of a (h, w, d) map at x, y in 0..1; cell centres lie at (i + 0.5) / n, outside is zero."""
    height, width, _ = plane.shape
    column, row = x * width - 0.5, y * height - 0.5
    total = torch.zeros(plane.shape[2], dtype=plane.dtype)
    for r in (math.floor(row), math.floor(row) + 1):
        for c in (math.floor(column), math.floor(column) + 1):
            if 0 <= r < height and 0 <= c < width:
                total += (1 - abs(row - r)) * (1 - abs(column - c)) * plane[r, c]
    return total


@pytest.mark.parametrize("sample", [sample_levels, sums_of_rows])
def test_sampling_equals_the_definition(sample):
    generator = torch.Generator().manual_seed(0)
    heads, dim, points, queries = 2, 3, 2, 4
    value = torch.randn(2, sum(h * w for h, w in SIZES), heads, dim, generator=generator, dtype=torch.float64)
    locations = torch.rand(2, queries, heads, 2, points, 2, generator=generator, dtype=torch.float64) * 1.6 - 0.3
    weights = torch.rand(2, queries, heads, 2, points, generator=generator, dtype=torch.float64)
    found = sample(value, SIZES, locations, weights)
    levels = [v.unflatten(1, size) for v, size in zip(value.split([h * w for h, w in SIZES], 1), SIZES, strict=True)]
    for b in range(2):
        for q in range(queries):
            for h in range(heads):
                wanted = torch.zeros(dim, dtype=torch.float64)
                for level, maps in enumerate(levels):
                    for p in range(points):
                        x, y = locations[b, q, h, level, p].tolist()
                        wanted += weights[b, q, h, level, p] * bilinear(maps[b, :, :, h], x, y)
                torch.testing.assert_close(found[b, q, h * dim : (h + 1) * dim], wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("place", [0.0, 1.0, -1e6, 1e6, 0.5])
def test_rows_of_far_and_border_locations(place):
    """Nothing is read from beyond a map, nor from its neighbours in memory."""
    value = torch.randn(2, 26, 2, 3)
    locations = torch.full((2, 5, 2, 2, 1, 2), place)
    weights = torch.ones(2, 5, 2, 2, 1)
    wanted = sample_levels(value, SIZES, locations, weights)
    torch.testing.assert_close(sums_of_rows(value, SIZES, locations, weights), wanted)
    assert (wanted == 0).all() == (abs(place) > 1)


def test_offsets_are_in_pixels_of_the_level_and_start_as_a_ring():
    attention = DeformableAttention(8, heads=8, levels=2, points=3).double()
    ring = attention.sampling_offsets.bias.view(8, 2, 3, 2)
    assert torch.equal(ring[:, 0], ring[:, 1])
    torch.testing.assert_close(ring[:, 0, 2], 3 * ring[:, 0, 0])
    torch.testing.assert_close(ring[0, 0, 0].detach(), torch.tensor([1.0, 0.0], dtype=torch.float64))  # x first
    with torch.no_grad():  # look only at the place itself: the output is the value there
        attention.sampling_offsets.bias.zero_()
        for linear in (attention.value_proj, attention.output_proj):
            linear.weight.copy_(torch.eye(8))
    tokens = torch.randn(1, 26, 8, dtype=torch.float64)
    home = torch.tensor([[(1 + 0.5) / 3, 0.5 / 2]], dtype=torch.float64)
    maps = tokens.split([6, 20], 1)
    wanted = (
        bilinear(maps[0].view(2, 3, 8), *home[0].tolist()) + bilinear(maps[1].view(4, 5, 8), *home[0].tolist())
    ) / 2
    torch.testing.assert_close(attention(tokens[:, :1], tokens, home, SIZES)[0, 0], wanted)


def test_odd_widths_are_refused():
    with pytest.raises(ValueError, match="multiple of its 8 heads"):
        DeformableAttention(12)


@pytest.mark.parametrize(("right", "down"), [(2.0, 0.0), (0.0, 2.0), (-3.0, 1.0)])
def test_offsets_are_in_pixels_of_levels_that_are_no_squares(right, down):
    """One head and one point that looks `right` and `down` of home: columns and rows of two maps come back shifted."""
    sizes = [(8, 16), (6, 10)]
    attention = DeformableAttention(2, heads=1, levels=2, points=1)
    with torch.no_grad():
        for linear in (attention.value_proj, attention.output_proj):
            linear.weight.copy_(torch.eye(2))
        attention.sampling_offsets.bias.copy_(torch.tensor([right, down] * 2))
    tokens = torch.cat(
        [torch.cartesian_prod(torch.arange(h), torch.arange(w)).flip(1).float() for h, w in sizes]
    )  # x and y of every pixel
    home = torch.tensor([[0.5, 0.5]])
    for grad in (True, False):  # two ways to the same sums
        with torch.set_grad_enabled(grad):
            found = attention(torch.zeros(1, 1, 2), tokens[None], home, sizes)[0, 0]
        middle = torch.tensor([[w / 2 - 0.5, h / 2 - 0.5] for h, w in sizes]).mean(0)
        torch.testing.assert_close(found, middle + torch.tensor([right, down]))
