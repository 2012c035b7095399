"""A source whose samples hold nothing to learn is refused before training, with the setting to change."""

from __future__ import annotations

import warnings

import cv2
import numpy as np
import pytest
from tiny_scenes import TinyScenes

from data_modules.datamodule import InteractiveDataModule
from data_modules.datasets.folder import Folder
from data_modules.scenes import Scene, SceneDataset, SceneObject
from data_modules.training.augment import augmentation
from data_modules.training.first_clicks import InitialClickSampling
from data_modules.training.first_look import FEW, LOOKED_AT, look_at_sources
from data_modules.training.sample_maker import SampleMaker
from data_modules.training.samples import TrainingSamples
from data_modules.training.sources import TrainingSource
from data_modules.training.suem import SUEM
from data_modules.training.target_zoom import TargetAwareZoom
from data_modules.training.targets import TargetSampling

PLAIN = augmentation("coco_lvis_val", (96, 96))


class Disks(SceneDataset):
    """Scenes of 96 x 96 pixels with one disk each; of every `empty`-th one there is none."""

    name = "Disks"

    def __init__(self, area=452, count=60, empty=0, stuff=False, negatives=False):
        self.area, self.count, self.empty, self.stuff, self.negatives = area, count, empty, stuff, negatives

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        y, x = np.mgrid[:96, :96]
        mask = np.hypot(y - 48, x - 48) < np.sqrt(self.area / np.pi)
        bare = bool(self.empty) and index % self.empty == 0
        objects = {} if bare else {1: SceneObject(0, stuff=self.stuff)}
        layers = np.where(mask & (not bare), 1, 0).astype(np.int32)[..., None]
        return Scene(np.full((96, 96, 3), index, np.uint8), layers, objects, str(index))

    def scene_name(self, index):
        return str(index)

    def objects(self):
        return [(index, 1) for index in range(self.count)]


def maker(**options):
    hooks = {key: options.pop(key) for key in ("zoom", "mix") if key in options}
    return SampleMaker(PLAIN, TargetSampling(**options), InitialClickSampling(), **hooks)


@pytest.mark.parametrize("hooks", [{}, {"zoom": TargetAwareZoom(96)}, {"mix": SUEM()}])
@pytest.mark.parametrize(
    ("dataset", "options", "setting"),
    [
        (Disks(452), {"min_object_area": 1000}, "4.. to 4.. pixels; lower targets.min_object_area, now 1000"),
        (Disks(452), {"min_part_area": 900}, "loosen targets.min_part_area 900"),
        (Disks(8500), {"max_share": 0.85}, "loosen .* max_share 0.85"),
        (Disks(452, stuff=True), {}, "all objects are stuff; set targets.stuff_prob"),
        (Disks(452, empty=1), {"keep_background_prob": 1.0}, "negatives=true"),
    ],
)
def test_a_source_without_any_target_is_refused_with_the_setting(dataset, options, setting, hooks):
    with pytest.raises(ValueError, match=f"Disks: none of the first {LOOKED_AT}.*{setting}") as error:
        look_at_sources([dataset], maker(**options, **hooks), seed=0)
    assert len(str(error.value)) <= 200


def test_a_sound_source_is_looked_at_briefly_and_in_silence():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (look,) = look_at_sources([Disks(2000)], maker(min_object_area=1000), seed=0)
    assert look.looked_at == look.with_target == FEW


def test_how_many_have_no_target_is_told_with_the_areas():
    mixed = [Disks(452, count=30), Disks(2000, count=30)]

    class Both(Disks):
        def __getitem__(self, index):
            return mixed[index % 2][index // 2]

    with pytest.warns(UserWarning, match="training samples have no target; largest objects") as told:
        (look,) = look_at_sources([Both()], maker(min_object_area=1000), seed=0)
    assert f"Disks: {look.without_reason} of the first {look.looked_at} training samples" in str(told[0].message)
    assert look.looked_at == LOOKED_AT == look.with_target + look.without_reason
    assert min(look.areas) < 460 and max(look.areas) > 1900


def test_negatives_on_purpose_are_kept_and_learnt_from():
    wanted = Disks(2000, empty=2, negatives=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (look,) = look_at_sources([wanted], maker(), seed=0)
    assert look.on_purpose + look.with_target == look.looked_at == LOOKED_AT and look.on_purpose > 10
    for options in ({}, {"zoom": TargetAwareZoom(96)}, {"mix": SUEM()}):
        data = TrainingSamples([TrainingSource(wanted)], PLAIN, TargetSampling(), InitialClickSampling(), 0, **options)
        empty = sum(not (data[0, index].target == 1).any() for index in range(len(data)))
        assert empty == len(data) // 2
    unwanted = TrainingSamples(
        [TrainingSource(Disks(2000, empty=2))], PLAIN, TargetSampling(), InitialClickSampling(), 0
    )
    assert all((unwanted[0, index].target == 1).any() for index in range(20))


def test_a_source_of_negatives_alone_needs_another_one():
    bare = Disks(empty=1, negatives=True)
    with pytest.raises(ValueError, match="Disks: none of the first"):
        look_at_sources([bare], maker(), seed=0)
    assert look_at_sources([bare, Disks(2000)], maker(), seed=0)[0].with_target == 0


def test_the_data_module_looks_once_and_small_objects_name_the_setting(tmp_path):
    """The case: 12 disks of 452 pixels a photograph under a recipe for COCO+LVIS."""
    for number in range(4):
        ids = np.zeros((480, 640), np.uint16)
        for disk in range(12):
            cv2.circle(ids, (50 + 50 * disk, 100 + 60 * number), 12, disk + 1, -1)
        for folder, pixels in (("images", np.full((480, 640, 3), 90, np.uint8)), ("masks", ids)):
            (tmp_path / folder).mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / folder / f"s{number}.png"), pixels)
    law = TargetSampling(stuff_prob=0.3, min_object_area=1000, keep_background_prob=0.05)
    source = TrainingSource(Folder(tmp_path))
    data = InteractiveDataModule([source], batch_size=2, num_workers=0, targets=law, crop_size=320)
    with pytest.raises(ValueError, match=r"Folder: none of the first 4 .*lower targets\.min_object_area, now 1000"):
        data.train_dataloader()
    sound = InteractiveDataModule([source], batch_size=2, num_workers=0, targets=TargetSampling(min_object_area=100))
    assert len(sound.train_dataloader()) == 2


def test_photos_without_masks_are_negatives_on_request(tmp_path):
    for number in range(3):
        for folder in ("images", "masks"):
            (tmp_path / folder).mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "images" / f"{number}.png"), np.full((96, 96, 3), 90, np.uint8))
    mask = np.zeros((96, 96), np.uint8)
    cv2.imwrite(str(tmp_path / "masks" / "1.png"), mask)  # empty
    cv2.circle(mask, (48, 48), 30, 255, -1)
    cv2.imwrite(str(tmp_path / "masks" / "2.png"), mask)
    dataset = Folder(tmp_path, negatives=True)
    assert [len(dataset[index].objects) for index in range(3)] == [0, 0, 1] and dataset.objects() == [(2, 1)]


def test_broken_scenes_are_left_to_the_reading():
    assert look_at_sources([TinyScenes(2, broken=(0, 1))], maker(), seed=0)[0].looked_at == 0
