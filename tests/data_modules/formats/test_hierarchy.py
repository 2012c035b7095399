"""The object tree and the layers against slow full-size rules written from docs/data.md#hierarchy."""

from __future__ import annotations

import numpy as np
import pytest
from slow_hierarchy import box, random_masks, slow_tree

from data_modules.formats.hierarchy import box_shares, object_tree, region_tree, tree_levels
from data_modules.formats.regions import boxes_of, interval_ious, pack_layers, region_of


def test_tree_equals_the_slow_rule_on_random_scenes():
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(60):
        masks = random_masks(rng)
        expected = slow_tree(masks)
        assert region_tree([region_of(mask) for mask in masks]) == expected
        found += sum(parent is not None for parent in expected)
    assert found > 100


def test_a_scene_with_a_known_tree():
    sofa, man, shirt, logo, cushion, lamp = masks = np.zeros((6, 60, 60), bool)
    sofa[10:50, 5:45] = True
    man[12:40, 10:30] = True
    shirt[20:35, 12:28] = True
    logo[24:30, 15:20] = True
    cushion[15:25, 33:43] = True
    lamp[5:30, 50:58] = True
    parents = region_tree([region_of(mask) for mask in masks])
    assert parents == [None, 0, 1, 2, 0, None]
    assert tree_levels(parents) == [0, 1, 2, 3, 1, 0]


def test_a_subtree_is_searched_even_where_its_root_does_not_contain():
    # 0 contains all, 1 holds 2, 2 holds 3, but 1 does not hold 3
    holds = {(0, 1), (0, 2), (0, 3), (1, 2), (2, 3)}
    assert object_tree([100, 80, 60, 40], lambda i, j: (i, j) in holds) == [None, 0, 1, 2]


def test_equal_areas_later_first_and_nothing_at_all():
    masks = [np.ones((4, 4), bool)] * 3
    assert region_tree([region_of(mask) for mask in masks]) == [1, 2, None]
    assert region_tree([]) == []
    assert region_of(np.zeros((4, 4), bool)) is None


def test_levels_refuse_circles_and_unknown_parents():
    for parents in ([1, 0], [0], [None, 5], [-1]):
        with pytest.raises(ValueError, match="no root"):
            tree_levels(parents)


def test_boxes_overlaps_and_ious_equal_full_size_masks():
    rng = np.random.default_rng(1)
    masks = random_masks(rng, count=15)
    regions = [region_of(mask) for mask in masks]
    boxes = boxes_of(regions)
    assert [tuple(row) for row in boxes.tolist()] == [box(mask) for mask in masks]
    shares, ious = box_shares(boxes), interval_ious(boxes, boxes)
    for i, (a, first) in enumerate(zip(regions, masks, strict=True)):
        full = np.zeros(first.shape, bool)
        a.window(full)[a.pixels] = True
        assert np.array_equal(full, first) and a.area == first.sum()
        for j, (b, second) in enumerate(zip(regions, masks, strict=True)):
            assert a.overlap(b) == (first & second).sum()
            assert a.iou(b) == (first & second).sum() / (first | second).sum()
            (y0, y1, x0, x1), (v0, v1, u0, u1) = box(first), box(second)
            rows, columns = max(0, min(y1, v1) - max(y0, v0) + 1), max(0, min(x1, u1) - max(x0, u0) + 1)
            assert shares[i, j] == rows * columns / ((v1 - v0 + 1) * (u1 - u0 + 1))
            product = rows / (max(y1, v1) - min(y0, v0) + 1) * (columns / (max(x1, u1) - min(x0, u0) + 1))
            assert ious[i, j] == pytest.approx(product)


def test_layers_hold_every_mask_and_stay_few():
    rng = np.random.default_rng(2)
    for limit in (None, 2):
        masks = [*random_masks(rng), np.zeros((40, 50), bool)]
        layers, layer_of = pack_layers([region_of(mask) for mask in masks], (40, 50), limit)
        for key, mask in enumerate(masks, start=1):
            assert np.array_equal(layers[..., layer_of[key - 1]] == key, mask)
        for layer in range(layers.shape[2]):
            assert limit is None or len(np.unique(layers[..., layer])) <= limit + 1
    apart = [np.eye(5, dtype=bool)[:, [k] * 5] for k in range(5)]
    assert pack_layers([region_of(mask) for mask in apart], (5, 5))[0].shape == (5, 5, 1)
    assert pack_layers([], (5, 5))[0].shape == (5, 5, 1)


@pytest.mark.parametrize(("columns", "parent"), [(7, 0), (6, None)])
def test_seven_tenths_of_the_box_are_enough(columns, parent):
    whole, part = np.zeros((2, 8, 12), bool)
    whole[:5, :columns] = True
    part[1:3, :6] = part[1, 9] = True  # a box of 2 x 10, 12 of its 13 pixels inside the other one
    assert region_tree([region_of(whole), region_of(part)]) == [None, parent]
