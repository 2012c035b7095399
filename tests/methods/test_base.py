"""What all methods share: the mask that the user is shown, falling rates, randomness by step and device."""

from types import SimpleNamespace

import pytest
import torch
from squares import squares

from clicklab.methods.ritm.module import RITM
from clicklab.methods.simpleclick.module import SimpleClick


def test_the_user_sees_a_probability_of_the_network_in_eval_mode():
    torch.manual_seed(0)
    learner = SimpleClick("mini", {"image_size": 64, "dropout": 0.5})
    given, modes = squares(), []
    learner.network.register_forward_hook(lambda module, *_: modes.append(module.training))
    for mode in (True, False):
        learner.network.train(mode)
        shown = learner.predict_prev_mask(given)
        assert learner.network.training is mode and not shown.requires_grad
        learner.network.eval()
        torch.testing.assert_close(shown, learner(given).logits.detach().sigmoid())
    assert not any(modes)


def test_rates_fall_tenfold_at_milestones():
    settings = RITM("mini", learning_rate=1e-3, milestones=[1, 3], backbone_factor=1.0).configure_optimizers()
    optimizer, schedule = settings["optimizer"], settings["lr_scheduler"]["scheduler"]
    assert settings["lr_scheduler"]["interval"] == "epoch" and optimizer.defaults["betas"] == (0.9, 0.999)
    rates = []
    for _ in range(4):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([1e-3, 1e-4, 1e-4, 1e-5])


def test_devices_agree_on_numbers_that_change_with_the_step():
    learner = RITM("mini")
    drawn = {}
    for rank in (0, 1):
        for step in (5, 6):
            user, total = SimpleNamespace(shared_generator=None), SimpleNamespace(processed=step)
            progress = SimpleNamespace(batch_progress=SimpleNamespace(total=total))
            fit_loop = SimpleNamespace(epoch_loop=progress)
            data = SimpleNamespace(user=user)
            learner._trainer = SimpleNamespace(fit_loop=fit_loop, datamodule=data, global_rank=rank)
            learner.on_train_batch_start(squares(), 0)
            drawn[rank, step] = torch.rand(()).item(), torch.rand((), generator=user.shared_generator).item()
    assert drawn[0, 5][1] == drawn[1, 5][1] != drawn[0, 6][1] == drawn[1, 6][1]
    assert len({own for own, _ in drawn.values()}) == 4
