"""Where each sample of a set of shards begins: built once, by several processes, and mapped into memory afterwards.

The index is a folder. `shards.jsonl` has a line per finished shard, and `<shard>.npy` the rows of `scan`. An
interrupted build goes on with the shards that have no line yet, and a shard that was changed is looked through again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sys
import zlib
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from data_modules.formats.notes import brief
from data_modules.formats.writing import write_whole
from data_modules.scenes import BrokenScene
from data_modules.shards.scan import BLOCK, Member, scan
from data_modules.shards.stores import ShardFile, Store

FORMAT, VERSION = "clicklab shards", 1
JOURNAL = "shards.jsonl"
NEAR = 2**16  # bytes between two members that are rather read than left out
CONNECTIONS = 32  # shards of an object store that are looked through at a time


class Place(NamedTuple):
    """Where one sample lies."""

    shard: str
    name: str
    image: Member
    annotation: Member


class ShardIndex:
    """The samples of some shards, shard after shard; nothing but a number per shard is held in memory.

    Attributes:
        problems: what is wrong with the shards and was survived, one line each.
        changed: shards that were looked through again now, because they are not what they were.
    """

    def __init__(
        self,
        folder: Path,
        shards: Sequence[str],
        counts: Sequence[int],
        problems: Sequence[str] = (),
        changed: Sequence[str] = (),
    ) -> None:
        self.folder, self.shards, self.problems, self.changed = folder, list(shards), list(problems), list(changed)
        self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self._rows: dict[int, np.ndarray] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_rows": {}}

    def __len__(self) -> int:
        return int(self._starts[-1])

    def place(self, sample: int) -> Place:
        """Where a sample lies."""
        row, shard = self._row(sample)
        image, annotation = (
            Member(*(int(row[f"{kind}_{field}"]) for field in ("block", "size", "header")))
            for kind in ("image", "json")
        )
        return Place(self.shards[shard], _text(row["name"]), image, annotation)

    def name(self, sample: int) -> str:
        """The sample's name without its folder."""
        return PurePosixPath(_text(self._row(sample)[0]["name"])).name

    def memory(self) -> int:
        """Bytes on disk."""
        return sum(rows_file(self.folder, shard).stat().st_size for shard in self.shards)

    def _row(self, sample: int) -> tuple[Any, int]:
        if not 0 <= sample < len(self):
            raise IndexError(f"sample {sample} of {len(self)}")
        shard = int(np.searchsorted(self._starts, sample, side="right")) - 1
        if shard not in self._rows:
            self._rows[shard] = np.load(rows_file(self.folder, self.shards[shard]), mmap_mode="r")
        return self._rows[shard][sample - int(self._starts[shard])], shard


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def rows_file(folder: Path, shard: str) -> Path:
    """The file of a shard's rows."""
    return folder / f"{PurePosixPath(shard).stem}-{zlib.crc32(shard.encode()):08x}.npy"


def usual_folder(where: str) -> Path:
    """Where the index of a folder or URL stands if nothing else was asked for: nothing is written beside the data."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "clicklab" / "shards" / hashlib.sha256(where.encode()).hexdigest()[:16]


def open_index(
    store: Store, pattern: str = "*.tar", folder: Path | None = None, workers: int | None = None, progress: bool = True
) -> ShardIndex:
    """The index of the shards of a store; what is missing of it is built first.

    Args:
        store: where the shards lie.
        pattern: which files, by their name below the root; * takes folders too.
        folder: of the index; None takes `usual_folder`. Several processes may open it: one builds, the others wait.
        workers: processes (of object stores: threads) that build; None takes one per processor, 8 at most (32 threads).
        progress: show a bar while building.

    Raises:
        FileNotFoundError: no shard matches.
        ValueError: a shard is no tar file, no shard holds a sample, or the index is of another version.
    """
    files = store.shards(pattern)
    if not files:
        raise FileNotFoundError(f"{store.where}: no file is called {pattern}; give the pattern of the shards' names")
    folder = folder or usual_folder(os.path.abspath(store.where) if not store.remote else store.where)  # noqa: PTH100
    with _alone(folder):
        known, changed = _known(folder, files)
        missing = [file for file in files if file.name not in known]
        if missing:
            known |= _build(store, missing, folder, workers, progress)
    entries = [known[file.name] for file in files]
    problems = [f"{store.where}/{entry['shard']}: {line}" for entry in entries for line in entry["problems"]]
    counts = [entry["samples"] for entry in entries]
    index = ShardIndex(folder, [file.name for file in files], counts, problems, changed)
    if not len(index):
        raise ValueError(f"{store.where}: the shards hold no image with a json file of its name" + _first(problems))
    return index


def _first(problems: list[str]) -> str:
    return f" ({problems[0]})" if problems else ""


@contextmanager
def _alone(folder: Path) -> Generator[None]:
    """Lets one process at a time build."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise OSError(
            f"{folder}: the index cannot be written there ({error.strerror}); index=DIR chooses another"
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _known(folder: Path, files: list[ShardFile]) -> tuple[dict[str, Any], list[str]]:
    """The journal's entries of the shards that are as they were, and the names of those that are not."""
    journal = folder / JOURNAL
    lines = journal.read_text(encoding="utf-8").splitlines() if journal.is_file() else []
    entries: dict[str, Any] = {}
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            if (entry["format"], entry["version"]) != (FORMAT, VERSION):
                raise ValueError(
                    f"{journal}: line {number} is of another version; remove {folder}, it is built anew then"
                )
            entries[entry["shard"]] = entry
        except (json.JSONDecodeError, KeyError, TypeError):
            continue  # cut off while it was written: that shard is looked through again
    kept, changed = {}, []
    for file in files:
        entry = entries.get(file.name)
        if entry is None or not rows_file(folder, file.name).is_file():
            continue
        if (entry.get("size"), entry.get("stamp")) == (file.size, file.stamp):
            kept[file.name] = entry
        else:
            changed.append(file.name)
    return kept, changed


def _build(
    store: Store, files: list[ShardFile], folder: Path, workers: int | None, progress: bool
) -> dict[str, dict[str, Any]]:
    """Looks through shards, largest first, and writes each one's rows and line when it is done."""
    most = CONNECTIONS if store.remote else min(8, os.cpu_count() or 1)
    count = min(len(files), workers or most)
    kind: type[Executor] = ThreadPoolExecutor if store.remote else ProcessPoolExecutor
    done = {}
    if progress:
        print(f"index of {len(files)} shards of {store.where}: {folder}", file=sys.stderr)
    journal = folder / JOURNAL
    whole = not journal.is_file() or not journal.stat().st_size or journal.read_bytes().endswith(b"\n")
    with journal.open("a", encoding="utf-8") as lines, _pool(kind, count) as pool:
        lines.write("" if whole else "\n")
        order = sorted(files, key=lambda file: -file.size)
        if pool is None:
            results: Iterator[dict[str, Any]] = (_index_shard(store, file, folder) for file in order)
        else:
            jobs = [pool.submit(_index_shard, store, file, folder) for file in order]
            results = (job.result() for job in as_completed(jobs))
        for entry in tqdm(results, total=len(files), desc="shards", disable=None if progress else True, leave=False):
            lines.write(json.dumps(entry) + "\n")
            lines.flush()
            done[entry["shard"]] = entry
    return done


@contextmanager
def _pool(kind: type[Executor], count: int) -> Generator[Executor | None]:
    """Workers; None for one, which needs no other process."""
    if count == 1:
        yield None
        return
    pool: Executor = kind(count)  # ty: ignore[too-many-positional-arguments]
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)  # a shard that is no tar file need not wait for all others


def _index_shard(store: Store, file: ShardFile, folder: Path) -> dict[str, Any]:
    """Writes the rows of one shard; returns its line of the journal."""
    shard = f"{store.where}/{file.name}"
    try:
        with store.open(file.name) as content:
            found = scan(content, file.size)
    except OSError as error:
        raise OSError(f"{shard}: cannot be read ({brief(error)})") from error
    except BrokenScene:
        raise
    except ValueError as error:
        raise ValueError(f"{shard}: {error}") from error
    write_whole(rows_file(folder, file.name), lambda target: np.save(target, found.rows))
    return {
        "format": FORMAT,
        "version": VERSION,
        "shard": file.name,
        "size": file.size,
        "stamp": file.stamp,
        "samples": len(found.rows),
        "problems": found.problems,
    }


def read_place(store: Store, place: Place) -> tuple[bytes, bytes]:
    """Content of the image and of the json file of a sample: in one request where they lie beside each other.

    Raises:
        BrokenScene: the shard is not the one that the index was built of, or cannot be read.
    """
    spans = [(member.block * BLOCK - BLOCK, member.block * BLOCK + member.size) for member in place[2:]]
    start, stop = min(span[0] for span in spans), max(span[1] for span in spans)
    wanted = sum(last - first for first, last in spans)
    if stop - start <= wanted + NEAR:
        whole = store.read(place.shard, start, stop - start)
        parts = [whole[first - start : last - start] for first, last in spans]
    else:
        parts = [store.read(place.shard, first, last - first) for first, last in spans]
    for member, part in zip(place[2:], parts, strict=True):
        if len(part) != BLOCK + member.size or zlib.crc32(part[:BLOCK]) != member.header:
            raise BrokenScene(
                f"{store.where}/{place.shard}: changed since its index was built (at {place.name}); "
                "open the dataset again"
            )
    return parts[0][BLOCK:], parts[1][BLOCK:]
