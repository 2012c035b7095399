"""Shards and SA-1B: filters, parts, packed sets, other libraries, object stores, and training from them."""

from __future__ import annotations

import io
import json

import cv2
import fsspec
import numpy as np
import pytest
import torch
from shard_files import box, encoded, run_lengths, sa1b_json, write_photos, write_tar

from data_modules.datamodule import InteractiveDataModule
from data_modules.datasets import open_dataset
from data_modules.datasets.shapes import Shapes
from data_modules.scenes import BrokenScene, EvaluationObjects
from data_modules.shards import stores
from data_modules.shards.pack import Packing, pack, unique_keys
from data_modules.training.augment import AUGMENTATIONS, augmentation
from data_modules.training.first_clicks import InitialClickSampling
from data_modules.training.sample_maker import SampleMaker
from data_modules.training.samples import TrainingSamples
from data_modules.training.sources import TrainingSource
from data_modules.training.targets import TargetSampling
from data_modules.undrawn import UndrawnScene

SIZE = (40, 60)


@pytest.fixture(autouse=True)
def index_apart(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_photos_of_sa1b_with_parts_in_wholes(tmp_path):
    write_photos(tmp_path / "tars")
    dataset = open_dataset("SA1B", tmp_path / "tars")
    assert len(dataset) == 6 and dataset.objects() == [(scene, key) for scene in range(6) for key in (1, 2, 3)]
    scene = dataset[4]
    assert scene.name == "sa_4" and abs(int(scene.image[..., 0].mean()) - 40) <= 2
    assert {key: entry.parent for key, entry in scene.objects.items()} == {1: 2, 2: 0, 3: 0}
    assert np.array_equal(scene.mask(2) == 1, box(SIZE, 2, 2, 30, 40))
    assert np.array_equal(scene.mask(1) == 1, box(SIZE, 5, 5, 15, 20))
    flat = open_dataset("SA1B", tmp_path / "tars", hierarchy=False)[4]
    assert not any(entry.parent for entry in flat.objects.values())


def test_filters_keep_the_numbers_of_the_masks(tmp_path):
    masks = [box(SIZE, 0, 0, 40, 60), box(SIZE, 2, 2, 20, 20), box(SIZE, 5, 5, 9, 9), box(SIZE, 20, 20, 30, 30)]
    scores = [(0.99, 0.99), (0.99, 0.9), (0.99, 0.99), (0.95, 0.99)]
    write_tar(
        tmp_path / "sa_0.tar",
        {"sa_0.jpg": encoded(np.zeros((*SIZE, 3), np.uint8)), "sa_0.json": sa1b_json(masks, scores)},
    )

    def kept(**filters):
        dataset = open_dataset("SA1B", tmp_path, **filters)
        assert [key for _, key in dataset.objects()] == list(dataset[0].objects)
        return list(dataset[0].objects)

    assert kept() == [1, 2, 3, 4]
    assert kept(min_stability=0.96) == [1, 2, 3]
    assert kept(min_predicted_iou=0.95) == [1, 3, 4]
    assert kept(min_area=17) == [1, 2, 4]
    assert kept(max_share=0.9) == [2, 3, 4]
    with pytest.raises(ValueError, match="min_stability is 95"):
        kept(min_stability=95)


def test_a_mask_that_cannot_be_read_leaves_the_others(tmp_path):
    content = json.loads(sa1b_json([box(SIZE, 2, 2, 9, 9), box(SIZE, 12, 12, 19, 19)]))
    content["annotations"][0]["segmentation"]["size"] = [7, 7]
    image = encoded(np.zeros((*SIZE, 3), np.uint8))
    write_tar(
        tmp_path / "t.tar", {"a.jpg": image, "a.json": json.dumps(content).encode(), "b.jpg": image, "b.json": b"{"}
    )
    dataset = open_dataset("SA1B", tmp_path)
    with pytest.warns(
        UserWarning, match=r"t\.tar: a: annotation 1: run lengths for \[7, 7\], but the image is \[40, 60\]"
    ):
        items = list(EvaluationObjects(dataset))
    assert [getattr(item, "reason", None) is None for item in items] == [False, True, False]
    with pytest.raises(BrokenScene, match=r"t\.tar: b\.json: no json with a list of annotations"):
        dataset[1]


def same_scene(one, two):
    assert one.name == two.name and set(one.objects) == set(two.objects)
    for key, entry in one.objects.items():
        assert (entry.parent, entry.stuff) == (two.objects[key].parent, two.objects[key].stuff)
        assert np.array_equal(one.mask(key), two.mask(key))


@pytest.mark.parametrize("images", ["jpg", "webp", "webp-lossless"])
def test_a_packed_set_is_the_set(tmp_path, images):
    source = Shapes(length=5, size=(64, 80))
    report = pack(source, tmp_path / "out", Packing(images, scenes_per_shard=2), workers=1, progress=False)
    assert (report.shards, report.scenes, report.there, report.broken) == (3, 5, 0, ())
    packed = open_dataset("Shards", tmp_path / "out")
    assert packed.objects() == source.objects()
    for index in range(5):
        same_scene(packed[index], source[index])
        difference = np.abs(packed[index].image.astype(int) - source[index].image).mean()
        assert difference == 0 if images == "webp-lossless" else difference < 12


class Marked(Shapes):
    """Scenes with ignored pixels and masks to start from."""

    def __getitem__(self, index):
        if index == 1:
            raise BrokenScene("/nowhere/one.png: cannot be read")
        scene = super().__getitem__(index)
        scene.layers[:5, :, 0] = -1
        scene.initial_masks = {key: scene.mask(key) == 1 for key in list(scene.objects)[:1]}
        return scene


def test_ignored_pixels_and_initial_masks_go_along_and_broken_scenes_are_named(tmp_path):
    source = Marked(length=3, size=(64, 80))
    report = pack(source, tmp_path / "out", Packing(scenes_per_shard=2), workers=1, progress=False)
    assert report.broken == ("/nowhere/one.png: cannot be read",) and report.scenes == 2
    packed = open_dataset("Shards", tmp_path / "out")
    for place, index in enumerate((0, 2)):
        same_scene(packed[place], source[index])
        starts, expected = packed[place].initial_masks, source[index].initial_masks
        assert {k: m.sum() for k, m in starts.items()} == {k: m.sum() for k, m in expected.items() if m.any()}


def test_packing_goes_on_and_refuses_other_settings(tmp_path):
    source = Shapes(length=4, size=(32, 32))
    pack(source, tmp_path, Packing(scenes_per_shard=2), workers=1, progress=False)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.tar")}
    (tmp_path / "shapes-000001.tar").unlink()
    report = pack(source, tmp_path, Packing(scenes_per_shard=2), workers=1, progress=False)
    assert (report.scenes, report.there) == (2, 1)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.tar")} == before
    with pytest.raises(ValueError, match=r"begun from something else \(images, quality, scenes_per_shard\)"):
        pack(source, tmp_path, Packing(scenes_per_shard=3), workers=1, progress=False)
    assert unique_keys(["a.b", "a_b", "c", "a/b"]) == ["a_b", "a_b~2", "c", "a_b~3"]


def test_the_webdataset_library_reads_packed_shards(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    source = Shapes(length=3, size=(48, 48))
    pack(source, tmp_path, Packing(scenes_per_shard=2), workers=1, progress=False)
    urls = [str(path) for path in sorted(tmp_path.glob("*.tar"))]
    found = list(webdataset.WebDataset(urls, shardshuffle=False).decode("rgb8"))
    ours = open_dataset("Shards", tmp_path)
    assert [sample["__key__"] for sample in found] == [source.scene_name(index) for index in range(3)]
    for index, sample in enumerate(found):
        assert np.abs(sample["jpg"].astype(int) - ours[index].image).max() <= 4  # another JPEG decoder
        assert [entry["id"] for entry in sample["json"]["annotations"]] == list(source[index].objects)


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
def test_a_crop_draws_what_the_whole_scene_shows_there(tmp_path, name):
    """Every pipeline moves pixel numbers as it moves drawn layers, object by object."""
    write_photos(tmp_path / "tars", shards=1)
    scene = open_dataset("SA1B", tmp_path / "tars").training_scene(0)
    assert isinstance(scene, UndrawnScene)
    for seed in range(4):
        maker = SampleMaker(augmentation(name, (32, 48)), TargetSampling(), InitialClickSampling(), with_layers=True)
        undrawn = maker.view(scene, False, np.random.default_rng(seed))
        drawn = maker.view(scene.drawn(), False, np.random.default_rng(seed))
        assert np.array_equal(undrawn.image, drawn.image) and undrawn.areas == drawn.areas
        for key, entry in drawn.objects.items():
            mine = undrawn.objects[key]
            assert mine.parent == entry.parent
            assert np.array_equal(undrawn.layers[..., mine.layer] == key, drawn.layers[..., entry.layer] == key)


def remote(tmp_path, url="memory://bucket/sa1b"):
    system = fsspec.filesystem("memory")
    for path in write_photos(tmp_path / "tars"):
        system.pipe(f"/bucket/sa1b/{path.name}", path.read_bytes())
    return open_dataset("SA1B", url)


def test_an_object_store_gives_what_a_folder_gives(tmp_path):
    far, near = remote(tmp_path), open_dataset("SA1B", tmp_path / "tars")
    assert len(far) == len(near) == 6
    far.expect([3, 1, 5])
    for index in (1, 5, 0):
        same_scene(far[index], near[index])
    assert far._ahead.keys() == {3}


def test_a_batch_announces_its_scenes_to_the_store(tmp_path, monkeypatch):
    dataset = remote(tmp_path)
    told, read = [], []
    real = type(dataset)._content
    monkeypatch.setattr(dataset, "expect", lambda indices: told.append(list(indices)))
    monkeypatch.setattr(type(dataset), "_content", lambda self, i, place: read.append(i) or real(self, i, place))
    maker = augmentation("coco_lvis_val", SIZE)
    samples = TrainingSamples([TrainingSource(dataset)], maker, TargetSampling(), InitialClickSampling(), 0, 8)
    batch = samples.__getitems__([(0, index) for index in range(4)])
    assert told == [read] and len(batch) == 4


def test_a_store_that_does_not_answer_ends_the_run_and_one_without_the_shard_does_not(tmp_path, monkeypatch):
    dataset = remote(tmp_path)
    system = fsspec.filesystem("memory")
    system.rm("/bucket/sa1b/sa_000001.tar")
    with pytest.raises(BrokenScene, match=r"memory://bucket/sa1b/sa_000001\.tar: is not there any more"):
        dataset[5]
    tries = []

    def silent(*arguments, **named):
        tries.append(arguments)
        raise TimeoutError("no answer")

    monkeypatch.setattr(stores, "WAITS", (0.0, 0.0))
    monkeypatch.setattr(type(system), "cat_file", silent)
    with pytest.raises(OSError, match=r"sa_000000\.tar: the store does not answer \(TimeoutError: no answer\)"):
        dataset[0]
    assert len(tries) == 3
    with pytest.raises(ValueError, match=r"nosuch://bucket: cannot be opened"):
        open_dataset("SA1B", "nosuch://bucket")


def batches(folder, replicas=1, rank=0, start=(0, 0), workers=0):
    """The rank's share of the batches from a place in the run on."""
    data = InteractiveDataModule(
        [TrainingSource(open_dataset("SA1B", folder)), TrainingSource(Shapes(length=9, size=SIZE), weight=2)],
        crop_size=32, batch_size=4, epoch_length=16, num_workers=workers, seed=3, augmentation="sbd",
    )  # fmt: skip
    data._ranks = lambda: (replicas, rank)
    loader = data.train_dataloader()
    loader.sampler.position = lambda: start
    return [(batch.image, batch.target, batch.clicks.yx) for batch in loader]


@pytest.mark.parametrize("replicas", [2, 4])
def test_processes_together_see_the_batches_of_one(tmp_path, replicas):
    write_photos(tmp_path / "tars")
    alone = batches(tmp_path / "tars")
    shares = [batches(tmp_path / "tars", replicas, rank) for rank in range(replicas)]
    assert len(alone) == 4 and all(len(share) == 4 for share in shares)
    for number, (image, target, _) in enumerate(alone):
        for rank, share in enumerate(shares):
            assert torch.equal(share[number][0], image[rank::replicas])
            assert torch.equal(share[number][1], target[rank::replicas])


def test_a_run_goes_on_in_the_middle_of_an_epoch_with_workers_too(tmp_path):
    write_photos(tmp_path / "tars")
    whole = batches(tmp_path / "tars", start=(1, 0))
    rest = batches(tmp_path / "tars", start=(1, 2), workers=2)
    assert len(rest) == 2
    for expected, found in zip(whole[2:], rest, strict=True):
        assert all(torch.equal(one, two) for one, two in zip(expected, found, strict=True))


def test_images_of_any_kind_are_read(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), dtype=np.uint8)
    png = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
    content = json.dumps({"annotations": [{"segmentation": run_lengths(box(SIZE, 1, 1, 9, 9))}]}).encode()
    write_tar(tmp_path / "t.tar", {"x/a.png": png, "x/a.json": content})
    dataset = open_dataset("Shards", tmp_path)
    assert np.array_equal(dataset[0].image, image) and dataset[0].name == "a"
    assert io.BytesIO(png).getbuffer().nbytes == dataset.index.place(0).image.size
