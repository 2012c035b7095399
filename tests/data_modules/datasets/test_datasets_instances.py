"""SBD and COCO+LVIS in their released layouts, and pickles that may not run code."""

from __future__ import annotations

import os
import pickle

import cv2
import numpy as np
import pytest
from scipy.io import loadmat, savemat

from data_modules.datasets import open_dataset
from data_modules.datasets.sbd import SBD, thin_objects
from data_modules.datasets.shapes import Shapes
from data_modules.formats.restricted_pickle import load_pickle
from data_modules.scenes import BrokenScene, EvaluationObjects, SkippedObject
from data_modules.tools.export_shapes import export_scenes, roots


class Bomb:
    """Writes a file when it is unpickled by the ordinary unpickler."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.system, (f"touch {self.path}",))


@pytest.fixture(scope="module")
def scenes():
    return Shapes(split="train", length=4)


def test_sbd_comes_back(tmp_path, scenes):
    export_scenes(scenes, tmp_path, "sbd", split="val")
    dataset = open_dataset("SBD", tmp_path)
    expected = [(index, number + 1) for index in range(4) for number in range(len(roots(scenes[index])))]
    assert dataset.objects() == expected
    for index in range(4):
        drawn, read = scenes[index], dataset[index]
        assert read.name == drawn.name and read.layers.shape[2] == 1
        for number, key in enumerate(roots(drawn), start=1):
            assert np.array_equal(read.mask(number), drawn.mask(key))
    before = sorted(path.name for path in tmp_path.rglob("*"))
    list(EvaluationObjects(open_dataset("SBD", tmp_path)))
    assert before == sorted(path.name for path in tmp_path.rglob("*")), "nothing may be written into the dataset"


def test_the_written_struct_reads_as_the_official_reader_reads_it(tmp_path, scenes):
    export_scenes(scenes, tmp_path, "sbd", split="train")
    segmentation = loadmat(tmp_path / "inst" / f"{scenes.scene_name(0)}.mat")["GTinst"][0][0][0]
    assert segmentation.dtype == np.uint8 and segmentation.max() == len(roots(scenes[0]))
    assert (tmp_path / "train.txt").read_text().split() == [scenes.scene_name(i) for i in range(4)]


def test_training_drops_thin_objects_and_evaluation_keeps_them(tmp_path, scenes):
    export_scenes(scenes, tmp_path, "sbd", split="train")
    ids = np.zeros((128, 128), np.uint8)
    ids[np.arange(100), np.arange(100)] = 3  # a diagonal line: 1 % of its box
    ids[100:120, 0:20] = 7
    savemat(tmp_path / "inst" / f"{scenes.scene_name(0)}.mat", {"GTinst": {"Segmentation": ids}})
    (tmp_path / "val.txt").write_text((tmp_path / "train.txt").read_text())
    assert [key for index, key in SBD(tmp_path, "train").objects() if index == 0] == [7]
    assert [key for index, key in SBD(tmp_path, "val").objects() if index == 0] == [3, 7]
    assert [key for index, key in SBD(tmp_path, "train", min_fill=0).objects() if index == 0] == [3, 7]
    assert (SBD(tmp_path, "train")[0].layers != 3).all()


def test_thin_objects_equal_the_rule_as_written():
    rng = np.random.default_rng(0)
    ids = np.where(rng.random((40, 40)) < 0.1, rng.integers(1, 9, (40, 40)), 0).astype(np.int32)
    for limit in (0.008, 0.012, 0.08):
        expected = []
        for key in range(1, 9):
            y, x = np.nonzero(ids == key)
            if len(y) / ((np.ptp(y) + 1) * (np.ptp(x) + 1)) < limit:
                expected.append(key)
        assert thin_objects(ids, limit) == expected


def test_sbd_in_the_folder_of_the_archive_and_its_errors(tmp_path, scenes):
    export_scenes(scenes, tmp_path / "dataset", "sbd", split="val")
    dataset = SBD(tmp_path)
    assert len(dataset) == 4
    with pytest.raises(ValueError, match="train, val, train_noval"):
        SBD(tmp_path, "test")
    with pytest.raises(FileNotFoundError, match=r"train_noval\.txt"):
        SBD(tmp_path, "train_noval")
    paths = [tmp_path / "dataset" / "inst" / f"{scenes.scene_name(i)}.mat" for i in range(4)]
    paths[0].write_bytes(paths[0].read_bytes()[:150])
    paths[1].unlink()
    savemat(paths[2], {"GTinst": np.zeros((3, 3))})
    items = list(EvaluationObjects(SBD(tmp_path)))
    skipped = [item for item in items if isinstance(item, SkippedObject)]
    assert [item.name for item in skipped] == [scenes.scene_name(i) for i in range(3)]
    assert all(path.name in item.reason for path, item in zip(paths, skipped, strict=False))
    assert len(items) > 3


def test_coco_lvis_comes_back(tmp_path, scenes):
    export_scenes(scenes, tmp_path, "coco_lvis", split="val")
    dataset = open_dataset("COCO_LVIS", tmp_path)
    expected = []
    for index in range(4):
        drawn, read = scenes[index], dataset[index]
        assert list(read.objects) == list(drawn.objects)
        for key, entry in drawn.objects.items():
            assert np.array_equal(read.mask(key), drawn.mask(key))
            assert (read.objects[key].parent, read.objects[key].stuff) == (entry.parent, entry.stuff)
        expected += [(index, key) for key, entry in drawn.objects.items() if not entry.stuff]
    assert dataset.objects() == expected


def test_coco_lvis_takes_pickles_of_other_versions(tmp_path, scenes):
    export_scenes(scenes, tmp_path, "coco_lvis", split="train")
    expected = open_dataset("COCO_LVIS", tmp_path, split="train")[0]
    path = tmp_path / "train" / "masks" / f"{scenes.scene_name(0)}.pickle"
    pngs, mapping = pickle.loads(path.read_bytes())
    columns = [png.reshape(-1, 1) for png in pngs]  # OpenCV 4.4 and older wrote N x 1
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        content = pickle.dumps((columns, mapping), protocol=protocol)
        path.write_bytes(
            content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray") if protocol < 2 else content
        )
        read = open_dataset("COCO_LVIS", tmp_path, split="train")[0]
        assert np.array_equal(read.layers, expected.layers) and read.objects == expected.objects


def test_coco_lvis_orders_by_name_and_holds_no_masks(tmp_path, scenes):
    export_scenes([scenes[3], scenes[1]], tmp_path, "coco_lvis", split="val")
    dataset = open_dataset("COCO_LVIS", tmp_path)
    assert [dataset.scene_name(i) for i in range(2)] == [scenes.scene_name(1), scenes.scene_name(3)]
    assert len(pickle.dumps(dataset)) < 2000


def test_coco_lvis_errors_name_the_file(tmp_path, scenes):
    export_scenes(scenes, tmp_path, "coco_lvis", split="val")
    masks = [tmp_path / "val" / "masks" / f"{scenes.scene_name(i)}.pickle" for i in range(4)]
    pngs, mapping = pickle.loads(masks[1].read_bytes())
    masks[0].write_bytes(masks[0].read_bytes()[:100])
    masks[1].write_bytes(pickle.dumps((pngs, mapping[:0])))
    masks[2].write_bytes(pickle.dumps(([cv2.imencode(".png", np.zeros((9, 9), np.uint8))[1]], [(0, 1)] * 99)))
    masks[3].write_bytes(pickle.dumps((pngs, [(9, 1)])))
    dataset = open_dataset("COCO_LVIS", tmp_path)
    for index, words in enumerate(("plain data", "0 masks", "9x9 pixels", "does not exist")):
        with pytest.raises(BrokenScene, match=words) as error:
            dataset[index]
        assert masks[index].name in str(error.value)
    with pytest.raises(ValueError, match="train, val"):
        open_dataset("COCO_LVIS", tmp_path, split="test")
    index = tmp_path / "val" / "hannotation.pickle"
    index.write_bytes(pickle.dumps({"a": {"hierarchy": {0: {"parent": 5}}, "num_instance_masks": 1}}))
    with pytest.raises(BrokenScene, match=r"hannotation\.pickle.*parent"):
        open_dataset("COCO_LVIS", tmp_path)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_never_runs_code(tmp_path, scenes, protocol):
    trace = tmp_path / "trace"
    bomb = pickle.dumps([1, Bomb(trace)], protocol=protocol)
    path = tmp_path / "bomb.pickle"
    path.write_bytes(bomb)
    with pytest.raises(BrokenScene, match=r"bomb\.pickle.*system"):
        load_pickle(path)
    hidden = np.array([None], dtype=object)
    hidden[0] = Bomb(trace)
    path.write_bytes(pickle.dumps(hidden, protocol=protocol))
    with pytest.raises(BrokenScene, match="system"):
        load_pickle(path)
    export_scenes([scenes[0]], tmp_path, "coco_lvis", split="val")
    (tmp_path / "val" / "hannotation.pickle").write_bytes(bomb)
    with pytest.raises(BrokenScene, match="hannotation"):
        open_dataset("COCO_LVIS", tmp_path)
    assert not trace.exists()
    pickle.loads(bomb)  # the bomb is real
    assert trace.exists()


def test_plain_pickles_are_read(tmp_path):
    content = {"a": [1, 2.5, None, "x", b"y"], "b": (np.arange(6).reshape(2, 3), np.float32(0.5))}
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path = tmp_path / f"{protocol}.pickle"
        path.write_bytes(pickle.dumps(content, protocol=protocol))
        read = load_pickle(path)
        assert read["a"] == content["a"] and np.array_equal(read["b"][0], content["b"][0]) and read["b"][1] == 0.5
