"""Our files for layered ids: what went in comes out, nothing in them runs, half-written ones do not exist."""

from __future__ import annotations

import json
import os
import pickle

import numpy as np
import pytest

from data_modules.formats.layered_store import (
    LayeredIds,
    begin,
    count_instances,
    layered_file,
    read_index,
    read_layered,
    write_index,
    write_layered,
)
from data_modules.scenes import BrokenScene, SceneObject


def some_ids(count=5, size=(12, 15)):
    rng = np.random.default_rng(count)
    layers = rng.integers(0, count + 1, (*size, 2)).astype(np.int32)
    return LayeredIds(
        layers, np.arange(count, dtype=np.int32) % 2, np.arange(count, dtype=np.int32), np.arange(count) == count - 1
    )


@pytest.mark.parametrize("count", [0, 1, 5, 255, 256, 700])
def test_what_went_in_comes_out(tmp_path, count):
    ids = some_ids(count)
    write_layered(tmp_path / "a.npz", ids)
    back = read_layered(tmp_path / "a.npz")
    for name in ("layers", "layer", "parent", "stuff"):
        assert np.array_equal(getattr(back, name), getattr(ids, name))
    assert back.layers.dtype == np.int32 and count_instances(tmp_path / "a.npz") == max(count - 1, 0)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as content:
        assert content["layers"].dtype == (np.uint8 if count < 256 else np.uint16)
    if count == 5:
        assert back.objects()[3] == SceneObject(0, 2) and back.objects()[5] == SceneObject(0, 4, stuff=True)


def test_the_same_content_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_layered(tmp_path / f"{name}.npz", some_ids())
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_tables_that_contradict_themselves_are_refused():
    good = some_ids(3)
    for changes in (
        {"layer": np.array([0, 1, 2], np.int32)},
        {"layer": np.array([0, -1, 0], np.int32)},
        {"parent": np.array([2, 1, 0], np.int32)},
        {"parent": np.array([0, 9, 0], np.int32)},
        {"stuff": np.zeros(2, bool)},
        {"layers": good.layers[..., 0]},
        {"layers": good.layers + 1},
    ):
        with pytest.raises(ValueError, match=r"layer|parents|shape"):
            LayeredIds(**{**vars(good), **changes})


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.system, (f"touch {self.path}",))


def test_damaged_and_foreign_files_are_named_and_run_nothing(tmp_path):
    path, trace = tmp_path / "a.npz", tmp_path / "trace"
    with pytest.raises(BrokenScene, match=r"a\.npz"):
        read_layered(path)
    write_layered(path, some_ids())
    whole = path.read_bytes()
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        with pytest.raises(BrokenScene, match=r"a\.npz"):
            read_layered(path)
    flipped = bytearray(whole)
    flipped[200] ^= 255
    path.write_bytes(bytes(flipped))
    with pytest.raises(BrokenScene, match=r"a\.npz"):
        read_layered(path)
    evil = np.array([None], dtype=object)
    evil[0] = Bomb(trace)
    with path.open("wb") as file:
        np.savez(file, layers=evil, layer=evil, parent=evil, stuff=evil)
    with pytest.raises(BrokenScene, match=r"a\.npz.*build again"):
        read_layered(path)
    path.write_bytes(pickle.dumps(Bomb(trace)))
    with pytest.raises(BrokenScene, match=r"a\.npz"):
        read_layered(path)
    assert not trace.exists()


def test_a_writer_that_fails_leaves_no_file(tmp_path, monkeypatch):
    def fail(file, **arrays):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.raises(KeyboardInterrupt):
        write_layered(tmp_path / "a.npz", some_ids())
    assert not list(tmp_path.iterdir())


def test_begin_finds_what_is_done_and_clears_what_was_left(tmp_path):
    assert begin(tmp_path, {"a": (1, 2)}) == set()
    write_layered(layered_file(tmp_path, "one"), some_ids())
    left = layered_file(tmp_path, "two").with_name("two.npz.123.part")
    left.write_bytes(b"half")
    assert begin(tmp_path, {"a": [1, 2]}) == {"one"} and not left.exists()
    with pytest.raises(ValueError, match=r"other settings \(a was \[1, 2\], is \[1, 3\]\)"):
        begin(tmp_path, {"a": [1, 3]})


def test_index(tmp_path):
    with pytest.raises(FileNotFoundError, match="build-coco-lvis"):
        read_index(tmp_path)
    begin(tmp_path, {})
    with pytest.raises(FileNotFoundError, match="was not finished"):
        read_index(tmp_path)
    write_index(tmp_path, {"b": 2, "a": 3}, tmp_path)
    index = read_index(tmp_path)
    assert index.names == ("a", "b") and index.objects.tolist() == [3, 2] and index.images == tmp_path.resolve()
    path = tmp_path / "layers.json"
    content = json.loads(path.read_text())
    for broken, words in (
        (content | {"version": 2}, "version 1"),
        (content | {"objects": [1]}, "2 names but 1"),
        (content | {"names": 5}, "not an index"),
        ([], "version 1"),
    ):
        path.write_text(json.dumps(broken))
        with pytest.raises(ValueError, match=words):
            read_index(tmp_path)
    path.write_text("{")
    with pytest.raises(ValueError, match=r"layers\.json: not readable json"):
        read_index(tmp_path)
