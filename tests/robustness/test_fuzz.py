"""Damaged files and wrong arguments: one line that names the file, nothing run, bounded time and memory.

The long part: CASES=10000 pytest -m slow tests/robustness/test_fuzz.py; figures: README.md beside.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fuzz import odd_arguments

from clicklab.commands.main import main

OPEN_DAMAGED = Path(__file__).with_name("open_damaged.py")
SECONDS, KIBIBYTES = 20, 2 * 2**20


def play_checkpoints(folder: Path, count: int, seed: int) -> dict[str, float]:
    """Opens damaged checkpoints in a fresh process; its CPU time per file and its peak memory are bounded."""
    (folder / "files").mkdir()
    command = [sys.executable, str(OPEN_DAMAGED), str(folder / "files"), str(count), str(seed)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["files"] == count
    assert found["slowest_s"] < SECONDS, found
    assert found["peak_kib"] < KIBIBYTES, found
    return found


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


def test_damaged_checkpoints(tmp_path):
    play_checkpoints(tmp_path, 210, seed=1)


def test_wrong_command_lines(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    play_arguments(60, seed=2, capsys=capsys)


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_many_damaged_checkpoints(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    count = int(os.environ.get("CASES", "10000"))
    found = play_checkpoints(tmp_path, count * 9 // 10, seed=3)
    play_arguments(count - count * 9 // 10, seed=4, capsys=capsys)
    with capsys.disabled():
        print(f"\n{found}, {count - count * 9 // 10} command lines")
