"""DISNet's training: targets of a first click, at least one corrective click, two rates, what the loss reaches."""

import math

import lightning.pytorch as pl
import pytest
import torch

import clicklab
from clicklab.losses.nfl import normalized_focal_loss
from clicklab.losses.set_loss import set_terms
from clicklab.methods.disnet.module import BETAS, DISNet, LossWeights, choose_best
from clicklab.optim import warmup_cosine
from clicklab.records import EMPTY, IGNORE, POSITIVE, Batch, Clicks, ObjectTable, Prediction
from data_modules.datamodule import InteractiveDataModule
from data_modules.datasets.shapes import Shapes
from data_modules.simulation import SimulatedUser
from data_modules.training.sources import TrainingSource
from data_modules.training.targets import TargetSampling


def module(**options):
    torch.manual_seed(0)
    return DISNet("mini", **({"learning_rate": 2e-3, "refinement_rate": 1e-3, "warmup_epochs": 1} | options))


def data(batch_size=4, length=8):
    return InteractiveDataModule(
        train=[TrainingSource(Shapes(length=length, size=64, split="train"))],
        crop_size=64,
        batch_size=batch_size,
        targets=TargetSampling(merge_prob=0.0, min_object_area=20),
        with_layers=True,
        num_workers=0,
        seed=0,
    )


def trained(learner, epochs, callbacks=()):
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = pl.Trainer(
        max_epochs=epochs, accelerator="cpu", enable_model_summary=False, callbacks=list(callbacks), **quiet
    )
    trainer.fit(learner, data())
    return trainer


def scene():
    """Layer 0: object 1 holds 2 and 3 (layer 1), 3 holds 4 (layer 2); object 5 beside it. Some pixels are ignored."""
    layers = torch.zeros(1, 3, 64, 64, dtype=torch.int32)
    layers[0, 0, 4:40, 4:60], layers[0, 0, 42:60, 4:60] = 1, 5
    layers[0, 1, 6:20, 6:20], layers[0, 1, 6:30, 24:56], layers[0, 2, 8:20, 28:40] = 2, 3, 4
    layers[0, 0, :2] = -1
    columns = ([1, 2, 3, 4, 5], [0, 1, 1, 2, 0], [0, 1, 1, 3, 0], [0] * 5, [0] * 5, [1, 0, 0, 0, 0])
    ids, layer, parent, stuff, area, target = (torch.tensor(column) for column in columns)
    table = ObjectTable(ids, layer, parent, stuff.bool(), area, target.bool())
    wanted = (layers[:, :1] == 1).float().masked_fill(layers[:, :1] == -1, -1.0)
    return Batch(torch.rand(1, 3, 64, 64), wanted, Clicks.empty(1), torch.zeros(1, 1, 64, 64), layers, (table,))


def test_first_click_and_target_belong_together():
    """The click lies in every mask that it may mean; each of them becomes the target; ignored pixels stay ignored."""
    learner, batch, areas = module(tree_prob=1.0), scene(), set()
    learner.user = SimulatedUser()
    for seed in range(60):
        torch.manual_seed(seed)
        related = learner.related_sets(batch)
        clicked = learner.first_click(batch, related)
        y, x = clicked.clicks.yx[0, 0].long().tolist()
        assert clicked.clicks.label.tolist() == [[POSITIVE]]
        assert related.sets.masks[0, related.sets.valid[0]][:, y, x].all()
        assert (clicked.target[0, 0, :2] == -1).all()
        target = clicked.target == 1
        assert any(torch.equal(target[0, 0], mask) for mask in related.sets.masks[0])
        areas.add(int(target.sum()))
    assert {196, 144, 768, 36 * 56} <= areas  # 2, 4, 3 and the whole of 1


@pytest.mark.parametrize("relation", ["hierarchy", "proximity"])
def test_at_least_one_corrective_click(relation, monkeypatch):
    learner = module(relation=relation)
    counts, refine = [], learner.network.refine

    def counted(chosen, clicks, size):
        counts.append(clicks.slots)
        return refine(chosen, clicks, size)

    monkeypatch.setattr(learner.network, "refine", counted)
    trainer = trained(learner, epochs=3)
    assert min(counts) == 2
    assert 3 <= max(counts) <= 5
    assert trainer.callback_metrics["train/loss"].isfinite()


def test_rates_and_schedule():
    learner = module(learning_rate=5e-5, refinement_rate=5e-6, warmup_epochs=2)
    rates = []

    class Watch(pl.Callback):
        def on_train_batch_start(self, trainer, *_):
            rates.append([group["lr"] for group in trainer.optimizers[0].param_groups])

    optimizer = trained(learner, epochs=5, callbacks=[Watch()]).optimizers[0]
    assert all(group["betas"] == BETAS for group in optimizer.param_groups)
    small = {id(p) for group in optimizer.param_groups if group["initial_lr"] == 5e-6 for p in group["params"]}
    assert small == {id(p) for p in learner.network.refinement.parameters()}
    # two steps per epoch: four of warm-up, then six of a cosine
    up = [(5e-8 + (rate - 5e-8) * step / 4) for step in range(4) for rate in (5e-5, 5e-6)]
    down = [rate * 0.5 * (1 + math.cos(math.pi * step / 6)) for step in range(6) for rate in (5e-5, 5e-6)]
    assert [rate for groups in rates for rate in groups] == pytest.approx(up + down)


def test_warm_up_has_to_fit():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    with pytest.raises(ValueError, match="a warm-up of 5 steps does not fit into a run of 5"):
        warmup_cosine(optimizer, 5, 5, 1e-3)
    schedule = warmup_cosine(optimizer, 0, 2, 1e-3)
    assert optimizer.param_groups[0]["lr"] == 1.0
    optimizer.step()
    schedule.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.5)


def test_a_run_without_an_end_is_refused():
    with pytest.raises(ValueError, match="max_epochs or max_steps"):
        trained(module(), epochs=-1)


def test_best_proposal_is_chosen_and_the_mask_itself_learns_nothing_from_r():
    learner, batch = module(), scene()
    clicks = Clicks.from_list([[(10, 10, 1)]])
    answer = learner.network.propose(learner.network.start(batch.image), clicks, (64, 64))
    target = (answer.logits[:, 3:4].detach() > 0).float()  # what proposal 3 shows
    chosen, shown = choose_best(answer, target)
    assert torch.equal(chosen.query, answer.state.queries[:, 3])
    assert torch.equal(shown, answer.logits[:, 3:4].detach().sigmoid())
    assert not chosen.prior.requires_grad
    assert chosen.query.requires_grad
    assert chosen.features.requires_grad


def test_single_query_learns_the_target_meant():
    """Without MO there is one proposal: each prediction learns the target drawn, not the list, and nothing else."""
    learner = module(network_options={"num_queries": 1})
    batch = scene()
    related = learner.related_sets(batch.replace(clicks=Clicks.from_list([[(10, 10, 1)]])))
    masks = [torch.randn(1, 1, 32, 32), torch.full((1, 1, 32, 32), -40.0)]
    extras = {"masks": masks, "class_logits": torch.randn(2, 1, 1, 2)}
    terms = learner.proposal_terms(Prediction(torch.zeros(1, 1, 64, 64), extras=extras), related.sets, batch.target)
    assert set(terms) == {"focal", "dice"}
    full = torch.nn.functional.interpolate(masks[0], size=(64, 64), mode="bilinear", align_corners=True)
    wanted, counted = (batch.target == 1).float(), batch.target != -1
    object_, seen = wanted.sum(), full.sigmoid() * counted
    closed = 1 - 2 * (seen * wanted).sum() / (seen.sum() + object_)
    torch.testing.assert_close(terms["dice"], closed + 1.0, atol=1e-4, rtol=0)  # an empty answer costs 1
    nothing = normalized_focal_loss(masks[1].new_full((1, 1, 64, 64), -40.0), batch.target)
    torch.testing.assert_close(terms["focal"], (normalized_focal_loss(full, batch.target) + nothing).sum())


def test_single_query_leaves_no_parameter_without_a_gradient():
    """DDP waits for every parameter that may learn."""
    learner = module(network_options={"num_queries": 1})
    learner.user = SimulatedUser()
    learner.log = learner.log_dict = lambda *args, **kwargs: None
    learner.training_step(scene(), 0).backward()
    learning = {name for name, p in learner.network.named_parameters() if p.requires_grad}
    assert learning == {name for name, p in learner.network.named_parameters() if p.grad is not None}
    assert len(learning) == sum(1 for _ in learner.network.parameters()) - 2  # but for the choice's weight and bias


def test_loss_falls_and_the_checkpoint_opens(tmp_path):
    """One scene learnt by heart: proposals come to show what a click may mean, R the target."""
    learner = module(relation="hierarchy", tree_prob=1.0)
    learner.user = SimulatedUser()
    learner.log = learner.log_dict = lambda *args, **kwargs: None
    optimizer = torch.optim.Adam(learner.parameter_groups(), betas=BETAS)
    batch = scene()
    losses = []
    for step in range(24):
        torch.manual_seed(step % 2)
        loss = learner.training_step(batch, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-4:]) < 0.7 * sum(losses[:4])
    checkpoint = {"state_dict": {f"network.{k}": v for k, v in learner.network.state_dict().items()}}
    checkpoint["hyper_parameters"] = dict(learner.hparams)
    learner.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, tmp_path / "run.ckpt")
    opened = clicklab.load(tmp_path / "run.ckpt")
    assert opened.arguments == learner.network.arguments


def test_samples_without_any_object_teach_the_background():
    learner = module()
    learner.user = SimulatedUser()
    learner.log = learner.log_dict = lambda *args, **kwargs: None
    batch = scene()
    nothing = ObjectTable(*(column[:0] for column in vars(batch.objects[0]).values()))
    empty = batch.replace(layers=batch.layers.clamp_max(0), objects=(nothing,), target=batch.target.clamp_max(0))
    related = learner.related_sets(empty)
    assert learner.first_click(empty, related).clicks.label.tolist() == [[EMPTY]]
    assert learner.training_step(empty, 0).isfinite()


def test_proximity_draws_all_objects_alike():
    """`tree_prob` is the hierarchy's: roots are centres as often as parts."""
    learner, batch, seen = module(relation="proximity", tree_prob=1.0), scene(), []
    for seed in range(100):
        torch.manual_seed(seed)
        related = learner.related_sets(batch)
        seen.append(int(related.sets.masks[0, 0].sum()))
    areas = [int((batch.layers == key).sum()) for key in (1, 2, 3, 4, 5)]
    assert set(seen) == set(areas)
    assert all(abs(seen.count(area) - 20) < 5 * (100 * 0.2 * 0.8) ** 0.5 for area in areas)


def test_settings_of_the_paper_and_of_the_card():
    assert BETAS == (0.9, 0.99)
    learner = DISNet("mini")
    rates = (learner.learning_rate, learner.refinement_rate, learner.warmup_epochs)
    assert rates == (5e-5, 5e-6, 2.0)
    assert LossWeights() == LossWeights(focal=20.0, dice=1.0, confidence=1.0, no_object=0.1, refined=1.0)


def test_every_term_has_its_weight():
    weights = LossWeights(focal=3.0, dice=5.0, confidence=7.0, no_object=0.3)
    learner, batch = module(loss=weights), scene()
    learner.user = SimulatedUser()
    torch.manual_seed(0)
    sets, count = learner.related_sets(batch).sets, learner.network.num_candidates
    masks = [torch.randn(1, count, 16, 16) for _ in range(2)]
    extras = {"masks": masks, "class_logits": torch.randn(2, 1, count, 2)}
    terms = learner.proposal_terms(Prediction(torch.zeros(1, count, 64, 64), extras=extras), sets, batch.target)
    plain = set_terms(masks, extras["class_logits"], sets, batch.target, 3.0, 5.0, 0.3)
    expected = {"focal": 3 * plain.focal, "dice": 5 * plain.dice, "confidence": 7 * plain.confidence}
    assert set(terms) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value)


def logged_step(learner, batch, seed=0):
    noted = {}
    learner.user = SimulatedUser()
    learner.log = lambda name, value, **_: noted.update({name: value.item()})
    learner.log_dict = lambda values, **_: noted.update({name: value.item() for name, value in values.items()})
    torch.manual_seed(seed)
    learner.training_step(batch, 0)
    return noted


def test_the_corrected_mask_has_its_weight():
    once, thrice = (logged_step(module(loss=LossWeights(refined=w)), scene()) for w in (1.0, 3.0))
    assert thrice["train/refined"] == pytest.approx(3 * once["train/refined"], rel=1e-5)
    parts = sum(value for name, value in thrice.items() if name != "train/loss")
    assert thrice["train/loss"] == pytest.approx(parts, rel=1e-5)


def test_warm_up_counts_steps_of_the_optimiser():
    """Two batches per epoch and one step for both: two epochs of warm-up are two steps."""
    learner, rates = module(learning_rate=1e-3, warmup_epochs=2), []

    class Watch(pl.Callback):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            rates.append(max(group["lr"] for group in optimizer.param_groups))

    trainer = pl.Trainer(
        max_epochs=6, accelerator="cpu", accumulate_grad_batches=2, callbacks=[Watch()], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(learner, data())
    assert len(rates) == 6
    assert rates[:3] == pytest.approx([5e-8, (1e-3 + 5e-8) / 2, 1e-3])


def test_the_user_is_shown_the_probability_of_the_newest_correction(monkeypatch):
    learner, batch, shown, corrections = module(), scene(), [], []
    learner.user = SimulatedUser()
    learner.log = learner.log_dict = lambda *args, **kwargs: None
    respond, refine = learner.user.respond, learner.network.refine

    def watched(batch, probability, generator=None):
        shown.append(probability.detach())
        return respond(batch, probability, generator)

    def noted(chosen, clicks, size):
        corrections.append((clicks.slots, refine(chosen, clicks, size)))
        return corrections[-1][1]

    monkeypatch.setattr(learner.user, "respond", watched)
    monkeypatch.setattr(learner.user, "rounds", lambda least, most: 3)
    monkeypatch.setattr(learner.network, "refine", noted)
    torch.manual_seed(0)
    learner.training_step(batch, 0)
    assert [slots for slots, _ in corrections] == [2, 3, 4, 5] and len(shown) == 4
    for probability, (_, logits) in zip(shown[1:], corrections, strict=False):
        torch.testing.assert_close(probability, logits.detach().sigmoid())


def test_no_more_masks_than_queries():
    learner, batch = module(tree_prob=1.0, network_options={"num_queries": 2}), scene()
    counts = set()
    for seed in range(20):
        torch.manual_seed(seed)
        counts.add(int(learner.related_sets(batch).sets.count))
    assert counts == {2}  # of the chain 4, 3, 1 two at most


def test_the_best_proposal_is_judged_without_ignored_pixels():
    learner, batch = module(), scene()
    logits = torch.full((1, learner.network.num_candidates, 64, 64), -9.0)
    target = batch.target.clone()
    target[..., 40:, :] = IGNORE
    wanted = target[0, 0] == 1
    logits[0, 2][wanted], logits[0, 2, 40:] = 9.0, 9.0  # right but for ignored pixels
    logits[0, 4][wanted], logits[0, 4, 4:12] = 9.0, -9.0
    answer = learner.network.propose(learner.network.start(batch.image), batch.clicks.padded(1), (64, 64))
    chosen, shown = choose_best(Prediction(logits, answer.score, answer.state), target)
    assert torch.equal(shown[0, 0], logits[0, 2].sigmoid())
    assert torch.equal(chosen.query, answer.state.queries[:, 2])
