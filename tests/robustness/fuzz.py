"""Damaged and hostile input in any number, from a seed: checkpoints, command lines, configuration files."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

WORDS = ("--limit", "--data", "--output", "--thresholds", "--zoom-size", "--preset", "--max-clicks", "--device", "x=1")
VALUES = ("", "-1", "0", "1e400", "nan", "[", "é", "a\nb", "../..", "/dev/null", "x" * 400, "9" * 30, "None", "{}", "?")
CODE = b"cos\nsystem\nX\x0c\x00\x00\x00touch IT_RAN\x85R"  # what a foreign pickle would run


def checkpoint_bytes(content: dict) -> bytes:
    """As torch.save writes it."""
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def damaged_files(whole: bytes, content: dict, rng: np.random.Generator, count: int) -> Iterator[bytes]:
    """`count` files: bits flipped, cut, bytes put in, parts of the content replaced, code put into the pickle."""
    ways = (flipped, cut, overwritten, odd_content, with_code, raw_pickle, odd_safetensors)
    for number in range(count):
        yield ways[number % len(ways)](whole, content, rng)


def flipped(whole: bytes, content: dict, rng: np.random.Generator) -> bytes:
    """One to five bits."""
    changed = bytearray(whole)
    for place in rng.integers(0, len(whole), rng.integers(1, 6)):
        changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def cut(whole: bytes, content: dict, rng: np.random.Generator) -> bytes:
    """The beginning, or all but a piece in the middle."""
    first, last = sorted(rng.integers(0, len(whole), 2).tolist())
    return whole[:first] if rng.random() < 0.5 else whole[:first] + whole[last:]


def overwritten(whole: bytes, content: dict, rng: np.random.Generator) -> bytes:
    """Random bytes over a piece."""
    first = int(rng.integers(0, len(whole)))
    return whole[:first] + rng.bytes(int(rng.integers(1, 200))) + whole[first + 100 :]


def odd_content(whole: bytes, content: dict, rng: np.random.Generator) -> bytes:
    """A sound file with something else where settings or weights belong."""
    odd = [None, 3, "x", [], {}, {1: 2}, float("nan"), 10**9, -1, torch.zeros(2), torch.zeros(0), ("a", "b"), True]
    pick = lambda: odd[int(rng.integers(len(odd)))]  # noqa: E731
    changed = dict(content)
    where = int(rng.integers(4))
    if where == 0:
        changed[str(rng.choice(list(changed)))] = pick()
    elif where == 1:
        options = dict(changed["hyper_parameters"]["network_options"])
        options[str(rng.choice(list(options)))] = pick()
        changed["hyper_parameters"] = {"variant": None, "network_options": options}
    else:
        state = dict(changed["state_dict"])
        key = rng.choice(list(state))
        state[str(key) if where == 2 else 5] = pick()
        changed["state_dict"] = state
    return checkpoint_bytes(changed)


def with_code(whole: bytes, content: dict, rng: np.random.Generator) -> bytes:
    """A pickle that would run a command, in PyTorch's archive."""
    name = ["os", "posix", "subprocess", "builtins", "nt", "torch.hub", "torch.utils.cpp_extension"]
    call = CODE.replace(b"cos\n", f"c{rng.choice(name)}\n".encode())
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("x/data.pkl", b"\x80\x02}X\x01\x00\x00\x00a" + call + b"s.")
        archive.writestr("x/version", b"3\n")
    return stream.getvalue()


def raw_pickle(whole: bytes, content: dict, rng: np.random.Generator) -> bytes:
    """A bare pickle of any protocol, with or without code."""
    sound = pickle.dumps({"state_dict": {"a": 1}}, protocol=int(rng.integers(6)))
    return sound if rng.random() < 0.5 else b"\x80\x02" + CODE + b"."


def odd_safetensors(whole: bytes, content: dict, rng: np.random.Generator) -> bytes:
    """A header that promises something else than there is."""
    header = rng.choice(
        ['{"a":{"dtype":"F32","shape":[9999999999],"data_offsets":[0,4]}}', '{"a":', "{}", '{"__metadata__":{"a":"b"}}']
    )
    size = len(header) if rng.random() < 0.7 else int(rng.integers(0, 2**40))
    return struct.pack("<Q", size) + str(header).encode() + rng.bytes(8)


def odd_arguments(rng: np.random.Generator) -> list[str]:
    """A command line of words that exist and values that do not fit."""
    command = str(rng.choice(["evaluate", "convert", "demo", "data", "train", "eval", "nothing", "evaluate"]))
    words = [command, *(str(rng.choice([*WORDS, *VALUES])) for _ in range(int(rng.integers(0, 6))))]
    return [word for word in words if word not in ("demo",)] or ["nothing"]


def write(folder: Path, number: int, content: bytes) -> Path:
    """A file of a kind of name that checkpoints have."""
    path = folder / f"{number}{('.pth', '.ckpt', '.safetensors', '')[number % 4]}"
    path.write_bytes(content)
    return path
