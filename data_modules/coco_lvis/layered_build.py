"""Filling a folder of layered ids in parallel, image by image, so that it can be stopped at any point and goes on from
there."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
from tqdm import tqdm

from data_modules.formats.layered_store import (
    LayeredIds,
    begin,
    count_instances,
    image_folder,
    layered_file,
    write_index,
    write_layered,
)
from data_modules.scenes import BrokenScene

CHUNK = 8  # images that a process takes at a time: what an interruption may have to wait for


class Made(NamedTuple):
    """The objects of one image, and what was wrong with single ones of them."""

    ids: LayeredIds
    problems: list[str]


class Outcome(NamedTuple):
    """What became of one image: the number of its instances, None when it had to be left out; and what was wrong."""

    name: str
    instances: int | None
    problems: list[str]


@dataclass(frozen=True)
class BuildReport:
    """What a build did.

    Attributes:
        folder: where the files are.
        images: images with at least one object.
        objects: instances in them, stuff not counted.
        empty: images without any object; they are not in the index.
        done_before: images that an earlier run had finished.
        left_out: name -> why, images that could not be made; another run tries them again.
        problems: what was wrong and was survived, one line each.
        without_image: what the reader will not find, in one line; empty where all images are there.
    """

    folder: Path
    images: int
    objects: int
    empty: int
    done_before: int
    left_out: Mapping[str, str]
    problems: tuple[str, ...]
    without_image: str = ""

    @property
    def ok(self) -> bool:
        """Nothing had to be left out."""
        return not self.left_out

    def __str__(self) -> str:
        lines = [f"{self.folder}: {self.images} images with {self.objects} objects"]
        lines += [f"{self.done_before} images were finished by an earlier run"] * bool(self.done_before)
        lines += [f"{self.empty} images have no object and are not listed"] * bool(self.empty)
        lines += [f"images: {self.without_image}"] * bool(self.without_image)
        lines += [f"problem: {problem}" for problem in self.problems]
        lines += [f"left out: {name}: {reason}" for name, reason in self.left_out.items()]
        return "\n".join(lines)


def fill_folder(
    folder: Path,
    recipe: Mapping[str, Any],
    names: Sequence[str],
    make: Callable[[int], Made],
    *,
    images: Path | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> BuildReport:
    """Makes the layered ids of every image that is not there yet, then the index.

    Args:
        folder: the folder of the split, made when missing.
        recipe: what the files depend on; a folder begun with another one is refused.
        names: image names, all different.
        make: index into `names` -> objects of that image. Sent to other processes once, so it has to be picklable. A
            BrokenScene or ValueError from it leaves that image out and is reported.
        images: folder of the images, noted in the index.
        workers: processes; 0 or 1 work in this one, None takes one per processor.
        progress: show a progress bar.

    Raises:
        ValueError: two images have one name, or the folder was begun with another recipe.
    """
    if len(set(names)) != len(names):
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise ValueError(f"two images have the name {twice!r}; their files would overwrite each other")
    finished = _finished(folder, begin(folder, recipe), names)
    todo = [index for index, name in enumerate(names) if name not in finished]
    task = _Task(folder, tuple(names), make)
    counts, left_out, problems = dict(finished), {}, []
    with tqdm(total=len(names), initial=len(finished), disable=not progress, unit="image", desc=folder.name) as bar:
        for outcome in _outcomes(task, todo, os.cpu_count() or 1 if workers is None else workers):
            bar.update()
            if outcome.instances is None:
                left_out[outcome.name] = "; ".join(outcome.problems)
            else:
                counts[outcome.name] = outcome.instances
                problems += [f"{outcome.name}: {problem}" for problem in outcome.problems]
    listed = {name: count for name, count in counts.items() if count}
    write_index(folder, listed, images)
    empty = len(counts) - len(listed)
    objects, without_image = sum(listed.values()), _without_image(folder, listed, images)
    return BuildReport(folder, len(listed), objects, empty, len(finished), left_out, tuple(problems), without_image)


def _without_image(folder: Path, names: Iterable[str], noted: Path | None) -> str:
    """`BuildReport.without_image`: better said now than in the middle of a training."""
    images = image_folder(folder, noted)
    if not images.is_dir():
        return f"no folder of them is known: put them into {images}, or build with --images FOLDER"
    present = {path.name for path in images.iterdir()}
    missing = [name for name in names if f"{name}.jpg" not in present]
    return f"{len(missing)} are not in {images}, for example {min(missing)}.jpg" if missing else ""


def _finished(folder: Path, present: set[str], names: Sequence[str]) -> dict[str, int]:
    """Instances of every wanted image that an earlier run made; damaged files (a lost disk write) are made again."""
    finished = {}
    for name in present.intersection(names):
        try:
            finished[name] = count_instances(layered_file(folder, name))
        except BrokenScene:
            continue
    return finished


@dataclass(frozen=True)
class _Task:
    folder: Path
    names: tuple[str, ...]
    make: Callable[[int], Made]

    def __call__(self, index: int) -> Outcome:
        name = self.names[index]
        try:
            made = self.make(index)
            write_layered(layered_file(self.folder, name), made.ids)
        except ValueError as error:  # BrokenScene is one
            return Outcome(name, None, [str(error)])
        return Outcome(name, int((~made.ids.stuff).sum()), made.problems)


_task: _Task | None = None


def _take_task(task: _Task) -> None:
    """Keeps the task in a worker process, which leaves interruptions to the main process."""
    global _task
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    _task = task


def _run_task(index: int) -> Outcome:
    assert _task is not None, "set by the initializer of the pool"
    return _task(index)


def _outcomes(task: _Task, todo: Iterable[int], workers: int) -> Iterator[Outcome]:
    if workers <= 1:
        yield from map(task, todo)
        return
    # fresh processes: forking a process that has started OpenCV or torch threads may hang
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_take_task, initargs=(task,)) as pool:
        try:
            yield from pool.map(_run_task, todo, chunksize=CHUNK)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
