"""The table of datasets, and the sets of one mask per image: in their real format, broken, and the real files."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from data_modules.datasets import DATASETS, dataset_class, open_dataset
from data_modules.datasets.shapes import Shapes
from data_modules.scenes import BrokenScene, EvaluationObjects, SceneDataset, SkippedObject
from data_modules.tools.export_shapes import export_scenes, main_object

PAIRED = {"GrabCut": "grabcut", "Berkeley": "berkeley", "DAVIS": "davis", "COCO_MVal": "davis"}
FOLDERS = {
    "GrabCut": ("data_GT", "boundary_GT"),
    "Berkeley": ("images", "masks"),
    "DAVIS": ("img", "gt"),
    "COCO_MVal": ("img", "gt"),
}


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_every_name_opens_a_class_that_says_where_it_comes_from(name):
    kind = dataset_class(name)
    assert issubclass(kind, SceneDataset)
    assert kind.name == name
    assert kind.page and "http" not in kind.page
    assert kind.__doc__


@pytest.mark.parametrize("name", sorted(set(DATASETS) - {"Shapes"}))
def test_a_missing_folder_is_named_with_its_source(name, tmp_path):
    with pytest.raises(FileNotFoundError, match="missing") as error:
        open_dataset(name, tmp_path / "nowhere")
    assert "nowhere" in str(error.value) and dataset_class(name).page in str(error.value)


def test_an_unknown_name_brings_the_nearest_or_all_known_ones(tmp_path):
    with pytest.raises(ValueError) as error:
        open_dataset("ADE20K", tmp_path)
    assert all(name in str(error.value) for name in DATASETS)
    near = {"grabcut": "GrabCut", "Bekeley": "Berkeley", "COCO-LVIS": "COCO_LVIS", "davis585": "DAVIS585"}
    for typed, meant in near.items():
        with pytest.raises(ValueError, match=f"did you mean {meant}"):
            open_dataset(typed, tmp_path)
    with pytest.raises(ValueError, match=r"knd.*did you mean kind"):
        open_dataset("Folder", tmp_path, knd="ids")


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def paired(root, name, image="a.png", mask="a.png", pixels=None, size=(8, 10)):
    """One image and one mask in the folders of `name`; returns the opened set."""
    images, masks = FOLDERS[name]
    write(root / images / image, np.full((*size, 3), 60, np.uint8))
    write(root / masks / mask, np.full(size, 255, np.uint8) if pixels is None else pixels)
    return open_dataset(name, root)


@pytest.mark.parametrize("name", PAIRED)
def test_what_is_written_comes_back(name, tmp_path):
    scenes = Shapes(length=4)
    export_scenes(scenes, tmp_path, PAIRED[name])
    dataset = open_dataset(name, tmp_path)
    assert dataset.objects() == [(index, 1) for index in range(4)]
    assert dataset.view_scale == (1.5 if name == "DAVIS" else 1.0)
    for scene, item in zip((scenes[i] for i in range(4)), EvaluationObjects(dataset), strict=True):
        truth = scene.mask(main_object(scene)) == 1
        assert item.name == scene.name and item.target.dtype == np.int8
        keep = item.target != -1
        assert np.array_equal((item.target == 1)[keep], truth[keep])
        assert (~keep).any() == (name == "GrabCut")
        assert np.abs(item.image.astype(int) - scene.image).mean() < (1 if name == "GrabCut" else 12)


@pytest.mark.parametrize("name", ["GrabCut", "Berkeley"])
def test_grabcut_reads_channel_0_and_ignores_128(name, tmp_path):
    mask = np.zeros((1, 8, 3), np.uint8)
    mask[0, :, 0] = [0, 64, 127, 128, 129, 255, 1, 2]  # the released readers' answers to these values follow
    mask[0, :, 1:] = 255  # the other channels do not count
    dataset = paired(tmp_path, name, pixels=mask, size=(1, 8))
    assert dataset[0].mask(1).tolist() == [[0, 0, 0, -1, 1, 1, 1, 0]]


@pytest.mark.parametrize("name", ["DAVIS", "COCO_MVal"])
def test_davis_takes_any_channel_above_0_and_ignores_nothing(name, tmp_path):
    mask = np.zeros((1, 5, 3), np.uint8)
    mask[0, 1:4] = np.eye(3, dtype=np.uint8)
    mask[0, 4] = 128
    dataset = paired(tmp_path, name, pixels=mask, size=(1, 5))
    assert dataset[0].mask(1).tolist() == [[0, 1, 1, 1, 1]]


def test_the_image_is_rgb(tmp_path):
    paired(tmp_path, "DAVIS")
    write(tmp_path / "img" / "a.png", np.full((8, 10, 3), (0, 0, 255), np.uint8))  # OpenCV writes BGR
    assert open_dataset("DAVIS", tmp_path)[0].image[0, 0].tolist() == [255, 0, 0]


def test_masks_are_found_by_the_name_before_the_first_dot(tmp_path):
    dataset = paired(tmp_path, "GrabCut", image="a.b.png", mask="a.png")
    assert dataset.scene_name(0) == "a" and (dataset[0].mask(1) == 1).all()


def test_order_is_by_file_name_upper_case_first(tmp_path):
    for stem in ("b", "a", "C"):
        paired(tmp_path, "GrabCut", image=f"{stem}.png", mask=f"{stem}.png")
    dataset = open_dataset("GrabCut", tmp_path)
    assert [dataset.scene_name(i) for i in range(3)] == ["C", "a", "b"]


def test_bad_files_are_named_and_the_rest_goes_on(tmp_path):
    good = paired(tmp_path, "DAVIS", image="f.png", mask="f.png")
    assert len(good) == 1
    images, masks = tmp_path / "img", tmp_path / "gt"
    write(images / "a.png", np.zeros((8, 10, 3), np.uint8))  # no mask
    paired(tmp_path, "DAVIS", image="b.png", mask="b.png", pixels=np.zeros((10, 8), np.uint8))
    write(masks / "b.png", np.full((10, 8), 255, np.uint8))  # turned
    paired(tmp_path, "DAVIS", image="c.png", mask="c.png", pixels=np.zeros((8, 10), np.uint8))  # empty
    write(masks / "d.png", np.full((8, 10), 255, np.uint8))
    (images / "d.png").write_bytes(b"no image")
    write(masks / "e.png", np.full((8, 10), 255, np.uint8))
    whole = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))[1].tobytes()
    (images / "e.jpg").write_bytes(whole[: len(whole) // 2])
    write(masks / "loose.png", np.full((8, 10), 255, np.uint8))

    dataset = open_dataset("DAVIS", tmp_path)
    items = list(EvaluationObjects(dataset))
    reasons = {item.name: item.reason for item in items if isinstance(item, SkippedObject)}
    assert [item.name for item in items if not isinstance(item, SkippedObject)] == ["f"]
    assert list(reasons) == ["a", "b", "c", "d", "e"]
    for stem, words in {
        "a": "no mask a",
        "b": "EXIF",
        "c": "empty mask",
        "d": "not a readable",
        "e": "cut off",
    }.items():
        assert words in reasons[stem]
    for stem, file in {"a": "a.png", "b": "b.png", "d": "d.png", "e": "e.jpg"}.items():
        assert file in reasons[stem]
    assert [path.name for path in dataset.unpaired_masks()] == ["loose.png"]


def test_an_empty_folder_says_so(tmp_path):
    for folder in FOLDERS["GrabCut"]:
        (tmp_path / folder).mkdir()
    with pytest.raises(FileNotFoundError, match="no image files"):
        open_dataset("GrabCut", tmp_path)


def test_a_vanished_file_is_a_broken_scene(tmp_path):
    dataset = paired(tmp_path, "DAVIS")
    (tmp_path / "gt" / "a.png").unlink()
    with pytest.raises(BrokenScene, match=r"gt.a\.png"):
        dataset[0]


def test_real_grabcut_has_the_published_numbers(shared_data):
    items = list(EvaluationObjects(open_dataset("GrabCut", shared_data / "GrabCut")))
    ignored = np.array([(item.target == -1).sum() for item in items])
    assert len(items) == 50 and ignored.sum() == 75739 and (ignored > 0).sum() == 42
    assert all((item.target == 1).any() for item in items)


def test_real_coco_mval_opens_whole(shared_data):
    dataset = open_dataset("COCO_MVal", shared_data / "COCO_MVal")
    assert len(dataset) == 373 and len({name.rsplit("_", 1)[1] for name in map(dataset.scene_name, range(373))}) == 342
    assert not dataset.unpaired_masks()
    for item in EvaluationObjects(dataset, limit=40):
        assert not isinstance(item, SkippedObject), item
        assert set(np.unique(item.target)) <= {0, 1}
