"""What a reader noticed about files that it could read: told once per kind, counted for `clicklab data check`."""

from __future__ import annotations

import warnings


class Notes:
    """Remarks on files, counted by kind. The first file of a kind is named in a warning, the others are only counted.

    A training set of 100,000 files with one and the same peculiarity gives one line, not 100,000.
    """

    def __init__(self) -> None:
        self._first: dict[str, str] = {}
        self._texts: dict[str, set[int]] = {}

    def add(self, kind: str, text: str) -> None:
        """Notes one file.

        Args:
            kind: a short name of the peculiarity, by which files are counted.
            text: one line that names the file and, where there is one, the setting that changes how it is read.
        """
        self._texts.setdefault(kind, set()).add(hash(text))  # a file that is read again counts once
        if kind not in self._first:
            self._first[kind] = text
            warnings.warn(text, stacklevel=2)

    def lines(self) -> list[str]:
        """One line per kind, in the order in which they were met."""
        return [
            text if len(self._texts[kind]) == 1 else f"{text} (and {len(self._texts[kind]) - 1} more like it)"
            for kind, text in self._first.items()
        ]


def brief(error: BaseException | str, length: int = 80) -> str:
    """The first line of a library's message, cut to `length` characters, for use inside a message of ours."""
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return first if len(first) <= length else f"{first[: length - 3]}..."


def shown(names: list[str], most: int = 3, length: int = 100) -> str:
    """Some names of a list for a message: `most` of them, in at most about `length` characters."""
    listed = ", ".join(brief(name, 40) for name in names[:most])
    return brief(listed, length) + (", ..." if len(names) > most else "")
