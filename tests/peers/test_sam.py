"""The SAM family against the library itself: its own processor and model on the same clicks, step by step."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("transformers", reason="the extra clicklab[sam] is not installed")

from tiny_sam import tiny_sam

from clicklab.inference.session import Session
from clicklab.nn.network_state import PerSample
from clicklab.peers.sam import SamNetwork, box_round
from clicklab.records import Clicks

KINDS = ("Sam", "SamHQ", "Sam2", "Sam3Tracker")
CLICKS = ((20, 30, True), (10, 12, False), (40, 55, True))


def photo(height: int = 50, width: int = 70) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@torch.no_grad()
def library_answer(model, processor, image, clicks, mask=None, box=None):
    """Logits of the masks (K, H, W), their scores (K,) and low-resolution logits (K, h, w), by the library alone."""
    prompts = {}
    if clicks:
        prompts["input_points"] = [[[[x, y] for y, x, _ in clicks]]]
        prompts["input_labels"] = [[[int(positive) for *_, positive in clicks]]]
    if box is not None:
        prompts["input_boxes"] = [[list(box)]]
    inputs = processor(images=image, return_tensors="pt", **prompts)
    several = len(clicks) == 1 and mask is None and box is None
    known = ("pixel_values", "input_points", "input_labels", "input_boxes")
    arguments = {key: inputs[key] for key in known if key in inputs}
    if "input_points" in arguments:
        arguments["input_points"] = arguments["input_points"].float().view(1, 1, -1, 2)
        arguments["input_labels"] = arguments["input_labels"].view(1, 1, -1)
    if "input_boxes" in arguments:
        arguments["input_boxes"] = arguments["input_boxes"].float().view(1, 1, 4)
    answered = model(**arguments, input_masks=mask, multimask_output=several)
    sizes = [inputs["original_sizes"]] + ([inputs["reshaped_input_sizes"]] if "reshaped_input_sizes" in inputs else [])
    masks = processor.image_processor.post_process_masks(answered.pred_masks, *sizes, binarize=False)
    return masks[0][0].numpy(), answered.iou_scores[0, 0].numpy(), answered.pred_masks[0, 0]


def assert_thresholded(mask: np.ndarray, logits: np.ndarray) -> None:
    """The mask is that of the logits; a pixel whose logit is within rounding of 0 may fall to either side."""
    decided = np.abs(logits) > 1e-4
    assert decided.mean() > 0.99
    np.testing.assert_array_equal(mask[decided], (logits > 0)[decided])


@pytest.mark.parametrize("kind", KINDS)
def test_a_dialogue_is_that_of_the_library(kind):
    model, processor = tiny_sam(kind)
    session, image = Session(SamNetwork(model, processor)), photo()
    session.set_image(image)
    mask_prompt = None
    for number in range(1, len(CLICKS) + 1):
        y, x, positive = CLICKS[number - 1]
        mask = session.add_click(y, x, positive)
        logits, scores, low = library_answer(model, processor, image, CLICKS[:number], mask_prompt)
        best = int(scores.argmax())
        assert 0.02 < (logits[best] > 0).mean() < 0.98  # made-up weights, but masks that could differ
        assert_thresholded(session.candidates > 0.5, logits)
        assert_thresholded(mask, logits[best])
        np.testing.assert_allclose(session.scores, scores, atol=1e-5)
        mask_prompt = low[best][None, None]
    assert len(logits) == 1  # three masks at the first click only


@pytest.mark.parametrize("kind", ["Sam", "Sam2"])
def test_the_candidate_that_a_person_chose_is_the_next_mask_prompt(kind):
    model, processor = tiny_sam(kind)
    session, image = Session(SamNetwork(model, processor)), photo()
    session.set_image(image)
    session.add_click(*CLICKS[0])
    _, scores, low = library_answer(model, processor, image, CLICKS[:1])
    other = int(scores.argmin())
    session.choose(other)
    mask = session.add_click(*CLICKS[1])
    expected, *_ = library_answer(model, processor, image, CLICKS[:2], low[other][None, None])
    unchosen, *_ = library_answer(model, processor, image, CLICKS[:2], low[int(scores.argmax())][None, None])
    assert_thresholded(mask, expected[0])
    assert ((expected > 0) != (unchosen > 0)).any()


def test_a_box_is_a_prompt_for_the_whole_dialogue():
    model, processor = tiny_sam("Sam")
    session, image = Session(SamNetwork(model, processor, given="box")), photo()
    rectangle = np.zeros(image.shape[:2], dtype=bool)
    rectangle[8:41, 10:61] = True
    session.set_image(image)
    session.set_mask(rectangle)
    mask = session.add_click(*CLICKS[0])
    expected, _, low = library_answer(model, processor, image, CLICKS[:1], box=(10, 8, 60, 40))
    assert len(expected) == 1  # a box is no ambiguous prompt
    assert_thresholded(mask, expected[0])
    mask = session.add_click(*CLICKS[1])
    expected, *_ = library_answer(model, processor, image, CLICKS[:2], low[0][None, None], (10, 8, 60, 40))
    assert_thresholded(mask, expected[0])


def test_a_mask_from_outside_is_the_mask_prompt_in_the_frame_of_the_padded_input():
    model, processor = tiny_sam("Sam")
    network = SamNetwork(model, processor)
    image = torch.from_numpy(photo(32, 64)).permute(2, 0, 1)[None] / 255
    (entry,) = network.start(image)
    mask = torch.zeros(32, 64)
    mask[:, :32] = 1
    prompt = network._as_prompt(entry, mask)
    assert prompt.shape == (32, 32)  # four times the grid of 8 x 8
    assert (prompt[:15, :14] > 5).all()  # the object, upper left
    assert (prompt[:, 18:] < -5).all()  # background, and the padding below
    assert (prompt[18:] < -5).all()


@pytest.mark.parametrize("kind", ["Sam", "Sam2"])
def test_the_image_is_encoded_once(kind):
    model, processor = tiny_sam(kind)
    network = SamNetwork(model, processor)
    calls = []
    model.vision_encoder.register_forward_hook(lambda *_: calls.append(1))
    session = Session(network)
    session.set_image(photo())
    for click in CLICKS:
        session.add_click(*click)
    session.undo()
    session.add_click(*CLICKS[1])
    assert len(calls) == 1


@torch.no_grad()
def test_dialogues_at_different_clicks_share_a_batch():
    network = SamNetwork(*tiny_sam("Sam")).eval()
    image = torch.from_numpy(photo()).permute(2, 0, 1)[None] / 255
    nothing = torch.zeros(1, 1, 50, 70)
    first = network(image, Clicks.from_list([CLICKS[:1]]), nothing)
    shown = first.logits[:, int(first.score.argmax())][:, None].sigmoid()
    second = network.step(first.state, Clicks.from_list([CLICKS[:2]]), shown)
    states = PerSample([*network.start(image), *first.state])
    clicks, has_prev = Clicks.from_list([CLICKS[:1], CLICKS[:2]]), torch.tensor([False, True])
    both = network.answer(states, clicks, torch.cat([nothing, shown]), has_prev)
    assert torch.equal(both.logits[0], first.logits[0])
    assert torch.equal(both.logits[1, 0], second.logits[0, 0])  # its one mask, repeated to fill three places
    assert int(both.score[1].argmax()) == 0


def test_box_round():
    mask = torch.zeros(6, 7, dtype=torch.bool)
    assert box_round(mask) is None
    mask[2:4, 1:6] = True
    assert box_round(mask) == (1, 2, 5, 3)
