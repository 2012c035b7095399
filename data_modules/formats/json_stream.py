"""Reading the lists of a large json file entry by entry, with the byte range of each, so that a 1 GB annotation never
stands in memory."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from data_modules.formats.notes import brief

WINDOW = 1 << 22  # bytes decoded at a time
CUT = 64  # a fault this close to the window's end may only mean that the window ends there
BLANK = re.compile(r"[ \t\n\r]*")


class Entry(NamedTuple):
    """One element of a list: the key of the list in the top-level object, the element's byte range in the file, its
    value.

    Text inside `value` is read byte by byte (latin-1); json.loads of the byte range gives it properly.
    """

    section: str
    start: int
    stop: int
    value: Any


def stream_entries(path: Path, sections: Collection[str]) -> Iterator[Entry]:
    """Yields the elements of the named top-level lists of a json file in file order; everything else is checked and
    skipped.

    Raises:
        ValueError: naming the file: cut off, not json, not an object at top level, or a section that is not a list or
        is missing.
    """
    seen = []
    with path.open("rb") as file:
        cursor = _Cursor(file, path)
        cursor.take("{")
        while True:
            key = cursor.value()
            cursor.take(":")
            if key in sections:
                seen.append(key)
                yield from _elements(cursor, key)
            else:
                cursor.value()
            if cursor.take(",}") == "}":
                break
    if missing := [section for section in sections if section not in seen]:
        raise ValueError(f"{path}: no list {missing[0]!r}; this is not a COCO or LVIS annotation file")


def _elements(cursor: _Cursor, section: str) -> Iterator[Entry]:
    cursor.take("[")
    if cursor.next_is("]"):
        cursor.take("]")
        return
    while True:
        start = cursor.position()
        value = cursor.value()
        yield Entry(section, start, cursor.position(), value)
        if cursor.take(",]") == "]":
            return


class _Cursor:
    """A place in the file; text is decoded as latin-1, so that characters count bytes."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.file, self.path = file, path
        self.text, self.at, self.base, self.at_end = "", 0, 0, False
        self.decoder = json.JSONDecoder()
        self._load(WINDOW)
        if self.text.startswith("\xef\xbb\xbf"):
            self.at = 3

    def position(self) -> int:
        """Byte offset in the file."""
        return self.base + self.at

    def next_is(self, character: str) -> bool:
        """Whether the next character that is not blank is this one."""
        self._skip_blank()
        return self.text[self.at : self.at + 1] == character

    def take(self, expected: str) -> str:
        """Steps over the next character, which must be one of `expected`, and returns it."""
        self._skip_blank()
        found = self.text[self.at : self.at + 1]
        if not found:
            raise self._cut_off()
        if found not in expected:
            raise ValueError(
                f"{self.path}: not a COCO or LVIS annotation file: {found!r} at byte {self.position()}, "
                f"where {' or '.join(map(repr, expected))} should stand"
            )
        self.at += 1
        self._skip_blank()
        return found

    def value(self) -> Any:
        """Decodes the json value that starts here and steps over it."""
        size = WINDOW
        while True:
            try:
                value, stop = self.decoder.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                open_string = error.msg.startswith("Unterminated string")
                if self.at_end and (open_string or not self.text[error.pos :].strip()):
                    raise self._cut_off() from error
                if self.at_end or (not open_string and len(self.text) - error.pos > CUT):
                    raise ValueError(
                        f"{self.path}: broken json at byte {self.base + error.pos} ({error.msg})"
                    ) from error
            except RecursionError as error:
                raise ValueError(f"{self.path}: json nested too deeply at byte {self.position()}") from error
            except ValueError as error:  # a number of thousands of digits
                raise ValueError(f"{self.path}: broken json at byte {self.position()} ({brief(error)})") from error
            else:
                # a number at the window's end may go on behind it
                if stop < len(self.text) or self.at_end:
                    self.at = stop
                    return value
            self._load(size)
            size *= 2

    def _skip_blank(self) -> None:
        while True:
            blank = BLANK.match(self.text, self.at)
            self.at = blank.end() if blank else self.at
            if self.at < len(self.text) or self.at_end:
                return
            self._load(WINDOW)

    def _load(self, size: int) -> None:
        """The next window: `size` bytes from the present place on."""
        self.base, self.at = self.position(), 0
        self.file.seek(self.base)
        content = self.file.read(size)
        self.text, self.at_end = content.decode("latin-1"), len(content) < size

    def _cut_off(self) -> ValueError:
        return ValueError(
            f"{self.path}: the file ends in the middle (at byte {self.base + len(self.text)}); fetch or unpack it again"
        )
