"""States cut and joined: nothing gets lost or into the wrong session, and what cannot be told apart is refused."""

from typing import NamedTuple

import numpy as np
import pytest
import torch

from clicklab.nn.network_state import PerSample, join_states, split_state


class Pair(NamedTuple):
    first: torch.Tensor
    second: torch.Tensor


def test_nested_states_survive_splitting_and_joining():
    state = {
        "a": torch.rand(6, 2),
        "b": (torch.rand(6), [torch.rand(6, 1, 3)]),
        "c": None,
        "d": Pair(torch.rand(6), torch.rand(6)),
        "e": PerSample("abcdef"),
    }
    pieces = split_state(state, 6, 3)
    assert pieces[1]["a"].shape == (2, 2) and list(pieces[1]["e"]) == ["c", "d"]
    assert torch.equal(pieces[2]["d"].second, state["d"].second[4:])
    joined = join_states([pieces[2], pieces[0]])
    for mine, wanted in ((joined["a"], state["a"]), (joined["b"][1][0], state["b"][1][0])):
        assert torch.equal(mine, wanted[[4, 5, 0, 1]])
    assert joined["c"] is None and isinstance(joined["e"], PerSample) and list(joined["e"]) == list("efab")


def test_pieces_are_copies():
    whole = torch.rand(4, 3)
    piece = split_state(whole, 4, 2)[0]
    assert piece.untyped_storage().nbytes() == piece.nbytes


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (np.zeros((2, 3)), r"state is a ndarray, expected for 2 images a tensor with leading axis 2"),
        ({"scale": torch.ones(7)}, r"state\['scale'\] is a tensor \(7,\)"),
        ((torch.ones(2), [torch.tensor(3.0)]), r"state\[1\]\[0\] is a tensor \(\)"),
        (Pair(torch.ones(2), 3), r"state.second is a int"),
        ({"a": object()}, r"state\['a'\] is a object, .*PerSample"),
        (PerSample([1, 2, 3]), r"a PerSample of 3, expected for 2"),
    ],
)
@pytest.mark.parametrize("parts", [1, 2])
def test_another_leaf_is_named(state, words, parts):
    with pytest.raises(ValueError, match=words):
        split_state(state, 2, parts)


def test_states_of_different_kinds_are_not_joined():
    with pytest.raises(ValueError, match="built differently: Pair, Tensor"):
        join_states([torch.ones(2), Pair(torch.ones(2), torch.ones(2))])
