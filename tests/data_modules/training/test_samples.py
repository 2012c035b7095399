"""Training samples: mixtures, weights, epochs, retries, broken files, batching."""

from __future__ import annotations

import pickle
import warnings
from dataclasses import replace

import albumentations as A
import numpy as np
import pytest
import torch
from tiny_scenes import BOX, DISK, PART, STUFF, TinyScenes

from data_modules.scenes import Scene, SceneObject
from data_modules.training.augment import AUGMENTATIONS, Augmentation, _crop, augmentation
from data_modules.training.first_clicks import InitialClickSampling
from data_modules.training.samples import TrainingSamples, collate
from data_modules.training.sources import TrainingSource, read_sample_weights
from data_modules.training.targets import TargetSampling

PLAIN = augmentation("coco_lvis_val", (60, 80))  # the whole scene, so that blue still tells its number


def samples(*sources, augment=PLAIN, targets=None, seed=0, **options):
    return TrainingSamples(sources, augment, targets or TargetSampling(), InitialClickSampling(), seed, **options)


def scene_number(sample):
    return int(sample.image[0, 0, 2])


def equal(first, second):
    return (
        np.array_equal(first.image, second.image)
        and np.array_equal(first.target, second.target)
        and first.points == second.points
    )


def test_a_sample_is_a_function_of_seed_epoch_and_index_alone():
    one = samples(TrainingSource(TinyScenes()), augment=augmentation("sbd", (32, 40)), epoch_length=8)
    two = samples(TrainingSource(TinyScenes()), augment=augmentation("sbd", (32, 40)), epoch_length=8)
    keys = [(epoch, index) for epoch in range(2) for index in range(8)]
    first = {key: one[key] for key in keys}
    assert all(equal(first[key], two[key]) for key in reversed(keys))
    assert not any(equal(first[0, index], first[1, index]) for index in range(8))
    other = samples(TrainingSource(TinyScenes()), augment=augmentation("sbd", (32, 40)), epoch_length=8, seed=1)
    assert not any(equal(first[0, index], other[0, index]) for index in range(8))
    assert equal(one[3], first[0, 3])  # a bare index, as with overfit_batches


def test_without_epoch_length_every_scene_comes_once_per_epoch_in_an_order_of_its_own():
    data = samples(TrainingSource(TinyScenes(5)), TrainingSource(TinyScenes(3, first=100)))
    assert len(data) == 8
    orders = [[scene_number(data[epoch, index]) for index in range(8)] for epoch in range(4)]
    assert all(sorted(order) == [0, 1, 2, 3, 4, 100, 101, 102] for order in orders)
    assert len({tuple(order) for order in orders}) == 4


def test_mixtures_follow_their_weights():
    data = samples(TrainingSource(TinyScenes(2)), TrainingSource(TinyScenes(50, first=100), weight=3), epoch_length=800)
    drawn = np.array([scene_number(data[0, index]) for index in range(800)])
    assert abs((drawn >= 100).mean() - 0.75) < 5 * np.sqrt(0.75 * 0.25 / 800)
    assert set(drawn[drawn < 100]) == {0, 1} and len(set(drawn)) > 45


@pytest.fixture
def weights_file(tmp_path):
    path = tmp_path / "weights.pkl"
    scores = [0.9, 0.5, 0.1, 0.3]
    path.write_bytes(pickle.dumps([(i, f"scene{i}", np.float32(score)) for i, score in enumerate(scores)]))
    return path


def test_sample_weights_are_the_official_law(weights_file):
    expected = (1 - np.array([0.9, 0.5, 0.1, 0.3], np.float32).astype(float)) ** 1.25
    expected /= expected.sum()
    assert np.allclose(read_sample_weights(weights_file, TinyScenes(4)), expected, rtol=1e-12)
    data = samples(TrainingSource(TinyScenes(4), sample_weights=weights_file), epoch_length=1500)
    drawn = np.bincount([scene_number(data[0, i]) for i in range(1500)], minlength=4) / 1500
    assert np.abs(drawn - expected).max() < 5 * np.sqrt(0.25 / 1500)
    assert read_sample_weights(weights_file, TinyScenes(4), gamma=0)[0] == 0.25


def test_weights_files_that_do_not_fit_are_refused(weights_file, tmp_path):
    with pytest.raises(ValueError, match="number 0 is scene0 there and scene7 in Tiny"):
        read_sample_weights(weights_file, TinyScenes(4, first=7))
    with pytest.raises(ValueError, match="number 3 is scene3 there and nothing in Tiny"):
        read_sample_weights(weights_file, TinyScenes(3))
    with pytest.raises(FileNotFoundError, match="no such sample-weights file"):
        read_sample_weights(tmp_path / "absent.pkl", TinyScenes(4))
    for content in ([1, 2, 3], "text", [(0, "scene0", "high")]):
        (tmp_path / "odd.pkl").write_bytes(pickle.dumps(content))
        with pytest.raises(ValueError, match=r"odd\.pkl"):
            read_sample_weights(tmp_path / "odd.pkl", TinyScenes(4))
    (tmp_path / "odd.pkl").write_bytes(pickle.dumps([(i, f"scene{i}", 1.0) for i in range(4)]))
    with pytest.raises(ValueError, match="no scene of Tiny any weight"):
        read_sample_weights(tmp_path / "odd.pkl", TinyScenes(4))


def test_a_weights_file_cannot_run_code(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    (tmp_path / "trap.pkl").write_bytes(pickle.dumps([(0, "scene0", Trap())]))
    with pytest.raises(ValueError, match=r"trap\.pkl.*open"):
        read_sample_weights(tmp_path / "trap.pkl", TinyScenes(1))
    assert not (tmp_path / "ran").exists()


def test_a_broken_scene_is_named_once_and_replaced():
    data = samples(TrainingSource(TinyScenes(4, broken=(2,))))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        drawn = [[scene_number(data[epoch, index]) for index in range(4)] for epoch in range(6)]
    assert len(caught) == 1
    assert "Tiny: scene scene2 is left out: /nowhere/scene2.png" in str(caught[0].message)
    assert all(len(order) == 4 and set(order) >= {0, 1, 3} and 2 not in order for order in drawn)
    fresh = samples(TrainingSource(TinyScenes(4, broken=(2,))))
    with pytest.warns(UserWarning, match="scene2"):  # knowing the broken scene already must not change what comes
        assert [scene_number(fresh[5, index]) for index in range(4)] == drawn[5]


def test_only_broken_scenes_end_in_an_error():
    data = samples(TrainingSource(TinyScenes(2, broken=(0, 1))), epoch_length=4)
    with pytest.raises(ValueError, match=r"/nowhere/scene\d\.png: cannot be read"), pytest.warns(UserWarning):
        data[0, 0]


class Corner(TinyScenes):
    """One small object in the corner of a large scene: most crops miss it."""

    def __getitem__(self, index):
        layers = np.zeros((100, 100, 1), np.int32)
        layers[:12, :12] = 1
        return Scene(np.zeros((100, 100, 3), np.uint8), layers, {1: SceneObject(0)}, "corner")


def test_crops_are_retried_until_an_object_is_in_sight():
    crop = Augmentation(_crop((30, 30)))
    data = samples(TrainingSource(Corner(1)), augment=crop, epoch_length=60)
    assert all((data[0, index].target == 1).any() for index in range(60))


def test_empty_crops_are_kept_as_often_as_asked():
    crop = Augmentation(_crop((30, 30)))
    data = samples(
        TrainingSource(Corner(1)), augment=crop, epoch_length=400, targets=TargetSampling(keep_background_prob=1.0)
    )
    empty = [not (data[0, index].target == 1).any() for index in range(400)]
    missed = 1 - (12 / 71) ** 2  # of the 71 x 71 crop positions
    assert abs(np.mean(empty) - missed) < 5 * np.sqrt(missed * (1 - missed) / 400)
    sample = data[0, empty.index(True)]
    assert not any(sign for _, _, sign in sample.points)


def test_small_objects_are_no_targets_and_leave_a_crop_without_one():
    only_small = samples(TrainingSource(TinyScenes(1)), targets=TargetSampling(min_object_area=100000), epoch_length=5)
    assert all(not only_small[0, i].target.any() for i in range(5))
    # the box has 560 pixels, the disk about 700: only the disk stays a root, its part is no target
    data = samples(
        TrainingSource(TinyScenes(1)), targets=TargetSampling(min_object_area=600), epoch_length=30, with_layers=True
    )
    for index in range(30):
        sample = data[0, index]
        assert sample.objects is not None and sample.layers is not None
        assert sample.objects.ids.tolist() == [DISK] and sample.objects.target.tolist() == [True]
        assert (sample.layers == BOX).any()  # its pixels still count as another object


def test_stuff_is_a_target_as_often_as_asked_and_background_otherwise():
    data = samples(
        TrainingSource(TinyScenes(1)), targets=TargetSampling(stuff_prob=0.3), epoch_length=600, with_layers=True
    )
    with_stuff = []
    for index in range(600):
        sample = data[0, index]
        assert sample.objects is not None and sample.layers is not None
        with_stuff.append(STUFF in sample.objects.ids.tolist())
        assert with_stuff[-1] == bool((sample.layers == STUFF).any())
    assert abs(np.mean(with_stuff) - 0.3) < 5 * np.sqrt(0.21 / 600)


def test_tables_describe_the_layers_after_augmentation():
    data = samples(
        TrainingSource(TinyScenes(3, ignore=True)),
        augment=augmentation("sbd", (40, 48)),
        targets=TargetSampling(stuff_prob=0.5, merge_prob=0.5),
        epoch_length=40,
        with_layers=True,
    )
    parts = 0
    for index in range(40):
        sample = data[0, index]
        table, layers = sample.objects, sample.layers
        assert table is not None and layers is not None
        assert set(table.ids.tolist()) == set(np.unique(layers[layers > 0]).tolist())
        union = np.zeros(sample.target.shape, bool)
        for row, key in enumerate(table.ids.tolist()):
            mask = layers[..., int(table.layer[row])] == key
            assert mask.sum() == int(table.area[row]) == (layers == key).sum()
            assert bool(table.stuff[row]) == (key == STUFF)
            assert int(table.parent[row]) == (DISK if key == PART and DISK in table.ids.tolist() else 0)
            if table.target[row]:
                union |= mask
                assert table.parent[row] == 0
        ignored = (layers == -1).any(axis=2)
        assert np.array_equal(sample.target == -1, ignored)
        assert np.array_equal(sample.target == 1, union & ~ignored)
        parts += PART in table.ids.tolist()
    assert parts > 10


def test_batches_have_the_contract_shapes():
    data = samples(TrainingSource(TinyScenes(4, ignore=True)), epoch_length=4)
    items = [data[0, index] for index in range(4)]
    batch = collate(items)
    assert batch.image.shape == (4, 3, 60, 80) and batch.image.dtype == torch.float32
    assert torch.allclose(batch.image[1].permute(1, 2, 0), torch.from_numpy(items[1].image) / 255, atol=1e-7)
    assert batch.target.shape == (4, 1, 60, 80) and set(batch.target.unique().tolist()) == {-1.0, 0.0, 1.0}
    assert batch.prev_mask.shape == batch.target.shape and not batch.prev_mask.any()
    assert batch.layers is None and batch.objects is None
    assert batch.clicks.slots == max(len(item.points) for item in items)
    for row, item in zip(batch.clicks.to_list(), items, strict=True):
        assert row == [(y, x, int(sign)) for y, x, sign in item.points]


def test_scenes_with_different_numbers_of_layers_share_a_batch():
    data = samples(TrainingSource(TinyScenes(1)), TrainingSource(Corner(1)), with_layers=True)
    batch = collate([data[0, index] for index in range(2)])
    assert batch.layers is not None and batch.objects is not None
    assert batch.layers.shape == (2, 2, 60, 80) and batch.layers.dtype == torch.int32
    assert sorted(len(table.ids) for table in batch.objects) == [1, 3]


def test_every_augmentation_gives_samples():
    for name in AUGMENTATIONS:
        data = samples(TrainingSource(TinyScenes(2)), augment=augmentation(name, (32, 32)), epoch_length=2)
        assert collate([data[0, 0], data[0, 1]]).image.shape == (2, 3, 32, 32)


@pytest.mark.parametrize(
    ("sources", "options", "message"),
    [
        ([], {}, "nothing to train on"),
        ([TrainingSource(TinyScenes(0))], {}, "Tiny has no scenes"),
        ([TrainingSource(TinyScenes(1), weight=0)], {"epoch_length": 4}, "weight 0"),
        ([TrainingSource(TinyScenes(1), weight=2)], {}, "set epoch_length"),
        ([TrainingSource(TinyScenes(1))], {"epoch_length": 0}, "epoch_length is 0"),
    ],
)
def test_impossible_mixtures(sources, options, message):
    with pytest.raises(ValueError, match=message):
        samples(*sources, **options)


def test_a_split_that_shares_images_with_a_benchmark_is_refused_unless_allowed():
    scenes = TinyScenes()
    scenes.overlap = "COCO_MVal"
    with pytest.raises(ValueError, match=r"shares images with COCO_MVal.*allow_overlap"):
        samples(TrainingSource(scenes))
    assert len(samples(TrainingSource(scenes, allow_overlap=True))) == len(scenes)


def test_a_mix_gets_two_crops_and_its_answer_is_trained_on():
    def lower_half_of_another(crop, another, rng):
        other = another()
        half = len(crop.image) // 2
        image, layers = crop.image.copy(), crop.layers.copy()
        image[half:], layers[half:] = other.image[half:], 0
        return replace(crop, image=image, layers=layers)

    data = samples(TrainingSource(TinyScenes(6)), epoch_length=20, mix=lower_half_of_another)
    drawn = [data[0, index] for index in range(20)]
    assert all(not (sample.target[len(sample.target) // 2 :] == 1).any() for sample in drawn)
    assert any(sample.image[0, 0, 2] != sample.image[-1, 0, 2] for sample in drawn)  # blue tells the scene
    again = samples(TrainingSource(TinyScenes(6)), epoch_length=20, mix=lower_half_of_another)
    assert all(equal(sample, again[0, index]) for index, sample in enumerate(drawn))


def test_a_broken_scene_that_a_mix_draws_is_named_and_the_first_scene_stays():
    data = samples(
        TrainingSource(TinyScenes(4, broken=(2,))), epoch_length=40, mix=lambda crop, another, rng: another()
    )
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        numbers = {scene_number(data[0, index]) for index in range(40)}
    assert numbers == {0, 1, 3}
    assert data._broken == {(0, 2)}
    assert len(said) == 1 and "scene2" in str(said[0].message)


def test_max_share_draws_other_scenes_until_the_target_fits():
    law = TargetSampling(min_object_area=10, max_share=0.1)
    small = augmentation("sbd", (32, 40))
    free = samples(
        TrainingSource(TinyScenes()), augment=small, targets=TargetSampling(min_object_area=10), epoch_length=40
    )
    held = samples(TrainingSource(TinyScenes()), augment=small, targets=law, epoch_length=40)
    shares = [[(data[0, index].target == 1).mean() for index in range(40)] for data in (free, held)]
    assert max(shares[0]) > 0.1
    assert min(shares[1]) > 0 and max(shares[1]) < 0.1


def test_small_parts_of_targets_are_background_and_clicks_may_lie_there():
    """A union of the box (560 pixels) and the disk, of which the larger alone is kept; ids of layers stay."""
    law = TargetSampling(merge_prob=1.0, min_part_area=561)
    data = TrainingSamples(
        [TrainingSource(TinyScenes(1))],
        Augmentation([A.NoOp()]),
        law,
        InitialClickSampling(),
        0,
        epoch_length=60,
        with_layers=True,
    )
    drawn = [data[0, index] for index in range(60)]
    kept = {int((sample.target == 1).sum()) for sample in drawn}
    positive = [(y, x) for sample in drawn for y, x, label in sample.points if label]
    assert len(kept) == 1 and min(kept) > 561  # never the box, which is no target by itself either
    assert not any((sample.target[12:40, 50:70] == 1).any() for sample in drawn)
    assert any(12 <= y < 40 and 50 <= x < 70 for y, x in positive)
    assert all((sample.layers == 1).any() and (sample.layers == 2).any() for sample in drawn)


@pytest.mark.parametrize(("least", "drawn"), [(560, True), (561, False)])
def test_an_object_of_just_the_least_area_may_be_a_target(least, drawn):
    whole = Augmentation([A.NoOp()])
    law = TargetSampling(merge_prob=0.0, min_object_area=least)  # the box has 28 x 20 pixels, the disk more
    data = TrainingSamples([TrainingSource(TinyScenes(1))], whole, law, InitialClickSampling(), 0, epoch_length=60)
    boxes = sum(bool((data[0, index].target[12:40, 50:70] == 1).all()) for index in range(60))
    assert (boxes > 10) == drawn and boxes < 60
