"""GrabCut and random walker: on drawn objects whose answer is known, and through sessions and evaluations."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch

import clicklab
from clicklab.evaluation.play import evaluate_objects
from clicklab.evaluation.protocol import EvaluationProtocol
from clicklab.inference.session import Session
from clicklab.peers.grabcut import GrabCut
from clicklab.peers.random_walker import RandomWalker
from clicklab.peers.seeds import BACKGROUND, OBJECT, seed_map
from clicklab.records import Clicks, EvaluationObject

NAMES = ["opencv-grabcut", "random-walker"]


def disk_photo(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A red disk on a green ground, both noisy: (H, W, 3) uint8, and the disk (H, W) bool."""
    noise = np.random.default_rng(seed).integers(-25, 26, (80, 100, 3))
    rows, columns = np.mgrid[:80, :100]
    disk = (rows - 40) ** 2 + (columns - 45) ** 2 < 22**2
    colours = np.where(disk[..., None], (190, 60, 60), (60, 150, 70))
    return (colours + noise).clip(0, 255).astype(np.uint8), disk


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return (one & other).sum() / (one | other).sum()


@pytest.mark.parametrize("name", NAMES)
def test_two_clicks_cut_out_a_disk_of_another_colour(name):
    image, disk = disk_photo()
    session = Session(clicklab.load(name))
    session.set_image(image)
    session.add_click(40, 45)
    mask = session.add_click(8, 90, positive=False)
    assert iou(mask, disk) > 0.95
    assert mask[40, 45]
    assert not mask[8, 90]


@pytest.mark.parametrize("name", NAMES)
def test_the_same_clicks_give_the_same_mask_again(name):
    image, _ = disk_photo()
    masks = []
    for _ in range(2):
        session = Session(clicklab.load(name))
        session.set_image(image)
        session.add_click(40, 45)
        masks.append(session.add_click(20, 80, positive=False))
    np.testing.assert_array_equal(*masks)


@pytest.mark.parametrize("network", [GrabCut(), GrabCut(begin="previous"), RandomWalker()])
@pytest.mark.parametrize("positive", [True, False])
def test_a_lonely_click_of_either_sign_is_obeyed(network, positive):
    session = Session(network)
    session.set_image(disk_photo()[0])
    assert session.add_click(40, 45, positive)[40, 45] == positive


def test_previous_begins_from_the_mask_shown_last():
    """Three bands; a mask from outside holds the first, the click lies in the last: anew, the first is not known of."""
    image = np.random.default_rng(0).integers(0, 20, (60, 60, 3), dtype=np.uint8)
    image[:, :20, 0] += 200
    image[:, 40:, 1] += 200
    given = np.zeros((60, 60), dtype=bool)
    given[:, :20] = given[:, 40:] = True
    masks = {}
    for begin in ("clicks", "previous"):
        session = Session(GrabCut(begin=begin, iterations=2, radius=2, spread=0.1))
        session.set_image(image)
        session.set_mask(given)
        masks[begin] = session.add_click(30, 50)
    assert iou(masks["previous"], given) > 0.95
    assert not masks["clicks"][:, :20].any()


def test_grabcut_is_opencvs_own_on_the_same_trimap():
    image, _ = disk_photo()
    session = Session(GrabCut(iterations=3, radius=4, spread=0.25))
    session.set_image(image)
    mask = session.add_click(40, 45)
    rows, columns = np.mgrid[:80, :100]
    distance = np.sqrt((rows - 40.0) ** 2 + (columns - 45.0) ** 2)
    # 20: a quarter of the shorter side, from the disk's rim
    near = cv2.distanceTransform((distance > 4).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) <= 20
    trimap = np.where(near, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    trimap[distance <= 4] = cv2.GC_FGD
    cv2.setRNGSeed(0)
    cv2.grabCut(image, trimap, None, np.zeros((1, 65)), np.zeros((1, 65)), 3, cv2.GC_INIT_WITH_MASK)
    np.testing.assert_array_equal(mask, np.isin(trimap, (cv2.GC_FGD, cv2.GC_PR_FGD)))


def test_seeds_are_disks_and_the_later_click_counts():
    clicks = Clicks.from_list([[(5, 5, 1), (5, 8, 0)], [(0, 0, 0)]])
    seeds = seed_map(clicks, 0, (12, 14), 2)
    assert (seeds == OBJECT).sum() + (seeds == BACKGROUND).sum() == 13 + 13 - 2  # two pixels lie in both disks
    assert seeds[5, 5] == OBJECT
    assert seeds[5, 6] == seeds[5, 7] == BACKGROUND
    assert (seed_map(clicks, 1, (12, 14), 0) > 0).sum() == 1  # the empty slot is no seed


@pytest.mark.parametrize("name", NAMES)
def test_an_evaluation_records_the_seeding_and_refuses_another_one(name, tmp_path):
    image, disk = disk_photo()
    objects = [EvaluationObject(image, disk.astype(np.int8), "disk", 1, 0)]
    network = clicklab.load(name, network_options={"radius": 3})
    results = evaluate_objects(network, {"Disk": objects}, EvaluationProtocol(max_clicks=3), output=tmp_path)
    assert results["run"]["arguments"]["radius"] == 3
    assert results["protocol"]["mask_threshold"] == 0.5
    assert results["protocol"]["zoom_in"] is None
    json.dumps(results)
    other = clicklab.load(name, network_options={"radius": 4})
    with pytest.raises(ValueError, match="other settings"):
        evaluate_objects(other, {"Disk": objects}, EvaluationProtocol(max_clicks=3), output=tmp_path)


def test_batches_do_not_matter():
    network = GrabCut()
    images = torch.stack([torch.from_numpy(disk_photo(seed)[0]).permute(2, 0, 1) / 255 for seed in (0, 1)])
    clicks = Clicks.from_list([[(40, 45, 1), (8, 90, 0)], [(38, 50, 1)]])
    together = network(images, clicks, torch.zeros(2, 1, 80, 100)).logits
    for row in range(2):
        alone = network(images[row : row + 1], clicks[row : row + 1], torch.zeros(1, 1, 80, 100)).logits
        assert torch.equal(together[row : row + 1], alone)


@pytest.mark.parametrize("bad", [{"begin": "rect"}, {"iterations": 0}, {"radius": -1}, {"depth": 3}])
def test_impossible_settings_are_named(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        clicklab.load("opencv-grabcut", network_options=bad)
