"""Scenes, their masks, and the list of evaluation objects."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tiny_scenes import BOX, DISK, PART, STUFF, TinyScenes, draw_scene

from clicklab.records import EvaluationObject, SkippedObject
from data_modules.scenes import BrokenScene, EvaluationObjects, Scene, SceneObject


def test_masks_and_areas_are_the_drawn_ones():
    scene = draw_scene(0, ignore=True)
    band = np.zeros(scene.layers.shape[:2], bool)
    band[10:45, 30:34] = True
    for key in (DISK, PART, BOX, STUFF):
        mask = scene.mask(key)
        drawn = (scene.layers == key).any(axis=2)
        assert mask.dtype == np.int8
        assert np.array_equal(mask == -1, band)
        assert np.array_equal(mask == 1, drawn & ~band)
        assert scene.areas()[key] == drawn.sum()


def test_area_of_a_listed_object_without_pixels_is_zero():
    scene = draw_scene(0)
    scene.objects[50] = SceneObject(1)
    assert scene.areas()[50] == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": np.zeros((60, 79, 2), np.int32)}, "image is"),
        ({"layers": np.zeros((60, 80, 2), np.uint8)}, "layers are"),
        ({"image": np.zeros((60, 80), np.uint8)}, "image is"),
        ({"objects": {1: SceneObject(2)}}, "object 1 in layer 2"),
        ({"objects": {0: SceneObject(0)}}, "ids start at 1"),
        ({"objects": {1: SceneObject(0, parent=7)}}, "parent 7"),
    ],
)
def test_scenes_that_do_not_fit_together_are_refused_by_name(changes, message):
    scene = draw_scene(3)
    parts = {"image": scene.image, "layers": scene.layers, "objects": scene.objects} | changes
    with pytest.raises(BrokenScene, match=message) as error:
        Scene(name="photo17", **parts)
    assert "photo17" in str(error.value)


def test_evaluation_objects_keep_their_index_under_a_limit():
    everything, few = EvaluationObjects(TinyScenes(3)), EvaluationObjects(TinyScenes(3), limit=4)
    assert len(everything) == 6 and len(few) == 4
    for number in range(4):
        item, same = everything[number], few[number]
        assert isinstance(item, EvaluationObject) and isinstance(same, EvaluationObject)
        assert item.index == same.index == number
        assert (item.name, item.object) == (f"scene{number // 2}", (DISK, BOX)[number % 2])
        assert np.array_equal(item.target, draw_scene(number // 2).mask(item.object))
        assert item.initial_mask is None


def test_objects_of_one_image_decode_it_once():
    dataset = TinyScenes(3)
    objects = EvaluationObjects(dataset)
    assert [objects[i].name for i in range(6)] == ["scene0", "scene0", "scene1", "scene1", "scene2", "scene2"]
    assert dataset.reads == 3


def test_what_cannot_be_evaluated_is_skipped_with_its_reason():
    class Odd(TinyScenes):
        def __getitem__(self, index):
            scene = super().__getitem__(index)
            scene.layers[scene.layers == BOX] = 0
            return scene

        def objects(self):
            return [*super().objects(), (1, 33)]

    skipped = [item for item in EvaluationObjects(Odd(2, broken=(0,))) if isinstance(item, SkippedObject)]
    assert [(item.index, item.name, item.object) for item in skipped] == [
        (0, "scene0", 0),
        (2, "scene1", BOX),
        (3, "scene1", 33),
    ]
    assert [item.reason for item in skipped] == [
        "/nowhere/scene0.png: cannot be read",
        "empty mask",
        "the annotation has no object 33",
    ]


def test_initial_masks_reach_the_evaluation_object():
    class Started(TinyScenes):
        def __getitem__(self, index):
            scene = super().__getitem__(index)
            scene.initial_masks = {DISK: scene.mask(PART) == 1}
            return scene

    first, second = (EvaluationObjects(Started(1))[i] for i in range(2))
    assert isinstance(first, EvaluationObject) and first.initial_mask is not None
    assert first.initial_mask.sum() == draw_scene(0).areas()[PART]
    assert isinstance(second, EvaluationObject) and second.initial_mask is None


def test_several_threads_may_ask_for_objects():
    objects, alone = EvaluationObjects(TinyScenes(6)), EvaluationObjects(TinyScenes(6))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(objects.__getitem__, list(range(len(objects))) * 5))
    for index, item in enumerate(found):
        wanted = alone[index % len(alone)]
        assert isinstance(item, EvaluationObject) and isinstance(wanted, EvaluationObject)
        assert (item.name, item.object, item.index) == (wanted.name, wanted.object, wanted.index)
        assert np.array_equal(item.image, wanted.image) and np.array_equal(item.target, wanted.target)


def test_impossible_limit():
    with pytest.raises(ValueError, match="limit is 0"):
        EvaluationObjects(TinyScenes(1), limit=0)
