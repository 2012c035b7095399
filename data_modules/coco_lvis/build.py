"""COCO+LVIS made from the public json files, and the released annotation brought into our format.

`clicklab data build-coco-lvis` and `clicklab data import-hannotation` call `run_build` and `run_import`.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from data_modules.coco_lvis.layered_build import BuildReport, Made, fill_folder
from data_modules.coco_lvis.sources import Sources, common_images
from data_modules.coco_lvis.thresholds import Thresholds
from data_modules.datasets.coco import COCO
from data_modules.datasets.coco_lvis import COCO_LVIS
from data_modules.datasets.lvis import find_lvis_json
from data_modules.formats.files import need_file, need_folder
from data_modules.formats.hannotation import ReleasedIndex, read_released_index, released_ids
from data_modules.formats.instance_index import name_from_file_name, name_from_url, read_instance_index
from data_modules.tools.arguments import SPLITS


def build(
    coco: str | Path | None = None,
    lvis: str | Path | None = None,
    output: str | Path = "COCO_LVIS",
    split: str = "train",
    thresholds: Thresholds | None = None,
    workers: int | None = None,
    progress: bool = True,
    segments: str | Path | None = None,
    images: str | Path | None = None,
    crowds: bool = False,
) -> BuildReport:
    """Makes `output/<split>` in the format of `layered_store`. Stopped at any point, the same call goes on where it
    was.

    Args:
        coco: panoptic_*.json (as the released annotation was made; only this has stuff), instances_*.json, or the COCO
            folder, where the panoptic file is taken before the instances. None: LVIS alone.
        lvis: lvis_v1_*.json, the v0.5 file, or the LVIS folder. None: COCO alone. With both, images that have an entry
            in both count.
        output: the folder that `COCO_LVIS` is opened with.
        split: train or val; finds the files in folders and names the folder below `output`.
        thresholds: numbers of the published rule.
        workers: processes; 0 or 1 work in this one, None takes one per processor.
        progress: show a progress bar.
        segments: folder of the panoptic PNGs; default: beside the json, its name without the ending.
        images: folder of the images, noted in the index for the reader; default: <split>2017 of the COCO folder.
        crowds: count crowds of an instances file as objects.

    Raises:
        FileNotFoundError: a file or folder is missing.
        ValueError: no input, damaged input, no common image, or `output` was begun with other settings.
    """
    if split not in SPLITS:
        raise ValueError(f"there is no split {split!r}; give one of {', '.join(SPLITS)}")
    if coco is None and lvis is None:
        raise ValueError("give coco, lvis or both: there is nothing to build from")
    coco_json = None if coco is None else _find_coco_json(Path(coco).expanduser(), split)
    lvis_json = None if lvis is None else _find_lvis(Path(lvis).expanduser(), split)
    coco_index = None if coco_json is None else read_instance_index(coco_json, name_from_file_name)
    lvis_index = None if lvis_json is None else read_instance_index(lvis_json, name_from_url)
    png_folder = None
    if coco_json is not None and coco_index is not None and coco_index.panoptic:
        png_folder = need_folder(segments or coco_json.with_suffix(""), page=COCO.page)
    names, pairs = common_images(coco_index, lvis_index)
    recipe = {
        "kind": "COCO+LVIS from json",
        "coco": coco_json and _fingerprint(coco_json),
        "lvis": lvis_json and _fingerprint(lvis_json),
        "crowds": crowds,
        "thresholds": asdict(thresholds or Thresholds()),
    }
    sources = Sources(coco_index, lvis_index, png_folder, pairs, crowds, thresholds or Thresholds())
    report = fill_folder(
        Path(output).expanduser() / split,
        recipe,
        names,
        sources,
        images=_image_folder(images, coco, split),
        workers=workers,
        progress=progress,
    )
    known = tuple(line for index in (coco_index, lvis_index) if index is not None for line in index.problems)
    return replace(report, problems=known + report.problems)


def _find_coco_json(path: Path, split: str) -> Path:
    if not path.is_dir():
        return need_file(path, page=COCO.page)
    folder = path / "annotations" if (path / "annotations").is_dir() else path
    found = [folder / f"{kind}_{split}2017.json" for kind in ("panoptic", "instances")]
    return next((file for file in found if file.is_file()), None) or need_file(found[-1], page=COCO.page)


def _find_lvis(path: Path, split: str) -> Path:
    return path if path.is_file() else find_lvis_json(path, split)


def _image_folder(images: str | Path | None, coco: str | Path | None, split: str) -> Path | None:
    if images is not None:
        return need_folder(images, page=COCO.page)
    beside = None if coco is None else Path(coco).expanduser() / f"{split}2017"
    return beside if beside is not None and beside.is_dir() else None


def _fingerprint(path: Path) -> list[Any]:
    """Name and size: enough to tell files apart, and the folder may move."""
    return [path.name, path.stat().st_size]


@dataclass(frozen=True)
class Released:
    """The released pickles of one split; calling it with a number converts that image."""

    masks: Path
    index: ReleasedIndex

    def __call__(self, number: int) -> Made:
        """Layered ids of one image. Raises BrokenScene when its pickle is damaged or does not fit the index."""
        return Made(released_ids(self.masks / f"{self.index.names[number]}.pickle", self.index.of(number)), [])


def import_hannotation(
    source: str | Path,
    output: str | Path,
    split: str = "train",
    annotation: str = "hannotation.pickle",
    workers: int | None = None,
    progress: bool = True,
) -> BuildReport:
    """Converts the released COCO+LVIS pickles into `output/<split>`; nothing in them is run. Resumes like `build`.

    Args:
        source: the folder that holds train and val as unpacked from cocolvis_annotation.tar.gz.
        output: the folder that `COCO_LVIS` is opened with afterwards; may be `source` itself, the file names differ.
        split: train or val.
        annotation: file name of the index in the folder of the split.
        workers: processes; 0 or 1 work in this one, None takes one per processor.
        progress: show a progress bar.

    Raises:
        FileNotFoundError: a folder or the index is missing.
        ValueError: unknown split, an index that is no plain data, or `output` was begun from something else.
    """
    if split not in SPLITS:
        raise ValueError(f"there is no split {split!r}; give one of {', '.join(SPLITS)}")
    folder = need_folder(source, split, page=COCO_LVIS.page)
    masks = need_folder(folder, "masks", page=COCO_LVIS.page)
    index = need_file(folder, annotation, page=COCO_LVIS.page)
    released = read_released_index(index)
    recipe = {"kind": "COCO+LVIS as released", "index": _fingerprint(index)}
    images = folder / "images" if (folder / "images").is_dir() else None
    return fill_folder(
        Path(output).expanduser() / split,
        recipe,
        released.names,
        Released(masks, released),
        images=images,
        workers=workers,
        progress=progress,
    )


def run_build(options: argparse.Namespace) -> int:
    """`clicklab data build-coco-lvis`: exit code 1 where images had to be left out."""
    thresholds = Thresholds(**{field.name: getattr(options, field.name) for field in fields(Thresholds)})
    report = build(
        options.coco,
        options.lvis,
        options.output,
        options.split,
        thresholds,
        options.workers,
        not options.no_progress,
        options.segments,
        options.images,
        options.crowds,
    )
    print(report)
    return 0 if report.ok else 1


def run_import(options: argparse.Namespace) -> int:
    """`clicklab data import-hannotation`: exit code 1 where images had to be left out."""
    report = import_hannotation(
        options.source, options.output, options.split, options.annotation, options.workers, not options.no_progress
    )
    print(report)
    return 0 if report.ok else 1
