"""Damaged files and wrong arguments: one line that names the file, nothing run, bounded time and memory.

The long part: CASES=10000 pytest -m slow tests/robustness/test_fuzz.py; figures: README.md beside.
"""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from fuzz import checkpoint_bytes, damaged_files, odd_arguments, write

import clicklab
from clicklab.commands.main import main
from clicklab.methods.simpleclick import SimpleClickNet

SIZES = {"image_size": 32, "patch_size": 8, "embed_dim": 32, "num_heads": 2, "depth": 8, "head_channels": 8}
SIZES |= {"neck_dims": [4, 8, 8, 8]}
SECONDS, KIBIBYTES = 20, 2 * 2**20


@pytest.fixture(scope="module")
def content() -> dict:
    torch.manual_seed(0)
    state = {f"network.{key}": value for key, value in SimpleClickNet(**SIZES).state_dict().items()}
    settings = {"variant": None, "network_options": SIZES}
    return {"clicklab_method": "simpleclick", "hyper_parameters": settings, "state_dict": state}


def play_checkpoints(folder: Path, content: dict, count: int, seed: int) -> dict[str, float]:
    """Opens damaged files; what is not opened has to say so in one line that names the file."""
    rng = np.random.default_rng(seed)
    whole, opened, slowest = checkpoint_bytes(content), 0, 0.0
    for number, damaged in enumerate(damaged_files(whole, content, rng, count)):
        path = write(folder, number, damaged)
        began = time.process_time()
        try:
            clicklab.load(path)
            opened += 1
        except ValueError as error:
            text = str(error)
            assert str(path) in text and "\n" not in text, text
            assert len(text) - len(str(path)) <= 200, text
        slowest = max(slowest, time.process_time() - began)
        path.unlink()
    assert not list(folder.iterdir()) and not Path("IT_RAN").exists()
    return {"opened": opened, "slowest": slowest, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}


def play_arguments(count: int, seed: int, capsys) -> None:
    """Wrong command lines end with code 2 in one line."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        words = odd_arguments(rng)
        try:
            code = main(words)
        except SystemExit as ended:  # --help
            code = ended.code
        said = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
        assert code in (0, 2), words
        assert code == 0 or (len(said) == 1 and said[0].startswith("clicklab: error: ")), (words, said)


def test_damaged_checkpoints(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "files").mkdir()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # of the tests that ran in this process before
    found = play_checkpoints(tmp_path / "files", content, 210, seed=1)
    assert found["slowest"] < SECONDS and found["memory"] - before < KIBIBYTES


def test_wrong_command_lines(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    play_arguments(60, seed=2, capsys=capsys)


@pytest.mark.slow
def test_many_damaged_checkpoints(tmp_path, monkeypatch, content, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "files").mkdir()
    count = int(os.environ.get("CASES", "10000"))
    found = play_checkpoints(tmp_path / "files", content, count * 9 // 10, seed=3)
    with capsys.disabled():
        print(f"\n{count * 9 // 10} files: {found}")
    assert found["slowest"] < SECONDS and found["memory"] < KIBIBYTES
    play_arguments(count // 10, seed=4, capsys=capsys)
