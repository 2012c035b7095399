"""Iterative click loss: the sum by hand, gradients of every round, and runs that begin with somebody's network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

import clicklab
from clicklab.commands.main import main
from clicklab.inference.options import InferenceOptions
from clicklab.losses.click_loss import click_loss
from clicklab.losses.mask import binary_cross_entropy
from clicklab.losses.nfl import normalized_focal_loss
from clicklab.methods import METHODS, method_package
from clicklab.methods.cfr_icl import CFRICL, FineTune
from clicklab.methods.focalclick import FocalClickNet
from clicklab.methods.piclick import PiClickNet
from clicklab.methods.ritm import RITMNet
from clicklab.methods.simpleclick import SimpleClickNet
from clicklab.methods.vtmr import VTMRNet
from clicklab.records import Batch, Clicks, Prediction
from data_modules.datasets import Shapes

SMALL = {"image_size": 32, "patch_size": 8, "dropout": 0.0}
SIZES = {"embed_dim": 96, "depth": 8, "num_heads": 3, "neck_dims": [16, 32, 64, 128], "head_channels": 32}


def network(**options) -> SimpleClickNet:
    torch.manual_seed(0)
    return SimpleClickNet.from_variant("mini", **SMALL, **options)


def batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    target = (torch.rand(3, 1, 32, 32, generator=generator) > 0.5).float()
    target[:, :, :3] = -1
    clicks = Clicks.from_list([[(9, 9, 1)], [(20, 5, 1), (3, 30, 0)], [(15, 16, 1)]])
    return Batch(torch.rand(3, 3, 32, 32, generator=generator), target, clicks, torch.zeros(3, 1, 32, 32))


class Fixed:
    """A user who clicks along the diagonal whatever he sees, and notes what he was shown."""

    def __init__(self) -> None:
        self.shown: list[torch.Tensor] = []

    def respond(self, batch, probability):
        self.shown.append(probability)
        place = torch.full((len(batch), 2), 5.0 * len(self.shown))
        clicks = batch.clicks.append(place, torch.ones(len(batch), dtype=torch.int8))
        return batch.replace(clicks=clicks, prev_mask=probability.detach())

    @torch.no_grad()
    def warm_up(self, batch, predict_prev_mask, rounds=None):
        for _ in range(rounds):
            batch = self.respond(batch, predict_prev_mask(batch))
        return batch

    def rounds(self, least, most):
        return int(torch.randint(least, most + 1, ()))


def step(module) -> tuple[torch.Tensor, Fixed]:
    user = Fixed()
    module.log = lambda *args, **kwargs: None
    module.user = user
    return module.training_step(batch(), 0), user


def by_hand(net, betas, before) -> list[torch.Tensor]:
    """Each round's weighted loss; the user clicks `before` times before the first one that counts."""
    dialogue, user, losses = batch(), Fixed(), []
    for number in range(before + len(betas)):
        logits = net(dialogue.image, dialogue.clicks, dialogue.prev_mask).logits
        if number >= before:
            losses.append(betas[number - before] * normalized_focal_loss(logits, dialogue.target).mean())
        dialogue = user.respond(dialogue, logits.detach().sigmoid())
    return losses


@pytest.mark.parametrize(("learn_first", "clicks"), [(True, 2), (False, 3)])
def test_the_loss_is_the_weighted_sum_and_its_gradient_that_of_all_rounds(learn_first, clicks):
    net = network()
    module = CFRICL(net, betas=[1.0, 2.0, 5.0], learn_first=learn_first)
    loss, user = step(module)
    assert len(user.shown) == clicks and not any(shown.requires_grad for shown in user.shown)
    rounds = by_hand(net, [1.0, 2.0, 5.0], before=0 if learn_first else 1)
    torch.testing.assert_close(loss, sum(rounds))
    loss.backward()
    found = {name: p.grad.clone() for name, p in net.named_parameters()}
    for number, one in enumerate(rounds):
        net.zero_grad()
        one.backward(retain_graph=True)
        share = {name: p.grad for name, p in net.named_parameters()}
        assert all(gradient.abs().sum() > 0 for gradient in share.values()), f"round {number} teaches nothing"
        found = {name: found[name] - share[name] for name in found}
    assert max(rest.abs().max() for rest in found.values()) < 1e-5


def test_rounds_are_drawn_and_the_first_answer_is_a_round_of_the_code():
    module = CFRICL(network(), min_rounds=1, learn_first=True)
    counts = []
    for seed in range(40):
        torch.manual_seed(seed)
        counts.append(1 + len(step(module)[1].shown))
    assert set(counts) == {1, 2, 3}
    fixed = CFRICL(network())
    assert {len(step(fixed)[1].shown) for _ in range(3)} == {3}


def test_without_icl_the_last_round_alone_is_learnt_from():
    net = network()
    module = FineTune(net, max_rounds=1)
    loss, user = step(module)
    assert len(user.shown) == 1
    torch.testing.assert_close(loss, by_hand(net, [0.0, 1.0], before=0)[1])


def test_a_network_is_put_into_train_mode():
    assert CFRICL(network().eval()).network.training


def test_the_first_guess_of_an_hrnet_is_learnt_from_as_well():
    torch.manual_seed(0)
    prediction = Prediction(torch.randn(2, 1, 8, 8), extras={"aux": torch.randn(2, 1, 8, 8)})
    target = (torch.rand(2, 1, 8, 8) > 0.5).float()
    focal = normalized_focal_loss(prediction.logits, target).mean()
    aux = binary_cross_entropy(prediction.extras["aux"], target).mean()
    torch.testing.assert_close(click_loss(prediction, target), focal + 0.4 * aux)
    torch.testing.assert_close(click_loss(Prediction(prediction.logits), target), focal)
    net = RITMNet.from_variant("mini")
    step(CFRICL(net))[0].backward()
    assert net.segmentor.ocr.aux[-1].weight.grad.abs().sum() > 0


def test_what_cannot_be_trained():
    for two_stages in (FocalClickNet.from_variant("mini"), VTMRNet.from_variant("mini")):
        with pytest.raises(ValueError, match="a second stage"):
            FineTune(two_stages)
    with pytest.raises(ValueError, match="PiClickNet answers several masks"):
        CFRICL(PiClickNet.from_variant("mini"))
    with pytest.raises(ValueError, match=r"Linear of torch.* is the network of no known method"):
        CFRICL(nn.Linear(1, 1))
    with pytest.raises(ValueError, match=r"betas are .*-1"):
        CFRICL(network(), betas=[1, -1])
    with pytest.raises(ValueError, match="min_rounds is 4, expected 1 to 3"):
        CFRICL(network(), min_rounds=4)
    with pytest.raises(ValueError, match="max_rounds is 0"):
        FineTune(network(), max_rounds=0)
    with pytest.raises(ValueError, match="RITMNet has no blocks to recompute"):
        FineTune(RITMNet.from_variant("mini"), checkpoint_blocks=True)


def test_blocks_of_a_given_network_can_be_recomputed():
    gradients = []
    for checkpoint_blocks in (False, True):
        net = network()
        step(CFRICL(net, checkpoint_blocks=checkpoint_blocks))[0].backward()
        assert net.backbone.checkpoint_blocks == checkpoint_blocks
        gradients.append([p.grad for p in net.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(recomputed, plain)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_can_be_refined(name):
    smoke = yaml.safe_load((Path(__file__).parents[2] / "experiments" / name / "smoke.yaml").read_text())
    torch.manual_seed(0)
    net = method_package(name).build(smoke["model"]["init_args"]).eval()
    options = InferenceOptions(cascade=2)
    if not net.reads_prev_mask:  # it would answer the same again
        with pytest.raises(ValueError, match="does not read the previous mask"):
            clicklab.Session(net, options)
        return
    session = clicklab.Session(net, options)
    session.set_image(Shapes(length=1, size=64)[0].image)
    for y, x in ((12, 8), (40, 30)):
        assert session.add_click(y, x).shape == (64, 64)
        assert len(session.state.changes) == 2


@pytest.fixture
def recipe(tmp_path) -> list[str]:
    """The smallest run that begins with a file."""
    shapes = {"class_path": "data_modules.datasets.Shapes", "init_args": {"length": 4, "size": 32}}
    config = {
        "model": {
            "class_path": "clicklab.methods.cfr_icl.CFRICL",
            "init_args": {
                "network": {"class_path": "clicklab.load", "init_args": {"path": str(tmp_path / "start.pth")}}
            },
        },
        "data": {
            "class_path": "data_modules.InteractiveDataModule",
            "init_args": {
                "train": [{"dataset": shapes}],
                "test": {"Shapes": shapes},
                "crop_size": 32,
                "batch_size": 2,
                "epoch_length": 2,
                "targets": {"min_object_area": 4},
                "limit": 1,
                "num_workers": 0,
            },
        },
        "trainer": {
            "accelerator": "cpu",
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "default_root_dir": str(tmp_path),
            "callbacks": [{"class_path": "clicklab.callbacks.noc.NoCCallback"}],
        },
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    return ["--config", str(tmp_path / "config.yaml")]


def test_a_run_begins_with_a_file_goes_on_and_ends_in_one(recipe, tmp_path, capsys):
    assert main(["fit", *recipe]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"no checkpoint file at {tmp_path / 'start.pth'}" in said and "catalog.yaml" in said

    net = network()
    options = {"variant": None, "network_options": net.arguments}
    start = {"clicklab_method": "simpleclick", "hyper_parameters": options}
    torch.save(start | {"state_dict": {f"network.{k}": v for k, v in net.state_dict().items()}}, tmp_path / "start.pth")
    assert main(["fit", *recipe, "--trainer.max_epochs=1"]) == 0
    (first,) = tmp_path.rglob("*.ckpt")
    trained = clicklab.load(first)
    assert type(trained) is SimpleClickNet and trained.arguments == net.arguments | SIZES
    moved = (trained.state_dict()["head.conv_seg.weight"] - net.state_dict()["head.conv_seg.weight"]).abs().max()
    assert 0 < moved < 1e-4  # one step of Adam at 5e-6

    (tmp_path / "start.pth").unlink()
    own = ["--ckpt_path", str(first), f"--model.init_args.network.init_args.path={first}"]
    assert main(["fit", *recipe, *own, "--trainer.max_epochs=2"]) == 0
    (second,) = set(tmp_path.rglob("*.ckpt")) - {first}
    assert torch.load(second, weights_only=True)["global_step"] == 2
    assert main(["test", *recipe, *own]) == 0
    assert list(tmp_path.rglob("results.json"))


def test_settings_of_paper_and_code():
    learner = CFRICL(network())
    assert (learner.betas, learner.min_rounds, learner.learn_first) == ((1.0, 2.0, 3.0), 3, False)
    assert (learner.learning_rate, learner.milestones) == (5e-6, [50, 55])
    assert FineTune(network()).max_rounds == 3
