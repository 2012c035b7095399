"""The work that tests kill: an evaluation and a training, each as a function that a fresh process runs.

The processes are forked from a server that has imported the libraries and nothing else, so that a kill falls into
the work and not into the imports.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

IMPORTS = ["killable", "lightning", "clicklab.api", "clicklab.commands.train", "clicklab.methods.simpleclick"]
torch.set_num_threads(1)


def evaluate_shapes(weights: Path, folder: Path) -> None:
    """Twelve objects with six clicks each."""
    from clicklab import evaluate, load
    from data_modules.datasets import Shapes

    data = {"Shapes": Shapes(length=12, size=32)}
    evaluate(load(weights), data, output=folder, max_clicks=6, batch_size=2)


def fit(arguments: list[str]) -> None:
    """`clicklab fit` with these arguments."""
    from clicklab.commands.main import main

    code = main(["fit", *arguments])
    if code:
        sys.exit(code)


def _quietly(work: Callable[..., None], *arguments: object) -> None:
    """What the process runs: a session of its own, and nothing on the terminal."""
    os.setsid()  # so that a kill takes its children with it
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    work(*arguments)


class Killer:
    """Runs work in processes that may be killed on the way."""

    def __init__(self) -> None:
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(IMPORTS)

    def run(self, work: Callable[..., None], *arguments: object) -> float:
        """To the end; returns the seconds it took."""
        process = self._started(work, arguments)
        began = time.perf_counter()
        process.join()
        assert process.exitcode == 0
        return time.perf_counter() - began

    def killed(self, seconds: float, work: Callable[..., None], *arguments: object) -> bool:
        """Kills it after some seconds; whether it was still running."""
        process = self._started(work, arguments)
        process.join(seconds)
        if process.exitcode is not None:
            assert process.exitcode == 0
            return False
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:  # killed before it had its session
            process.kill()
        process.join()
        return True

    def _started(self, work: Callable[..., None], arguments: tuple[object, ...]) -> multiprocessing.process.BaseProcess:
        process = self.context.Process(target=_quietly, args=(work, *arguments))
        process.start()
        return process
