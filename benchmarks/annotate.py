"""What a click in `clicklab annotate` costs, in one run: shares and ratios, with the network that ships.

    python benchmarks/annotate.py
    python benchmarks/annotate.py --photos 500 --people 100

Ratios are formed of processor time of the server's process, so that a busy machine changes little.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from importlib.resources import files
from pathlib import Path

import torch
from PIL import Image

import clicklab
from clicklab.annotate.app import packed_json
from clicklab.annotate.desk import Desk, Person
from clicklab.annotate.engine import Engine
from clicklab.annotate.events import Event
from clicklab.annotate.photos import Photos, list_photos
from clicklab.annotate.store import Store
from clicklab.commands.errors import run_script
from data_modules.process_memory import keep_freed_memory

SMALL = (640, 480)
# (row, column) as shares of the photo, and the sign
CLICKS = (
    (0.5, 0.5, True),
    (0.4, 0.6, True),
    (0.95, 0.05, False),
    (0.6, 0.45, True),
    (0.1, 0.9, False),
    (0.5, 0.3, True),
)
ANNA = Person("anna", "Anna")


def make_photos(folder: Path, count: int, size: tuple[int, int]) -> None:
    """The free photos, scaled, each cut a little differently so that none is another's copy."""
    sources = sorted(path for path in (files("clicklab.annotate") / "samples").iterdir() if path.name.endswith(".jpg"))
    for number in range(count):
        with Image.open(str(sources[number % len(sources)])) as image:
            shift = number // len(sources) % 40
            part = image.crop((shift, shift, image.width, image.height))
            part.resize(size).save(folder / f"{number}.jpg", quality=90)


class Clock:
    """Processor time of the calls of some methods."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def watch(self, owner, name: str) -> None:
        method = getattr(owner, name)

        def timed(*arguments, **settings):
            began = time.process_time()
            try:
                return method(*arguments, **settings)
            finally:
                self.seconds += time.process_time() - began

        setattr(owner, name, timed)

    def taken(self) -> float:
        seconds, self.seconds = self.seconds, 0.0
        return seconds


def open_desk(folder: Path, session: clicklab.Session) -> Desk:
    """As the command makes it."""
    store = Store(folder / "clicklab")
    store.set_photos(list_photos(folder, folder / "clicklab")[0])
    store.add_class("object")
    photos = Photos(folder)
    return Desk(store, photos, Engine(lambda: clicklab.Session(session.predictor), photos, "clicklite"))


def click(desk: Desk, object_id: int, photo: dict, number: int, person: Person = ANNA) -> dict:
    """One click of a fixed pattern; the object after it."""
    y, x, positive = CLICKS[number % len(CLICKS)]
    place = (float(int(y * (photo["height"] - 1))), float(int(x * (photo["width"] - 1))))
    return desk.take(object_id, Event(f"click-{object_id}-{number}", "click", *place, positive), number, person)


def clicks_on_a_large_photo(session: clicklab.Session, network_clock: Clock, size: tuple[int, int]) -> dict:
    """Shares of a click; what encoding ahead saves; size of the answers."""
    session_clock = Clock()
    session_clock.watch(clicklab.Session, "answer_click")
    first, later, ahead, sizes, shares = [], [], [], [], []
    with tempfile.TemporaryDirectory() as name:
        make_photos(Path(name), 4, size)
        desk = open_desk(Path(name), session)
        for row in desk.photo_list():
            if row["id"] % 2 == 0:
                desk.prepare(row["id"])
            while desk.engine.busy():
                time.sleep(0.01)
            photo = desk.open_photo(row["id"], ANNA)
            found = desk.add_object(row["id"], 1, f"object-{row['id']}", ANNA)
            for number in range(len(CLICKS)):
                network_clock.taken(), session_clock.taken()
                began = time.process_time()
                answer = click(desk, found["id"], photo, number)
                seconds = time.process_time() - began
                (later if number else ahead if row["id"] % 2 == 0 else first).append(seconds)
                sizes.append(len(packed_json(answer)))
                if number:
                    shares.append((network_clock.taken() / seconds, session_clock.taken() / seconds))
        desk.close()
    usual = statistics.median(later)
    network, whole = (statistics.median(column) for column in zip(*shares, strict=True))
    return {
        "clicks on a photo of this size": [*size],
        "first click of a photo, in later ones": statistics.median(first) / usual,
        "first click of a photo encoded ahead, in later ones": statistics.median(ahead) / usual,
        "share of the session in a later click": whole,
        "share of the network's layers in a later click": network,
        "bytes of an answer, median": statistics.median(sizes),
        "bytes of an answer, most": max(sizes),
    }


def memory_over_many(session: clicklab.Session, count: int, size: tuple[int, int]) -> dict:
    """Resident memory after a fifth, after half and after all of many photos, one click each, the next one ahead."""
    with tempfile.TemporaryDirectory() as name:
        make_photos(Path(name), count, size)
        desk = open_desk(Path(name), session)
        seen = []
        for row in desk.photo_list():
            photo = desk.open_photo(row["id"], ANNA)
            desk.prepare(row["id"] + 1)
            click(desk, desk.add_object(row["id"], 1, f"object-{row['id']}", ANNA)["id"], photo, 0)
            desk.release(row["id"], ANNA.id)
            seen.append(resident())
        desk.close()
    return {
        "photos in turn": count,
        "their size": [*size],
        "megabytes at the end": seen[-1] / 1e6,
        "memory at the end, in that after a fifth of them": seen[-1] / seen[count // 5],
        "memory at the end, in that after half of them": seen[-1] / seen[count // 2],
    }


def resident() -> int:
    """Bytes in memory now (Linux); elsewhere the most so far."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def many_at_once(session: clicklab.Session, people: int) -> dict:
    """Everybody clicks on a photo of their own at the same moment."""
    wrong: list[int] = []
    waits: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        make_photos(Path(name), people, SMALL)
        desk = open_desk(Path(name), session)

        def work(number: int) -> None:
            person = Person(f"person-{number}", f"Person {number}")
            photo = desk.open_photo(number, person)
            found = desk.add_object(number, 1, f"object-{number}", person)
            for turn in range(3):
                began = time.perf_counter()
                answer = click(desk, found["id"], photo, turn, person)
                waits.append(time.perf_counter() - began)
                if len(answer["clicks"]) != turn + 1 or answer["id"] != found["id"]:
                    wrong.append(number)

        threads = [threading.Thread(target=work, args=(number + 1,)) for number in range(people)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        objects = [one for photo in desk.store.photos() for one in desk.store.objects(photo.id)]
        kept = sum(len(desk.store.events(one.id)) for one in objects)
        desk.close()
    return {
        "people at once": people,
        "their clicks": 3 * people,
        "clicks kept": kept,
        "clicks answered wrongly": len(wrong),
        "longest wait, in median ones": max(waits) / statistics.median(waits),
    }


def start_to_page() -> dict:
    """From the command to the first page, in seconds and in imports of torch."""
    unit = children_seconds([sys.executable, "-c", "import torch"])
    with tempfile.TemporaryDirectory() as name:
        make_photos(Path(name), 20, SMALL)
        command = [sys.executable, "-m", "clicklab", "annotate", name, "--port", "0", "--no-browser"]
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        address = next(line.split()[1] for line in process.stdout if line.startswith("open "))
        urllib.request.urlopen(address).read()
        seconds = time.perf_counter() - began
        process.terminate()
        process.wait()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "seconds from the command to the first page": seconds,
        "its processor time": used,
        "the same, in `import torch`": used / unit,
    }


def children_seconds(command: list[str]) -> float:
    """Processor time of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """All of it, one after the other."""
    parser = argparse.ArgumentParser(description="What a click in `clicklab annotate` costs.")
    parser.add_argument("--photos", type=int, default=40, help="for the memory (%(default)s)")
    parser.add_argument("--photo-size", type=int, nargs=2, default=SMALL, help="their width and height")
    parser.add_argument("--people", type=int, default=20, help="at once (%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("runs/bench/annotate.json"), metavar="FILE")
    parser.add_argument("--size", type=int, nargs=2, default=(4000, 3000), help="width and height of large photos")
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    network_clock, session = Clock(), clicklab.Session(clicklab.load())
    for name in ("start", "answer"):
        network_clock.watch(session.predictor.network, name)
    record = start_to_page()
    record |= clicks_on_a_large_photo(session, network_clock, tuple(options.size))
    record |= memory_over_many(session, options.photos, tuple(options.photo_size))
    record |= many_at_once(session, options.people)
    for name, value in record.items():
        print(f"{name}: {value:.3g}" if isinstance(value, float) else f"{name}: {value}")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    sys.exit(run_script(main))
