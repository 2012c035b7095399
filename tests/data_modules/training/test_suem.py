"""SUEM copy-paste: what the target becomes, which pixels change, what happens to ids, tree and ignored pixels."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from tiny_scenes import BOX, DISK, PART, TinyScenes, draw_scene

from data_modules.scenes import SceneObject
from data_modules.training.augment import augmentation
from data_modules.training.first_clicks import InitialClickSampling
from data_modules.training.samples import TrainingSamples
from data_modules.training.sources import TrainingSource
from data_modules.training.suem import SUEM
from data_modules.training.targets import TargetSampling
from data_modules.training.view import TrainingView

HARD = (1.0, 1.0)
SIMPLE = {"simple_prob": 1.0, "extra_prob": 0.0, "mixing_prob": 0.0}
EXTRA = {"simple_prob": 0.0, "extra_prob": 1.0, "mixing_prob": 0.0}
ONLY_EXCLUSION, ONLY_UNION = {**EXTRA, "union": 0, "veil": 0}, {**EXTRA, "exclusion": 0, "veil": 0}
EXCLUSION, UNION = SUEM(**ONLY_EXCLUSION), SUEM(**ONLY_UNION)
VEIL = SUEM(**EXTRA, exclusion=0, union=0, mixing_share=(0.7, 0.7))
MIXING = SUEM(simple_prob=0, extra_prob=0, mixing_prob=1, mixing_share=(0.6, 0.6))


def random_crop(seed: int, target: tuple[int, ...] = (DISK,)) -> TrainingView:
    """A tiny scene with ignored pixels, its colours replaced by noise, and a target in the middle of the picture."""
    rng = np.random.default_rng(seed)
    scene = draw_scene(seed, ignore=True)
    layers = np.roll(scene.layers, rng.integers(-20, 20, size=2), axis=(0, 1))
    return TrainingView(rng.integers(256, size=scene.image.shape, dtype=np.uint8), layers, scene.objects, target)


def mixed(suem: SUEM, crop: TrainingView, *extras: TrainingView, seed: int = 0) -> TrainingView:
    """The answer, after a check that all arrays given are as they were."""
    waiting, before = list(extras), [(one.image.copy(), one.layers.copy()) for one in (crop, *extras)]
    result = suem(crop, lambda: waiting.pop(0), np.random.default_rng(seed))
    for one, (image, layers) in zip((crop, *extras), before, strict=True):
        assert np.array_equal(one.image, image) and np.array_equal(one.layers, layers)
    return result


def check_blend(seen, one, other, share):
    """Every value is the weighted mean, rounded."""
    assert np.abs(seen - (share * one.astype(float) + (1 - share) * other)).max() <= 0.501


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("others", [False, True])
def test_simple_puts_the_target_into_the_extra_image(seed, others):
    source, extra = random_crop(seed, (DISK, BOX) if seed % 3 == 0 else (DISK,)), random_crop(100 + seed)
    target = source.target_mask()
    result = mixed(SUEM(**SIMPLE, simple_share=HARD, keep_others=others), source, extra)
    assert np.array_equal(result.target_mask(), target)
    assert np.array_equal(result.image, np.where(target[..., None], source.image, extra.image))
    assert np.array_equal(result.ignored(), extra.ignored() & ~target)  # what is pasted covers ignored pixels
    soft = mixed(SUEM(**SIMPLE, simple_share=(0.7, 0.7), keep_others=others), source, extra)
    assert np.array_equal(soft.target_mask(), target) and np.array_equal(soft.image[~target], extra.image[~target])
    check_blend(soft.image[target], source.image[target], extra.image[target], 0.7)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("others", [False, True])
def test_exclusion_and_union_paste_the_extra_object(seed, others):
    source, extra = random_crop(seed), random_crop(200 + seed, (BOX,) if seed % 2 else (DISK, BOX))
    target, pasted = source.target_mask(), extra.target_mask()
    image = np.where(pasted[..., None], extra.image, source.image)
    for options, expected in ((ONLY_EXCLUSION, target & ~pasted), (ONLY_UNION, target | pasted)):
        result = mixed(SUEM(**options, keep_others=others), source, extra)
        assert np.array_equal(result.image, image)
        assert np.array_equal(result.ignored(), source.ignored() & ~pasted)
        assert np.array_equal(result.target_mask(), expected & ~result.ignored())


@pytest.mark.parametrize("seed", range(6))
def test_veils_and_mixings_leave_the_annotation_alone(seed):
    source, extra = random_crop(seed), random_crop(300 + seed, (BOX,))
    region = extra.target_mask()
    veiled, blended = mixed(VEIL, source, extra), mixed(MIXING, source, extra)
    assert np.array_equal(veiled.image[~region], source.image[~region])
    check_blend(veiled.image[region], source.image[region], extra.image[region], 0.7)
    check_blend(blended.image, source.image, extra.image, 0.6)
    for result in (veiled, blended):
        assert np.array_equal(result.target_mask(), source.target_mask())
        assert np.array_equal(result.ignored(), source.ignored())
    assert blended.layers is source.layers and blended.objects is source.objects
    assert len(veiled.objects) == 1 and veiled.layers.shape[2] == 1  # as in the released code


def plain_crop(rows: slice, colour: int) -> TrainingView:
    """One object, `rows` of a 40 x 40 image, all of one colour."""
    layers = np.zeros((40, 40, 1), np.int32)
    layers[rows] = 1
    return TrainingView(np.full((40, 40, 3), colour, np.uint8), layers, {1: SceneObject(0)}, (1,))


def test_an_extra_object_that_covers_the_target_is_drawn_again_five_times_at_most():
    source, fully = plain_crop(slice(10, 20), 50), plain_crop(slice(5, 25), 90)
    assert mixed(EXCLUSION, source, *[fully] * 5) is source
    assert mixed(UNION, source, *[fully] * 4, plain_crop(slice(0, 12), 90)).target_mask().sum() == 20 * 40
    for left, accepted in ((20, False), (21, True)):
        crop = plain_crop(slice(0, 2), 50)
        extra = plain_crop(slice(0, 2), 90)
        extra.layers[0, :left] = 0
        result = mixed(EXCLUSION, crop, *[extra] * 5)
        assert result.target_mask().sum() == (left if accepted else 80)
    empty = replace(plain_crop(slice(0, 0), 90), target=())
    assert mixed(UNION, source, *[empty] * 5) is source


def test_without_a_target_only_the_colours_are_mixed():
    source = replace(plain_crop(slice(0, 0), 50), target=())
    result = mixed(SUEM(1, 1, 1, mixing_share=(0.5, 0.5)), source, plain_crop(slice(0, 9), 90))
    assert (result.image == 70).all() and result.target == () and not result.target_mask().any()


def test_parts_travel_with_their_object_and_the_tree_stays_whole():
    for seed in range(10):
        source, extra = random_crop(seed, (DISK, BOX)), random_crop(400 + seed)
        result = mixed(SUEM(**ONLY_UNION, keep_others=True), source, extra)
        pasted = extra.target_mask()
        for key, entry in result.objects.items():
            assert 0 <= entry.layer < result.layers.shape[2]
            assert entry.parent == 0 or entry.parent in result.objects
            there = (result.layers == key).any(axis=(0, 1))
            assert not there[np.arange(len(there)) != entry.layer].any()
        for key, entry in source.objects.items():  # what lay there lost the pixels that are covered now
            assert result.objects[key] == entry
            before = source.layers[..., entry.layer] == key
            assert np.array_equal(result.layers[..., entry.layer] == key, before & ~pasted)
        new = {key: entry for key, entry in result.objects.items() if key not in source.objects}
        (root,) = (key for key, entry in new.items() if entry.parent == 0)
        (part,) = (key for key, entry in new.items() if entry.parent == root)
        assert len(new) == 2 and result.target == (DISK, BOX, root)
        for key, old in ((root, DISK), (part, PART)):
            before = extra.layers[..., extra.objects[old].layer] == old
            assert np.array_equal(result.layers[..., result.objects[key].layer] == key, before & pasted)


def test_the_three_changes_come_as_often_as_officially():
    suem, rng, count = SUEM(simple_share=HARD, keep_others=True), np.random.default_rng(0), 4000
    source, extra = plain_crop(slice(10, 20), 100), plain_crop(slice(15, 30), 200)
    seen: Counter[str] = Counter()
    shares = []
    for _ in range(count):
        result = suem(source, lambda: extra, rng)
        seen["simple"] += int(result.image[39, 39, 0]) == 200  # the extra image outside of all objects
        seen["mixing"] += int(result.image[12, 0, 0]) != 100  # of the source's object what nothing else reaches
        size = int(result.target_mask().sum()) // 40
        seen["union"] += size == 20
        seen["exclusion"] += size == 5
        seen["veil"] += size == 10 and int(result.image[12, 0, 0]) == 100 and 100 < int(result.image[17, 0, 0]) < 200
        shares.append((200 - float(result.image[12, 0, 0])) / 100)
    expected = {"simple": 1 / 2, "mixing": 1 / 2, "union": 1 / 6, "exclusion": 1 / 6, "veil": 1 / 12}
    for name, share in expected.items():
        # a share within half a grey value of 1 does not show
        assert abs(seen[name] / count - share) < 5 * np.sqrt(share * (1 - share) / count) + 0.006, (name, seen)
    drawn = np.array([share for share in shares if share < 1])
    assert drawn.min() >= 0.5 and np.abs(np.histogram(drawn, 5, (0.5, 1))[0] / len(drawn) - 0.2).max() < 0.05


def training(mix, **options):
    augment = augmentation("sbd", (40, 48))
    law = TargetSampling(merge_prob=0.3, min_object_area=100)
    sources = [TrainingSource(TinyScenes(5, ignore=True))]
    return TrainingSamples(sources, augment, law, InitialClickSampling(), 0, epoch_length=60, mix=mix, **options)


@pytest.mark.parametrize("others", [False, True])
def test_samples_have_the_target_and_tables_that_the_mix_says(others):
    answers = []

    def noted(crop, another, rng):
        answers.append(suem(crop, another, rng))
        return answers[-1]

    suem = SUEM(0.7, 0.7, 0.3, keep_others=others)
    data, small = training(noted, with_layers=True), 0
    for index in range(60):
        sample, answer = data[0, index], answers[index]
        table, layers = sample.objects, sample.layers
        assert table is not None and layers is not None
        assert np.array_equal(sample.target == 1, answer.target_mask())
        assert np.array_equal(sample.target == -1, answer.ignored())
        assert set(table.ids[table.target].tolist()) == set(answer.target)
        for row, key in enumerate(table.ids.tolist()):
            mask = layers[..., int(table.layer[row])] == key
            assert mask.sum() == int(table.area[row]) == (layers == key).sum() > 0
            assert int(table.parent[row]) in (0, *table.ids.tolist())
        for y, x, positive in sample.points:
            assert sample.target[y, x] == int(positive)
        small += 20 < int((sample.target == 1).sum()) < 100
    assert small > 0  # the area limit holds before pasting, not after


def test_samples_are_a_function_of_seed_epoch_and_index_alone():
    one, two = training(SUEM()), training(SUEM())
    drawn = {index: one[0, index] for index in range(20)}
    for index in reversed(range(20)):
        again = two[0, index]
        assert np.array_equal(drawn[index].image, again.image) and np.array_equal(drawn[index].target, again.target)
        assert drawn[index].points == again.points
    assert any(len(np.unique(sample.image[..., 2])) > 2 for sample in drawn.values())  # blue: scenes have come together


def test_impossible_settings():
    for options, message in (
        ({"simple_prob": 1.5}, "simple_prob is 1.5"),
        ({"mixing_share": (0.9, 0.5)}, "mixing_share is 0.9, 0.5"),
        ({"exclusion": 0, "union": 0, "veil": 0}, "not all 0"),
    ):
        with pytest.raises(ValueError, match=message):
            SUEM(**options)
    with pytest.raises(ValueError, match="use_hierarchy"):
        TrainingSamples(
            [TrainingSource(TinyScenes())],
            augmentation("sbd", (40, 48)),
            TargetSampling(use_hierarchy=True),
            InitialClickSampling(),
            0,
            mix=SUEM(),
        )


def test_settings_of_the_released_code():
    suem = SUEM()
    assert (suem.simple_prob, suem.extra_prob, suem.mixing_prob) == (0.5, 0.5, 0.5)
    assert suem.simple_share == suem.mixing_share == (0.5, 1.0)
    assert (suem.min_visible, suem.tries) == (20, 5)
    assert np.allclose(suem._kinds, 1 / 3)
