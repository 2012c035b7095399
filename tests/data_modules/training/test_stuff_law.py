"""Stuff regions: background, targets, or objects that are no targets."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_scenes import BOX, DISK, STUFF, TinyScenes

from data_modules.coco_lvis.rule import combine
from data_modules.coco_lvis.thresholds import Thresholds
from data_modules.formats.regions import region_of
from data_modules.scenes import SceneObject
from data_modules.training.augment import augmentation
from data_modules.training.first_clicks import InitialClickSampling
from data_modules.training.samples import TrainingSamples
from data_modules.training.sources import TrainingSource
from data_modules.training.targets import TargetSampling, choose_target


def targets_and_tables(law):
    transform = augmentation("coco_lvis_val", (60, 80))
    samples = TrainingSamples(
        [TrainingSource(TinyScenes())], transform, law, InitialClickSampling(), 0, 200, with_layers=True
    )
    items = [samples[0, index] for index in range(200)]
    chosen = [set(item.objects.ids[item.objects.target].tolist()) for item in items]
    return chosen, [STUFF in item.objects.ids for item in items], [(item.layers == STUFF).any() for item in items]


@pytest.mark.parametrize(
    ("stuff_prob", "keep_stuff", "listed", "target"),
    [(0.0, False, 0.0, False), (0.0, True, 1.0, False), (0.4, True, 1.0, True), (0.4, False, 0.4, True)],
)
def test_where_stuff_is_listed_and_where_it_is_a_target(stuff_prob, keep_stuff, listed, target):
    law = TargetSampling(merge_prob=0.0, stuff_prob=stuff_prob, keep_stuff=keep_stuff)
    chosen, tables, pixels = targets_and_tables(law)
    assert tables == pixels
    assert abs(np.mean(tables) - listed) < 0.15
    share = np.mean([ids == {STUFF} for ids in chosen])
    assert abs(share - target * 0.4 / 3) < 0.08  # one of three roots, where it may be one
    assert {DISK, BOX} <= set.union(*chosen)


def test_stuff_is_the_target_where_nothing_else_is_there():
    layers = np.full((8, 8, 1), 5, np.int32)
    alone = choose_target(layers, {5: SceneObject(0, stuff=True)}, TargetSampling(), np.random.default_rng(0), False)
    assert alone.ids == (5,)


@pytest.mark.parametrize(("left", "kept"), [(500, 1), (501, 2)])
def test_stuff_has_to_leave_more_than_500_pixels(left, kept):
    thing, stuff = np.zeros((2, 40, 40), bool)
    thing[:10, :10] = True
    stuff.reshape(-1)[600 : 600 + left] = True
    stuff[:5, :10] = True  # below the thing
    found = combine([region_of(thing)], [], [region_of(stuff)], (40, 40), Thresholds())
    assert len(found.stuff) == kept
