"""Pictures of scenes: what is on them, and that they can be made of sets of every kind."""

from __future__ import annotations

import argparse

import cv2
import numpy as np
import pytest
from tiny_scenes import BOX, DISK, PART, STUFF, draw_scene

from data_modules.datasets import open_dataset
from data_modules.scenes import Scene
from data_modules.tools.arguments import add_actions
from data_modules.tools.show import object_colours, sheet, show, tree_lines
from data_modules.tools.show_mix import KINDS, mixed_sample


def test_a_picture_is_written_and_the_same_every_time(tmp_path):
    files = [show("Shapes", None, 3, tmp_path / "new" / f"{n}.png", size=64) for n in range(2)]
    first, second = (cv2.imread(str(file)) for file in files)
    assert first.shape[1] > 1200 and np.array_equal(first, second)
    assert len(np.unique(first.reshape(-1, 3), axis=0)) > 100  # not an empty sheet


def test_real_scenes_with_a_deep_tree(tmp_path, shared_data):
    file = show("BSDS500", shared_data / "BSDS500", 0, tmp_path / "scene.png", targets=1, split="val")
    assert cv2.imread(str(file)) is not None


def test_the_sheet_says_what_the_scene_holds():
    titles = [axes.get_title() for axes in sheet(draw_scene(0, ignore=True), targets=3).axes]
    assert titles[:4] == ["image, 80 x 60", "layer 0", "layer 1", "4 objects"]
    assert [title.startswith("target ") for title in titles[4:7]] == [True] * 3
    bare = Scene(np.zeros((40, 40, 3), np.uint8), np.zeros((40, 40, 1), np.int32), {}, "bare")
    assert "no target" in [axes.get_title() for axes in sheet(bare).axes]


def test_children_follow_their_parents_larger_objects_come_first():
    lines = list(tree_lines(draw_scene(0)))
    assert [(depth, key) for depth, key, _ in lines] == [(0, DISK), (1, PART), (0, BOX), (0, STUFF)]
    assert lines[-1][2] == "4: 800 px (stuff)"
    assert len(set(object_colours(draw_scene(0)).values())) == 4


def test_copy_paste_of_real_scenes(tmp_path, shared_data):
    parser = argparse.ArgumentParser()
    add_actions(parser.add_subparsers())
    output, scenes = tmp_path / "mixed.png", f"BSDS500={shared_data / 'BSDS500'}"
    options = parser.parse_args(["show", scenes, "--split", "val", "--targets", "1", "--suem", "--output", str(output)])
    assert options.run(options) == 0 and len(np.unique(cv2.imread(str(output)).reshape(-1, 3), axis=0)) > 1000


def test_a_mix_is_shown_on_the_crop_it_changes():
    dataset = open_dataset("Shapes", None, size=200)
    source, pasted, blended = (mixed_sample(dataset, dataset[0], KINDS[kind], 0) for kind in list(KINDS)[:3])
    target = source.target == 1
    assert target.sum() >= 1000
    for sample in (pasted, blended):
        assert np.array_equal(sample.target == 1, target)
        assert not np.array_equal(sample.image[~target], source.image[~target])
    assert np.array_equal(pasted.image[target], source.image[target])


def test_the_command(tmp_path, capsys):
    parser = argparse.ArgumentParser()
    add_actions(parser.add_subparsers())
    output = tmp_path / "scene.png"
    options = parser.parse_args(["show", "Shapes=", "--index", "2", "--output", str(output), "--split", "test"])
    assert options.run(options) == 0 and output.is_file() and str(output) in capsys.readouterr().out
    for wrong, message in (("Shapes", "NAME=FOLDER"), ("Shape=", "no dataset 'Shape'")):
        options = parser.parse_args(["show", wrong])
        with pytest.raises(ValueError, match=message):
            options.run(options)
    with pytest.raises(ValueError, match=r"scenes 0\.\.99"):
        show("Shapes", None, 100, output)
