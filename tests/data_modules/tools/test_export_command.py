"""`data export-shapes` writes every layout, and the reader of that layout finds the scenes again."""

from __future__ import annotations

import argparse

import pytest

from data_modules.datasets import open_dataset
from data_modules.tools.arguments import add_actions
from data_modules.tools.export_shapes import LAYOUTS

READERS = {
    "folder": "Folder",
    "grabcut": "GrabCut",
    "berkeley": "Berkeley",
    "davis": "DAVIS",
    "bsds": "BSDS500",
    "sbd": "SBD",
    "coco_lvis": "COCO_LVIS",
    "coco": "COCO",
    "lvis": "LVIS",
    "voc": "PascalVOC",
}
WITH_SPLITS = {"bsds", "sbd", "coco_lvis", "coco", "lvis", "voc"}


def run(*arguments):
    parser = argparse.ArgumentParser()
    add_actions(parser.add_subparsers())
    options = parser.parse_args(["export-shapes", *map(str, arguments)])
    return options.run(options)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_written_scenes_are_read_again(layout, tmp_path, capsys):
    assert run(tmp_path, "--format", layout, "--length", 3, "--size", 48, 64, "--seed", 1, "--split", "val") == 0
    assert "3 scenes" in capsys.readouterr().out
    options = {"split": "val"} if layout in WITH_SPLITS else {}
    if layout == "bsds":
        options["include_benchmark_images"] = True
    dataset = open_dataset(READERS[layout], tmp_path, **options)
    assert len(dataset) == 3
    scene = dataset[0]
    assert scene.image.shape == (48, 64, 3) and scene.objects


def test_impossible_sizes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="--size"):
        run(tmp_path, "--format", "coco", "--size", 48, 64, 3)
    with pytest.raises(ValueError, match="32 pixels"):
        run(tmp_path, "--format", "coco", "--size", 16)
    with pytest.raises(SystemExit):
        run(tmp_path, "--format", "yolo")
