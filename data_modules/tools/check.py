"""What `clicklab data check NAME=FOLDER` finds out: counts, broken files, what is missing and where it comes from."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from data_modules.datasets import dataset_class, open_dataset
from data_modules.formats.notes import shown
from data_modules.scenes import BrokenScene, SceneDataset
from data_modules.tools.dataset_spec import dataset_spec

SHOWN = 20


@dataclass(frozen=True)
class SplitReport:
    """One split of a dataset after reading every file of it.

    Attributes:
        split: its name, "" for sets without splits.
        counts: what was found: images, objects, images with ignored pixels.
        published: the published counts of the same names, as far as there are any.
        broken: name of the scene and what is wrong with it.
        empty: scene name and id of objects without any pixel, and why ("" where the mask itself is empty).
        notes: what the reader warned about (files without partner, images left out).
        missing: why the split could not be opened at all; None when it could.
    """

    split: str
    counts: Mapping[str, int] = field(default_factory=dict)
    published: Mapping[str, int] = field(default_factory=dict)
    broken: tuple[tuple[str, str], ...] = ()
    empty: tuple[tuple[str, int, str], ...] = ()
    notes: tuple[str, ...] = ()
    missing: str | None = None

    @property
    def complete(self) -> bool:
        """Nothing is missing, broken or empty, and the counts are the published ones."""
        same = all(self.counts.get(key) == count for key, count in self.published.items())
        return same and not (self.broken or self.empty or self.missing)

    def lines(self) -> list[str]:
        """The report of this split, one finding per line."""
        if self.missing is not None:
            return [f"  missing: {self.missing}"]
        text = []
        for key, count in self.counts.items():
            published = self.published.get(key)
            if not count and published is None:
                continue
            text.append(f"  {count} {key}" + ("" if published is None else f" (published: {published})"))
        text += [f"  note: {note}" for note in self.notes]
        text += _listed("broken", [reason if name in reason else f"{name}: {reason}" for name, reason in self.broken])
        empty = [f"{name}, object {key}" + (f": {reason}" if reason else "") for name, key, reason in self.empty]
        text += _listed("empty mask", empty)
        return text


@dataclass(frozen=True)
class Report:
    """All splits of a dataset in one folder; `str()` gives the text to print."""

    name: str
    folder: str
    page: str
    licence: str
    splits: tuple[SplitReport, ...]

    @property
    def complete(self) -> bool:
        """Every split is complete."""
        return all(part.complete for part in self.splits)

    def __str__(self) -> str:
        text = [f"{self.name} in {self.folder}", f"  from: {self.page}"]
        text += [f"  licence: {self.licence}"] if self.licence else []
        for part in self.splits:
            text += ([f"split {part.split}:"] if part.split else []) + part.lines()
        return "\n".join([*text, "complete" if self.complete else "not complete, see above"])


def check(name: str, folder: str | Path | None, **options: Any) -> Report:
    """Reads every file of a dataset and compares with what was published.

    Args:
        name: a key of `data_modules.datasets.DATASETS`.
        folder: where it lies.
        options: options of the reader; without `split` all splits of the set are checked.

    Raises:
        ValueError: unknown name or option value.
    """
    kind = dataset_class(name)
    splits = (options["split"],) if options.get("split") else getattr(kind, "splits", ()) or (None,)
    parts = []
    for split in splits:
        given = options if split is None else options | {"split": split}
        parts.append(_check_split(name, folder, split or "", given))
    return Report(name, str(folder), kind.page, kind.licence, tuple(parts))


def _check_split(name: str, folder: str | Path | None, split: str, options: Mapping[str, Any]) -> SplitReport:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            dataset = open_dataset(name, folder, **options)
        except (FileNotFoundError, BrokenScene) as error:
            return SplitReport(split, missing=str(error))
        told = [str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)]
        report = _read_all(dataset, split)
    noted = dataset.notes.lines()
    notes = [text for text in told if not any(line.startswith(text) for line in noted)] + noted
    unpaired = getattr(dataset, "unpaired_masks", list)()
    if unpaired and not any("have no image" in note for note in notes):
        notes.append(f"{len(unpaired)} masks have no image: {shown([path.name for path in unpaired], SHOWN)}")
    return replace(report, notes=tuple(notes))


def _read_all(dataset: SceneDataset, split: str) -> SplitReport:
    """Decodes every scene; broken ones are listed and the rest goes on."""
    broken, empty = [], []
    counts = {"images": len(dataset), "objects": 0, "images with ignored pixels": 0}
    if dataset.negatives:
        counts["images without object"] = 0
    evaluated: dict[int, set[int]] = {}
    for index in tqdm(range(len(dataset)), desc=f"{dataset.name} {split}".strip(), disable=None, leave=False):
        try:
            scene = dataset[index]
        except BrokenScene as error:
            broken.append((dataset.scene_name(index), str(error)))
            continue
        areas = scene.areas()
        evaluated[index] = {key for key, entry in scene.objects.items() if not entry.stuff}
        counts["objects"] += len(evaluated[index])
        counts["images with ignored pixels"] += bool(scene.ignored().any())
        if dataset.negatives:
            counts["images without object"] += not scene.objects
        empty += [(scene.name, key, scene.faults.get(key, "")) for key in sorted(evaluated[index]) if not areas[key]]
    return SplitReport(split, counts, published_counts(dataset, split), tuple(broken), tuple(empty))


def published_counts(dataset: SceneDataset, split: str) -> dict[str, int]:
    """The published counts that hold for a split: those whose name starts with it ("val images"), or with no split."""
    if not split:
        return dict(dataset.published)
    start = f"{split} "
    return {key.removeprefix(start): count for key, count in dataset.published.items() if key.startswith(start)}


def _listed(what: str, items: list[str]) -> list[str]:
    """One line per item, the first `SHOWN` of them, and how many more there are."""
    text = [f"  {what}: {item}" for item in items[:SHOWN]]
    return text + ([f"  ... and {len(items) - SHOWN} more of these ({what})"] if len(items) > SHOWN else [])


def run_check(options: argparse.Namespace) -> int:
    """`clicklab data check`: prints the report; exit code 1 where something is missing, broken or empty."""
    name, folder, reading = dataset_spec(options.dataset)
    report = check(name, folder, **reading)
    print(report)
    return 0 if report.complete else 1
