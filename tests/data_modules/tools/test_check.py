"""`check` counts, compares with the published numbers, and names what is broken or missing."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from data_modules.datasets.shapes import Shapes
from data_modules.tools.check import check
from data_modules.tools.export_shapes import LAYOUTS, export_scenes, roots


def test_a_sound_folder_is_complete(tmp_path):
    scenes = Shapes(length=3)
    export_scenes(scenes, tmp_path, "folder")
    report = check("Folder", tmp_path)
    instances = sum(not entry.stuff for i in range(3) for entry in scenes[i].objects.values())
    assert report.complete and report.splits[0].counts == {
        "images": 3,
        "objects": instances,
        "images with ignored pixels": 0,
    }
    assert f"{instances} objects" in str(report) and str(report).endswith("complete")


def test_counts_are_compared_with_the_published_ones(tmp_path):
    export_scenes(Shapes(length=3), tmp_path, "grabcut")
    report = check("GrabCut", tmp_path)
    assert not report.complete
    assert "3 images (published: 50)" in str(report) and "3 images with ignored pixels (published: 42)" in str(report)


def test_every_split_is_looked_at_and_missing_ones_are_named(tmp_path):
    scenes = Shapes(length=2)
    export_scenes(scenes, tmp_path, "sbd", split="val")
    report = check("SBD", tmp_path)
    assert [part.split for part in report.splits] == ["train", "val", "train_noval"]
    assert [part.missing is None for part in report.splits] == [False, True, False]
    found = sum(len(roots(scenes[i])) for i in range(2))
    assert f"{found} objects (published: 6671)" in str(report)
    assert "train.txt is missing" in str(report) and "Semantic Boundaries Dataset" in str(report)
    assert len(check("SBD", tmp_path, split="val").splits) == 1


def test_broken_files_empty_masks_and_loose_masks_are_listed(tmp_path):
    export_scenes(Shapes(length=3), tmp_path, "davis")
    cv2.imwrite(str(tmp_path / "gt" / "val_0_000001.png"), np.zeros((128, 128), np.uint8))
    (tmp_path / "img" / "val_0_000002.jpg").write_bytes(b"nothing")
    cv2.imwrite(str(tmp_path / "gt" / "loose.png"), np.zeros((8, 8), np.uint8))
    report = check("DAVIS", tmp_path)
    part = report.splits[0]
    assert part.counts["images"] == 3 and part.counts["objects"] == 2
    assert part.empty == (("val_0_000001", 1, ""),) and [name for name, _ in part.broken] == ["val_0_000002"]
    text = str(report)
    assert "broken: " in text and "val_0_000002.jpg" in text and "loose.png" in text
    assert "empty mask: val_0_000001, object 1" in text


def test_a_missing_folder_says_where_the_set_comes_from(tmp_path):
    report = check("Berkeley", tmp_path / "none")
    assert not report.complete and "McGuinness" in str(report) and "none" in str(report)


def test_unknown_names_are_refused(tmp_path):
    with pytest.raises(ValueError, match="GrabCut"):
        check("Grab", tmp_path)


def test_unknown_layouts_are_refused(tmp_path):
    with pytest.raises(ValueError, match="coco_lvis"):
        export_scenes(Shapes(length=1), tmp_path, "yolo")
    assert set(LAYOUTS) >= {"folder", "grabcut", "berkeley", "davis", "bsds", "sbd", "coco_lvis"}


def test_long_lists_are_cut(tmp_path):
    export_scenes(Shapes(length=30, size=32), tmp_path, "davis")
    for path in (tmp_path / "img").iterdir():
        path.write_bytes(b"nothing")
    text = str(check("DAVIS", tmp_path))
    assert "and 10 more of these (broken)" in text


def test_real_grabcut_is_complete(shared_data):
    assert check("GrabCut", shared_data / "GrabCut").complete
