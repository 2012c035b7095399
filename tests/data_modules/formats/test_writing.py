"""A file appears whole or not at all, and a full disk is named with the file."""

from __future__ import annotations

import errno
import io
from pathlib import Path

import pytest

from data_modules.formats.writing import write_text, write_whole


def test_what_stood_there_stays_until_the_new_file_is_whole(tmp_path):
    path = tmp_path / "new" / "a.txt"
    write_text(path, "first")

    def fail(file):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left on device") as error:
        write_whole(path, fail)
    assert str(path) in str(error.value) and error.value.errno == errno.ENOSPC
    assert path.read_text() == "first" and [entry.name for entry in path.parent.iterdir()] == ["a.txt"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_ends_in_a_named_file(tmp_path, monkeypatch):
    """/dev/full takes no byte: the error carries no file name of its own."""
    monkeypatch.setattr(Path, "open", lambda self, mode: io.FileIO("/dev/full", "w"))
    with pytest.raises(OSError, match=r"a\.txt: cannot be written \(No space left.*free some space"):
        write_text(tmp_path / "a.txt", "x" * 100_000)
