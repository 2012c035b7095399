"""Writes any dataset as shards: tar files with an image and a json file of run lengths per scene."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import cv2
import numpy as np
from pycocotools import mask as coco_mask
from tqdm import tqdm

from data_modules.formats.notes import shown
from data_modules.formats.writing import write_text, write_whole
from data_modules.scenes import BrokenScene, Scene, SceneDataset

RECIPE, VERSION = "pack.json", 1
Images = Literal["jpg", "webp", "webp-lossless"]


@dataclass(frozen=True)
class Packing:
    """How shards are written.

    Attributes:
        images: format of the image files.
        quality: of jpg and webp, 1 to 100.
        scenes_per_shard: scenes of a tar file; the last one may have fewer.

    Raises:
        ValueError: an impossible value.
    """

    images: Images = "jpg"
    quality: int = 95
    scenes_per_shard: int = 1000

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise ValueError(f"quality is {self.quality}: give 1 to 100")
        if self.scenes_per_shard < 1:
            raise ValueError(f"scenes_per_shard is {self.scenes_per_shard}: give 1 or more")

    def encoded(self, image: np.ndarray) -> bytes:
        """An (H, W, 3) uint8 RGB image as a file."""
        option = cv2.IMWRITE_JPEG_QUALITY if self.images == "jpg" else cv2.IMWRITE_WEBP_QUALITY
        quality = 101 if self.images == "webp-lossless" else self.quality  # OpenCV: above 100 nothing is lost
        done, content = cv2.imencode(f".{self.suffix}", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [option, quality])
        if not done:
            raise ValueError(f"OpenCV cannot write {self.images} files")
        return content.tobytes()

    @property
    def suffix(self) -> str:
        """Of the image files."""
        return "jpg" if self.images == "jpg" else "webp"


@dataclass(frozen=True)
class PackReport:
    """What was written; `str()` gives the text to print."""

    folder: Path
    shards: int
    scenes: int
    there: int
    broken: tuple[str, ...]

    def __str__(self) -> str:
        text = [f"{self.folder}: {self.scenes} scenes in {self.shards} shards"]
        text += [f"  {self.there} shards were there already"] if self.there else []
        text += [f"  left out: {reason}" for reason in self.broken]
        return "\n".join(text)


def pack(
    dataset: SceneDataset,
    output: Path,
    packing: Packing | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> PackReport:
    """Writes `output/<name>-000000.tar`, ...; a second call goes on with the shards that are missing.

    Args:
        dataset: what to write.
        output: the folder; made if missing.
        packing: how; `Packing()` if None.
        workers: processes; None takes one per processor.
        progress: show a bar.

    Raises:
        ValueError: the folder was begun from another set or with other settings.
    """
    packing = packing or Packing()
    output.mkdir(parents=True, exist_ok=True)
    keys = unique_keys([dataset.scene_name(index) for index in range(len(dataset))])
    _begin(output, dataset, packing)
    evaluated: list[set[int]] = [set() for _ in keys]
    for index, key in dataset.objects():
        evaluated[index].add(key)
    starts = range(0, len(dataset), packing.scenes_per_shard)
    jobs = []
    for number, start in enumerate(starts):
        path = output / f"{dataset.name.lower()}-{number:06d}.tar"
        if not path.is_file():
            jobs.append((path, range(start, min(start + packing.scenes_per_shard, len(dataset)))))
    arguments = []
    for path, scenes in jobs:
        part = slice(scenes.start, scenes.stop)
        arguments.append((dataset, path, scenes, keys[part], evaluated[part], packing))
    broken, written = [], 0
    results = _all_written(arguments, min(len(jobs), workers or os.cpu_count() or 1))
    for reasons, count in tqdm(results, total=len(jobs), desc="shards", disable=None if progress else True):
        broken += reasons
        written += count
    return PackReport(output, len(starts), written, len(starts) - len(jobs), tuple(sorted(broken)))


def _all_written(arguments: Sequence[tuple[Any, ...]], workers: int) -> Iterator[tuple[list[str], int]]:
    if workers <= 1:
        yield from (write_shard(*each) for each in arguments)
        return
    with ProcessPoolExecutor(workers) as pool:
        for job in as_completed([pool.submit(write_shard, *each) for each in arguments]):
            yield job.result()


def unique_keys(names: Sequence[str]) -> list[str]:
    """The names of scenes as names in a tar file.

    A dot would end the name there, and a slash begin a folder: both become an underscore. Of equal names all but the
    first get a number.
    """
    seen: dict[str, int] = {}
    keys = []
    for name in names:
        key = name.replace(".", "_").replace("/", "_").replace("\\", "_")
        while key in seen:
            seen[key] += 1
            key = f"{key}~{seen[key]}"
        seen[key] = 1
        keys.append(key)
    return keys


def write_shard(
    dataset: SceneDataset,
    path: Path,
    scenes: range,
    keys: Sequence[str],
    evaluated: Sequence[set[int]],
    packing: Packing,
) -> tuple[list[str], int]:
    """Writes one tar file; returns what is wrong with the scenes that are left out, and how many were written.

    Args:
        dataset: where the scenes come from.
        path: the tar file.
        scenes: which of them it gets.
        keys: of each scene, its name in the tar file.
        evaluated: of each scene, the objects that an evaluation asks for.
        packing: how images are written.
    """
    broken: list[str] = []

    def write(file: BinaryIO) -> None:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for index, key, asked in zip(scenes, keys, evaluated, strict=True):
                try:
                    scene = dataset[index]
                except BrokenScene as error:
                    broken.append(str(error))
                    continue
                _add(archive, f"{key}.{packing.suffix}", packing.encoded(scene.image))
                _add(archive, f"{key}.json", json.dumps(annotation_of(scene, asked), separators=(",", ":")).encode())

    write_whole(path, write)
    return broken, len(scenes) - len(broken)


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    """Adds a file without time and owner, so that the same scenes give the same bytes."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def annotation_of(scene: Scene, evaluated: set[int]) -> dict[str, Any]:
    """The json file of a scene: the fields of SA-1B's files as far as they are known, and what `Shards` adds.

    Objects that are no stuff are evaluated unless the file says otherwise.
    """
    height, width = scene.image.shape[:2]
    annotations = []
    for key, entry in sorted(scene.objects.items()):
        mask = scene.layers[..., entry.layer] == key
        lengths = run_lengths(mask)
        record = {
            "id": key,
            "segmentation": lengths,
            "area": int(np.count_nonzero(mask)),
            "bbox": coco_mask.toBbox(lengths).tolist(),
        }
        record |= {"parent": entry.parent} if entry.parent else {}
        record |= {"stuff": True} if entry.stuff else {}
        if (key in evaluated) == entry.stuff:
            record["evaluated"] = key in evaluated
        if scene.initial_masks is not None and key in scene.initial_masks:
            record["initial"] = run_lengths(scene.initial_masks[key])
        annotations.append(record)
    content: dict[str, Any] = {
        "clicklab": VERSION,
        "image": {"file_name": scene.name, "height": height, "width": width},
        "annotations": annotations,
    }
    ignored = scene.ignored()
    return content | ({"ignored": run_lengths(ignored)} if ignored.any() else {})


def run_lengths(mask: np.ndarray) -> dict[str, Any]:
    """An (H, W) bool mask as COCO's compressed run lengths."""
    packed = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(side) for side in packed["size"]], "counts": packed["counts"].decode()}


def _begin(output: Path, dataset: SceneDataset, packing: Packing) -> None:
    """Notes what the folder is made from. Raises ValueError where it was begun otherwise."""
    names = [dataset.scene_name(index) for index in (0, len(dataset) - 1)]
    given = {key: str(value) for key, value in (dataset.given or {}).items() if key != "root"}
    settings = [packing.images, packing.quality, packing.scenes_per_shard]
    recipe: dict[str, Any] = {
        "version": VERSION,
        "set": dataset.name,
        "options": given,
        "scenes": len(dataset),
        "ends": names,
    }
    recipe |= {"images, quality, scenes_per_shard": settings}
    path = output / RECIPE
    if not path.is_file():
        write_text(path, json.dumps(recipe, indent=1))
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        differing = [key for key, value in recipe.items() if found.get(key) != value]
    except (ValueError, AttributeError):
        differing = ["the file is damaged"]
    if differing:
        raise ValueError(
            f"{path}: the folder was begun from something else ({shown(differing)}); choose another output or remove it"
        )
