"""Cascade-forward refinement: the network answers the same clicks again, each time from the mask it gave before.

Source: CFR-ICL paper, eq. 4 and 5; docs/protocol.md#cascade-forward-refinement. It works with every method that
reads a mask.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from clicklab.inference.options import InferenceOptions

if TYPE_CHECKING:
    from clicklab.inference.session import Session

THRESHOLD = 0.49  # changes are counted at this probability, whatever the mask's own threshold is, as officially


def refine(
    sessions: Sequence[Session], answer_once: Callable[[Sequence[Session]], None], options: InferenceOptions
) -> None:
    """Refines answered sessions, those that still need it together; `Turn.changes` notes what each pass changed.

    Args:
        sessions: with the answer to their last click.
        answer_once: replaces the last turn of sessions by that of one more pass.
        options: how often, after which clicks, and whether a session stops early (`cascade...`).
    """
    refined = [session for session in sessions if options.refines(len(session.clicks))]
    for _ in range(options.cascade):
        if not refined:
            return
        before = [session.map > THRESHOLD for session in refined]
        answer_once(refined)
        after = [session.map > THRESHOLD for session in refined]
        changed = torch.stack([(old != new).sum() for old, new in zip(before, after, strict=True)]).tolist()
        for session, pixels in zip(refined, changed, strict=True):
            session.turns[-1] = replace(session.turn, changes=(*session.turn.changes, pixels))
        if options.cascade_adaptive:
            refined = [
                session for session, pixels in zip(refined, changed, strict=True) if pixels > options.cascade_pixels
            ]
