"""Requests with all clicks are continued, not begun anew; what they answer is what a session says."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from pictures import OFF, ON, Picture

from clicklab.adapters import dialogues as module
from clicklab.adapters.dialogues import Dialogues

FIRST, SECOND, THIRD = (*ON, True), (*OFF, False), (ON[0] + 6, ON[1] + 3, True)


def unread():
    raise AssertionError("the image was read again")


def test_masks_are_those_of_a_session(network, picture):
    desk = Dialogues(network)
    clicks, wanted = [FIRST, SECOND, THIRD], picture.masks(FIRST, SECOND, THIRD)
    for number, mask in enumerate(wanted, start=1):
        answer = desk.answer("a", lambda: picture.pixels, clicks[:number])
        np.testing.assert_array_equal(answer.mask, mask)
        assert 0 <= answer.score <= 1


def test_only_new_clicks_are_asked(network, picture):
    desk = Dialogues(network)
    desk.answer("a", lambda: picture.pixels, [FIRST, SECOND])
    network.stepped.clear()
    desk.answer("a", unread, [FIRST, SECOND, THIRD])
    assert len(network.stepped) == 1
    desk.answer("a", unread, [FIRST, SECOND])  # one taken back: known
    assert len(network.stepped) == 1


def test_clicks_sorted_by_sign_are_answered_in_the_order_they_were_made(network, picture):
    desk = Dialogues(network)
    sent = ([FIRST], [FIRST, SECOND], [FIRST, THIRD, SECOND])  # positive ones first, as CVAT sends them
    answers = [desk.answer("a", lambda: picture.pixels, clicks).mask for clicks in sent]
    for answer, wanted in zip(answers, picture.masks(FIRST, SECOND, THIRD), strict=True):
        np.testing.assert_array_equal(answer, wanted)


def test_another_object_begins_anew_on_the_same_encoding(network, picture):
    desk = Dialogues(network)
    desk.answer("a", lambda: picture.pixels, [FIRST])
    network.started.clear()
    answer = desk.answer("a", unread, [THIRD])
    np.testing.assert_array_equal(answer.mask, picture.masks(THIRD)[0])
    assert not network.started


def test_old_images_are_let_go(network, monkeypatch):
    monkeypatch.setattr(module, "IMAGES", 2)
    desk, pictures = Dialogues(network), [Picture(seed) for seed in range(3)]
    for number, one in enumerate(pictures):
        desk.answer(str(number), lambda one=one: one.pixels, [FIRST])
    desk.answer("2", unread, [FIRST])
    with pytest.raises(AssertionError, match="read again"):
        desk.answer("0", unread, [FIRST])


def test_what_cannot_be_answered_leaves_the_dialogue_as_it_was(network, picture, monkeypatch):
    desk = Dialogues(network)
    desk.answer("a", lambda: picture.pixels, [FIRST])
    with pytest.raises(ValueError, match="positive"):
        desk.answer("a", unread, [SECOND])
    with pytest.raises(ValueError, match="outside"):
        desk.answer("a", unread, [FIRST, (500, 1, True)])
    np.testing.assert_array_equal(desk.answer("a", unread, [FIRST]).mask, picture.masks(FIRST)[0])
    monkeypatch.setattr(module, "LARGEST", 100)
    with pytest.raises(ValueError, match="scale it down"):
        desk.answer("b", lambda: picture.pixels, [FIRST])


def test_whoever_waits_too_long_is_told(network, picture, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    desk, asked, leave = Dialogues(network), threading.Event(), threading.Event()

    def slow():
        asked.set()
        leave.wait(10)
        return picture.pixels

    other = threading.Thread(target=desk.answer, args=("a", slow, [FIRST]))
    other.start()
    asked.wait(10)
    with pytest.raises(TimeoutError, match="busy"):
        desk.answer("b", lambda: picture.pixels, [FIRST])
    leave.set()
    other.join()
