"""Which mask belongs to which image, as people and tools name them."""

from __future__ import annotations

import pytest
from PIL import Image

from data_modules.datasets.folder import Folder
from data_modules.formats.mask_names import pair_masks
from data_modules.formats.notes import Notes


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 3), 255).save(path, "PNG")
    return path


@pytest.mark.parametrize(
    ("mask", "image"),
    [
        ("mask_x.png", "x"),
        ("Mask-x.png", "x"),
        ("label_x_2.png", "x"),
        ("gt.x.png", "x"),
        ("x_json/label.png", "x"),
        ("x/1.png", "x"),
        ("x_masks/1.png", "x"),
        ("X.png", "x"),
        ("z.png", "Z"),
        ("mask_z.png", "Z"),
        ("my_x.png", None),  # an image my_x.jpg may be missing: not the mask of x
        ("xx.png", None),
        ("mask_.png", None),
        ("y.png", None),  # y and Y are two images
        ("Y_1.png", "Y"),
        ("y_1.png", "y"),
    ],
)
def test_names_of_masks(tmp_path, mask, image):
    touch(tmp_path / mask)
    names = ["x.jpg", "Z.jpg"] + (["y.jpg", "Y.jpg"] if "_1" in mask else ["yy.jpg"])
    pairs, loose = pair_masks([tmp_path / name for name in names], tmp_path)
    assert [name for name, found in pairs.items() if found] == ([f"{image}.jpg"] if image else [])
    assert len(loose) == (image is None)


def test_of_a_labelme_folder_only_the_label_counts(tmp_path):
    for name in ("label.png", "img.png", "label_viz.png"):
        touch(tmp_path / "x_json" / name)
    pairs, loose = pair_masks([tmp_path / "x.jpg"], tmp_path)
    assert [path.name for path in pairs["x.jpg"]] == ["label.png"] and not loose


def test_kinds_that_are_not_read_and_the_naming_rules_are_told(tmp_path):
    touch(tmp_path / "images" / "x.jpg")
    touch(tmp_path / "images" / "y.jpg")
    touch(tmp_path / "masks" / "x.png")
    (tmp_path / "masks" / "y.npy").write_bytes(b"1")
    (tmp_path / "images" / "w.heic").write_bytes(b"1")
    (tmp_path / "images" / "x.json").write_text("{}")
    with pytest.warns(UserWarning) as caught:
        Folder(tmp_path)
    told = [str(warning.message) for warning in caught]
    assert any("y.npy" in text and "not read" in text for text in told)
    assert any("w.heic" in text for text in told) and not any("x.json" in text for text in told)
    assert any("y.jpg" in text and "mask_x.png" in text and "x_json/label.png" in text for text in told)


def test_a_file_is_counted_once_and_a_kind_told_once():
    notes = Notes()
    with pytest.warns(UserWarning) as caught:
        for name in ("a", "b", "a"):
            notes.add("kind", f"{name}: odd")
    assert len(caught) == 1 and notes.lines() == ["a: odd (and 1 more like it)"]
