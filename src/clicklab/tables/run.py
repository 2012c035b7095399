"""Runs what is missing, one command after the other; several processes may share the work."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from clicklab.tables.plan import Run, Site, mark_finished

LOG = "log.txt"


@contextmanager
def _taken(folder: Path) -> Generator[bool]:
    """Whether this process may work in a folder now; the lock dies with the process."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def run_missing(
    runs: Sequence[Run], site: Site, prepare: Callable[[Run], None], say: Callable[[str], None] = print
) -> int:
    """Runs every command that has not ended well yet; those that another process is at are left to it.

    Args:
        runs: in the order in which they are to be run.
        site: its folders are handed to the commands as DATA_ROOT and CHECKPOINTS.
        prepare: is called in a run's folder before its command.
        say: is told what goes on, line by line.

    Returns:
        How many commands failed or could not start; each is named with its log, and the others go on.
    """
    environment = os.environ | {"DATA_ROOT": str(site.data), "CHECKPOINTS": str(site.checkpoints)}
    failed = 0
    for run in runs:
        if run.is_finished:
            say(f"done already: {run.folder}")
            continue
        if run.missing:
            failed += 1
            say(f"cannot start: {run.folder} needs {', '.join(map(str, run.missing))}")
            continue
        with _taken(run.folder) as mine:
            if not mine:
                say(f"another process is at it: {run.folder}")
                continue
            if run.is_finished:
                continue
            prepare(run)
            say(f"running: {run.line()}")
            failed += not _ended_well(run, environment, say)
    return failed


def _ended_well(run: Run, environment: dict[str, str], say: Callable[[str], None]) -> bool:
    log = run.folder / LOG
    with log.open("a", encoding="utf-8") as file:
        command = [sys.executable, "-m", "clicklab.commands.main", *run.command]
        done = subprocess.run(command, stdout=file, stderr=file, env=environment)
    if done.returncode == 0:
        mark_finished(run)
        return True
    last = log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]
    say(f"failed (exit code {done.returncode}): {run.folder}: {last}; all of it: {log}")
    return False
