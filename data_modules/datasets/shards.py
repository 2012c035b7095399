"""Shards: tar files of images with json files of run lengths, on a disk or in an object store."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from data_modules.formats.image_reading import AS_USUAL, ImageReading
from data_modules.formats.images import note_turned, picture_of
from data_modules.formats.notes import brief, shown
from data_modules.formats.run_masks import RunMask, run_mask
from data_modules.scenes import BrokenScene, Scene, SceneDataset, SceneObject
from data_modules.shards.index import Place, open_index, read_place
from data_modules.shards.stores import open_store
from data_modules.undrawn import UndrawnScene

LARGEST_ID = 65535
AHEAD = 16  # samples of an object store that one process fetches at a time
KEPT = 64  # most samples that were announced and not asked for yet

Annotation = Mapping[str, Any]


class Shards(SceneDataset):
    """`*.tar` in any folder below the root, made by `clicklab data pack` or by others in the way of WebDataset.

    A sample is an image (`NAME.jpg`, `.webp`, ...) and `NAME.json` with `annotations`, a list of masks as run lengths
    (`segmentation: {size, counts}`). A mask may bring an `id` (without, they are numbered 1, 2, ...), the id of its
    `parent`, `stuff: true`, `evaluated: false`, and `initial`, a mask to start from. Beside the list there may be
    `ignored` run lengths. Scenes come in the order of the shards' names, and inside a shard as they lie there.
    """

    name = "Shards"
    page: ClassVar[str] = "clicklab data pack NAME=FOLDER --output DIR, which writes them from any other set"
    licence: ClassVar[str] = "that of the images"
    published: ClassVar[Mapping[str, int]] = {}

    def __init__(
        self,
        root: str | Path | None,
        split: str | None = None,
        pattern: str = "*.tar",
        index: str | Path | None = None,
        workers: int | None = None,
        negatives: bool = False,
        reading: ImageReading = AS_USUAL,
    ) -> None:
        """Opens the index of the shards; the first time it is built, which looks through all of them.

        Args:
            root: folder, or URL of an object store (s3://bucket/folder, gs://..., https://...).
            split: a subfolder of `root` that holds the shards; None for `root` itself.
            pattern: which shards, by their name below the root, such as "*-0000[0-8]*.tar"; * takes folders too.
            index: folder of the index; None keeps it in ~/.cache/clicklab/shards.
            workers: processes that build the index (of an object store: requests at a time); None: as the machine has.
            negatives: images without mask are scenes without object (training samples without target).
            reading: how image files are read.

        Raises:
            FileNotFoundError: no such folder, or no shard of that pattern.
            ValueError: a shard is no tar file, or no sample is found.
        """
        if workers is not None and workers < 1:
            raise ValueError(f"workers is {workers}: give a number of processes, 1 or more")
        self.negatives, self.reading = negatives, reading
        place = root if split is None or root is None else f"{str(root).rstrip('/')}/{split}"
        self.store = open_store(place, self.page)
        folder = None if index is None else Path(index).expanduser()
        self.index = open_index(self.store, pattern, folder, workers)
        for problem in self.index.problems:
            self.notes.add("damaged shards", f"{problem} (clicklab data index lists all such shards)")
        if changed := self.index.changed:
            told = f"{len(changed)} shards changed since their index was built, which was built anew: {shown(changed)}"
            self.notes.add("changed shards", f"{self.store.where}: {told}; a run that goes on sees other batches")
        self._pool: ThreadPoolExecutor | None = None
        self._ahead: OrderedDict[int, Future[tuple[bytes, bytes]]] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_pool": None, "_ahead": OrderedDict()}

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: int) -> Scene:
        return self.training_scene(index).drawn()

    def training_scene(self, index: int) -> UndrawnScene:
        """As `__getitem__`, with the masks still as run lengths."""
        place = self.index.place(index)
        image, annotation = self._content(index, place)
        where = f"{self.store.where}/{place.shard}: {place.name}"
        content = parsed(annotation, where)
        picture = picture_of(image, where, self.reading, self.notes)
        note_turned(picture, where, self.reading, self.notes)
        size = (picture.pixels.shape[0], picture.pixels.shape[1])
        chosen = {key: entry for key, entry in numbered(content, where).items() if self.wanted(entry, size)}
        masks, faults = self._masks(chosen, size, where)
        objects = self.related(chosen, masks)
        try:
            begun = {key: run_mask(entry["initial"], size) for key, entry in chosen.items() if entry.get("initial")}
            ignored = run_mask(content["ignored"], size) if content.get("ignored") else None
        except ValueError as error:
            raise BrokenScene(f"{where}.json: an ignored or initial mask: {error}") from error
        initial = {key: mask for key, mask in begun.items() if mask is not None} or None
        return UndrawnScene(picture.pixels, masks, objects, self.scene_name(index), ignored, initial, faults)

    def scene_name(self, index: int) -> str:
        return self.index.name(index)

    def objects(self) -> list[tuple[int, int]]:
        """As `SceneDataset.objects`; reads every json file, so it is for sets of the size of a benchmark."""
        found = []
        for index in range(len(self)):
            try:
                content = parsed(self._content(index, self.index.place(index))[1], self.scene_name(index))
                size = stated_size(content)
                entries = numbered(content, self.scene_name(index)).items()
                asked = [(key, entry) for key, entry in entries if entry.get("evaluated", not entry.get("stuff"))]
                keys = [key for key, entry in asked if self.wanted(entry, size)]
            except BrokenScene:
                keys = [0]
            found += [(index, key) for key in keys]
        return found

    def expect(self, indices: Iterable[int]) -> None:
        """Begins to fetch scenes from an object store, several at a time: a request takes long and needs no processor.

        A worker process is told all scenes of a batch before it makes the first of its samples.
        """
        if not self.store.remote:
            return
        self._pool = self._pool or ThreadPoolExecutor(AHEAD)
        for index in indices:
            if index not in self._ahead:
                self._ahead[index] = self._pool.submit(read_place, self.store, self.index.place(index))
        while len(self._ahead) > KEPT:  # announced by a batch that was given up
            self._ahead.popitem(last=False)[1].cancel()

    def wanted(self, annotation: Annotation, size: tuple[int, int]) -> bool:
        """Whether a mask of an image of this (H, W) is an object of the scene."""
        del annotation, size
        return True

    def related(
        self, annotations: Mapping[int, Annotation], masks: Mapping[int, RunMask | None]
    ) -> dict[int, SceneObject]:
        """What each object belongs to. Raises BrokenScene through `Scene` where a parent does not exist."""
        del masks
        return {
            key: SceneObject(0, int(entry.get("parent") or 0), bool(entry.get("stuff", False)))
            for key, entry in annotations.items()
        }

    def _content(self, index: int, place: Place) -> tuple[bytes, bytes]:
        """Image and json file of a sample, fetched now or ahead."""
        begun = self._ahead.pop(index, None)
        return read_place(self.store, place) if begun is None else begun.result()

    def _masks(
        self, annotations: Mapping[int, Annotation], size: tuple[int, int], where: str
    ) -> tuple[dict[int, RunMask | None], dict[int, str]]:
        """The mask of every object, and id -> why it has none."""
        masks: dict[int, RunMask | None] = {}
        faults: dict[int, str] = {}
        for key, entry in annotations.items():
            masks[key] = None
            try:
                masks[key] = run_mask(entry.get("segmentation"), size)
                if masks[key] is None:
                    faults[key] = f"annotation {key} covers no pixel of the image"
            except ValueError as error:  # the other objects of the image stay usable
                faults[key] = f"annotation {key}: {brief(error, 120)}"
                self.notes.add("masks that cannot be read", f"{where}: {faults[key]}")
        return masks, faults


def parsed(content: bytes, where: str) -> dict[str, Any]:
    """A json file with a list of `annotations`. Raises BrokenScene naming the sample."""
    try:
        found = json.loads(content)
        if all(isinstance(entry, dict) for entry in found["annotations"]):
            return found
    except (ValueError, KeyError, TypeError) as error:
        raise BrokenScene(f"{where}.json: no json with a list of annotations ({brief(repr(error))})") from error
    raise BrokenScene(f"{where}.json: an annotation that is no record")


def numbered(content: Mapping[str, Any], where: str) -> dict[int, Annotation]:
    """Object id -> annotation, in file order: the file's own ids where `pack` wrote it, else 1, 2, ...

    Raises BrokenScene for ids that are no small numbers or given twice.
    """
    entries = content["annotations"]
    if "clicklab" not in content:
        return dict(enumerate(entries, start=1))
    ids = [entry.get("id") for entry in entries]
    usable = all(isinstance(key, int) and 0 < key <= LARGEST_ID for key in ids) and len(set(ids)) == len(ids)
    if not usable:
        raise BrokenScene(f"{where}.json: annotation ids have to be numbers 1 to {LARGEST_ID}, each once")
    return dict(zip(ids, entries, strict=True))


def stated_size(content: Mapping[str, Any]) -> tuple[int, int]:
    """(H, W) as a json file states it; zeros where it does not."""
    image = content.get("image")
    sides = (image.get("height"), image.get("width")) if isinstance(image, dict) else (0, 0)
    return (sides[0], sides[1]) if all(isinstance(side, int) for side in sides) else (0, 0)


def share(area: float, size: tuple[int, int]) -> float:
    """Part of an image that an area fills; 0 for an image of unknown size."""
    return area / np.prod(size) if all(size) else 0.0
