"""Offsets of members against the tarfile module, and shards that are damaged, each with its message."""

from __future__ import annotations

import io
import tarfile

import pytest
from shard_files import write_photos, write_tar

from data_modules.datasets import open_dataset
from data_modules.scenes import BrokenScene
from data_modules.shards.scan import BLOCK, scan


@pytest.fixture(autouse=True)
def index_apart(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def scanned(path):
    with path.open("rb") as file:
        return scan(file, path.stat().st_size)


def test_offsets_are_those_of_the_standard_library(tmp_path):
    long = "folder/" + "n" * 150  # such a name has headers of its own in front
    members = {"a.jpg": b"x" * 700, "b.json": b"{}", f"{long}.json": b"[1]", "a.json": b"12", f"{long}.webp": b"yy"}
    path = write_tar(tmp_path / "t.tar", members | {"notes.txt": b"?", "b.PNG": b"z" * 512})
    found = scanned(path)
    assert not found.problems
    assert found.rows["name"].tolist() == [b"a", long.encode(), b"b"]  # in the order of the images
    with tarfile.open(path) as archive:
        expected = {member.name: (member.offset_data, member.size) for member in archive}
    for row, image in zip(found.rows, ("a.jpg", f"{long}.webp", "b.PNG"), strict=True):
        assert (row["image_block"] * BLOCK, row["image_size"]) == expected[image]
        assert (row["json_block"] * BLOCK, row["json_size"]) == expected[image.split(".")[0] + ".json"]


def test_members_without_partner_or_given_twice_are_counted_and_named(tmp_path):
    path = write_tar(tmp_path / "t.tar", {"a.jpg": b"1", "a.json": b"2", "b.jpg": b"3", "c.json": b"4", "a.png": b"5"})
    found = scanned(path)
    assert found.rows["name"].tolist() == [b"a"]
    told = " / ".join(found.problems)
    assert "1 images without json file, left out: b" in told and "1 json files without image, left out: c" in told
    assert "1 names given twice, the first counts: a.png" in told


@pytest.mark.parametrize("cut", ["in a member", "behind a member", "in a header"])
def test_a_shard_that_is_cut_off_says_so_and_keeps_what_is_whole(tmp_path, cut):
    path = write_photos(tmp_path, shards=1)[0]
    rows = scanned(path).rows
    at = int(rows["image_block"][2]) * BLOCK
    length = {"in a member": at + 20, "behind a member": at - BLOCK, "in a header": at - 100}[cut]
    path.write_bytes(path.read_bytes()[:length])
    found = scanned(path)
    assert found.rows["name"].tolist() == [b"sa_0", b"sa_1"]
    words = {"in a member": "cut off in ./sa_2.jpg", "behind a member": "mark of an end", "in a header": "missing"}[cut]
    assert any(words in problem for problem in found.problems), found.problems


def test_a_damaged_header_ends_a_shard_with_a_message(tmp_path):
    path = write_photos(tmp_path, shards=1)[0]
    content = bytearray(path.read_bytes())
    header = int(scanned(path).rows["image_block"][1]) * BLOCK - BLOCK
    content[header + 150] ^= 7
    path.write_bytes(content)
    found = scanned(path)
    assert found.rows["name"].tolist() == [b"sa_0"]
    assert f"a damaged header at byte {header}" in found.problems[0]


def test_what_is_no_tar_file_is_refused_by_name(tmp_path):
    (tmp_path / "x.tar").write_bytes(b"hello" * 500)
    with pytest.raises(ValueError, match=r"x\.tar: no tar file, or a compressed one"):
        open_dataset("SA1B", tmp_path)
    with pytest.raises(ValueError, match="no tar file"), io.BytesIO(b"") as empty:
        scan(empty, 0)
    with pytest.raises(FileNotFoundError, match=r"no file is called sa\*\.tar"):
        open_dataset("SA1B", tmp_path, pattern="sa*.tar")
    write_tar(tmp_path / "y.tar", {"a.txt": b"1"})
    with pytest.raises(ValueError, match="no image with a json file"):
        open_dataset("SA1B", tmp_path, pattern="y.tar")


def test_a_shard_changed_after_it_was_opened_is_named_and_read_anew_when_opened_again(tmp_path):
    path = write_photos(tmp_path, shards=1)[0]
    dataset = open_dataset("SA1B", tmp_path)
    content = path.read_bytes()
    write_tar(path, {"sa_9.jpg": b"1", "sa_9.json": b"2"})
    with pytest.raises(BrokenScene, match=r"sa_000000\.tar: changed since its index was built \(at sa_0\)"):
        dataset[0]
    path.unlink()
    path.write_bytes(content)
    with pytest.warns(UserWarning, match=r"1 shards changed since their index.*sa_000000\.tar"):
        again = open_dataset("SA1B", tmp_path)
    assert again[0].name == "sa_0"


def test_a_shard_that_is_gone_is_named(tmp_path):
    path = write_photos(tmp_path, shards=1)[0]
    dataset = open_dataset("SA1B", tmp_path)
    path.unlink()
    with pytest.raises(BrokenScene, match=r"sa_000000\.tar: cannot be read \(No such file"):
        dataset[0]
