"""Folder: pairing by name, kinds of masks, and errors that say what to do."""

from __future__ import annotations

import warnings

import cv2
import numpy as np
import pytest
from PIL import Image

from data_modules.datasets.folder import Folder
from data_modules.datasets.shapes import Shapes
from data_modules.datasets.voc import palette_indices
from data_modules.formats.mask_files import read_mask_ids
from data_modules.formats.mask_names import pair_masks
from data_modules.formats.mask_rules import MaskRules
from data_modules.scenes import BrokenScene, EvaluationObjects, SkippedObject
from data_modules.tools.export_shapes import export_scenes

IDS = np.array([[0, 0, 1, 1], [2, 2, 0, 255]], np.uint8)


@pytest.fixture
def root(tmp_path):
    """A folder with the image cat.jpg (2 x 4 pixels) and no mask."""
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    cv2.imwrite(str(tmp_path / "images" / "cat.jpg"), np.full((2, 4, 3), 90, np.uint8))
    return tmp_path


def save(path, pixels, palette=False):
    image = Image.fromarray(pixels)
    if palette:
        image = Image.fromarray(pixels, mode="P") if pixels.dtype == np.uint8 else image
        image.putpalette(list(range(256)) * 3)
    image.save(path)
    return path


def test_exported_objects_come_back_with_their_ids(tmp_path):
    scenes = Shapes(length=4)
    export_scenes(scenes, tmp_path, "folder")
    dataset = Folder(tmp_path)
    expected = []
    for index in range(4):
        drawn, read = scenes[index], dataset[index]
        keys = [key for key, entry in drawn.objects.items() if not entry.stuff]
        expected += [(index, key) for key in keys]
        assert list(read.objects) == keys and np.array_equal(read.image, drawn.image)
        assert all(np.array_equal(read.mask(key), drawn.mask(key)) for key in keys)
    assert Folder(tmp_path).objects() == expected == dataset.objects()


@pytest.mark.parametrize(
    ("mask", "image"),
    [
        ("cat.png", "cat"),
        ("cat_mask.png", "cat"),
        ("cat-2.png", "cat"),
        ("cat.seg.png", "cat"),
        ("cat_1.png", "cat_1"),
        ("cat_1_b.png", "cat_1"),
        ("cats.png", None),
        ("dog.png", None),
    ],
)
def test_masks_find_their_image(tmp_path, mask, image):
    save(tmp_path / mask, IDS)
    images = [tmp_path / name for name in ("cat.jpg", "cat_1.jpg")]
    pairs, loose = pair_masks(images, tmp_path)
    assert [stem for stem, masks in pairs.items() if masks] == ([f"{image}.jpg"] if image else [])
    assert [path.name for path in loose] == ([] if image else [mask])


def test_a_binary_mask_is_one_object(root):
    save(root / "masks" / "cat.png", np.where(IDS > 0, 255, 0).astype(np.uint8))
    scene = Folder(root)[0]
    assert list(scene.objects) == [1] and np.array_equal(scene.mask(1), IDS > 0)


@pytest.mark.parametrize("form", ["gray", "palette", "16 bit", "colour", "gray as colour"])
def test_id_maps_in_every_form(root, form):
    path = root / "masks" / "cat.png"
    if form == "16 bit":
        save(path, IDS.astype(np.uint16) * 256)
    elif form == "colour":
        colours = np.array([[0, 0, 0], [0, 0, 7], [9, 0, 3], [1, 1, 1]], np.uint8)
        save(path, colours[np.minimum(IDS, 3)])
    elif form == "gray as colour":
        save(path, np.repeat(IDS[..., None], 3, axis=2))
    else:
        save(path, IDS, palette=form == "palette")
    ids = read_mask_ids(path, MaskRules("ids"))
    assert len(np.unique(ids)) == 4 and ids.max() < 65536
    values, where = np.unique(ids, return_inverse=True)
    expected = np.unique(IDS, return_inverse=True)[1]
    if form == "colour":  # the values of colours order themselves
        assert len(values) == 4 and np.array_equal((ids == 0), (IDS == 0))
    else:
        assert np.array_equal(where.reshape(-1), expected.reshape(-1))
    if form in ("gray", "palette", "gray as colour"):
        assert np.array_equal(ids, IDS)


def test_an_object_that_only_transparency_shows_is_refused(root):
    """Its colours are the same everywhere: they would make the whole image the object."""
    rgba = np.full((*IDS.shape, 4), 255, np.uint8)
    rgba[..., 3] = np.where(IDS > 0, 255, 0)
    path = root / "masks" / "cat.png"
    save(path, rgba)
    with pytest.raises(BrokenScene, match=r"cat\.png: only its transparency varies"):
        read_mask_ids(path, MaskRules("binary"))
    rgba[..., :3] = np.where(IDS > 0, 255, 0)[..., None]
    save(path, rgba)
    assert np.array_equal(read_mask_ids(path, MaskRules("binary")), IDS > 0)


def test_palettes_are_id_maps_without_being_told(root):
    save(root / "masks" / "cat.png", IDS, palette=True)
    dataset = Folder(root, ignore_value=255)
    assert dataset.objects() == [(0, 1), (0, 2)]
    assert dataset[0].mask(2).tolist() == [[0, 0, 0, 0], [1, 1, 0, -1]]


def test_gray_values_must_be_explained(root):
    save(root / "masks" / "cat.png", IDS)
    with pytest.raises(BrokenScene, match=r"cat\.png: holds the values 1, 2, 255: kind=ids"):
        Folder(root)[0]
    assert list(Folder(root, kind="ids")[0].objects) == [1, 2, 255]
    assert list(Folder(root, kind="ids", ignore_value=255)[0].objects) == [1, 2]
    binary = Folder(root, kind="binary", ignore_value=255)[0]
    assert binary.mask(1).tolist() == [[0, 0, 1, 1], [1, 1, 0, -1]]


def test_several_files_are_several_objects_that_may_overlap(root):
    for name, columns in (("cat_a.png", slice(0, 3)), ("cat_b.png", slice(1, 4))):
        mask = np.zeros((2, 4), np.uint8)
        mask[:, columns] = 255
        save(root / "masks" / name, mask)
    (root / "masks" / "cat").mkdir()
    save(root / "masks" / "cat" / "c.png", np.array([[255, 0, 0, 0]] * 2, np.uint8))
    dataset = Folder(root)
    scene = dataset[0]
    assert dataset.objects() == [(0, 1), (0, 2), (0, 3)] and scene.layers.shape[2] == 2
    assert [scene.mask(key)[0].tolist() for key in (1, 2, 3)] == [[1, 1, 1, 0], [0, 1, 1, 1], [1, 0, 0, 0]]


def test_splits_are_subfolders(tmp_path):
    export_scenes(Shapes(length=2), tmp_path / "train", "folder")
    assert len(Folder(tmp_path, split="train")) == 2
    with pytest.raises(FileNotFoundError, match="val"):
        Folder(tmp_path, split="val")


def test_what_is_wrong_is_named_and_the_rest_is_evaluated(root):
    save(root / "masks" / "cat.png", np.where(IDS > 0, 255, 0).astype(np.uint8))
    for name in ("bare", "damaged", "empty", "small"):
        cv2.imwrite(str(root / "images" / f"{name}.png"), np.full((2, 4, 3), 90, np.uint8))
    save(root / "masks" / "empty.png", np.zeros((2, 4), np.uint8))
    save(root / "masks" / "small.png", np.full((2, 3), 255, np.uint8))
    (root / "masks" / "damaged.png").write_bytes((root / "masks" / "small.png").read_bytes()[:40])
    save(root / "masks" / "nobody.png", IDS)
    with pytest.warns(UserWarning) as caught:
        dataset = Folder(root)
    assert {str(w.message).split(": ", 1)[1].split(" (")[0] for w in caught} == {
        "1 images have no mask and are skipped: bare.png",
        "1 masks have no image: nobody.png",
    }
    items = list(EvaluationObjects(dataset))
    reasons = {item.name: item.reason for item in items if isinstance(item, SkippedObject)}
    assert [item.name for item in items if not isinstance(item, SkippedObject)] == ["cat"]
    assert "no mask bare.*" in reasons["bare"] and "damaged.png" in reasons["damaged"]
    assert "empty mask" in reasons["empty"] and "empty.png" in reasons["empty"]
    assert "3x2 pixels" in reasons["small"] and "4x2" in reasons["small"]


def test_a_folder_without_any_pair_or_option_is_refused(root):
    with pytest.raises(FileNotFoundError, match="none of the 1 images"):
        Folder(root)
    with pytest.raises(ValueError, match="auto, binary, ids"):
        Folder(root, kind="labels")
    with pytest.raises(ValueError, match="ignore_value=0"):
        Folder(root, ignore_value=0)
    with pytest.raises(FileNotFoundError, match="JPEGImages"):
        Folder(root, images="JPEGImages")


def test_a_sound_folder_gives_no_warning(tmp_path):
    export_scenes(Shapes(length=2), tmp_path, "folder")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not Folder(tmp_path).unpaired_masks()


@pytest.mark.parametrize("read", [read_mask_ids, palette_indices])
def test_a_mask_that_is_no_picture_is_named_without_an_address(read, tmp_path):
    """`cannot identify image file <_io.BytesIO object at 0x7f98dc7b54e0>` went into results.json."""
    (tmp_path / "1.png").write_bytes(b"no picture")
    with pytest.raises(BrokenScene, match=r"1\.png: not a readable image \(cut off, or another kind of file\)"):
        read(tmp_path / "1.png")


def test_photos_kept_apart_are_never_among_the_others(tmp_path):
    export_scenes(Shapes(length=10, size=32), tmp_path, "folder")
    names = [Folder(tmp_path).scene_name(index) for index in range(10)]
    for apart, wanted in ((True, [names[3], names[7]]), (False, names[:3] + names[4:7] + names[8:])):
        folder = Folder(tmp_path, keep_apart=4, apart=apart)
        assert [folder.scene_name(index) for index in range(len(folder))] == wanted
    with pytest.raises(ValueError, match="keep_apart is 0: apart=True wants a number"):
        Folder(tmp_path, apart=True)
