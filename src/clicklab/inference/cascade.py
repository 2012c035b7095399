"""Cascade-forward refinement: the network answers the same clicks again, each time from the mask it gave before.

Source: CFR-ICL paper, eq. 4 and 5; docs/protocol.md#cascade-forward-refinement. It works with every method that reads a
mask.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from clicklab.inference.options import InferenceOptions
from clicklab.inference.state import SessionState

THRESHOLD = 0.49  # changes are counted at this probability, whatever the mask's own threshold is, as officially


def refine(
    states: Sequence[SessionState],
    predict_once: Callable[[Sequence[SessionState]], list[SessionState]],
    options: InferenceOptions,
) -> list[SessionState]:
    """Refines answered states, those that still need it together; `SessionState.changes` notes what each pass changed.

    Args:
        states: with the answer to their last click.
        predict_once: one more pass.
        options: how often, after which clicks, and whether a dialogue stops early (`cascade...`).
    """
    refined = list(states)
    rows = [row for row, state in enumerate(refined) if options.refines(len(state.clicks))]
    for _ in range(options.cascade):
        if not rows:
            break
        before = [refined[row].probability_tensor > THRESHOLD for row in rows]
        answered = predict_once([refined[row] for row in rows])
        after = [state.probability_tensor > THRESHOLD for state in answered]
        changed = torch.stack([(old != new).sum() for old, new in zip(before, after, strict=True)]).tolist()
        for row, state, pixels in zip(rows, answered, changed, strict=True):
            refined[row] = replace(state, changes=(*state.changes, pixels))
        if options.cascade_adaptive:
            rows = [row for row, pixels in zip(rows, changed, strict=True) if pixels > options.cascade_pixels]
    return refined
