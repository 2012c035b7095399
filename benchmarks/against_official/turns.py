"""Two codes measured fairly in one run: each in a process of its own, with its own memory, working in turns."""

from __future__ import annotations

import multiprocessing
import resource
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

Work = Callable[[Any], Any]  # a job of this side -> its answer


@dataclass(frozen=True)
class Done:
    """An answer, the seconds that it took, and the most memory that the process ever had (GiB)."""

    answer: Any
    seconds: float
    peak: float


def _serve(pipe: Connection, prepare: Callable[..., Work], settings: dict[str, Any]) -> None:
    try:
        work = prepare(**settings)
        while (job := pipe.recv()) is not None:
            began = time.perf_counter()
            answer = work(job)
            seconds = time.perf_counter() - began
            pipe.send(Done(answer, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20))
    except Exception as error:
        traceback.print_exc()
        pipe.send(f"{type(error).__name__}: {error}")


class Side:
    """A process that prepares itself by `prepare(**settings)` and then does a job whenever it is asked to."""

    def __init__(self, prepare: Callable[..., Work], **settings: Any) -> None:
        self._name = prepare.__name__
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, prepare, settings), daemon=True)
        self._process.start()
        theirs.close()  # so that the end of the process is noticed here

    def __call__(self, job: Any) -> Done:
        """Waits for the answer; whoever calls decides whose turn it is.

        Raises:
            RuntimeError: what went wrong on the other side, which has printed where.
        """
        with suppress(OSError):  # it has ended already; what it said of that is still to be read
            self._pipe.send(job)
        try:
            done = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise RuntimeError(f"{self._name} ended without a word: killed, for want of memory?") from error
        if isinstance(done, str):
            raise RuntimeError(f"{self._name}: {done}")
        return done

    def close(self) -> None:
        """Ends the process."""
        self._pipe.send(None)
        self._process.join()
