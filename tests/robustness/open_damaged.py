"""Opens damaged checkpoints in a process of its own, so that its peak memory is that of opening and nothing else.

python open_damaged.py FOLDER COUNT SEED prints one line of JSON.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

import numpy as np
import torch
from fuzz import checkpoint_bytes, damaged_files, write

import clicklab
from clicklab.methods.simpleclick import SimpleClickNet

SIZES = {"image_size": 32, "patch_size": 8, "embed_dim": 32, "num_heads": 2, "depth": 8, "head_channels": 8}
SIZES |= {"neck_dims": [4, 8, 8, 8]}


def sound_content() -> dict:
    """What a whole checkpoint of a very small SimpleClick holds."""
    torch.manual_seed(0)
    state = {f"network.{key}": value for key, value in SimpleClickNet(**SIZES).state_dict().items()}
    settings = {"variant": None, "network_options": SIZES}
    return {"clicklab_method": "simpleclick", "hyper_parameters": settings, "state_dict": state}


def open_damaged(folder: Path, count: int, seed: int) -> dict[str, float]:
    """Opens damaged files; one that does not open has to say so in one line that names the file."""
    rng = np.random.default_rng(seed)
    content = sound_content()
    whole = checkpoint_bytes(content)
    opened, slowest = 0, 0.0
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
    assert not list(folder.iterdir())
    assert not Path("IT_RAN").exists()
    return {"files": count, "opened": opened, "slowest_s": slowest, "peak_kib": peak_memory()}


def peak_memory() -> int:
    """KiB. Not ru_maxrss, which on Linux begins at what the parent held when it started this process."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)[1])


if __name__ == "__main__":
    print(json.dumps(open_damaged(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
