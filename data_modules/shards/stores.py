"""Where shards lie: a folder, or an object store behind a URL (`fsspec`)."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol, TypeVar

from data_modules.formats.notes import brief
from data_modules.scenes import BrokenScene

Answer = TypeVar("Answer")
OPEN_FILES = 64  # of one process
WAITS = (0.5, 2.0, 8.0)  # seconds between the tries of a request that fails
SCAN_BLOCK = 2**18  # bytes that an object store gives at once while a shard is scanned: headers lie closer than images
VERSION_KEYS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "created")


class ShardFile(NamedTuple):
    """One shard: its name below the root, its bytes, and a stamp that is another one after a change."""

    name: str
    size: int
    stamp: str


class Store(Protocol):
    """What the readers of shards need of a place; it is pickled into data workers.

    Attributes:
        where: the folder or URL, for messages.
        remote: a request takes so long that many should be under way at a time.
    """

    where: str
    remote: bool

    def shards(self, pattern: str) -> list[ShardFile]:
        """The files whose name below the root matches, sorted by name."""

    def read(self, name: str, start: int, length: int) -> bytes:
        """Bytes of a shard; fewer at its end. Raises BrokenScene naming a shard that is gone or cannot be read."""

    def open(self, name: str) -> BinaryIO:
        """A shard for the look at its headers from front to back."""


class Folder:
    """A folder and all below it."""

    remote = False

    def __init__(self, root: Path) -> None:
        self.root, self.where = root, str(root)
        self._open: OrderedDict[str, int] = OrderedDict()  # name -> file descriptor, the last used one at the end

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "where": self.where}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["root"])

    def __del__(self) -> None:
        for descriptor in self.__dict__.get("_open", {}).values():
            os.close(descriptor)

    def shards(self, pattern: str) -> list[ShardFile]:
        """As `Store.shards`."""
        found = []
        for path in self.root.rglob("*"):
            name = path.relative_to(self.root).as_posix()
            if fnmatch(name, pattern) and path.is_file():
                facts = path.stat()
                found.append(ShardFile(name, facts.st_size, str(facts.st_mtime_ns)))
        return sorted(found)

    def read(self, name: str, start: int, length: int) -> bytes:
        """As `Store.read`. A position goes along with each read, so that forked workers may share a descriptor."""
        try:
            return os.pread(self._descriptor(name), length, start)
        except OSError as error:
            raise BrokenScene(f"{self.root / name}: cannot be read ({error.strerror or error})") from error

    def open(self, name: str) -> BinaryIO:
        """As `Store.open`; a header is all that is wanted of most places."""
        return (self.root / name).open("rb", buffering=4096)

    def _descriptor(self, name: str) -> int:
        if name in self._open:
            self._open.move_to_end(name)
            return self._open[name]
        if len(self._open) == OPEN_FILES:
            os.close(self._open.popitem(last=False)[1])
        descriptor = self._open[name] = os.open(self.root / name, os.O_RDONLY)
        return descriptor


class ObjectStore:
    """What `fsspec` opens by a URL (s3://bucket/folder, gs://..., https://...).

    A request that fails is tried again. A store that does not answer then ends the run: each of its scenes would be
    left out otherwise, and the epoch be full of holes.
    """

    remote = True

    def __init__(self, url: str) -> None:
        self.where = url.rstrip("/")
        self._opened: tuple[int, Any, str] | None = None  # process, file system, folder

    def __getstate__(self) -> dict[str, Any]:
        return {"where": self.where}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["where"])

    def shards(self, pattern: str) -> list[ShardFile]:
        """As `Store.shards`."""
        _, _, folder = self._system()
        listed = self._asked(lambda system: system.find(folder, detail=True), "")
        found = []
        for path, facts in listed.items():
            name = path.removeprefix(folder).lstrip("/")
            if fnmatch(name, pattern):
                stamp = next((str(facts[key]) for key in VERSION_KEYS if facts.get(key)), "")
                found.append(ShardFile(name, int(facts["size"]), stamp))
        return sorted(found)

    def read(self, name: str, start: int, length: int) -> bytes:
        """As `Store.read`."""
        path = self._path(name)
        return self._asked(lambda system: system.cat_file(path, start=start, end=start + length), name)

    def open(self, name: str) -> BinaryIO:
        """As `Store.open`."""
        path = self._path(name)
        return self._asked(lambda system: system.open(path, "rb", block_size=SCAN_BLOCK, cache_type="readahead"), name)

    def _path(self, name: str) -> str:
        return f"{self._system()[2]}/{name}"

    def _asked(self, request: Callable[[Any], Answer], name: str) -> Answer:
        """The answer of the store. Raises BrokenScene for a shard that is gone, OSError for a store that is silent."""
        shard = f"{self.where}/{name}".rstrip("/")
        for wait in (*WAITS, None):
            try:
                return request(self._system()[1])
            except FileNotFoundError as error:
                raise BrokenScene(f"{shard}: is not there any more; open the dataset again") from error
            except Exception as error:  # every file system has errors of its own
                if wait is None:
                    raise OSError(
                        f"{shard}: the store does not answer ({type(error).__name__}: {brief(error)}); when it does, "
                        "the same command goes on from the last checkpoint"
                    ) from error
                time.sleep(wait)
        raise AssertionError("the last try returns or raises")

    def _system(self) -> tuple[int, Any, str]:
        """File system and folder, opened anew in a forked process: connections do not survive that."""
        if self._opened is None or self._opened[0] != os.getpid():
            import fsspec

            try:
                system, folder = fsspec.core.url_to_fs(self.where, skip_instance_cache=True)
            except (ImportError, ValueError) as error:  # the package for this kind of URL is missing, or no such kind
                raise ValueError(f"{self.where}: cannot be opened ({brief(error, 160)})") from error
            self._opened = (os.getpid(), system, folder.rstrip("/"))
        return self._opened


def open_store(root: str | Path | None, page: str) -> Store:
    """The place of a folder or URL.

    Raises:
        FileNotFoundError: no such folder; `page` says where the set comes from.
    """
    if isinstance(root, str) and "://" in root:
        return ObjectStore(root)
    if root is None or not Path(root).expanduser().is_dir():
        told = "a folder or URL is needed here" if root is None else f"the folder {root} is missing"
        raise FileNotFoundError(f"{told}; the set comes from {page}")
    return Folder(Path(root).expanduser())
