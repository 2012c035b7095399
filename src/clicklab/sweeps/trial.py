"""One trial: its training in a folder named by its parameters, and what is measured afterwards."""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clicklab.sweeps.spec import Sweep

LOG = "log.txt"
LOCK = ".trial"  # in a trial's folder: held by who works there


class TrialFailed(Exception):
    """A command of a trial did not end well; the message says where to look."""


def trial_folder(home: Path, values: Mapping[str, Any]) -> Path:
    """The folder of a set of parameters: a trial that was killed goes on there."""
    text = json.dumps(dict(sorted(values.items())), default=str)
    short = "-".join(f"{name.rpartition('.')[2]}={value}" for name, value in values.items())
    safe = "".join(letter if letter.isalnum() or letter in "=-._" else "_" for letter in short)[:80]
    return home / "trials" / f"{safe}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def train(sweep: Sweep, values: Mapping[str, Any], overlays: Sequence[str], folder: Path, group: str) -> float:
    """Trains a trial and returns its metric.

    Args:
        sweep: the file.
        values: parameter -> value.
        overlays: recipe files merged before the sweep's own.
        folder: of the trial.
        group: name of the W&B group that online runs are logged in.

    Raises:
        TrialFailed: the training ended badly, or logged no such metric.
    """
    words = sweep.words(values, overlays)
    words += [f"--trainer.default_root_dir={folder}", "--ckpt_path=last"]
    with taken(folder) as inherited:
        _run(words, folder, {"WANDB_RUN_GROUP": group}, inherited)
    found = last_logged(folder, sweep.metric)
    if found is None:
        raise TrialFailed(f"{folder} logged no {sweep.metric}: does the recipe measure it after training?")
    return found


@contextmanager
def taken(folder: Path) -> Generator[tuple[int, ...]]:
    """Has a trial's folder for this worker alone, and waits until it is free.

    The lock is handed to the trial's training, from its first moment on: of a worker that was killed by force it stays
    as long as the training that it began goes on.

    Args:
        folder: of the trial.

    Yields:
        The file descriptors that a command must inherit; none where there are no such locks (Windows).
    """
    try:
        import fcntl
    except ImportError:
        yield ()
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield (file.fileno(),)


def evaluate(sweep: Sweep, folder: Path) -> list[dict[str, Any]]:
    """Measures a trained trial once for every combination of the block `evaluate`; measured ones are read again.

    Returns:
        One row per combination and dataset: the options, `dataset`, and NoC by threshold.
    """
    rows: list[dict[str, Any]] = []
    checkpoint = folder / "checkpoints" / "last.ckpt"
    data = list(itertools.chain.from_iterable(("--data", word) for word in sweep.data))
    for number, options in enumerate(sweep.evaluations()):
        output = folder / "evaluations" / f"{number:03d}"
        flags = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        _run(["evaluate", str(checkpoint), *data, *flags, "--output", str(output)], folder, {})
        record = json.loads((output / "results.json").read_text(encoding="utf-8"))
        for dataset, entry in record["datasets"].items():
            rows.append(options | {"dataset": dataset} | {f"NoC@{at}": noc for at, noc in entry["noc"].items()})
    return rows


def last_logged(folder: Path, metric: str) -> float | None:
    """The last value of a metric in the CSV logs of a run and of all its parts; None where there is none."""
    found = None
    for path in sorted(folder.glob("logs/**/metrics.csv"), key=lambda path: path.stat().st_mtime):
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row.get(metric):
                    found = float(row[metric])
    return found


def _run(words: Sequence[str], folder: Path, environment: Mapping[str, str], inherited: tuple[int, ...] = ()) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOG).open("a", encoding="utf-8") as file:
        command = [sys.executable, "-m", "clicklab.commands.main", *words]
        process = subprocess.Popen(command, stdout=file, stderr=file, env=os.environ | environment, pass_fds=inherited)
        try:
            code = process.wait()
        except BaseException:  # Ctrl-C: the run keeps what it has; wait until it has written it
            process.terminate()
            process.wait()
            raise
    if code:
        last = (folder / LOG).read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]
        raise TrialFailed(f"exit code {code}: {last[:160]} (all of it: {folder / LOG})")
