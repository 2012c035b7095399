"""Sessions as a state machine: any order of clicks, undo, redo, reset and new images against a plain list of clicks.

CI plays a few hundred operations. The long part: OPERATIONS=20000 pytest -m slow, this file.
"""

from __future__ import annotations

import os

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import clicklab
from clicklab.inference.session import Session
from clicklab.methods.simpleclick import SimpleClickNet

SIZES = {"image_size": 32, "patch_size": 8, "embed_dim": 32, "num_heads": 2, "depth": 8, "head_channels": 8}
SIZES |= {"neck_dims": [4, 8, 8, 8]}
torch.manual_seed(0)
NETWORK = SimpleClickNet(**SIZES).eval()
COUNT = [0]
PLACES = st.tuples(st.integers(0, 39), st.integers(0, 47), st.booleans())


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (40, 48, 3), dtype=np.uint8)


class Clicking(RuleBasedStateMachine):
    """The session has to show what one shows that was given the same clicks and nothing else."""

    @initialize(seed=st.integers(0, 3))
    def begin(self, seed: int) -> None:
        self.session, self.seed = Session(NETWORK), seed
        self.session.set_image(picture(seed))
        self.clicks: list[tuple[int, int, bool]] = []
        self.undone: list[tuple[int, int, bool]] = []
        self.masks: dict[tuple, np.ndarray] = {}

    def note(self) -> None:
        COUNT[0] += 1

    @rule(place=PLACES)
    def click(self, place: tuple[int, int, bool]) -> None:
        self.note()
        mask = self.session.add_click(place[0], place[1], positive=place[2])
        self.clicks.append(place)
        self.undone = []
        key = (self.seed, *self.clicks)
        assert key not in self.masks or np.array_equal(self.masks[key], mask)
        self.masks[key] = mask.copy()

    @precondition(lambda self: bool(self.clicks))
    @rule()
    def undo(self) -> None:
        self.note()
        self.session.undo()
        self.undone.append(self.clicks.pop())

    @precondition(lambda self: bool(self.undone) and hasattr(self.session, "redo"))
    @rule()
    def redo(self) -> None:
        self.note()
        self.session.redo()
        self.clicks.append(self.undone.pop())

    @rule()
    def reset(self) -> None:
        self.note()
        self.session.reset()
        self.clicks, self.undone = [], []

    @rule(seed=st.integers(0, 3))
    def another_image(self, seed: int) -> None:
        self.note()
        self.session.set_image(picture(seed))
        self.seed, self.clicks, self.undone = seed, [], []

    @rule(y=st.sampled_from([-1, 40, 10**9, float("nan")]))
    def outside(self, y: float) -> None:
        self.note()
        with pytest.raises(ValueError):
            self.session.add_click(y, 3)

    @invariant()
    def shows_what_its_clicks_say(self) -> None:
        if not hasattr(self, "session"):
            return
        assert [(int(y), int(x), bool(p)) for y, x, p in self.session.clicks] == self.clicks
        if not self.clicks:
            assert not self.session.mask.any()
        elif (self.seed, *self.clicks) in self.masks:
            assert np.array_equal(self.session.mask, self.masks[self.seed, *self.clicks])


def play(examples: int, steps: int) -> None:
    quiet = settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck),
        database=None, derandomize=True,
    )  # fmt: skip
    run_state_machine_as_test(Clicking, settings=quiet)


def test_sessions_in_any_order():
    play(examples=8, steps=15)


@pytest.mark.slow
def test_sessions_in_any_order_for_long(capsys):
    COUNT[0] = 0
    rounds = 0
    while COUNT[0] < int(os.environ.get("OPERATIONS", "20000")):
        rounds += 1
        quiet = settings(
            max_examples=100, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck),
            database=None,
        )  # fmt: skip
        run_state_machine_as_test(Clicking, settings=quiet)
    with capsys.disabled():
        print(f"\n{COUNT[0]} operations: 0 differences")


def test_the_machine_looks_at_a_real_session():
    assert clicklab.Session is Session
