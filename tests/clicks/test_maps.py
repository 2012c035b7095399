"""Disk maps against the definition over all pixels, sine codes against a loop in double precision."""

from __future__ import annotations

import math

import pytest
import torch

from clicklab.clicks.maps import decay_maps, disk_maps, sine_encoding, sine_grid
from clicklab.records import Clicks


def all_pixels(clicks: Clicks, size: tuple[int, int], radius: float) -> torch.Tensor:
    """Every click against every pixel."""
    pixels = torch.stack(torch.meshgrid(*(torch.arange(n) for n in size), indexing="ij"), dim=-1)
    squared = (pixels - clicks.yx[:, :, None, None]).square().sum(-1)
    covered = (squared <= radius**2) & (clicks.yx.amax(-1) >= 0)[..., None, None]
    signs = [(covered & (clicks.label == sign)[..., None, None]).any(1) for sign in (1, 0)]
    return torch.stack(signs, dim=1).float()


@pytest.mark.parametrize("radius", [0, 1.5, 2, 5])
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "fractional"])
def test_disks_equal_the_definition(radius, whole):
    draw = torch.Generator().manual_seed(int(10 * radius) + whole)
    yx = torch.rand(6, 12, 2, generator=draw) * torch.tensor([44.0, 50.0]) - 7
    label = torch.randint(-1, 2, (6, 12), generator=draw).to(torch.int8)
    clicks = Clicks(yx.round() if whole else yx, label)
    maps = disk_maps(clicks, (30, 37), radius)
    assert maps.dtype == torch.float32
    assert torch.equal(maps, all_pixels(clicks, (30, 37), radius))


def test_disk_by_hand():
    clicks = Clicks.from_list([[(20, 30, True), (-1, -0.5, False)], [(0, 0, False), (-2, 10, True)]])
    maps = disk_maps(clicks, (41, 61), 5)
    assert maps.sum(dim=(2, 3)).tolist() == [[81.0, 0.0], [26.0, 26.0]]
    assert maps[0, 0, 20, 25:36].tolist() == [1.0] * 11
    assert maps[0, 0, 20, 24] == maps[0, 0, 16, 34] == 0
    assert maps[0, 0, 17, 34] == 1


def test_a_pixel_exactly_on_the_rim_follows_the_official_rounding():
    """A click 63/13 rows and 16/13 columns away is exactly 5 pixels away; official DistMaps gave these two answers."""
    yx = torch.tensor([[[30.0, 72.0]]], dtype=torch.float64) * 448 / 182
    label = torch.ones(1, 1, dtype=torch.int8)
    assert disk_maps(Clicks(yx, label), (448, 448), 5)[0, 0, 69, 176] == 1
    assert disk_maps(Clicks(yx.float(), label), (448, 448), 5)[0, 0, 69, 176] == 0


@pytest.mark.parametrize("clicks", [Clicks.empty(2), Clicks.empty(2, 3), Clicks.empty(0, 3)], ids=["0", "3", "none"])
def test_no_clicks_give_empty_maps(clicks):
    maps = disk_maps(clicks, (5, 6), 5)
    assert maps.shape == (len(clicks), 2, 5, 6)
    assert not maps.any()


def sine_by_loop(y: float, x: float, size: tuple[int, int], channels: int) -> list[float]:
    """Card piclick.md section 5, one number at a time."""
    half, code = channels // 2, []
    for position, length in ((y, size[0]), (x, size[1])):
        angle = (position + 1) / (length + 1e-6) * 2 * math.pi
        for i in range(half):
            wave = angle / 10000 ** (2 * (i // 2) / half)
            code.append(math.cos(wave) if i % 2 else math.sin(wave))
    return code


def test_sine_code_equals_the_formula():
    yx = torch.tensor([[[0.0, 0.0], [11.0, 19.0]], [[3.25, 7.5], [-0.5, 30.0]]])
    code = sine_encoding(yx, (12, 20), 16)
    expected = [[sine_by_loop(y, x, (12, 20), 16) for y, x in row] for row in yx.tolist()]
    torch.testing.assert_close(code, torch.tensor(expected), atol=2e-6, rtol=0)


def test_sine_grid_is_the_code_of_every_pixel():
    rows, columns = torch.meshgrid(torch.arange(7), torch.arange(9), indexing="ij")
    code = sine_encoding(torch.stack([rows, columns], dim=-1), (7, 9), 24)
    assert torch.equal(sine_grid((7, 9), 24), code.permute(2, 0, 1))


def test_sine_code_wants_multiples_of_four():
    with pytest.raises(ValueError, match="multiple of 4"):
        sine_grid((4, 4), 6)


def test_decay_maps_equal_the_formula():
    """Formula 5 of DISNet click by click and cell by cell; the largest of all clicks of a sign."""
    draw = torch.Generator().manual_seed(3)
    yx = torch.rand(3, 4, 2, generator=draw) * torch.tensor([48.0, 64.0])
    label = torch.tensor([[1, 0, 1, -1], [1, 1, -1, -1], [-1, -1, -1, -1]], dtype=torch.int8)
    radius = torch.tensor([6.0, 2.5, 2.5, 2.5])
    maps = decay_maps(Clicks(yx, label), (48, 64), (12, 16), radius)
    wanted = torch.zeros(3, 2, 12, 16)
    for b, k in ((b, k) for b in range(3) for k in range(4) if label[b, k] >= 0):
        for i, j in ((i, j) for i in range(12) for j in range(16)):
            # the middle of cell i of 4 pixels lies at pixel 4 i + 1.5
            away = math.hypot(yx[b, k, 0] - (4 * i + 1.5), yx[b, k, 1] - (4 * j + 1.5)) / 4
            sign = 1 - int(label[b, k])
            wanted[b, sign, i, j] = max(wanted[b, sign, i, j], 1 - min(radius[k], away) / radius[k])
    torch.testing.assert_close(maps, wanted)


def test_decay_map_by_hand():
    clicks = Clicks.from_list([[(20, 30, True)]])
    maps = decay_maps(clicks, (41, 61), (41, 61), torch.tensor([5.0]))
    torch.testing.assert_close(maps[0, 0, 20, 24:33], torch.tensor([0, 0.0, 0.2, 0.4, 0.6, 0.8, 1, 0.8, 0.6]))
    assert not maps[0, 1].any()
    assert not decay_maps(Clicks.empty(2), (8, 8), (4, 4), torch.ones(0)).any()
