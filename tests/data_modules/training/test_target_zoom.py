"""Targets drawn before the augmentation, and views of whole scenes that make room for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tiny_scenes import BOX, DISK, PART, TinyScenes, draw_scene

from data_modules.training.augment import augmentation
from data_modules.training.first_clicks import InitialClickSampling
from data_modules.training.samples import TrainingSamples
from data_modules.training.sources import TrainingSource
from data_modules.training.suem import SUEM
from data_modules.training.target_zoom import TargetAwareZoom
from data_modules.training.targets import TargetSampling
from data_modules.training.view import TrainingView

SIZE = (40, 48)
ALWAYS, NEVER = TargetAwareZoom(SIZE, prob=1.0), TargetAwareZoom(SIZE, prob=0.0)


def coordinates(target=(BOX,)):
    """A tiny scene whose red and green tell row and column (times 3), and whose ids of layer 1 tell them too."""
    scene = draw_scene(0, ignore=True)
    y, x = np.mgrid[:60, :80]
    image = np.stack([3 * y, 3 * x, np.zeros_like(y)], axis=2).astype(np.uint8)
    numbers = (100 + 80 * y + x).astype(np.int32)
    return TrainingView(image, np.dstack([scene.layers[..., 0], numbers]), {BOX: scene.objects[BOX]}, target)


@pytest.mark.parametrize("zoom", [ALWAYS, NEVER])
@pytest.mark.parametrize("target", [(BOX,), ()])
def test_views_are_rows_and_columns_of_the_scene_in_order(zoom, target):
    scene = coordinates(target)
    view = zoom(scene, np.random.default_rng(0))
    assert view.image.shape == (*SIZE, 3) and view.layers.shape == (*SIZE, 2)
    assert (view.objects, view.target) == (scene.objects, target)
    rows, columns = np.divmod(view.layers[..., 1] - 100, 80)
    assert (rows == rows[:, :1]).all() and (columns == columns[:1]).all()
    for places, last in ((rows[:, 0], 59), (columns[0], 79)):
        assert (np.diff(places) >= 0).all() and places[0] == 0 and places[-1] == last
    assert np.array_equal(view.layers, scene.layers[rows[:, 0]][:, columns[0]])
    # the image is sampled between the pixels that the ids come from
    assert np.abs(view.image[..., 0] / 3 - rows).max() < 0.7 and np.abs(view.image[..., 1] / 3 - columns).max() < 0.7


def test_an_even_view_is_an_ordinary_resize():
    view = NEVER(coordinates(), np.random.default_rng(0))
    y, x = (np.linspace(0, side - 1, new) for side, new in zip((60, 80), SIZE, strict=True))
    assert np.abs(view.image[..., 0] / 3 - y[:, None]).max() < 0.2
    assert np.abs(view.image[..., 1] / 3 - x).max() < 0.2
    without_target = ALWAYS(coordinates(target=()), np.random.default_rng(0))
    assert np.array_equal(without_target.image, view.image)


def test_a_zoomed_target_is_larger():
    scene = draw_scene(0)
    for target in ((BOX,), (DISK,), (PART,)):
        crop = TrainingView(scene.image, scene.layers, scene.objects, target)
        even, zoomed = (int(zoom(crop, np.random.default_rng(0)).target_mask().sum()) for zoom in (NEVER, ALWAYS))
        assert zoomed > 1.2 * even


def test_the_share_of_zoomed_scenes():
    scene, rng = coordinates(), np.random.default_rng(0)
    even = NEVER(scene, rng).image
    zoom = TargetAwareZoom(SIZE)
    zoomed = np.mean([not np.array_equal(zoom(scene, rng).image, even) for _ in range(400)])
    assert abs(zoomed - 0.5) < 5 * np.sqrt(0.25 / 400)


def training(zoom, count=40, law=None, augment=None, **options):
    law = law or TargetSampling(merge_prob=0.3, min_object_area=20)
    sources = [TrainingSource(TinyScenes(5, ignore=True))]
    augment = augment or augmentation("coco_lvis", SIZE)
    return TrainingSamples(
        sources, augment, law, InitialClickSampling(), 0, count, with_layers=True, zoom=zoom, **options
    )


def test_the_target_drawn_from_the_whole_scene_is_the_one_of_the_crop():
    asked = []

    def noted(scene, rng):
        asked.append(scene.target)
        assert scene.image.shape == (60, 80, 3) and scene.target_mask().any()
        return ALWAYS(scene, rng)

    data = training(noted)
    for index in range(40):
        sample = data[0, index]
        table, layers = sample.objects, sample.layers
        assert table is not None and layers is not None
        chosen = table.ids[table.target].tolist()
        assert chosen and set(chosen) <= set(asked[-1])  # of a merged target one half may be out of sight
        assert min(table.area[table.target]) >= 20
        union = np.logical_or.reduce([(layers == key).any(axis=2) for key in chosen])
        ignored = (layers == -1).any(axis=2)
        assert np.array_equal(sample.target, np.where(ignored, -1, union))
        assert all(sample.target[y, x] == int(positive) for y, x, positive in sample.points)
    assert {target for target in asked if len(target) == 1} == {(DISK,), (BOX,)}
    assert any(len(target) == 2 for target in asked)


def test_a_target_out_of_sight_is_drawn_again_with_a_view_of_its_own():
    views = []

    def left_half(scene, rng):
        views.append(scene.target)
        return replace(scene, image=scene.image[:, :40], layers=scene.layers[:, :40])  # the box lies in the right one

    data = training(left_half, augment=augmentation("coco_lvis_val", (60, 40)), law=TargetSampling(merge_prob=0.0))
    for index in range(20):
        table = data[0, index].objects
        assert table is not None and table.ids[table.target].tolist() == [DISK]
    assert views.count((BOX,)) > 3


def test_scenes_with_small_targets_only_give_way_to_others():
    data = training(ALWAYS, law=TargetSampling(min_object_area=100000))
    assert data.sample_of(draw_scene(0), np.random.default_rng(0)) is None
    empty = training(ALWAYS, law=TargetSampling(min_object_area=100000, keep_background_prob=1.0))[0, 0]
    assert not (empty.target == 1).any() and not any(positive for _, _, positive in empty.points)


@pytest.mark.parametrize("mix", [None, SUEM(keep_others=True)])
def test_samples_are_a_function_of_seed_epoch_and_index_alone(mix):
    one, two = (training(TargetAwareZoom(SIZE), mix=mix) for _ in range(2))
    drawn = {index: one[0, index] for index in range(15)}
    for index in reversed(range(15)):
        again = two[0, index]
        assert np.array_equal(drawn[index].image, again.image) and np.array_equal(drawn[index].target, again.target)
        assert drawn[index].points == again.points


def test_impossible_settings():
    with pytest.raises(ValueError, match=r"zoomed scenes is 1\.5"):
        TargetAwareZoom(prob=1.5)
    with pytest.raises(ValueError, match="use_hierarchy"):
        training(ALWAYS, law=TargetSampling(use_hierarchy=True))
