"""BSDS500: regions of several annotators, their duplicates and their tree; images of the benchmarks left out."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
from scipy.io import savemat

from data_modules.datasets import bsds, open_dataset
from data_modules.datasets.bsds import BSDS500, free_ids
from data_modules.datasets.shapes import Shapes
from data_modules.formats.bsds_regions import extract_regions
from data_modules.scenes import BrokenScene, EvaluationObjects, SkippedObject
from data_modules.tools.export_shapes import export_scenes

LIMITS = {"min_share": 0.002, "max_share": 0.6, "duplicate_iou": 0.7}


def brute_force_regions(segmentations):
    """Masks of the kept regions as docs/data.md#bsds500 has it: area limits, then largest first without duplicates."""
    masks = [labels == label for labels in segmentations for label in np.unique(labels)]
    masks = [mask for mask in masks if 0.002 <= mask.mean() <= 0.6]
    kept = []
    for mask in sorted(masks, key=lambda mask: -int(mask.sum())):
        if all((mask & other).sum() / (mask | other).sum() <= 0.7 for other in kept):
            kept.append(mask)
    return kept


@pytest.fixture
def exported(tmp_path, monkeypatch):
    """Six drawn scenes in the BSDS500 layout, known as free of benchmark images."""
    scenes = Shapes(split="train", length=6)
    export_scenes(scenes, tmp_path, "bsds", split="test")
    names = frozenset(scenes.scene_name(i) for i in range(6))
    monkeypatch.setattr(bsds, "free_ids", lambda: names)
    return tmp_path, scenes


def test_regions_equal_brute_force(exported):
    root, _ = exported
    dataset = open_dataset("BSDS500", root)
    assert len(dataset) == 6
    for index in range(6):
        scene = dataset[index]
        expected = brute_force_regions(bsds.read_segmentations(dataset.annotation(index)))
        assert len(scene.objects) == len(expected)
        for key, mask in enumerate(expected, start=1):
            assert np.array_equal(scene.mask(key) == 1, mask)


def test_drawn_objects_come_back_with_their_owners(exported):
    root, scenes = exported
    dataset = open_dataset("BSDS500", root)
    nested = 0
    for index in range(6):
        drawn, read = scenes[index], dataset[index]
        masks = {key: read.mask(key) == 1 for key in read.objects}
        for key, entry in drawn.objects.items():
            mask = drawn.mask(key) == 1
            if entry.stuff or entry.parent or not 0.002 <= mask.mean() <= 0.6:
                continue
            # a root is a region of the first annotator; something that nearly equals it may stand for it
            assert max((mask & other).sum() / (mask | other).sum() for other in masks.values()) > 0.7
        nested += sum(entry.parent > 0 for entry in read.objects.values())
        for key, entry in read.objects.items():
            if entry.parent:
                assert (masks[key] & masks[entry.parent]).sum() > 0.8 * masks[key].sum()
    assert nested > 5


def test_identical_annotators_count_once():
    labels = np.ones((1, 20, 20), np.int32)
    labels[0, 4:10, 4:10] = 2
    labels[0, 12:18, 2:18] = 3
    one, three = extract_regions(labels, **LIMITS), extract_regions(np.repeat(labels, 3, axis=0), **LIMITS)
    assert one.objects == three.objects and np.array_equal(one.layers(), three.layers())
    assert [e.parent for e in one.objects.values()] == [0, 0]


def test_size_limits_and_no_region_at_all():
    labels = np.ones((2, 50, 50), np.int32)
    labels[:, 0, :4] = 2  # 4 pixels of 2500: below 0.2 %
    regions = extract_regions(labels, **LIMITS)
    assert regions.objects == {} and regions.layers().shape == (50, 50, 1)
    labels[:, 0, :5] = 2  # exactly 0.2 %
    assert len(extract_regions(labels, **LIMITS).objects) == 1


def test_benchmark_images_are_left_out_by_default(tmp_path):
    scenes = Shapes(length=2)
    export_scenes(scenes, tmp_path, "bsds", split="train")
    assert len(open_dataset("BSDS500", tmp_path, split="train")) == 2  # drawn ones are in no benchmark
    free = sorted(free_ids())[0]
    for kind, folder in (("images", "jpg"), ("groundTruth", "mat")):
        place = tmp_path / "data" / kind / "train"
        for number, name in enumerate((free, "124084")):  # which GrabCut has too
            (place / f"{scenes.scene_name(number)}.{folder}").rename(place / f"{name}.{folder}")
    with pytest.warns(UserWarning, match="1 images of Berkeley and GrabCut are left out"):
        clean = open_dataset("BSDS500", tmp_path, split="train")
    assert [clean.scene_name(i) for i in range(len(clean))] == [free]
    with pytest.warns(UserWarning, match="must not be reported"):
        everything = open_dataset("BSDS500", tmp_path, split="train", include_benchmark_images=True)
    assert len(everything) == 2


def test_the_free_list_is_the_one_of_the_card():
    assert len(free_ids()) == 401
    # GrabCut images inside BSDS500; GrabCut's 124080 is called 124084 there
    assert not free_ids() & {
        "124084",
        "153093",
        "271008",
        "326038",
        "189080",
        "24077",
        "189011",
        "239007",
        "8023",
        "101087",
    }


def test_damaged_annotations_are_named_and_survived(exported):
    root, _ = exported
    dataset = open_dataset("BSDS500", root)
    first, second, third = (dataset.annotation(i) for i in range(3))
    first.write_bytes(first.read_bytes()[:200])
    second.unlink()
    savemat(third, {"groundTruth": np.zeros((2, 2))})
    for index, path in enumerate((first, second, third)):
        with pytest.raises(BrokenScene, match=path.name):
            dataset[index]
    items = list(EvaluationObjects(dataset))
    assert [item.index for item in items if isinstance(item, SkippedObject)] == [0, 1, 2]
    assert len(items) > 6


def test_wrong_split_and_pickling(exported):
    root, _ = exported
    with pytest.raises(ValueError, match="train, val, test"):
        open_dataset("BSDS500", root, split="training")
    with pytest.raises(FileNotFoundError, match="train"):
        open_dataset("BSDS500", root, split="train+test")
    dataset = open_dataset("BSDS500", root)
    dataset.objects()
    copy = pickle.loads(pickle.dumps(dataset))
    assert np.array_equal(copy[0].layers, dataset[0].layers)


@pytest.mark.parametrize(
    ("split", "images", "levels"),
    [("val", 46, (342, 648, 483, 213, 26, 3))],
)
def test_real_regions_and_tree_have_the_numbers_of_the_card(shared_data, split, images, levels):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the shared copy holds no benchmark image
        dataset = BSDS500(shared_data / "BSDS500", split=split)
    assert len(dataset) == images == dataset.published[f"{split} images"]
    assert len(dataset.objects()) == sum(levels) == dataset.published[f"{split} objects"]
    depths = [depth(dataset.regions(i).objects, key) for i in range(images) for key in dataset.regions(i).objects]
    assert tuple(np.bincount(depths)) == levels


def depth(objects, key):
    parent = objects[key].parent
    return 1 + depth(objects, parent) if parent else 0
