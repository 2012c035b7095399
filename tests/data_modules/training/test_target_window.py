"""Training windows: the target lies inside, image and ids stay together, whatever the window."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from data_modules.scenes import SceneObject
from data_modules.training.target_window import TargetWindow
from data_modules.training.view import TrainingView


def scene(height=90, width=140):
    """A red target on blue, with ids that agree."""
    layers = np.zeros((height, width, 1), np.int32)
    layers[30:60, 50:80] = 3
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 2] = 200
    image[30:60, 50:80] = (200, 0, 0)
    return TrainingView(image, layers, {3: SceneObject(0)}, (3,))


@pytest.mark.parametrize("near", [0.0, 1.0])
def test_image_and_ids_stay_together(near):
    rng = np.random.default_rng(0)
    zoom = TargetWindow(64, near=near, min_side=20)
    for _ in range(50):
        view = zoom(scene(), rng)
        assert view.image.shape == (64, 64, 3) and view.layers.shape == (64, 64, 1)
        target = view.layers[..., 0] == 3
        red = view.image[..., 0].astype(int) > view.image[..., 2]
        # colours are mixed along the outline alone
        outline = cv2.dilate(target.astype(np.uint8), np.ones((3, 3))) > cv2.erode(
            target.astype(np.uint8), np.ones((3, 3))
        )
        assert not (target != red)[~outline].any() and np.count_nonzero(target != red) <= 0.25 * np.count_nonzero(
            outline
        )


def test_near_windows_hold_the_whole_target_and_little_more():
    rng = np.random.default_rng(0)
    zoom = TargetWindow(64, near=1.0, expansion=(1.2, 2.0), stretch=0.0, min_side=8)
    areas = [np.count_nonzero(zoom(scene(), rng).layers == 3) / 64**2 for _ in range(50)]
    assert min(areas) > 0.9 / 2.0**2 and max(areas) < 1.1 / 1.2**2


def test_a_scene_without_target_is_seen_too():
    view = TargetWindow(32)(replace(scene(), target=()), np.random.default_rng(0))
    assert view.image.shape == (32, 32, 3)


@pytest.mark.parametrize(
    ("options", "named"),
    [({"near": 2}, "near windows is 2"), ({"expansion": (2, 1)}, "expansion"), ({"size": 0}, "size 0")],
)
def test_impossible_settings(options, named):
    with pytest.raises(ValueError, match=named):
        TargetWindow(**options)
