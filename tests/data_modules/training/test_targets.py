"""The choice of targets, against the official laws in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_scenes import BOX, DISK, PART, STUFF, UNLISTED, draw_scene, settled

from data_modules.scenes import SceneObject
from data_modules.training.first_clicks import InitialClickSampling
from data_modules.training.targets import (
    TargetSampling,
    choose_target,
    without_small_parts,
)
from data_modules.training.view import TrainingView, remove_objects, without_stuff

SINGLE = TargetSampling(merge_prob=0.0)


def synced(layers, objects):
    view = TrainingView(np.zeros((*layers.shape[:2], 3), np.uint8), layers, objects).sync_objects()
    return view.layers, view.objects, view.areas


def test_sync_objects_clears_unlisted_ids_and_counts_the_rest():
    scene = draw_scene(0, ignore=True)
    layers, objects, areas = synced(scene.layers, without_stuff(scene.objects))
    assert set(np.unique(layers)) == {-1, 0, DISK, PART, BOX}
    kept = ~np.isin(scene.layers, (STUFF, UNLISTED))
    assert np.array_equal(layers, np.where(kept, scene.layers, 0))
    assert layers.dtype == np.int32
    assert areas == {key: (scene.layers == key).sum() for key in (DISK, PART, BOX)}
    assert set(objects) == {DISK, PART, BOX}


def test_sync_objects_drops_what_was_cropped_away_and_gives_its_children_to_the_grandparent():
    scene = draw_scene(0)
    scene.layers[scene.layers == DISK] = 0
    layers, objects, areas = synced(scene.layers, scene.objects)
    assert set(objects) == {PART, BOX, STUFF} and objects[PART].parent == 0
    assert DISK not in areas and set(np.unique(layers)) == {0, PART, BOX, STUFF}


def test_sync_objects_of_an_empty_crop():
    layers, objects, areas = synced(np.zeros((5, 5, 3), np.int32), {1: SceneObject(0)})
    assert not objects and not areas and not layers.any()


def test_removed_chains_hand_children_upwards():
    chain = {1: SceneObject(0), 2: SceneObject(1, 1), 3: SceneObject(2, 2), 4: SceneObject(3, 3)}
    left = remove_objects(chain, {2, 3})
    assert {key: entry.parent for key, entry in left.items()} == {1: 0, 4: 1}
    assert remove_objects(chain, {1})[2].parent == 0


def test_roots_are_chosen_alike_and_never_parts():
    layers, objects, _ = settled(stuff=True)
    rng = np.random.default_rng(0)
    chosen = [choose_target(layers, objects, SINGLE, rng).ids for _ in range(3000)]
    counts = {key: chosen.count((key,)) for key in (DISK, BOX, STUFF)}
    assert sum(counts.values()) == 3000
    assert all(abs(count - 1000) < 5 * np.sqrt(3000 * 2 / 9) for count in counts.values())


def test_unions_come_as_often_as_asked_and_are_unions():
    layers, objects, _ = settled(ignore=True, stuff=True)
    rng = np.random.default_rng(1)
    ignored = (layers == -1).any(axis=2)
    merged = 0
    for _ in range(2000):
        target = choose_target(layers, objects, TargetSampling(), rng)
        union = np.isin(layers[..., 0], target.ids) & ~ignored
        assert np.array_equal(target.mask == 1, union) and np.array_equal(target.mask == -1, ignored)
        assert len(set(target.ids)) == len(target.ids) <= 2
        merged += len(target.ids) == 2
    assert abs(merged - 300) < 5 * np.sqrt(2000 * 0.15 * 0.85)


def test_one_root_is_never_merged():
    layers, objects, _ = settled()
    objects = remove_objects(objects, {BOX})
    rng = np.random.default_rng(2)
    assert {choose_target(layers, objects, TargetSampling(merge_prob=1.0), rng).ids for _ in range(50)} == {(DISK,)}


@pytest.mark.parametrize(
    ("law", "values", "message"),
    [
        (TargetSampling, {"merge_prob": 1.5}, "targets.merge_prob is 1.5"),
        (TargetSampling, {"stuff_prob": -0.1}, "targets.stuff_prob"),
        (TargetSampling, {"max_merged": 1}, "targets.max_merged"),
        (TargetSampling, {"min_object_area": -1}, "targets.min_object_area"),
        (InitialClickSampling, {"background": 0.5}, "add up to 1"),
        (InitialClickSampling, {"max_points": 0}, "max_points=0"),
        (InitialClickSampling, {"erode_prob": 2.0}, "points.erode_prob"),
    ],
)
def test_impossible_settings_are_refused(law, values, message):
    with pytest.raises(ValueError, match=message):
        law(**values)


def test_crops_whose_target_covers_too_much_or_nothing_are_not_used():
    mask = np.zeros((10, 10), np.int8)
    law = TargetSampling(max_share=0.85)
    assert TargetSampling().accepts(mask) and not law.accepts(mask)
    mask.flat[:84] = 1
    assert law.accepts(mask)
    mask.flat[84] = -1  # ignored pixels are no part of the target
    assert law.accepts(mask)
    mask.flat[84] = 1
    assert not law.accepts(mask) and TargetSampling().accepts(mask)
    with pytest.raises(ValueError, match="max_share"):
        TargetSampling(max_share=0.0)


def test_small_parts_of_targets_go():
    """Those of 899 pixels, also where they touch another part at a corner only; ignored pixels stay."""
    mask = np.zeros((256, 256), np.int8)
    mask[10:40, 10:40] = 1
    mask[40:69, 40:71] = 1  # 899
    mask[100:129, 100:131] = mask[128, 131] = 1  # 900
    mask[200:] = -1
    kept = without_small_parts(mask, 900)
    expected = mask.copy()
    expected[40:69, 40:71] = 0
    np.testing.assert_array_equal(kept, expected)
    assert kept.dtype == np.int8 and without_small_parts(mask, 0) is mask and without_small_parts(kept, 900) is kept
    full = np.ones((20, 20), np.int8)
    full[:3], full[10, 4:8] = -1, 0
    np.testing.assert_array_equal(without_small_parts(full, 30), full)


def test_a_crop_of_small_parts_alone_is_not_used():
    law, mask = TargetSampling(min_part_area=900, min_object_area=1000), np.zeros((64, 64), np.int8)
    mask.flat[:1000] = 1
    assert not law.accepts(mask)  # officially more pixels than that are wanted
    mask.flat[1000] = 1
    assert law.accepts(mask) and law.accepts(np.ones_like(mask))
    with pytest.raises(ValueError, match="min_part_area"):
        TargetSampling(min_part_area=-1)
