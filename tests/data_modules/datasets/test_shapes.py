"""Shapes: drawn scenes are repeatable, well formed and varied."""

from __future__ import annotations

import pickle
from itertools import pairwise

import numpy as np
import pytest

from data_modules.datasets import open_dataset
from data_modules.datasets.shapes import Shapes
from data_modules.drawing.outlines import OUTLINES, fill
from data_modules.drawing.textures import FIELDS
from data_modules.scenes import EvaluationObjects


@pytest.fixture(scope="module")
def scenes():
    dataset = Shapes(split="train", length=60, size=96)
    return [dataset[index] for index in range(len(dataset))]


def test_a_scene_depends_on_seed_split_and_index_only():
    first, again = Shapes(split="train", length=5), Shapes(split="train", length=50)
    for index in (3, 0, 4):
        assert np.array_equal(first[index].image, again[index].image)
        assert np.array_equal(first[index].layers, again[index].layers)
        assert first[index].objects == again[index].objects
    others = [Shapes(split="val", length=5)[3], Shapes(split="train", length=5, seed=1)[3], first[4]]
    assert all(not np.array_equal(first[3].image, other.image) for other in others)


def test_the_drawing_does_not_change():
    # our own numbers; when they change, every figure reported on Shapes has to be made again:
    # PYTHONPATH=src:. python -c "from data_modules.datasets.shapes import *; s=Shapes(length=5)[0];
    #   print(s.areas(), {k: (e.parent, e.stuff) for k, e in s.objects.items()}, s.image.mean((0, 1)))"
    scene = Shapes(length=5)[0]
    areas = {1: 2946, 2: 114, 3: 548, 4: 4694, 5: 6909, 6: 1835}
    parents = {1: (0, False), 2: (1, False), 3: (1, False), 4: (0, False), 5: (0, True), 6: (0, True)}
    assert {key: (entry.parent, entry.stuff) for key, entry in scene.objects.items()} == parents
    # OpenCV versions may differ by some outline pixels and by rounding
    assert scene.areas() == pytest.approx(areas, rel=0.03)
    assert scene.image.mean((0, 1)) == pytest.approx([118.4, 148.4, 110.2], abs=0.5)


def test_objects_are_whole_nested_and_never_empty(scenes):
    for scene in scenes:
        areas = scene.areas()
        assert min(areas.values()) > 0
        assert scene.ignored().sum() == 0
        for key, entry in scene.objects.items():
            if entry.parent:
                assert not entry.stuff and entry.layer == scene.objects[entry.parent].layer + 1
                assert (scene.mask(key) <= scene.mask(entry.parent)).all()
                assert areas[key] < areas[entry.parent]
        listed = set(scene.objects) | {0}
        hidden = set(np.unique(scene.layers).tolist()) - listed
        assert not hidden


def test_the_set_holds_every_kind_of_thing(scenes):
    depth = [scene.layers.shape[2] for scene in scenes]
    assert min(depth) == 1 and max(depth) == 3
    stuff = [sum(entry.stuff for entry in scene.objects.values()) for scene in scenes]
    assert 0.2 < np.mean(np.array(stuff) > 0) < 0.6
    roots = [sum(not e.parent and not e.stuff for e in scene.objects.values()) for scene in scenes]
    assert min(roots) >= 1 and max(roots) >= 5
    touching = [_touching(scene) for scene in scenes]
    assert 0.3 < np.mean(touching) < 1


def _touching(scene):
    """Whether two root objects are neighbours (one occludes the other)."""
    roots = {key for key, entry in scene.objects.items() if not entry.parent and not entry.stuff}
    ids = np.where(np.isin(scene.layers[..., 0], list(roots)), scene.layers[..., 0], 0)
    return any(((a != b) & (a > 0) & (b > 0)).any() for a, b in ((ids[1:], ids[:-1]), (ids[:, 1:], ids[:, :-1])))


def test_no_single_colour_gives_the_object_away(scenes):
    # the best threshold on the distance to the object's mean colour must be good for many objects but perfect for few
    ious = []
    for scene in scenes[:30]:
        key = next(iter(scene.objects))
        mask = scene.mask(key) == 1
        distance = np.linalg.norm(scene.image.astype(float) - scene.image[mask].mean(0), axis=2)
        thresholds = np.quantile(distance[mask], np.linspace(0.3, 0.95, 12))
        ious.append(max((mask & (distance <= t)).sum() / (mask | (distance <= t)).sum() for t in thresholds))
    assert 0.15 < np.median(ious) < 0.85
    assert np.mean(np.array(ious) > 0.9) < 0.3


def test_objects_lists_roots_or_parts_too():
    roots, parts = Shapes(length=10), Shapes(length=10, parts=True)
    expected = [(index, key) for index in range(10) for key, entry in parts[index].objects.items() if not entry.stuff]
    assert parts.objects() == expected
    assert roots.objects() == [(i, k) for i, k in expected if not parts[i].objects[k].parent]
    targets = EvaluationObjects(roots)
    assert all((item.target == 1).sum() > 50 for item in targets)


def test_sizes_pickling_and_the_table():
    dataset = open_dataset("Shapes", None, split="test", length=2, size=(64, 100))
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy[1].image.shape == (64, 100, 3)
    assert np.array_equal(copy[1].image, dataset[1].image)
    assert Shapes(length=1, size=32)[0].image.shape == (32, 32, 3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"split": "training"}, "train, val, test"),
        ({"length": 0}, "length"),
        ({"size": 16}, "32"),
        ({"seed": -1}, "seed"),
    ],
)
def test_impossible_options_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        Shapes(**options)


def test_an_index_outside_the_set_is_refused():
    with pytest.raises(IndexError, match=r"0\.\.4"):
        Shapes(length=5)[5]


@pytest.mark.parametrize("draw", OUTLINES, ids=lambda draw: draw.__name__)
def test_outlines_stay_in_reach_and_have_an_inside(draw):
    rng = np.random.default_rng(0)
    for _ in range(20):
        outline = draw(rng)
        assert max(np.abs(contour).max() for group in outline for contour in group) < 1.8
        mask = fill(outline, np.array([64.0, 64.0]), np.array([30.0, 30.0]), 0.3, (128, 128))
        assert 60 < mask.sum() < 4 * 30 * 30
        assert not mask[:4].any() and not mask[:, :4].any()


def test_a_turned_square_keeps_its_area():
    square = [[np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]], dtype=float)]]
    areas = [fill(square, np.array([50.0, 50.0]), np.array([20.0, 20.0]), a, (100, 100)).sum() for a in (0.0, 0.5, 1.0)]
    assert all(abs(a - b) < 120 for a, b in pairwise(areas))
    assert abs(areas[0] - 41 * 41) < 60


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.__name__)
def test_texture_fields_fill_their_range(field):
    rng = np.random.default_rng(0)
    values = [field(rng, (40, 60), 6.0) for _ in range(5)]
    assert all(v.shape == (40, 60) and v.dtype == np.float32 and v.min() >= 0 and v.max() <= 1 for v in values)
    assert max(np.ptp(v) for v in values) > 0.8
    assert field(rng, (1, 1), 6.0).shape == (1, 1)
