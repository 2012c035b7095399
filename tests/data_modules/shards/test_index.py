"""The index: built by several processes, gone on with, shared, and small in memory."""

from __future__ import annotations

import json
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
from shard_files import write_photos

from data_modules.datasets import open_dataset
from data_modules.shards import index as module
from data_modules.shards.index import JOURNAL, open_index
from data_modules.shards.stores import Folder


def opened(tmp_path, **options):
    return open_index(Folder(tmp_path / "tars"), folder=tmp_path / "index", progress=False, **options)


def test_several_processes_build_what_one_does(tmp_path):
    write_photos(tmp_path / "tars", shards=4)
    one = opened(tmp_path, workers=1)
    places = [one.place(number) for number in range(len(one))]
    several = open_index(Folder(tmp_path / "tars"), folder=tmp_path / "other", workers=3, progress=False)
    assert [several.place(number) for number in range(len(several))] == places
    assert [several.name(number) for number in range(12)] == [f"sa_{number}" for number in range(12)]
    assert pickle.loads(pickle.dumps(several)).place(7) == places[7]
    with pytest.raises(IndexError):
        several.place(12)


def test_an_interrupted_build_goes_on_with_the_shards_that_are_missing(tmp_path, monkeypatch):
    write_photos(tmp_path / "tars", shards=4)
    real, seen = module.scan, []

    def dies_at_the_third(file, size):
        seen.append(size)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return real(file, size)

    monkeypatch.setattr(module, "scan", dies_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        opened(tmp_path, workers=1)
    journal = tmp_path / "index" / JOURNAL
    journal.write_text(journal.read_text() + '{"format": "clickl')  # and a line that was cut off
    assert len(opened(tmp_path, workers=1)) == 12
    assert len(seen) == 3 + 2
    assert len(opened(tmp_path, workers=1)) == 12 and len(seen) == 5


def test_those_who_open_the_same_shards_at_a_time_build_once(tmp_path):
    write_photos(tmp_path / "tars", shards=3)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: opened(tmp_path, workers=1), range(4)))
    assert [len(index) for index in found] == [9] * 4
    assert len((tmp_path / "index" / JOURNAL).read_text().splitlines()) == 3


def test_an_index_of_another_version_says_what_to_remove(tmp_path):
    write_photos(tmp_path / "tars", shards=1)
    opened(tmp_path)
    journal = tmp_path / "index" / JOURNAL
    journal.write_text(json.dumps(json.loads(journal.read_text()) | {"version": 99}) + "\n")
    with pytest.raises(ValueError, match=r"line 1 is of another version; remove .*index, it is built anew"):
        opened(tmp_path)


def test_a_pattern_takes_some_shards_and_nothing_is_looked_through_twice(tmp_path):
    write_photos(tmp_path / "tars", shards=3)
    assert len(opened(tmp_path, pattern="*1.tar")) == 3
    lines = (tmp_path / "index" / JOURNAL).read_text().splitlines()
    assert [json.loads(line)["shard"] for line in lines] == ["sa_000001.tar"]
    assert len(opened(tmp_path)) == 9
    assert len((tmp_path / "index" / JOURNAL).read_text().splitlines()) == 3


def test_nothing_is_written_beside_the_data_and_a_bad_place_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_photos(tmp_path / "tars", shards=1)
    before = sorted((tmp_path / "tars").rglob("*"))
    assert len(open_dataset("SA1B", tmp_path / "tars")) == 3
    assert sorted((tmp_path / "tars").rglob("*")) == before
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"file/x: the index cannot be written there .*index=DIR chooses another"):
        open_dataset("SA1B", tmp_path / "tars", index=str(tmp_path / "file" / "x"))
