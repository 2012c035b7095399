"""Where the annotations of each image stand in a COCO or LVIS json file: a few numbers per object instead of the
objects themselves.

118,000 images with 1.2 million objects take 20.5 MiB here (the parsed file takes several GB). The polygons of an
image are read from the file when the image is asked for.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_modules.formats.files import need_inside
from data_modules.formats.image_reading import MAX_PIXELS
from data_modules.formats.json_stream import stream_entries
from data_modules.formats.notes import brief
from data_modules.formats.rasterise import run_length_size, segmentation_fault, size_fault
from data_modules.scenes import BrokenScene

COCO_FILE = re.compile(r"(?:COCO_[a-z]+20\d\d_)?(?P<name>\d{12}\.\w+)", re.ASCII)
SHOWN = 3  # examples named per kind of problem
UNDRAWN = "annotations that cannot be drawn"
KINDS = 20  # most kinds of problems that are told apart
LARGEST_NUMBER = 2**63 - 1
LONGEST = 65535  # side of an image in pixels: that of the largest JPEG


@dataclass(frozen=True)
class InstanceIndex:
    """Images in file order, and for each the byte ranges of its annotations in file order.

    Attributes:
        path: the json file; it has to stay as it is while the index is used.
        image_ids: (I,) int64.
        sizes: (I, 2) int32 height, width.
        names: (I,) bytes, utf-8: the image file as `name_of` gave it.
        first: (I + 1,) int64: the annotations of image i are rows first[i]..first[i + 1].
        starts, lengths: (A,) int64 and int32, byte ranges.
        crowds: (A,) bool, `iscrowd`.
        panoptic: annotations are segment lists of a panoptic file (one per image).
        things: category ids with `isthing` (panoptic files only).
        problems: what is wrong with the file and was survived, one line per kind of problem.
    """

    path: Path
    image_ids: np.ndarray
    sizes: np.ndarray
    names: np.ndarray
    first: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    crowds: np.ndarray
    panoptic: bool
    things: frozenset[int]
    problems: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.image_ids)

    def name(self, image: int) -> str:
        """Image file of an image, as `name_of` gave it."""
        return self.names[image].decode()

    def size(self, image: int) -> tuple[int, int]:
        """(H, W) as the file states it."""
        return int(self.sizes[image, 0]), int(self.sizes[image, 1])

    def rows(self, image: int) -> range:
        """Rows of the image's annotations."""
        return range(int(self.first[image]), int(self.first[image + 1]))

    def annotations(self, image: int, crowds: bool = True) -> list[dict[str, Any]]:
        """The annotations of an image in file order. Raises BrokenScene when the file is gone or has changed."""
        found = []
        try:
            with self.path.open("rb") as file:
                for row in self.rows(image):
                    if crowds or not self.crowds[row]:
                        file.seek(int(self.starts[row]))
                        found.append(json.loads(file.read(int(self.lengths[row])).decode(errors="surrogateescape")))
            if any(entry["image_id"] != self.image_ids[image] for entry in found):
                raise ValueError("other image ids")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BrokenScene(
                f"{self.path}: changed or removed since it was opened ({brief(error)}); open the dataset again"
            ) from error
        return found

    def memory(self) -> int:
        """Bytes that the index holds."""
        arrays = (self.image_ids, self.sizes, self.names, self.first, self.starts, self.lengths, self.crowds)
        return sum(values.nbytes for values in arrays)


def name_from_file_name(image: Mapping[str, Any]) -> str:
    """COCO: the image file is `file_name`, relative to the image folder."""
    return str(image["file_name"])


def name_from_url(image: Mapping[str, Any]) -> str:
    """LVIS: `train2017/<12 digits>.jpg` from `coco_url`, because images of one LVIS split lie in both COCO folders.

    Without such a url (re-exported files): the twelve digits of a COCO name (`COCO_val2014_000000123456.jpg`), without
    folder, and any other `file_name` as it stands. Without a `file_name` too: COCO's name of the id.
    """
    folder, _, file = str(image.get("coco_url") or "").rpartition("/")
    folder = folder.rpartition("/")[2]
    if COCO_FILE.fullmatch(file) and folder:
        return f"{folder}/{file}"
    if "file_name" not in image:
        return file or f"{int(image['id']):012d}.jpg"
    name = str(image["file_name"])
    coco = COCO_FILE.fullmatch(name.replace("\\", "/").rpartition("/")[2])
    return coco["name"] if coco else name


class _Tally:
    """Problems of one file, counted by kind with some examples."""

    def __init__(self) -> None:
        self.kinds: dict[str, list[str]] = {}
        self.counts: dict[str, int] = {}

    def add(self, kind: str, example: str) -> None:
        if kind not in self.kinds and len(self.kinds) >= KINDS:
            kind = "more annotations with other faults"
        self.counts[kind] = self.counts.get(kind, 0) + 1
        examples = self.kinds.setdefault(kind, [])
        if len(examples) < SHOWN:
            examples.append(example)

    def lines(self, path: Path) -> tuple[str, ...]:
        def shown(kind: str) -> str:
            return ", ".join(self.kinds[kind]) + (", ..." if self.counts[kind] > SHOWN else "")

        return tuple(f"{path}: {count} {kind} ({shown(kind)})" for kind, count in self.counts.items())


class _Collector:
    """Numbers of one file while it is read."""

    def __init__(self, path: Path, name_of: Callable[[Mapping[str, Any]], str], max_pixels: int) -> None:
        self.path, self.name_of, self.max_pixels = path, name_of, max_pixels
        self.images: dict[int, tuple[int, int, bytes]] = {}
        self.image_of, self.starts, self.ids = array("q"), array("q"), array("q")
        self.lengths, self.crowds = array("i"), array("b")
        self.run_length_sizes: dict[int, tuple[int, int]] = {}
        self.things: set[int] = set()
        self.panoptic = False
        self.tally = _Tally()

    def image(self, entry: Mapping[str, Any]) -> None:
        """Notes one element of `images`.

        Raises ValueError for one that cannot be used or that contradicts another with its id.
        """
        try:
            key = int(entry["id"])
            if isinstance(entry["id"], float) and key != entry["id"]:
                raise ValueError("a fraction")  # two images would share the number
            facts = int(entry["height"]), int(entry["width"]), _utf8(self.name_of(entry))
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(
                f"{self.path}: an image without usable id, height, width or file name: {brief(str(entry))}"
            ) from error
        if abs(key) > LARGEST_NUMBER:
            raise ValueError(f"{self.path}: image id {brief(str(key), 30)} is too large; ids have 64 bits")
        if not (1 <= facts[0] <= LONGEST and 1 <= facts[1] <= LONGEST and facts[0] * facts[1] <= self.max_pixels):
            raise ValueError(
                f"{self.path}: image {key} is {facts[0]} x {facts[1]} pixels, expected 1 to {LONGEST} a side and "
                f"max_pixels={self.max_pixels} in all"
            )
        need_inside(facts[2].decode(), self.path, f"the file of image {key}")
        if self.images.setdefault(key, facts) != facts:
            raise ValueError(
                f"{self.path}: two different images have the id {key} ({self.images[key][2].decode()} and "
                f"{facts[2].decode()}); which annotation belongs to which cannot be known"
            )

    def annotation(self, entry: Any, start: int, stop: int) -> None:
        """Notes one element of `annotations`; one without image id is left out and named."""
        image_id = _whole(entry.get("image_id")) if isinstance(entry, dict) else None
        if image_id is None:
            self.tally.add("annotations without image_id (a whole number), left out", f"at byte {start}")
            return
        if "segments_info" in entry:
            self.panoptic = True
        elif fault := segmentation_fault(entry.get("segmentation")):
            self.tally.add(f"{UNDRAWN}: {fault}", f"id {brief(str(entry.get('id')), 20)}")
        elif (size := run_length_size(entry["segmentation"])) is not None:
            self.run_length_sizes[len(self.starts)] = size
        self.image_of.append(image_id)
        self.starts.append(start)
        self.lengths.append(stop - start)
        self.crowds.append(entry.get("iscrowd") == 1)
        self.ids.append(entry["id"] if _is_number(entry.get("id")) else -1)

    def finish(self) -> InstanceIndex:
        """Sorts the annotations by image, keeping their order inside an image. Raises ValueError for no images."""
        if not self.images:
            raise ValueError(f"{self.path}: lists no images")
        image_ids = np.fromiter(self.images, dtype=np.int64, count=len(self.images))  # (I,)
        image_of, known = self._images_of_annotations(image_ids)
        self._tally_sizes(image_of, known)
        facts = list(self.images.values())
        # annotations of listed images, ordered by image
        rows = np.flatnonzero(known)[np.argsort(image_of[known], kind="stable")]
        per_image = np.bincount(image_of[known], minlength=len(image_ids))
        return InstanceIndex(
            self.path,
            image_ids,
            np.array([fact[:2] for fact in facts], dtype=np.int32).reshape(-1, 2),
            np.array([fact[2] for fact in facts], dtype=bytes),
            np.concatenate([[0], np.cumsum(per_image)]).astype(np.int64),
            np.array(self.starts, dtype=np.int64)[rows],
            np.array(self.lengths, dtype=np.int32)[rows],
            np.array(self.crowds, dtype=bool)[rows],
            self.panoptic,
            frozenset(self.things),
            self.tally.lines(self.path),
        )

    def _images_of_annotations(self, image_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For every annotation the place of its image in `image_ids` (I,), and whether the image is listed; (A,) each.

        Names in the tally the annotations of images that are not listed, and ids that are given twice.
        """
        wanted = np.array(self.image_of, dtype=np.int64)
        order = np.argsort(image_ids, kind="stable")
        place = np.searchsorted(image_ids, wanted, sorter=order)
        image_of = order[np.minimum(place, len(order) - 1)]
        known = image_ids[image_of] == wanted
        for row in np.flatnonzero(~known):
            self.tally.add("annotations of images that are not listed, left out", f"image_id {wanted[row]}")
        for key in _repeated(np.array(self.ids, dtype=np.int64)):
            self.tally.add("annotation ids given twice, all kept as objects of their own", str(key))
        return image_of, known

    def _tally_sizes(self, image_of: np.ndarray, known: np.ndarray) -> None:
        """Names the run lengths that are for another size than their image's."""
        sizes = [fact[:2] for fact in self.images.values()]
        for row, found in self.run_length_sizes.items():
            size = sizes[image_of[row]]
            if known[row] and found != size:
                self.tally.add(f"{UNDRAWN}: {size_fault(found, size)}", f"id {self.ids[row]}")


def _is_number(value: Any) -> bool:
    """Whether a json value is a whole number that 64 bits hold."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST_NUMBER


def _whole(value: Any) -> int | None:
    """A json value as a whole number that 64 bits hold; tables write 7 as 7.0. None for everything else."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if _is_number(value) else None


def _utf8(name: str) -> bytes:
    """A name that was read byte by byte (see `Entry`) or spelled with escapes, as utf-8."""
    try:
        raw = name.encode("latin-1")
        raw.decode()
    except UnicodeError:
        return name.encode()
    return raw


def _repeated(ids: np.ndarray) -> Iterator[int]:
    """Values >= 0 that occur more than once."""
    values, counts = np.unique(ids[ids >= 0], return_counts=True)
    yield from values[counts > 1].tolist()


def read_instance_index(
    path: Path,
    name_of: Callable[[Mapping[str, Any]], str] = name_from_file_name,
    max_pixels: int = MAX_PIXELS,
) -> InstanceIndex:
    """Reads a COCO instances, COCO panoptic or LVIS file once, from front to back.

    Args:
        path: the json file.
        name_of: image file of an element of `images`.
        max_pixels: an image of more pixels is refused.

    Raises:
        ValueError: naming the file: cut off, not such a file, two different images with one id, or an image whose file
            name leads out of the folder.
    """
    collector = _Collector(path, name_of, max_pixels)
    for section, start, stop, value in stream_entries(path, ("images", "annotations")):
        if section == "annotations":
            collector.annotation(value, start, stop)
        else:
            collector.image(value)
    if collector.panoptic:
        collector.things.update(_things(path))
    return collector.finish()


def _things(path: Path) -> Iterator[int]:
    """Ids of the categories of a panoptic file that are things, not stuff."""
    for entry in stream_entries(path, ("categories",)):
        if not isinstance(entry.value, dict) or not _is_number(entry.value.get("id")):
            raise ValueError(f"{path}: a category without usable id: {brief(str(entry.value))}")
        if entry.value.get("isthing") == 1:
            yield entry.value["id"]
