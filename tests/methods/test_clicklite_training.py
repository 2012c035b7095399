"""ClickLite's training: starting masks, and that whole dialogues lower the loss."""

import pytest
import torch
from lightning.pytorch import Trainer

from clicklab.losses.mask import binary_cross_entropy
from clicklab.methods.clicklite.module import ClickLite
from clicklab.methods.clicklite.starts import StartingMasks, spoil
from clicklab.records import Batch, Clicks
from data_modules import InteractiveDataModule
from data_modules.datasets import Shapes
from data_modules.simulation import SimulatedUser
from data_modules.training.sources import TrainingSource
from data_modules.training.target_window import TargetWindow


def batch_of_squares(count=16, side=64):
    target = torch.zeros(count, 1, side, side)
    target[..., 16:48, 16:48] = 1
    return Batch(torch.rand(count, 3, side, side), target, Clicks.empty(count), torch.zeros_like(target))


def test_dialogues_start_from_nothing_with_a_click_inside():
    torch.manual_seed(0)
    batch = batch_of_squares()
    started = StartingMasks(0.0, 0.0)(batch, SimulatedUser())
    y, x = started.clicks.yx[:, 0].long().unbind(dim=1)
    assert started.prev_mask.count_nonzero() == 0 and (started.clicks.label == 1).all()
    assert (batch.target[torch.arange(len(batch)), 0, y, x] == 1).all()


def test_the_true_mask_comes_with_a_click_that_agrees():
    torch.manual_seed(0)
    batch = batch_of_squares()
    started = StartingMasks(0.0, 1.0)(batch, SimulatedUser())
    y, x = started.clicks.yx[:, 0].long().unbind(dim=1)
    assert torch.equal(started.prev_mask, batch.target)
    assert torch.equal(batch.target[torch.arange(len(batch)), 0, y, x].to(torch.int8), started.clicks.label[:, 0])
    assert set(started.clicks.label[:, 0].tolist()) == {0, 1}


def test_a_spoilt_mask_is_corrected_where_it_is_wrong():
    torch.manual_seed(0)
    batch = batch_of_squares()
    started = StartingMasks(1.0, 0.0)(batch, SimulatedUser())
    wrong = started.prev_mask != batch.target
    y, x = started.clicks.yx[:, 0].long().unbind(dim=1)
    clicked = started.clicks.label[:, 0] != -1
    assert clicked.sum() > 10 and wrong[torch.arange(len(batch)), 0, y.clamp_min(0), x.clamp_min(0)][clicked].all()


def test_spoilt_masks_are_of_all_qualities():
    torch.manual_seed(0)
    truth = batch_of_squares(64).target
    spoilt = spoil(truth)
    iou = ((spoilt * truth).sum((1, 2, 3)) / (spoilt + truth).clamp_max(1).sum((1, 2, 3))).tolist()
    assert set(spoilt.unique().tolist()) <= {0.0, 1.0}
    assert min(iou) < 0.7 and max(iou) > 0.9


def test_impossible_shares():
    with pytest.raises(ValueError, match="shares of at most 1 together"):
        StartingMasks(0.7, 0.4)


def test_training_lowers_the_loss(tmp_path):
    torch.manual_seed(0)
    source = TrainingSource(Shapes(split="train", length=64, size=64))
    data = InteractiveDataModule(
        [source],
        crop_size=64,
        batch_size=8,
        epoch_length=8,
        augmentation="flip_colour",
        zoom=TargetWindow(64),
        num_workers=0,
    )
    module = ClickLite("mini", learning_rate=3e-3, encoder_factor=1.0, warmup=0)
    batch = SimulatedUser().first(next(iter(data.train_dataloader())))
    before = binary_cross_entropy(module(batch).logits, batch.target).mean()
    trainer = Trainer(
        max_epochs=-1, max_steps=40, overfit_batches=1, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    assert binary_cross_entropy(module(batch).logits, batch.target).mean() < 0.7 * before


def test_settings_are_written_down_and_rates_are_two():
    module = ClickLite("mini", {"keys": 0}, learning_rate=2e-3, encoder_factor=0.5)
    optimizer = module.configure_optimizers()["optimizer"]
    counted = sum(parameter.numel() for group in optimizer.param_groups for parameter in group["params"])
    assert counted == sum(parameter.numel() for parameter in module.parameters())
    assert {group["initial_lr"] for group in optimizer.param_groups} == {1e-3, 2e-3}
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.0, 1e-2}
    checkpoint = {}
    module.on_save_checkpoint(checkpoint)
    assert checkpoint["clicklab_method"] == "clicklite"
