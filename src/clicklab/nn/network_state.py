"""States of networks: what `ClickNetwork.start` gives for a batch, cut into one state per session and joined again.

A state is a tensor with leading axis B, or tuples, named tuples, lists and dicts of such tensors; None may stand where
a part is missing. Whatever else a network keeps stands in a `PerSample`. Any other leaf is an error that names it:
nobody could tell which of its parts belong to which sample, and a session would be handed the parts of another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor


class PerSample(list[Any]):
    """B things of any kind, one for each sample of a batch, as a leaf of a state.

    Example:
        PerSample([numpy_features_of(image) for image in images])
    """


def split_state(state: Any, rows: int, parts: int) -> list[Any]:
    """A batched state cut into one state per session.

    The pieces are copies, so that one session does not keep the memory of the whole batch.

    Args:
        state: of `rows` samples.
        rows: B, a multiple of `parts`.
        parts: number of sessions; `rows / parts` neighbouring samples are views of one session.

    Returns:
        `parts` states of `rows / parts` samples each.

    Raises:
        ValueError: a leaf of the state is neither a tensor with leading axis B nor a `PerSample` of B things.
    """
    for place, leaf in _leaves(state):
        _check_leaf(place, leaf, rows)
    return [state] if parts == 1 else _split(state, parts)


def join_states(states: Sequence[Any]) -> Any:
    """The inverse of `split_state`.

    Raises:
        ValueError: the states are built differently.
    """
    first = states[0]
    if len(states) == 1 or first is None:
        return first
    if any(type(state) is not type(first) for state in states):
        kinds = ", ".join(sorted({type(state).__name__ for state in states}))
        raise ValueError(f"states of the same network are built differently: {kinds}")
    if isinstance(first, Tensor):
        return torch.cat(list(states))
    if isinstance(first, PerSample):
        return PerSample(entry for state in states for entry in state)
    if isinstance(first, dict):
        return {key: join_states([state[key] for state in states]) for key in first}
    return _like(first, [join_states(column) for column in zip(*states, strict=True)])


def _split(state: Any, parts: int) -> list[Any]:
    if state is None:
        return [None] * parts
    if isinstance(state, Tensor):
        return [piece.clone() for piece in state.chunk(parts)]
    if isinstance(state, PerSample):
        size = len(state) // parts
        return [PerSample(state[first : first + size]) for first in range(0, len(state), size)]
    if isinstance(state, dict):
        pieces = {key: _split(value, parts) for key, value in state.items()}
        return [{key: piece[row] for key, piece in pieces.items()} for row in range(parts)]
    columns = [_split(value, parts) for value in state]
    return [_like(state, [column[row] for column in columns]) for row in range(parts)]


def _leaves(state: Any, place: str = "state") -> Iterator[tuple[str, Any]]:
    """(where it stands, leaf) of all leaves but None."""
    if isinstance(state, dict):
        for key, value in state.items():
            yield from _leaves(value, f"{place}[{key!r}]")
    elif isinstance(state, (list, tuple)) and not isinstance(state, PerSample):
        names = getattr(state, "_fields", None)  # of a named tuple
        for number, value in enumerate(state):
            yield from _leaves(value, f"{place}.{names[number]}" if names else f"{place}[{number}]")
    elif state is not None:
        yield place, state


def _check_leaf(place: str, leaf: Any, rows: int) -> None:
    if isinstance(leaf, Tensor):
        if leaf.ndim and len(leaf) == rows:
            return
        found = f"a tensor {tuple(leaf.shape)}"
    elif isinstance(leaf, PerSample):
        if len(leaf) == rows:
            return
        found = f"a PerSample of {len(leaf)}"
    else:
        found = f"a {type(leaf).__name__}"
    raise ValueError(
        f"the network's {place} is {found}, expected for {rows} images a tensor with leading axis {rows}, or "
        f"clicklab.nn.network_state.PerSample([...]) with one entry for each image"
    )


def _like(sample: list[Any] | tuple[Any, ...], values: list[Any]) -> Any:
    """Values as the same kind of list or (named) tuple."""
    return type(sample)(*values) if hasattr(sample, "_fields") else type(sample)(values)
