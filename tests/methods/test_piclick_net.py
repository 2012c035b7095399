"""PiClick's network: the contract, click encodings, scores, every parameter used, candidates through a session."""

import numpy as np
import pytest
import torch

from clicklab.evaluation.protocol import EvaluationProtocol
from clicklab.inference.predictor import predictor_for
from clicklab.inference.session import Session
from clicklab.methods.piclick import SCORE_RULES, PiClickNet
from clicklab.methods.piclick.predictor import PiClickPredictor, partners
from clicklab.records import Clicks
from clicklab.views.boxes import filled_lines

CLICKS = Clicks.from_list([[(10.5, 20.0, 1), (3.0, 60.0, 0)], [(40.0, 8.0, 1)]])


def mini(**options):
    torch.manual_seed(0)
    return PiClickNet.from_variant("mini", image_size=64, patch_size=8, **options)


@pytest.mark.parametrize("encoding", ["both", "maps", "tokens"])
def test_contract(encoding):
    network = mini(click_encoding=encoding, num_queries=3).eval()
    image, previous = torch.rand(2, 3, 64, 96), torch.rand(2, 1, 64, 96)
    with torch.no_grad():
        whole = network(image, CLICKS, previous)
        state = network.start(image)
        step = network.step(state, CLICKS, previous)
        again = network.step(step.state, CLICKS, previous)
        alone = network(image[1:], CLICKS[1:], previous[1:])
    assert whole.logits.shape == (2, 3, 64, 96)
    assert whole.score.shape == (2, 3)
    assert torch.equal(whole.logits, step.logits)
    assert torch.equal(whole.logits, again.logits)
    torch.testing.assert_close(alone.logits, whole.logits[1:], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("encoding", ["both", "maps", "tokens"])
def test_clicks_and_previous_mask_are_read(encoding):
    network, image, nothing = mini(click_encoding=encoding).eval(), torch.rand(1, 3, 64, 64), torch.zeros(1, 1, 64, 64)
    answers = [
        (Clicks.empty(1), nothing),
        (Clicks.empty(1, 3), nothing),
        (Clicks.from_list([[(9, 9, 1)]]), nothing),
        (Clicks.from_list([[(9, 9, 0)]]), nothing),
        (Clicks.from_list([[(9, 9, 1)]]), nothing + 0.5),
    ]
    with torch.no_grad():
        logits = [network(image, *answer).logits for answer in answers]
    torch.testing.assert_close(logits[0], logits[1])
    for i in range(2, 5):
        assert all(not torch.allclose(logits[i], logits[j], atol=1e-6) for j in range(1, i))


@pytest.mark.parametrize(("encoding", "layers"), [("both", 1), ("maps", 1), ("tokens", 3)])
def test_every_parameter_learns(encoding, layers):
    """DDP runs without a search for unused parameters, with positive clicks only too."""
    network = mini(click_encoding=encoding, confidence_layers=layers).train()
    extras = network(torch.rand(1, 3, 64, 64), CLICKS[1:], torch.rand(1, 1, 64, 64)).extras
    assert len(extras["masks"]) == 4
    assert extras["class_logits"].shape == (4, 1, 7, 2)
    sum(torch.stack(list(extras[name])).square().mean() for name in extras).backward()
    assert all(p.grad is not None for p in network.parameters())
    still = [name for name, p in network.named_parameters() if not p.grad.abs().sum() > 0]
    # it only steers where to look, which is the same everywhere before the first step
    assert set(still) <= {"pixel_decoder.level_encoding"}, still


def test_scores():
    answer = {}
    for rule in SCORE_RULES:
        network = mini(score_rule=rule).eval()
        with torch.no_grad():
            answer[rule] = network(torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)), CLICKS[:1],
                                   torch.zeros(1, 1, 64, 64))  # fmt: skip
    extras = answer["product"].extras
    assert torch.equal(answer["product"].score, extras["confidence"] * extras["iou"])
    assert torch.equal(answer["iou"].score, extras["iou"])
    torch.testing.assert_close(answer["released"].score * 7, 6 * extras["iou"] + extras["onehot"])
    assert all(s.score.min() >= 0 and s.score.max() <= 1 for s in answer.values())


def test_wrong_arguments():
    with pytest.raises(ValueError, match="num_queries must be 1 or more"):
        mini(num_queries=0)
    with pytest.raises(ValueError, match=r"score_rule is 'best', expected.*product"):
        mini(score_rule="best")
    with pytest.raises(ValueError, match="click_encoding is 'none'"):
        mini(click_encoding="none")
    with pytest.raises(ValueError, match="confidence_layers is 2, expected"):
        mini(confidence_layers=2)


@pytest.mark.parametrize("preset", ["official", "clean"])
def test_session_shows_all_candidates_and_another_one_can_be_chosen(preset):
    network = mini().eval()
    session = Session(predictor_for(network, EvaluationProtocol(preset=preset)))
    assert isinstance(session.predictor, PiClickPredictor)
    session.set_image(np.random.default_rng(0).integers(0, 255, (70, 90, 3), dtype=np.uint8))
    mask = session.add_click(30, 40)
    assert session.candidates.shape == (7, 70, 90)
    assert session.scores.shape == (7,)
    assert session.state.chosen == session.scores.argmax()
    assert np.array_equal(mask, session.candidates[session.state.chosen] > 0.49)
    other = (session.state.chosen + 1) % 7
    session.choose(other)
    answer = session.state.prediction
    maps = answer.maps() if preset == "clean" else answer.view.back(answer.logits)
    for level in (0.3, 0.5, 0.7):
        remembered = session.predictor.zoom_lines(session.state, level)
        assert torch.equal(remembered, filled_lines(maps[other] > level))
    shown = session.probability
    session.add_click(10, 10, positive=False)
    after_other = session.candidates
    session.undo()
    assert np.array_equal(session.probability, shown)
    session.choose((other + 1) % 7)
    session.add_click(10, 10, positive=False)
    assert not np.allclose(session.candidates, after_other)


def test_fair_pairs_of_a_view_and_its_shuffled_mirror_are_the_view():
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(2, 7, 16, 20, generator=generator) * 3
    confidence, iou = torch.rand(2, 7, generator=generator), torch.rand(2, 7, generator=generator)
    order = torch.stack([torch.randperm(7, generator=generator) for _ in range(2)])
    rows = torch.arange(2)[:, None]
    pair = torch.stack([logits, logits[rows, order].flip(-1)], dim=1)
    extras = {
        "confidence": torch.stack([confidence, confidence[rows, order]], dim=1).flatten(0, 1),
        "iou": torch.stack([iou, iou[rows, order]], dim=1).flatten(0, 1),
    }
    score = extras["iou"].unflatten(0, (2, 2))
    predictor = predictor_for(mini(), EvaluationProtocol(preset="clean"))
    merged, merged_score = predictor.merge(pair, score, extras)
    torch.testing.assert_close(merged, logits)
    torch.testing.assert_close(merged_score, iou)
    straight = torch.stack([logits, logits[rows, order]], dim=1)
    assert torch.equal(partners(straight, extras["confidence"].unflatten(0, (2, 2))), order.argsort(1))


def test_ranking_of_the_training_metric():
    confidence, iou, onehot = torch.tensor([0.9, 0.1]), torch.tensor([0.45, 0.9]), torch.tensor([0.2, 0.8])
    found = SCORE_RULES["metric"](confidence, iou, onehot)
    torch.testing.assert_close(found, torch.tensor([(0.9 + 0.36) / 1.8, (0.1 + 0.72) / 1.8]))
