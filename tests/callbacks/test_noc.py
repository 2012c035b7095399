"""NoC in Lightning: the metric on one and two processes, the callback in validate, test and fit."""

from __future__ import annotations

import json
import socket
from dataclasses import replace

import lightning.pytorch as pl
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.utils.data import DataLoader, Dataset
from toys import Staged, drawn_object

from clicklab.callbacks.noc import NoCCallback, _values_to_log
from clicklab.evaluation.noc import NoCMetric
from clicklab.evaluation.object_result import ObjectResult, from_tensors
from clicklab.evaluation.play import evaluate_objects
from clicklab.evaluation.protocol import EvaluationProtocol
from clicklab.records import SkippedObject
from clicklab.views.zoom_in import ZoomIn

PROTOCOL = EvaluationProtocol(max_clicks=4, zoom_in=ZoomIn((40, 40)))
REFINED = replace(PROTOCOL, cascade=2)


def made_up(count):
    results = []
    for index in range(count):
        ious = torch.rand(1 + index % 4, generator=torch.Generator().manual_seed(index)).tolist()
        clicks = [(index, k, k % 2) for k in range(len(ious))]
        changes = [[10 * index + k] * (k % 3) for k in range(len(ious))]
        seconds = 0.25 * (index + len(ious))
        first = 0.125 * (index + 1)
        results.append(
            ObjectResult(index, f"image{index}", 1, clicks, ious, seconds, changes=changes, first_seconds=first)
        )
    return results


def compared(metric):
    """All values, and some of the rows."""
    return {
        name: value.tolist()
        for name, value in metric.compute().items()
        if value.ndim == 0 or name in ("index", "changes")
    }


def measure(rank, port, queue):
    """Rank 0 has objects 0..6, rank 1 has 5 and 6 again (a padding sampler); then rank 1 has nothing at all."""
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    answers = []
    for shares in ([made_up(7), made_up(7)[5:] + made_up(9)[7:]], [made_up(9), []]):
        metric = NoCMetric(REFINED)
        if shares[rank]:
            metric.update(shares[rank])
        answers.append(compared(metric))
    queue.put((rank, answers))
    dist.destroy_process_group()


def test_two_processes_equal_one():
    alone = NoCMetric(REFINED)
    for result in made_up(9):
        alone.update([result])
    expected = compared(alone)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    queue = mp.get_context("spawn").SimpleQueue()
    mp.spawn(measure, args=(port, queue), nprocs=2)
    for _ in range(2):
        _, answers = queue.get()
        assert answers == [expected, expected]


def test_first_and_later_clicks_have_their_own_seconds():
    """Means over clicks, not over objects or ranks: the two-process test compares these values too."""
    metric, objects = NoCMetric(REFINED), made_up(9)
    metric.update(objects[:4])
    metric.update(objects[2:])  # two of them again
    values = metric.compute()
    clicks = [len(one.ious) for one in objects]
    first = sum(one.first_seconds for one in objects)
    later = sum(one.seconds for one in objects) - first
    assert values["SPC"].item() == pytest.approx((first + later) / sum(clicks))
    assert values["SPC@1"].item() == pytest.approx(first / 9)
    assert values["SPC@2+"].item() == pytest.approx(later / sum(n - 1 for n in clicks))
    metric.reset()
    metric.update(objects[:1])  # one click
    assert metric.compute()["SPC@1"] == objects[0].first_seconds and metric.compute()["SPC@2+"].isnan()


def test_rows_come_back_as_results():
    metric = NoCMetric(REFINED)
    metric.update(made_up(3))
    metric.update(made_up(5))  # 0..2 twice
    values = metric.compute()
    assert values["index"].tolist() == [0, 1, 2, 3, 4]
    back = from_tensors(values, {index: f"image{index}" for index in range(5)})
    for mine, given in zip(back, made_up(5), strict=True):
        assert mine.clicks == given.clicks and mine.name == given.name and mine.ious == pytest.approx(given.ious)
    metric.reset()
    metric.update(made_up(1))
    assert len(from_tensors(metric.compute(), {0: "image0"})) == 1  # torchmetrics squeezes single rows


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_no_objects_give_nan():
    values = NoCMetric(PROTOCOL).compute()
    assert values["NoC@90"].isnan() and values["SPC@1"].isnan() and from_tensors(values, {}) == []


class Drawn(Dataset):
    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return SkippedObject("broken", 1, 1, "unreadable") if index == 1 else drawn_object(index, (60, 80))


class Data(pl.LightningDataModule):
    """Two evaluation datasets and a training set of nothing in particular."""

    def evaluation_names(self, stage):
        assert stage in ("val", "test")
        return ["A", "B"]

    def train_dataloader(self):
        return DataLoader(torch.zeros(2, 1))

    def val_dataloader(self):
        return [DataLoader(Drawn(count), batch_size=2, collate_fn=list) for count in (5, 3)]

    test_dataloader = val_dataloader

    def transfer_batch_to_device(self, batch, device, dataloader_idx):
        return batch


class Module(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.network = Staged()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def teardown(self, stage):
        if torch.distributed.is_initialized():  # a spawned process that ends with gloo's threads running may abort
            torch.distributed.destroy_process_group()

    def training_step(self, batch, batch_idx):
        return self.weight.sum()

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        pass

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer_in(folder, **options):
    options = {"devices": 1, "logger": False, "precision": "32-true"} | options
    return pl.Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[NoCCallback(PROTOCOL, batch_size=3)],
        **options,
    )


def expected_objects(count=5):
    record = evaluate_objects(Staged(), {"A": Drawn(count)}, PROTOCOL)["datasets"]["A"]
    return [(row["name"], row["clicks"], row["ious"]) for row in record["objects"]]


def written_objects(path):
    record = json.loads(path.read_text())["datasets"]["A"]
    return [(row["name"], row["clicks"], row["ious"]) for row in record["objects"]], record["skipped"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("stage", ["val", "test"])
def test_validate_and_test_log_and_write_what_evaluate_gives(stage, tmp_path):
    trainer = trainer_in(tmp_path)
    run = trainer.validate if stage == "val" else trainer.test
    run(Module(), datamodule=Data(), verbose=False)
    objects, skipped = written_objects(tmp_path / "results" / stage / "latest" / "results.json")
    assert objects == expected_objects()
    assert [item["name"] for item in skipped] == ["broken"]
    logged = {name: value.item() for name, value in trainer.callback_metrics.items()}
    both = (logged[f"{stage}/A/NoC@90"] + logged[f"{stage}/B/NoC@90"]) / 2
    assert logged[f"{stage}/NoC@90"] == pytest.approx(both)
    assert {f"{stage}/A/IoU@1", f"{stage}/B/NoF@95", f"{stage}/A/SPC", f"{stage}/IoU@3"} <= logged.keys()
    record = json.loads((tmp_path / "results" / stage / "latest" / "results.json").read_text())["datasets"]["A"]
    written = [record[name] for name in ("spc", "spc_first", "spc_later")]
    assert [logged[f"{stage}/A/{name}"] for name in ("SPC", "SPC@1", "SPC@2+")] == pytest.approx(written)


@pytest.mark.filterwarnings("ignore")
def test_fit_validates_each_epoch_and_a_sanity_check_leaves_no_trace(tmp_path):
    checkpoint = pl.callbacks.ModelCheckpoint(tmp_path / "best", monitor="val/NoC@90", mode="min")
    trainer = trainer_in(tmp_path, max_epochs=2, num_sanity_val_steps=1, precision="bf16-mixed", log_every_n_steps=1)
    trainer.callbacks.append(checkpoint)
    trainer.fit(Module(), datamodule=Data())
    assert sorted(path.name for path in (tmp_path / "results" / "val").iterdir()) == ["step0000002", "step0000004"]
    record = json.loads((tmp_path / "results" / "val" / "step0000004" / "results.json").read_text())
    assert record["protocol"]["precision"] == "bf16-mixed"
    assert checkpoint.best_model_score == trainer.callback_metrics["val/NoC@90"]


@pytest.mark.filterwarnings("ignore")
def test_two_ranks_count_every_object_once(tmp_path):
    trainer_in(tmp_path, devices=2, strategy="ddp_spawn").validate(Module(), datamodule=Data(), verbose=False)
    objects, skipped = written_objects(tmp_path / "results" / "val" / "latest" / "results.json")
    assert objects == expected_objects()  # 5 objects on 2 ranks: the sampler repeats one
    assert len(skipped) == 1


@pytest.mark.filterwarnings("ignore")
def test_wandb_gets_the_curves_offline(tmp_path, monkeypatch):
    from lightning.pytorch.loggers import WandbLogger

    logger = WandbLogger(save_dir=tmp_path, offline=True)
    logged = {}
    monkeypatch.setattr(logger.experiment, "log", lambda values, **_: logged.update(values))
    trainer_in(tmp_path, logger=logger).validate(Module(), datamodule=Data(), verbose=False)
    logger.experiment.finish()
    assert "val/mean IoU per click" in logged and "val/A/NoC@90" in logged


def test_the_mean_over_datasets_leaves_oracles_out():
    values = {"NoC@90": torch.tensor(4.0), "IoU@1": torch.tensor(0.5), "NoF@90": torch.tensor(2.0)}
    oracle = {name: value / 2 for name, value in values.items()}
    other = {name: value + 2 for name, value in values.items()}
    logged = _values_to_log("val", {"A": (values, None), "A-oracle": (oracle, None), "B": (other, None)})
    assert logged["val/NoC@90"] == 5 and logged["val/IoU@1"] == 1.5 and "val/NoF@90" not in logged
    assert logged["val/A-oracle/NoC@90"] == 2
    assert _values_to_log("val", {"A-oracle": (oracle, None)})["val/NoC@90"] == 2
