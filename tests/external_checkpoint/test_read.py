"""Reading checkpoint files: every changed byte is noticed, nothing in a file makes the reader work for hours."""

from __future__ import annotations

import os
import pickle
import resource
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import clicklab
from clicklab.external_checkpoint import read_foreign
from clicklab.methods.simpleclick import SimpleClickNet

SIZES = {"image_size": 32, "patch_size": 8, "embed_dim": 32, "num_heads": 2, "depth": 8, "head_channels": 8}
SIZES |= {"neck_dims": [4, 8, 8, 8]}


def network() -> SimpleClickNet:
    torch.manual_seed(0)
    return SimpleClickNet(**SIZES).eval()


def ours(**changes) -> dict:
    state = {f"network.{key}": value for key, value in network().state_dict().items()}
    settings = {"variant": None, "network_options": SIZES}
    return {"clicklab_method": "simpleclick", "hyper_parameters": settings, "state_dict": state} | changes


def write_archive(path: Path, content: bytes, **record) -> Path:
    """A file in PyTorch's format around a hand-made pickle."""
    with zipfile.ZipFile(path, "w", **record) as archive:
        archive.writestr("x/data.pkl", content)
        archive.writestr("x/version", b"3\n")
        archive.writestr("x/byteorder", b"little")
    return path


def one_line(path: Path) -> str:
    """The error of `clicklab.load`, which has to be a short line that names the file."""
    with pytest.raises(ValueError) as error:
        clicklab.load(path)
    text = str(error.value)
    assert str(path) in text and "\n" not in text
    assert len(text) - len(str(path)) <= 200, text
    return text


def test_a_flipped_bit_is_refused_or_changes_nothing(tmp_path):
    """200 places; some lie in the padding between records, which holds nothing."""
    torch.save(ours(), tmp_path / "whole.ckpt")
    whole = (tmp_path / "whole.ckpt").read_bytes()
    right = network().state_dict()
    rng = np.random.default_rng(0)
    refused = 0
    for place in rng.integers(0, len(whole), 200):
        changed = bytearray(whole)
        changed[place] ^= 1 << int(rng.integers(8))
        (tmp_path / "flipped.ckpt").write_bytes(changed)
        try:
            found = read_foreign(tmp_path / "flipped.ckpt")["state_dict"]
        except ValueError as error:
            refused += 1
            assert "flipped.ckpt" in str(error) and "\n" not in str(error)
            continue
        assert all(torch.equal(found[f"network.{key}"], value) for key, value in right.items()), place
    assert refused > 150


def test_a_flipped_bit_in_the_weights_says_what_to_do(tmp_path):
    torch.save(ours(), tmp_path / "x.ckpt")
    with zipfile.ZipFile(tmp_path / "x.ckpt") as archive:
        record = next(info for info in archive.infolist() if "/data/" in info.filename)
    content = bytearray((tmp_path / "x.ckpt").read_bytes())
    content[record.header_offset + 200] ^= 1  # behind the record's header and padding
    (tmp_path / "x.ckpt").write_bytes(content)
    assert "checksums do not fit" in one_line(tmp_path / "x.ckpt")


def test_an_archive_without_checksums_is_read(tmp_path):
    """`torch.serialization.set_crc32_options(False)` writes none."""
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(ours(), tmp_path / "x.ckpt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert clicklab.load(tmp_path / "x.ckpt").arguments["depth"] == 8


def hash_bomb() -> bytes:
    """A key of tuples in tuples: 60 levels, 2^60 steps to hash."""
    levels = b"".join(b"h" + bytes([n]) + b"h" + bytes([n]) + b"\x86q" + bytes([n + 1]) for n in range(60))
    return b"\x80\x02}" + b"K\x01K\x01\x86q\x00" + levels + b"K\x01s."


def calls(name: str, arguments: bytes) -> bytes:
    return b"\x80\x02}X\x01\x00\x00\x00ac" + name.replace(" ", "\n").encode() + b"\n" + arguments + b"Rs."


BOMBS = {
    "hash": (hash_bomb(), "nested"),
    "bytearray": (calls("builtins bytearray", b"\x8a\x05\x00\x00\x00\x00\x17\x85"), "bytearray"),
    "tensor": (calls("torch Tensor", b"J\x00\x00\x00\x40\x85"), "larger than|Tensor|damaged"),
    "idna": (calls("_codecs encode", b"X\x01\x00\x00\x00aX\x04\x00\x00\x00idna\x86"), "encodes"),
    "endless": (b"\x80\x02}" + b"0}" * 300_000 + b".", "steps"),
    "names": (b"\x80\x02}" + b"ctorch\nSize\n0" * 20_000 + b".", "names classes"),
    "code": (calls("os system", b"X\x04\x00\x00\x00true\x85"), r"os\.system|posix\.system"),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_small_files_that_would_work_for_hours_are_refused(tmp_path, kind):
    content, words = BOMBS[kind]
    before = resource.getrusage(resource.RUSAGE_SELF)
    with pytest.raises(ValueError, match=words):
        read_foreign(write_archive(tmp_path / "bomb.pth", content))
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert after.ru_utime - before.ru_utime < 20 and after.ru_maxrss - before.ru_maxrss < 2**20  # seconds, KiB


def test_compressed_records_are_refused_before_they_are_unpacked(tmp_path):
    path = write_archive(tmp_path / "x.pth", b"\x80\x02}" + b"0}" * 2**22 + b".", compression=zipfile.ZIP_DEFLATED)
    assert "compressed" in one_line(path)


def test_a_stream_that_asks_for_more_than_the_file_holds(tmp_path):
    """The format before PyTorch 1.6 names the size of each storage, and torch makes room for it at once."""
    torch.save(ours(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    content = (tmp_path / "old.pth").read_bytes()
    assert clicklab.load(tmp_path / "old.pth").arguments["depth"] == 8
    small, huge = b"M" + struct.pack("<H", 32 * 96), b"J" + struct.pack("<i", 2**31 - 1)
    assert small in content
    (tmp_path / "old.pth").write_bytes(content.replace(small, huge))
    assert "larger than the file" in one_line(tmp_path / "old.pth")


def test_views_that_repeat_a_few_numbers_are_refused(tmp_path):
    state = ours()["state_dict"] | {"network.neck.x": torch.zeros(1).expand(10**6, 10**6)}
    torch.save(ours(state_dict=state), tmp_path / "x.ckpt")
    assert "network.neck.x" in one_line(tmp_path / "x.ckpt")


@pytest.mark.parametrize("inside", ["ours", "official"])
@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(3, dtype=torch.complex64),
        torch.zeros(3, device="meta"),
        torch.zeros(3).to_sparse(),
        torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
        "text",
    ],
    ids=["complex", "meta", "sparse", "quantized", "text"],
)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_tensors_that_no_network_can_use(tmp_path, inside, tensor):
    content = ours() if inside == "ours" else {"state_dict": {}}
    content["state_dict"] = {**content["state_dict"], "network.neck.x": tensor}
    torch.save(content, tmp_path / "x.ckpt")
    one_line(tmp_path / "x.ckpt")


@pytest.mark.parametrize(
    "changes",
    [
        {"state_dict": {1: torch.zeros(2)}},
        {"state_dict": {("a", "b"): torch.zeros(2)}},
        {"clicklab_method": 3},
        {"clicklab_method": ["simpleclick"]},
        {"hyper_parameters": {"variant": "mini", "network_options": {"depth": 10**9}}},
        {"hyper_parameters": {"variant": None, "network_options": SIZES | {"depth": 2_000_000}}},
        {"hyper_parameters": {"variant": None, "network_options": SIZES | {"embed_dim": 2**20}}},
        {"hyper_parameters": {"variant": None, "network_options": SIZES | {"neck_dims": [10**12] * 4}}},
        {"hyper_parameters": {"variant": None, "network_options": SIZES | {"patch_size": 0}}},
        {"hyper_parameters": {"variant": None, "network_options": SIZES | {"depth": -1}}},
        {"hyper_parameters": {"variant": None, "network_options": SIZES | {"depth": "8"}}},
        {"hyper_parameters": {"variant": None, "network_options": SIZES | {"click_radius": float("nan")}}},
        {"hyper_parameters": {"variant": None, "network_options": SIZES | {"click_radius": torch.ones(1)}}},
        {"hyper_parameters": {"variant": None, "network_options": SIZES | {3: 4}}},
        {"hyper_parameters": {"variant": [], "network_options": {}}},
        {"hyper_parameters": {"variant": "huge", "network_options": {}}},
    ],
    ids=lambda changes: str(changes)[:60],
)
def test_odd_content_of_our_own_files_ends_in_one_line(tmp_path, changes):
    torch.save(ours(**changes), tmp_path / "odd.ckpt")
    before = resource.getrusage(resource.RUSAGE_SELF)
    one_line(tmp_path / "odd.ckpt")
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert after.ru_utime - before.ru_utime < 20 and after.ru_maxrss - before.ru_maxrss < 2**20


def test_places_that_are_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for place, words in ((tmp_path / "pipe", "regular file"), (tmp_path, "a folder without")):
        with pytest.raises(ValueError, match=words):
            clicklab.load(place)


def test_the_folder_of_a_run_means_its_last_checkpoint(tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    torch.save(ours(), tmp_path / "run" / "checkpoints" / "last.ckpt")
    found = clicklab.load(tmp_path / "run")
    assert all(torch.equal(value, found.state_dict()[key]) for key, value in network().state_dict().items())


def test_numbers_and_settings_of_other_tools_beside_the_weights(tmp_path):
    """NumPy's scalars, paths and argparse's namespaces are passed over; nothing of them is run."""
    import argparse

    beside = {"best": np.float64(0.9), "args": argparse.Namespace(lr=1, out=Path("/tmp")), "epoch": 3}
    torch.save(ours() | beside, tmp_path / "x.pth")
    assert clicklab.load(tmp_path / "x.pth").arguments["depth"] == 8


def test_safetensors_with_the_settings_in_its_metadata(tmp_path):
    import json

    content = ours()
    told = {"clicklab_method": "simpleclick", "hyper_parameters": json.dumps(content["hyper_parameters"])}
    save_file(content["state_dict"], tmp_path / "x.safetensors", metadata=told)
    found = clicklab.load(tmp_path / "x.safetensors")
    assert all(torch.equal(value, found.state_dict()[key]) for key, value in network().state_dict().items())


@pytest.mark.parametrize("content", [b"", b"\x00" * 8, struct.pack("<Q", 5) + b"{abc", b"PK\x03\x04", b"\x80\x02."])
def test_beginnings_of_files(tmp_path, content):
    (tmp_path / "x.safetensors").write_bytes(content + b"\x00" * 20 if content else b"")
    one_line(tmp_path / "x.safetensors")


def test_a_class_with_its_own_reducer_never_runs(tmp_path, monkeypatch):
    target = tmp_path / "it-ran"

    class Runs:
        def __reduce__(self):
            return (os.mkdir, (str(target),))

    for protocol in (2, 4, 5):
        write_archive(tmp_path / "bad.pth", pickle.dumps({"state_dict": {}, "x": Runs()}, protocol=protocol))
        one_line(tmp_path / "bad.pth")
    assert not target.exists()
