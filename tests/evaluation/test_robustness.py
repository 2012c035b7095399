"""Starting from masks: the same ones for everybody, resumable, on any rank, and never without being asked."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from toys import Analytic, drawn_object

import clicklab
from clicklab.callbacks.noc import NoCCallback
from clicklab.commands.main import main
from clicklab.evaluation.object_result import ObjectResult
from clicklab.evaluation.play import evaluate_objects, play
from clicklab.evaluation.protocol import EvaluationProtocol
from clicklab.evaluation.results import table
from clicklab.evaluation.robustness import RepeatedObjects, missed, runs_of
from clicklab.inference.predictor import Predictor
from clicklab.methods.simpleclick import SimpleClickNet
from clicklab.records import EvaluationObject, SkippedObject
from clicklab.views.zoom_in import ZoomIn
from data_modules.datasets import Shapes
from data_modules.scenes import EvaluationObjects
from data_modules.tools.export_shapes import export_scenes

FROM_MASKS = EvaluationProtocol(max_clicks=3, perturb_iou=0.8, repeats=3, zoom_in=ZoomIn(64, 1))


def objects(count: int = 3) -> list[EvaluationObject]:
    return [replace(drawn_object(seed, (100, 120)), index=seed) for seed in range(count)]


def true_iou(item: EvaluationObject) -> float:
    assert item.initial_mask is not None
    mask, wanted = item.initial_mask[item.target != -1], item.target[item.target != -1] == 1
    return (mask & wanted).sum() / (mask | wanted).sum()


def test_every_object_comes_repeats_times_with_its_own_mask():
    runs = RepeatedObjects(objects(), 3, 0.8)
    items = [runs[index] for index in range(len(runs))]
    assert [item.index for item in items] == list(range(9))
    assert [item.name for item in items] == ["drawn0"] * 3 + ["drawn1"] * 3 + ["drawn2"] * 3
    assert all(abs(true_iou(item) - 0.8) <= 0.01 for item in items)
    masks = {item.initial_mask.tobytes() for item in items}
    assert len(masks) == 9


def test_a_run_is_the_same_in_any_order_and_on_any_rank():
    there, back = RepeatedObjects(objects(), 3, 0.8), RepeatedObjects(objects(), 3, 0.8)
    backwards = {index: back[index] for index in reversed(range(9))}
    for rank in (0, 1):
        for index in range(rank, 9, 2):
            assert (there[index].initial_mask == backwards[index].initial_mask).all()
    runs = list(runs_of(objects()[1], EvaluationProtocol(perturb_iou=0.8, repeats=3)))
    assert [item.index for item in runs] == [3, 4, 5]
    assert all((item.initial_mask == backwards[item.index].initial_mask).all() for item in runs)


def test_unreadable_objects_are_skipped_once_per_run():
    broken = SkippedObject("b", 1, 2, "unreadable")
    assert [item.index for item in runs_of(broken, EvaluationProtocol(perturb_iou=0.8, repeats=3))] == [6, 7, 8]
    assert list(runs_of(broken, EvaluationProtocol(repeats=3))) == [broken]


def test_noc_is_the_mean_over_all_runs_and_the_table_tells_where_they_started():
    results = evaluate_objects(Analytic(), {"Toys": objects()}, FROM_MASKS)
    record = results["datasets"]["Toys"]
    needed = [
        next((n for n, iou in enumerate(row["ious"], 1) if np.float32(iou) >= np.float32(0.9)), 3)
        for row in record["objects"]
    ]
    assert len(needed) == 9
    assert record["noc"]["90"] == pytest.approx(np.mean(needed))
    assert record["starts"] == {"iou": pytest.approx(0.8, abs=0.01), "wanted": 0.8, "missed": 0}
    assert all(row["initial_iou"] == pytest.approx(0.8, abs=0.01) for row in record["objects"])
    said = table(results)
    assert "IoU@0" in said and "from 3 masks of IoU 0.8 for every object" in said and "missed" not in said


def test_masks_that_missed_are_counted_and_told():
    one_pixel = objects(1)[0]
    one_pixel.target[:] = 0
    one_pixel.target[50, 60] = 1
    results = evaluate_objects(Analytic(), {"Toys": [one_pixel]}, FROM_MASKS)
    assert results["datasets"]["Toys"]["starts"]["missed"] == 3
    assert "Toys: 3 of 3 masks to start from missed IoU 0.8" in table(results)
    assert missed([0.8, 0.81, 0.79, 0.82, 1.0], 0.8) == 2


def test_a_broken_run_goes_on_with_the_same_masks(tmp_path):
    whole = evaluate_objects(Analytic(), {"Toys": objects()}, FROM_MASKS, batch_size=2, output=tmp_path / "whole")
    broken = Analytic()

    def answer_or_break(*arguments):
        if len(broken.calls) == 6:
            raise RuntimeError("power cut")
        return Analytic.forward(broken, *arguments)

    broken.forward = answer_or_break
    with pytest.raises(RuntimeError, match="power cut"):
        evaluate_objects(broken, {"Toys": objects()}, FROM_MASKS, batch_size=2, output=tmp_path / "broken")
    done = len((tmp_path / "broken" / "progress.jsonl").read_text().splitlines()) - 1
    assert 0 < done < 9
    resumed = evaluate_objects(Analytic(), {"Toys": objects()}, FROM_MASKS, batch_size=2, output=tmp_path / "broken")

    def rows(results):
        return [
            {key: value for key, value in row.items() if key != "seconds"}
            for row in results["datasets"]["Toys"]["objects"]
        ]

    assert rows(resumed) == rows(whole)
    with pytest.raises(ValueError, match="perturb_iou"):  # results from other masks are not mixed in
        evaluate_objects(
            Analytic(), {"Toys": objects()}, replace(FROM_MASKS, perturb_iou=0.7), output=tmp_path / "whole"
        )


def test_the_callback_plays_the_same_runs(tmp_path):
    class Module(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.network = Analytic()

        def test_step(self, batch, batch_idx, dataloader_idx=0):
            pass

    class Data(pl.LightningDataModule):
        def test_dataloader(self):
            return [DataLoader(objects(), batch_size=2, collate_fn=list)]

        def evaluation_names(self, stage):
            return ["Toys"]

        def transfer_batch_to_device(self, batch, device, dataloader_idx):
            return batch

    trainer = pl.Trainer(
        accelerator="cpu",
        callbacks=[NoCCallback(FROM_MASKS)],
        default_root_dir=tmp_path,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.test(Module(), datamodule=Data(), verbose=False)
    (path,) = tmp_path.rglob("results.json")
    found = json.loads(path.read_text())["datasets"]["Toys"]
    wanted = evaluate_objects(Analytic(), {"Toys": objects()}, FROM_MASKS)["datasets"]["Toys"]
    for one, other in zip(found["objects"], wanted["objects"], strict=True):
        assert (one["index"], one["clicks"]) == (other["index"], other["clicks"])
        assert one["initial_iou"] == pytest.approx(other["initial_iou"])
    assert found["starts"]["missed"] == 0


def test_masks_of_a_dataset_are_used_only_when_asked_for():
    given = [replace(item, initial_mask=item.target == 1) for item in objects(2)]

    def played(protocol: EvaluationProtocol) -> list[ObjectResult | SkippedObject]:
        return sorted(play(Predictor(Analytic(), protocol), [*given, *objects(3)[2:]]), key=lambda item: item.index)

    empty, full = (
        played(replace(FROM_MASKS, perturb_iou=None)),
        played(replace(FROM_MASKS, perturb_iou=None, initial_masks=True)),
    )
    assert [result.initial_iou for result in empty] == [None] * 3
    assert [result.initial_iou for result in full[:2]] == [1.0, 1.0]
    assert isinstance(full[2], SkippedObject) and full[2].reason == "no mask to start from"
    assert empty[0].clicks[0] != full[0].clicks[0]


def test_both_kinds_of_starts_exclude_each_other():
    for options, word in (
        ({"perturb_iou": 0.8, "initial_masks": True}, "initial_masks"),
        ({"perturb_iou": 1.2}, "perturb_iou"),
        ({"repeats": 0}, "repeats"),
    ):
        with pytest.raises(ValueError, match=word):
            EvaluationProtocol(**options)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A small untrained network in our format."""
    torch.manual_seed(0)
    options = {"image_size": 32, "patch_size": 8}
    network = SimpleClickNet.from_variant("mini", **options)
    path = tmp_path_factory.mktemp("weights") / "mini.ckpt"
    torch.save(
        {
            "clicklab_method": "simpleclick",
            "hyper_parameters": {"variant": "mini", "network_options": options},
            "state_dict": {f"network.{key}": value for key, value in network.state_dict().items()},
        },
        path,
    )
    return path


def test_the_command_line_measures_robustness(checkpoint, tmp_path, capsys):
    export_scenes(Shapes(length=2, size=64), tmp_path / "photos", "folder")
    command = ["evaluate", str(checkpoint), "--data", f"Folder={tmp_path / 'photos'}", "--max-clicks", "2"]
    more = ["--limit", "2", "--perturb-iou", "0.8", "--repeats", "2"]
    assert main([*command, *more, "--output", str(tmp_path / "out")]) == 0
    record = json.loads((tmp_path / "out" / "results.json").read_text())
    assert len(record["datasets"]["Folder"]["objects"]) == 4
    assert record["protocol"]["repeats"] == 2 and record["protocol"]["perturb_iou"] == 0.8
    assert "from 2 masks of IoU 0.8" in capsys.readouterr().out
    assert main([*command, "--initial-masks", "--output", str(tmp_path / "out2")]) == 2
    assert "Folder brings no masks to start from" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "start"), [([], None), (["--initial-masks"], 0.5), (["--initial-masks", "stm"], 0.25)]
)
def test_the_masks_of_davis585_are_used_when_asked_for(more, start, checkpoint, tmp_path):
    folder = tmp_path / "DAVIS585" / "bear"
    folder.mkdir(parents=True)
    mask = np.zeros((48, 64), np.uint8)
    mask[8:40, 10:50] = 255
    cv2.imwrite(str(folder / "00001.jpg"), np.stack([mask] * 3, axis=2))
    masks = {"object1": mask, "init_sp_object1": mask.copy(), "init_stm_object1": mask.copy()}
    masks["init_sp_object1"][24:] = 0
    masks["init_stm_object1"][16:] = 0
    for name, pixels in masks.items():
        cv2.imwrite(str(folder / f"{name}_00001.png"), pixels)
    command = ["evaluate", str(checkpoint), "--data", f"DAVIS585={folder.parent}", "--max-clicks", "1"]
    assert main([*command, *more, "--output", str(tmp_path / "out")]) == 0
    record = json.loads((tmp_path / "out" / "results.json").read_text())["datasets"]["DAVIS585"]
    assert record["objects"][0].get("initial_iou") == start
    assert ("starts" in record) == bool(more)


def test_the_python_call_measures_robustness():
    results = clicklab.evaluate(
        Analytic(), {"Shapes": Shapes(length=2, size=64)}, limit=2, max_clicks=2, perturb_iou=0.7, repeats=2
    )
    starts = results["datasets"]["Shapes"]["starts"]
    assert starts["wanted"] == 0.7 and starts["iou"] == pytest.approx(0.7, abs=0.05)


def test_runs_of_real_objects_reach_the_iou(shared_data):
    from data_modules.datasets import GrabCut

    runs = RepeatedObjects(EvaluationObjects(GrabCut(shared_data / "GrabCut"), limit=5), 4, 0.8)
    assert all(abs(true_iou(runs[index]) - 0.8) <= 0.01 for index in range(len(runs)))


def test_equal_objects_have_masks_of_their_own():
    items = [replace(drawn_object(0, (100, 120)), index=index) for index in range(3)]
    runs = RepeatedObjects(items, 2, 0.8)
    assert len({runs[index].initial_mask.tobytes() for index in range(6)}) == 6
