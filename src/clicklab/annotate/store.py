"""The store: one SQLite file in the output folder, in which every event is a row before its answer goes out.

WAL with full synchronisation: a killed server or a power cut loses no committed row, and exports may read while people
work. One server writes (a lock file says so to a second one); its threads take turns.
"""

from __future__ import annotations

import fcntl
import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clicklab.annotate.events import BadRequest, Event, History

SCHEMA = 1
FILE = "annotations.sqlite"
LEASE_SECONDS = 60.0
PHOTO_STATES = ("todo", "doing", "done", "skipped")

TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE class (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE photo (
    id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, hash TEXT, width INTEGER, height INTEGER,
    state TEXT NOT NULL DEFAULT 'todo', present INTEGER NOT NULL DEFAULT 1,
    holder TEXT, holder_name TEXT, held_until REAL NOT NULL DEFAULT 0,
    changed INTEGER NOT NULL DEFAULT 0, written INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE object (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, photo INTEGER NOT NULL REFERENCES photo, class INTEGER NOT NULL
    REFERENCES class, state TEXT NOT NULL DEFAULT 'open', counts TEXT, length INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX object_photo ON object (photo);
CREATE TABLE event (
    id INTEGER PRIMARY KEY, object INTEGER NOT NULL REFERENCES object, number INTEGER NOT NULL, key TEXT NOT NULL
    UNIQUE, time REAL NOT NULL, person TEXT NOT NULL, kind TEXT NOT NULL, y REAL, x REAL, positive INTEGER,
    payload TEXT NOT NULL, counts TEXT, network TEXT, seconds REAL, UNIQUE (object, number)
);
"""


class Conflict(Exception):
    """Somebody else was there first; the text says who or what, and what to do."""


@dataclass(frozen=True)
class Photo:
    """A photo. `path` is relative to the photos' folder, with slashes; sizes and hash are known once it was read."""

    id: int
    path: str
    hash: str | None
    width: int | None
    height: int | None
    state: str
    present: bool
    holder: str | None
    holder_name: str | None
    held_until: float


@dataclass(frozen=True)
class Annotated:
    """An object as it stands: `counts` are the run lengths of its mask, `length` the number of its next event."""

    id: int
    key: str
    photo: int
    class_id: int
    state: str
    counts: str | None
    length: int


class Store:
    """The annotations of one folder.

    Args:
        folder: the output folder; made if absent.
        writing: takes the lock, which one server holds.

    Raises:
        FileNotFoundError: reading, and nothing was annotated there.
        ValueError: the file is of another version of ClickLab, or no such file; or another server has the lock.
    """

    def __init__(self, folder: str | Path, writing: bool = True) -> None:
        self.folder = Path(folder)
        self.file = self.folder / FILE
        if not writing and not self.file.is_file():
            raise FileNotFoundError(f"{self.folder} holds no annotations: give the folder of `annotate --output`")
        self._lock_file = _locked(self.folder) if writing else None
        self._turn = threading.RLock()
        self._rows = sqlite3.connect(self.file, check_same_thread=False, isolation_level=None, timeout=30)
        self._rows.row_factory = sqlite3.Row
        try:
            self._open(writing)
        except sqlite3.DatabaseError as error:
            self.close()
            raise ValueError(
                f"{self.file}: not a file of annotations ({error}); move it away or use another --output"
            ) from error
        except BaseException:
            self.close()
            raise

    def _open(self, writing: bool) -> None:
        if writing:
            self._rows.execute("PRAGMA journal_mode = WAL")
            self._rows.execute("PRAGMA synchronous = FULL")
        self._rows.execute("PRAGMA foreign_keys = ON")
        with self._writing() if writing else self._turn:
            names = {row["name"] for row in self._rows.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not names and writing:
                for statement in TABLES.split(";\n"):
                    self._rows.execute(statement)
                meta = [("schema", str(SCHEMA)), ("identity", secrets.token_hex(8))]
                self._rows.executemany("INSERT INTO meta VALUES (?, ?)", meta)
                return
            row = self._rows.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()
        if row is None or row["value"] != str(SCHEMA):
            found = "none" if row is None else row["value"]
            raise ValueError(
                f"{self.file} was written by another version of ClickLab (schema {found}, this one reads {SCHEMA}): "
                "use that version, or another --output"
            )

    def close(self) -> None:
        """Lets the file and the lock go."""
        with self._turn:
            self._rows.close()
        if self._lock_file is not None:
            self._lock_file.close()
            self._lock_file = None

    @property
    def identity(self) -> str:
        """Different for every store."""
        return self._read("SELECT value FROM meta WHERE key = 'identity'")[0]["value"]

    # ---- photos and classes

    def set_photos(self, paths: Sequence[str]) -> None:
        """What lies in the folder now: new photos are added, missing ones stay with all that belongs to them."""
        with self._writing():
            self._rows.execute("UPDATE photo SET present = 0")
            known = "INSERT INTO photo (path) VALUES (?) ON CONFLICT (path) DO UPDATE SET present = 1"
            self._rows.executemany(known, [(path,) for path in paths])

    def photos(self) -> list[Photo]:
        """All photos, in the order in which they came."""
        return [_photo(row) for row in self._read("SELECT * FROM photo ORDER BY id")]

    def photo(self, photo_id: int) -> Photo:
        """Raises KeyError: there is no such photo."""
        rows = self._read("SELECT * FROM photo WHERE id = ?", photo_id)
        if not rows:
            raise KeyError(f"there is no photo {photo_id}")
        return _photo(rows[0])

    def set_content(self, photo_id: int, content_hash: str, width: int, height: int) -> None:
        """Keeps what was read of a photo."""
        with self._writing():
            query = "UPDATE photo SET hash = ?, width = ?, height = ? WHERE id = ?"
            self._rows.execute(query, (content_hash, width, height, photo_id))

    def set_photo_state(self, photo_id: int, state: str) -> None:
        """Raises BadRequest: no such state."""
        if state not in PHOTO_STATES:
            raise BadRequest(f"state must be one of {', '.join(PHOTO_STATES)}")
        with self._writing():
            self._rows.execute("UPDATE photo SET state = ? WHERE id = ?", (state, photo_id))

    def lease(self, photo_id: int, person: str, name: str, now: float | None = None) -> Photo:
        """Keeps a photo for one person for a minute.

        Raises:
            Conflict: somebody else has it.
            KeyError: there is no such photo.
        """
        now = time.time() if now is None else now
        with self._writing():
            self._need_lease(photo_id, person, now)
            query = "UPDATE photo SET holder = ?, holder_name = ?, held_until = ? WHERE id = ?"
            self._rows.execute(query, (person, name, now + LEASE_SECONDS, photo_id))
            return self.photo(photo_id)

    def release(self, photo_id: int, person: str) -> None:
        """Gives a photo back; nothing happens where it was not one's own."""
        with self._writing():
            query = "UPDATE photo SET holder = NULL, holder_name = NULL, held_until = 0 WHERE id = ? AND holder = ?"
            self._rows.execute(query, (photo_id, person))

    def need_lease(self, photo_id: int, person: str, now: float | None = None) -> None:
        """Raises Conflict where somebody else holds the photo."""
        with self._turn:
            self._need_lease(photo_id, person, time.time() if now is None else now)

    def _need_lease(self, photo_id: int, person: str, now: float) -> None:
        photo = self.photo(photo_id)
        if photo.holder not in (None, person) and photo.held_until > now:
            raise Conflict(f"{photo.holder_name or 'Somebody else'} is working on this photo; take another one (D)")

    def classes(self) -> dict[int, str]:
        """Id -> name, in the order of the digits that choose them."""
        return {row["id"]: row["name"] for row in self._read("SELECT * FROM class ORDER BY id")}

    def add_class(self, name: str) -> int:
        """The id of a class; it is made if it is new."""
        with self._writing():
            self._rows.execute("INSERT INTO class (name) VALUES (?) ON CONFLICT DO NOTHING", (name,))
            return self._rows.execute("SELECT id FROM class WHERE name = ?", (name,)).fetchone()["id"]

    # ---- objects and events

    def add_object(self, photo_id: int, class_id: int, key: str) -> Annotated:
        """A new object; the same key again gives the same one.

        Raises:
            KeyError: there is no such photo or class.
            Conflict: the key stands for an object of another photo.
        """
        if class_id not in self.classes():
            raise KeyError(f"there is no class {class_id}")
        self.photo(photo_id)
        with self._writing():
            query = "INSERT INTO object (key, photo, class) VALUES (?, ?, ?) ON CONFLICT (key) DO NOTHING"
            self._rows.execute(query, (key, photo_id, class_id))
            row = self._rows.execute("SELECT * FROM object WHERE key = ?", (key,)).fetchone()
        if row["photo"] != photo_id:
            raise Conflict("this key belongs to an object of another photo: reload the page")
        return _object(row)

    def set_class(self, object_id: int, class_id: int) -> None:
        """Raises KeyError: there is no such object or class."""
        if class_id not in self.classes():
            raise KeyError(f"there is no class {class_id}")
        photo = self.object(object_id).photo
        with self._writing():
            self._rows.execute("UPDATE object SET class = ? WHERE id = ?", (class_id, object_id))
            self._touch(photo)

    def object(self, object_id: int) -> Annotated:
        """Raises KeyError: there is no such object."""
        rows = self._read("SELECT * FROM object WHERE id = ?", object_id)
        if not rows:
            raise KeyError(f"there is no object {object_id}")
        return _object(rows[0])

    def objects(self, photo_id: int) -> list[Annotated]:
        """The objects of a photo, oldest first, deleted ones included."""
        return [_object(row) for row in self._read("SELECT * FROM object WHERE photo = ? ORDER BY id", photo_id)]

    def events(self, object_id: int) -> list[Event]:
        """All events of an object."""
        return [_event(row) for row in self._read("SELECT * FROM event WHERE object = ? ORDER BY number", object_id)]

    def known_event(self, key: str) -> tuple[int, Event] | None:
        """(object, event) of a key that was seen before."""
        rows = self._read("SELECT * FROM event WHERE key = ?", key)
        return (rows[0]["object"], _event(rows[0])) if rows else None

    def append(self, object_id: int, event: Event, number: int) -> History:
        """Writes one event; it is on the disk when this returns.

        Args:
            object_id: whose.
            event: with the mask after it, if it is a step.
            number: how many events the object had when this one was made.

        Raises:
            Conflict: the object has had other events since.
            KeyError: there is no such object.
            events.BadRequest: the event is impossible now.
        """
        with self._writing():
            found = self.object(object_id)
            if found.length != number:
                raise Conflict("the object was changed in another window: reload the page (F5), nothing is lost")
            history = History.of(self.events(object_id)).after(event)
            query = "INSERT INTO event VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            values = (object_id, number, event.key, event.time, event.person, event.kind, event.y, event.x)
            more = (event.positive, json.dumps(dict(event.payload)), event.counts, event.network, event.seconds)
            self._rows.execute(query, (*values, *more))
            query = "UPDATE object SET state = ?, counts = ?, length = ? WHERE id = ?"
            self._rows.execute(query, (history.state, history.counts, history.length, object_id))
            self._rows.execute(
                "UPDATE photo SET state = 'doing' WHERE id = ? AND state IN ('todo', 'skipped')", (found.photo,)
            )
            self._touch(found.photo)
        return history

    # ---- which photos have masks that are not in a file yet

    def unwritten(self) -> list[int]:
        """Photos whose objects changed since `set_written`."""
        return [row["id"] for row in self._read("SELECT id FROM photo WHERE changed > written ORDER BY id")]

    def changes(self, photo_id: int) -> int:
        """How often the objects of a photo changed."""
        return self._read("SELECT changed FROM photo WHERE id = ?", photo_id)[0]["changed"]

    def set_written(self, photo_id: int, changes: int) -> None:
        """The file of a photo holds what stood after so many changes."""
        with self._writing():
            self._rows.execute("UPDATE photo SET written = ? WHERE id = ?", (changes, photo_id))

    def _touch(self, photo_id: int) -> None:
        self._rows.execute("UPDATE photo SET changed = changed + 1 WHERE id = ?", (photo_id,))

    def _read(self, query: str, *values: Any) -> list[sqlite3.Row]:
        with self._turn:
            return self._rows.execute(query, values).fetchall()

    @contextmanager
    def _writing(self) -> Generator[None]:
        """One transaction: all of it or nothing."""
        with self._turn:
            if self._rows.in_transaction:  # part of a larger one
                yield
                return
            self._rows.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._rows.execute("COMMIT")
            except BaseException:
                if self._rows.in_transaction:
                    self._rows.execute("ROLLBACK")
                raise


def _locked(folder: Path) -> Any:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("a")
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"nothing can be written in {folder} ({reason}): give another folder, --output DIR") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise ValueError(
            f"another `clicklab annotate` is at work in {folder}: use its page, or stop it first"
        ) from error
    return file


def _photo(row: sqlite3.Row) -> Photo:
    names = ("id", "path", "hash", "width", "height", "state")
    held = ("holder", "holder_name", "held_until")
    return Photo(*(row[name] for name in names), bool(row["present"]), *(row[name] for name in held))


def _object(row: sqlite3.Row) -> Annotated:
    return Annotated(*(row[name] for name in ("id", "key", "photo", "class", "state", "counts", "length")))


def _event(row: sqlite3.Row) -> Event:
    positive = None if row["positive"] is None else bool(row["positive"])
    answer = (row["counts"], row["time"], row["network"], row["seconds"], row["person"])
    return Event(row["key"], row["kind"], row["y"], row["x"], positive, json.loads(row["payload"]), *answer)


def histories(store: Store, photo_id: int) -> Iterable[tuple[Annotated, History]]:
    """The objects of a photo that are not deleted, each with its history."""
    for found in store.objects(photo_id):
        if found.state != "deleted":
            yield found, History.of(store.events(found.id))
